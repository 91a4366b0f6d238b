//! The way of a batch to the collector: requests run on gv's own runtime and by its own TLS, and a
//! collector that is away is said once.

use crate::adapters::outage::Outage;
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Of a collector's answer, in bytes: it says nothing but how many spans it did not take.
const MAX_ANSWER: usize = 64 * 1024;

/// Carries requests of whatever thread on a runtime.
#[derive(Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

impl Client {
    pub(super) fn new(timeout: Duration, runtime: Handle) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("gv/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            // A collector that sends elsewhere would be sent headers that are for it alone.
            .redirect(reqwest::redirect::Policy::none());
        Ok(Self { client: client.build()?, runtime })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let answered = self.runtime.spawn(async move {
            let mut answer = client.execute(request).await?;
            let (status, mut body) = (answer.status(), Vec::new());
            while let Some(piece) = answer.chunk().await? {
                if body.len() + piece.len() > MAX_ANSWER {
                    break;
                }
                body.extend_from_slice(&piece);
            }
            Ok::<_, reqwest::Error>((status, Bytes::from(body)))
        });
        let (status, body) = answered.await??;
        Ok(Response::builder().status(status).body(body)?)
    }
}

/// An exporter whose failures are an outage of the collector.
pub(super) struct Sending<E> {
    exporter: E,
    outage: Mutex<Outage>,
}

impl<E> Sending<E> {
    pub(super) fn by(exporter: E, host: &str) -> Self {
        // It is not here that anything is tried again.
        let outage =
            Outage::of(format!("the collector of traces ({host})"), (Duration::ZERO, Duration::ZERO));
        Self { exporter, outage: Mutex::new(outage) }
    }
}

impl<E: SpanExporter> SpanExporter for Sending<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match &sent {
            Ok(()) => outage.ends(),
            Err(error) => {
                outage.begins(error);
            }
        }
        // It has been said.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E> fmt::Debug for Sending<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}
