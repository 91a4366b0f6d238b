//! Around every request: its id, its span, its figures, the headers that every answer has, and the
//! one place where an error is logged.

use crate::api::error::Problem;
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use rand::Rng as _;
use std::time::Instant;
use tracing::Instrument as _;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let id = request_id(request.headers().get(REQUEST_ID));
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = %method,
        path = %request.path(),
    );
    let api_answer = request.path().starts_with("/api/") && !request.path().starts_with("/api/v1/docs");
    let outcome = next.call(request).instrument(span.clone()).await;
    let _entered = span.enter();
    let mut response = outcome.inspect_err(|error| tracing::error!(%error, "request failed"))?;
    log_cause(&response);
    // The pattern, not the path: figures must not grow with what strangers ask for.
    let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let labels = [
        ("method", method_label(&method)),
        ("route", route),
        ("status", response.status().as_str().to_owned()),
    ];
    let elapsed = began.elapsed();
    metrics::counter!("gv_api_requests_total", &labels).increment(1);
    metrics::histogram!("gv_api_request_seconds", &labels).record(elapsed.as_secs_f64());
    tracing::info!(status = response.status().as_u16(), elapsed_ms = elapsed.as_secs_f64() * 1e3, "answered");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if api_answer && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// Logs what the client is not shown.
fn log_cause<B>(response: &ServiceResponse<B>) {
    let Some(error) = response.response().error() else { return };
    let status = response.status();
    match error.as_error::<Problem>() {
        Some(problem) => {
            if let Some(cause) = problem.cause().filter(|_| status.is_server_error()) {
                tracing::error!(error = %cause, "request failed");
            }
        }
        None if status.is_server_error() => tracing::error!(%error, "request failed"),
        None => {}
    }
}

/// The client's own id when it is harmless to repeat, else a new one.
fn request_id(given: Option<&HeaderValue>) -> String {
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match given.and_then(|id| id.to_str().ok()).filter(harmless) {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", rand::rng().random::<u64>()),
    }
}

/// Methods are free text in HTTP: those that nobody needs count as one.
fn method_label(method: &actix_web::http::Method) -> String {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_request_id_is_kept_and_another_is_replaced() {
        let of = |id: &'static str| request_id(Some(&HeaderValue::from_static(id)));
        assert_eq!(of("trace-1.a_b"), "trace-1.a_b");
        for bad in ["", "a b", "a;b", "<script>"] {
            assert_ne!(of(bad), bad);
            assert_eq!(of(bad).len(), 16);
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
