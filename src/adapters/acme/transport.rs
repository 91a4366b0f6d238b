//! Requests to an authority: each bounded in time and size, over the same client as all of gv's.
//!
//! The authority's Retry-After is remembered here, since instant-acme does not hand it on.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::header::RETRY_AFTER;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CONNECT: Duration = Duration::from_secs(10);
/// For one request and its answer.
const WHOLE: Duration = Duration::from_secs(30);
/// Of an answer: directories, orders and chains have a few thousand.
const MAX_BYTES: usize = 1 << 20;
/// No authority keeps anybody waiting for longer.
const MAX_RETRY_AFTER: u64 = 7 * 86_400;

#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Transport {
    /// `root`: PEM, trusted in place of the system's.
    pub(super) fn new(root: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("gv/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .connect_timeout(CONNECT)
            .timeout(WHOLE);
        if let Some(path) = root {
            let of = || format!("acme.root_ca: {}", path.display());
            let pem = std::fs::read(path).with_context(of)?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).with_context(of)?;
            anyhow::ensure!(!roots.is_empty(), "{}: has no certificate", of());
            builder = builder.tls_certs_only(roots);
        }
        Ok(Self {
            client: builder.build().context("preparing to speak to the authority")?,
            told: Arc::default(),
        })
    }

    /// When the authority wants to be asked again, from now, if it said so with a failure.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    async fn send(self, request: http::Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap)).map_err(other)?;
        let mut response = self.client.execute(request).await.map_err(other)?;
        if matches!(response.status().as_u16(), 429 | 503) {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|text| text.trim().parse::<u64>().ok());
            let until = seconds.map(|s| Instant::now() + Duration::from_secs(s.min(MAX_RETRY_AFTER)));
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(other)? {
            if bytes.len() + piece.len() > MAX_BYTES {
                return Err(Error::Str("an answer of less than a MiB"));
            }
            bytes.extend_from_slice(&piece);
        }
        let (parts, _) = http::Response::from(response).into_parts();
        Ok(BytesResponse { parts, body: Box::new(Bytes::from(bytes)) })
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn other(error: reqwest::Error) -> Error {
    Error::Other(Box::new(error))
}

/// Base64 as it stands in URLs, with or without padding.
pub(super) fn unpadded(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='))?)
}
