//! Spans to a collector of OpenTelemetry, by OTLP over HTTP in protocol buffers.
//!
//! They wait in a queue of a fixed size for a thread of their own, which sends them in batches; what
//! finds no room is lost. A collector that is away is said once, and costs nothing but spans. Start with
//! [`OtlpTraces::start`]; [`sending`](super::sending) is the way out.

use super::sending::{Client, Sending};
use crate::domain::secret::Secret;
use crate::domain::trace::TraceContext;
use crate::ports::traces::{EndedSpan, SpanKind, Traces, Value};
use anyhow::Context as _;
use opentelemetry::trace::{
    self as otel, Link, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use url::Url;

/// Spans that wait.
const QUEUE: usize = 4_096;
/// Of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// For one request, with everything that is tried again.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What may be left to send when the process ends.
const LAST: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// Of the collector; spans go to `v1/traces` below it.
    pub endpoint: Url,
    pub headers: Vec<(String, Secret)>,
    pub sample_percent: u8,
    /// Which part of gv this process is.
    pub role: &'static str,
}

pub struct OtlpTraces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    sample_percent: u8,
}

impl OtlpTraces {
    /// Must be called within a Tokio runtime, which carries the requests. Fails when the settings make no
    /// client; whether the collector is there is not asked.
    pub fn start(settings: OtlpSettings) -> anyhow::Result<Arc<Self>> {
        let OtlpSettings { endpoint, headers, sample_percent, role } = settings;
        let client = Client::new(TIMEOUT, Handle::current()).context("telemetry.otlp_endpoint")?;
        let headers = headers.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(traces_below(&endpoint))
            .with_headers(headers)
            .with_timeout(TIMEOUT)
            .build()
            .context("telemetry.otlp_endpoint")?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let sending = Sending::by(exporter, endpoint.host_str().unwrap_or_default());
        let mut processor = BatchSpanProcessor::builder(sending).with_batch_config(batches).build();
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", format!("gv-{role}")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{:016x}", rand::random::<u64>())),
        ]);
        processor.set_resource(&resource.build());
        let scope = InstrumentationScope::builder("gv").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Arc::new(Self { processor, scope, sample_percent }))
    }

    /// Sends what waits, for at most a few seconds. Blocks.
    pub fn end(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST) {
            tracing::debug!(%error, "the last spans may be lost");
        }
    }
}

impl Traces for OtlpTraces {
    fn take(&self, span: EndedSpan) {
        self.processor.on_end(data(span, self.scope.clone()));
    }

    fn sample_percent(&self) -> u8 {
        self.sample_percent
    }
}

fn traces_below(endpoint: &Url) -> String {
    format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'))
}

fn data(span: EndedSpan, scope: InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links.extend(span.link.map(|link| Link::new(context(&link, true), Vec::new(), 0)));
    SpanData {
        span_context: context(&span.context, false),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.context.span)),
        parent_span_is_remote: span.parent.is_some_and(|parent| parent.is_remote),
        span_kind: match span.kind {
            SpanKind::Internal => otel::SpanKind::Internal,
            SpanKind::Server => otel::SpanKind::Server,
            SpanKind::Producer => otel::SpanKind::Producer,
            SpanKind::Consumer => otel::SpanKind::Consumer,
        },
        name: span.name,
        start_time: span.began.into(),
        end_time: span.ended.into(),
        attributes: span.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: span.error.map_or(Status::Unset, |why| Status::Error { description: why }),
        instrumentation_scope: scope,
    }
}

fn attribute(name: &'static str, value: Value) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, text.into_owned()),
        Value::Number(number) => KeyValue::new(name, number),
    }
}

fn context(place: &TraceContext, is_remote: bool) -> SpanContext {
    let flags = if place.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from(place.trace), SpanId::from(place.span));
    SpanContext::new(trace, span, flags, is_remote, TraceState::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_below_the_collectors_address() {
        for (endpoint, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("https://example.com/otlp/", "https://example.com/otlp/v1/traces"),
        ] {
            assert_eq!(traces_below(&Url::parse(endpoint).unwrap()), expected);
        }
    }
}
