//! A request for a deployment is where its trace begins, or where it comes in from a client that has one of
//! its own.

use crate::api::Api;
use crate::api::error::Problem;
use crate::domain::trace::TraceContext;
use crate::ports::traces::{Span, SpanKind};
use actix_web::{HttpRequest, HttpResponse};

/// W3C Trace Context, 3.2.
const TRACEPARENT: &str = "traceparent";

/// `route` is the pattern of its path.
pub fn begin(api: &Api, request: &HttpRequest, route: &'static str) -> Span {
    let name = format!("{} {route}", request.method());
    let mut span = api.app.tracer.begin(name, SpanKind::Server, asked(request));
    span.note("http.request.method", request.method().to_string());
    span.note("http.route", route);
    span.note("url.scheme", "http");
    span
}

/// Handles the request, and ends its span with what became of it.
pub async fn end(
    mut span: Span,
    handle: impl AsyncFnOnce(Option<TraceContext>) -> Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    let outcome = handle(span.context()).await;
    let status = match &outcome {
        Ok(answer) => answer.status(),
        Err(problem) => actix_web::ResponseError::status_code(problem),
    };
    span.note("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
    outcome
}

/// What is no traceparent, or several, is none.
fn asked(request: &HttpRequest) -> Option<TraceContext> {
    let mut given = request.headers().get_all(TRACEPARENT);
    let (first, None) = (given.next()?, given.next()) else { return None };
    first.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn one_well_formed_traceparent_is_honoured() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let of = |lines: &[&str]| {
            let request = lines
                .iter()
                .fold(TestRequest::post(), |request, line| request.append_header((TRACEPARENT, *line)));
            asked(&request.to_http_request()).map(|context| context.to_string())
        };
        assert_eq!(of(&[good]).as_deref(), Some(good));
        assert_eq!((of(&[]), of(&["nonsense"]), of(&[good, good])), (None, None, None));
    }
}
