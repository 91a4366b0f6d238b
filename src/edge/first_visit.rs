//! The end of a deployment's trace: the first answer that this edge gives of it under a host.
//!
//! Asked for once a move of a host, on the whole way; answers that are ready know nothing of it.

use crate::domain::host::Pointer;
use crate::domain::trace::TraceContext;
use crate::edge::reply::Reply;
use crate::edge::request::Request;
use crate::ports::clock::Clock;
use crate::ports::traces::{Span, SpanKind, Tracer};
use time::{Duration, OffsetDateTime};

/// An edge that starts finds pointers of all times: what is older than this is no news.
const NEWS: Duration = Duration::DAY;

pub fn begin(tracer: &Tracer, clock: &dyn Clock, pointer: &Pointer, request: &Request<'_>) -> Span {
    let mut span = tracer.go_on("first visit", SpanKind::Server, trace_of(pointer, clock.now()));
    if span.context().is_none() {
        return span;
    }
    span.note("http.request.method", request.method.name());
    span.note("server.address", pointer.host.to_string());
    if let Some(target) = &pointer.target {
        span.note("gv.deployment.id", target.deployment.to_string());
    }
    span
}

pub fn end(mut span: Span, reply: &Reply) {
    span.note("http.response.status_code", reply.status);
    if let Some(layer) = reply.manner.layer {
        span.note("gv.layer", layer.name());
    }
    if reply.status >= 500 {
        span.fail(reply.status.to_string());
    }
}

fn trace_of(pointer: &Pointer, now: OffsetDateTime) -> Option<TraceContext> {
    let made_at = pointer.target.as_ref()?.deployment.made_at();
    pointer.trace.filter(|_| now - made_at < NEWS)
}
