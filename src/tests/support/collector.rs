//! A small collector of traces: takes OTLP over HTTP as collectors of OpenTelemetry do, and keeps what it was
//! told.

use actix_web::web::{Bytes, Data, post};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A span as it arrived. Ids are in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Span {
    /// Of the process that told it.
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty: it has none.
    pub parent: String,
    pub links: usize,
    /// In nanoseconds.
    pub began: u64,
    pub ended: u64,
    pub attributes: BTreeMap<String, String>,
    pub failed: Option<String>,
}

#[derive(Default)]
struct Told {
    spans: Mutex<Vec<Span>>,
    authorization: Mutex<Vec<String>>,
}

pub struct Collector {
    pub url: String,
    told: Arc<Told>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Told::default());
        let data = Data::from(told.clone());
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).route("/v1/traces", post().to(take)));
        tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
        Self { url, told }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.told.spans.lock().unwrap().clone()
    }

    /// What requests said of who they are.
    pub fn authorization(&self) -> Vec<String> {
        self.told.authorization.lock().unwrap().clone()
    }

    /// All spans, once there are some of these names.
    pub async fn having(&self, names: &[&str]) -> Vec<Span> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let spans = self.spans();
            if names.iter().all(|name| spans.iter().any(|span| span.name == *name)) {
                return spans;
            }
            assert!(Instant::now() < deadline, "{names:?} are not all in {spans:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn take(told: Data<Told>, request: HttpRequest, body: Bytes) -> HttpResponse {
    assert_eq!(request.headers().get("content-type").unwrap(), "application/x-protobuf");
    let fields = request.headers().get_all("authorization");
    let fields = fields.map(|field| field.to_str().unwrap().to_owned());
    told.authorization.lock().unwrap().extend(fields);
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    let mut spans = told.spans.lock().unwrap();
    for resource in export.resource_spans {
        let service = attributes(resource.resource.unwrap_or_default().attributes).remove("service.name");
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone().unwrap_or_default(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.len(),
                began: span.start_time_unix_nano,
                ended: span.end_time_unix_nano,
                attributes: attributes(span.attributes),
                failed: span.status.filter(|status| status.code == 2).map(|status| status.message),
            });
        }
    }
    HttpResponse::Ok().content_type("application/x-protobuf").finish()
}

fn attributes(of: Vec<KeyValue>) -> BTreeMap<String, String> {
    of.into_iter().map(|one| (one.key, text(one.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
