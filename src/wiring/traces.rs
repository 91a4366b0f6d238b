//! The spans of one process: off, or on their way to a collector.

use crate::adapters::clock::SystemClock;
use crate::adapters::traces::otlp::{OtlpSettings, OtlpTraces};
use crate::config::Config;
use crate::ports::traces::{Tracer, Traces};
use std::sync::Arc;

pub struct ProcessTraces {
    pub tracer: Tracer,
    otlp: Option<Arc<OtlpTraces>>,
}

impl ProcessTraces {
    /// `role` is what the process is called by those who look at traces.
    pub fn start(config: &Config, role: &'static str) -> anyhow::Result<Self> {
        let settings = config.telemetry.otlp.clone().map(|otlp| OtlpSettings {
            endpoint: otlp.endpoint,
            headers: otlp.headers,
            sample_percent: otlp.sample_percent,
            role,
        });
        let otlp = settings.map(OtlpTraces::start).transpose()?;
        let to = otlp.clone().map(|otlp| otlp as Arc<dyn Traces>);
        Ok(Self { tracer: Tracer::new(to, Arc::new(SystemClock)), otlp })
    }

    /// Sends what is left.
    pub async fn end(self) {
        if let Some(otlp) = self.otlp
            && let Err(error) = tokio::task::spawn_blocking(move || otlp.end()).await
        {
            tracing::debug!(%error, "the last spans are lost");
        }
    }
}
