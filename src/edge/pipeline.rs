//! The way of one request, from its method to its answer: early returns, one step after another.

use crate::domain::host::HostKind;
use crate::domain::id::{DeploymentId, UserId};
use crate::domain::request_path::RequestPath;
use crate::domain::routing::files::Found;
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::{Outcome, resolve};
use crate::domain::routing::trace::Trace;
use crate::edge::Edge;
use crate::edge::conditions::{self, evaluate};
use crate::edge::fingerprint::is_fingerprinted;
use crate::edge::layers::{Failure, Layer};
use crate::edge::pages;
use crate::edge::respond::{FileBody, Reply, etag};
use crate::edge::rules::{RequestFields, dress};
use crate::edge::site_host::{SiteHost, site_host};
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{Method, header::HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use std::borrow::Cow;
use std::ops::Range;

/// Of a request target, in bytes (RFC 9110, 4.1 asks for 8,000 at least).
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// Answers a request, counts it and notes it down.
pub async fn handle(edge: web::Data<Edge>, request: HttpRequest) -> HttpResponse {
    let mut reply = Reply::new(request.method() == Method::HEAD);
    let mut shown = None;
    let response = match answer(&edge, &request, &mut reply, &mut shown).await {
        Ok(response) => response,
        Err(Failure::Unavailable) => reply.page(pages::UNAVAILABLE),
        Err(Failure::Broken) => reply.page(pages::BROKEN),
    };
    let bytes = match response.body().size() {
        BodySize::Sized(len) if !reply.is_head => len,
        _ => 0,
    };
    let layer = reply.layer.map_or("none", Layer::name);
    let status = Cow::Owned(response.status().as_str().to_owned());
    metrics::counter!("gv_edge_requests_total", "status" => status, "layer" => layer).increment(1);
    metrics::counter!("gv_edge_bytes_total").increment(bytes);
    tracing::debug!(
        method = %request.method(),
        host = ?request.headers().get("host"),
        target = %request.uri(),
        status = response.status().as_u16(),
        bytes,
        layer,
        deployment = shown.map(tracing::field::display::<DeploymentId>),
        "request"
    );
    response
}

async fn answer(
    edge: &Edge,
    request: &HttpRequest,
    reply: &mut Reply,
    shown: &mut Option<DeploymentId>,
) -> Result<HttpResponse, Failure> {
    match *request.method() {
        Method::OPTIONS => return Ok(reply.options()),
        Method::CONNECT | Method::TRACE => return Ok(reply.page(pages::METHOD_NOT_ALLOWED)),
        // The others may be redirected, if nothing else.
        _ => {}
    }
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET_BYTES) {
        return Ok(reply.page(pages::TOO_LONG));
    }
    let host = match site_host(request) {
        SiteHost::Named(host) => host,
        SiteHost::Nameless => return Ok(reply.page(pages::NO_SITE)),
        SiteHost::Malformed => return Ok(reply.page(pages::BAD_REQUEST)),
    };
    let Ok(path) = RequestPath::parse(request.uri().path()) else {
        return Ok(reply.page(pages::BAD_REQUEST));
    };
    let sighting = edge.pointers.find(&host).await?;
    reply.is_stale = sighting.layer == Layer::Stale;
    reply.came_from(sighting.layer);
    let target =
        sighting.pointer.as_deref().and_then(|pointer| Some((pointer.kind, pointer.target.as_ref()?)));
    let Some((kind, target)) = target else {
        return Ok(reply.page(pages::NO_SITE));
    };
    *shown = Some(target.deployment);
    reply.is_preview = kind != HostKind::Production;
    reply.deployment = HeaderValue::try_from(target.deployment.to_string()).ok();
    let (manifest, layer) = edge.manifests.find(target).await?;
    reply.came_from(layer);
    let fields = RequestFields(request.headers());
    let asked = Asked { host: host.as_str(), path: &path, query: request.uri().query(), fields: &fields };
    let answer = resolve(&manifest, &asked, &mut Trace::off());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match &answer.outcome {
        Outcome::Moved { status, location, by_rule } if is_read || *by_rule => reply.moved(*status, location),
        _ if !is_read => return Ok(reply.page(pages::METHOD_NOT_ALLOWED)),
        Outcome::File(found) => file(edge, request, reply, (&path, *found), target.account).await?,
        Outcome::Page { status, found } => {
            let body = body(edge, reply, *found, target.account, None).await?;
            reply.error_page(*status, &found.entry, body)
        }
        Outcome::Nothing { status } => reply.page(pages::missing(*status)),
        Outcome::Moved { .. } | Outcome::TooCostly => return Ok(reply.page(pages::TOO_LONG)),
    };
    dress(&mut response, &answer);
    Ok(response)
}

async fn file(
    edge: &Edge,
    request: &HttpRequest,
    reply: &mut Reply,
    (asked, found): (&RequestPath<'_>, Found<'_>),
    account: UserId,
) -> Result<HttpResponse, Failure> {
    let entry = &found.entry;
    // Under another address than its own, a name's hash says nothing: the next deployment may show
    // another file there.
    let lasts = asked.file() == Some(found.path) && is_fingerprinted(found.path);
    let etag = etag(&entry.digest);
    let part = match evaluate(request.headers(), !reply.is_head, &etag, entry.size) {
        conditions::Outcome::Whole => None,
        conditions::Outcome::Part(range) => Some(range),
        conditions::Outcome::NotModified => return Ok(reply.not_modified(lasts, &etag)),
        conditions::Outcome::PreconditionFailed => return Ok(reply.page(pages::PRECONDITION_FAILED)),
        conditions::Outcome::Unsatisfiable => return Ok(reply.unsatisfiable(entry.size)),
    };
    let body = body(edge, reply, found, account, part.clone()).await?;
    Ok(reply.file(lasts, entry, &etag, part.as_ref(), body))
}

/// The bytes to send; the reply learns where they came from.
async fn body(
    edge: &Edge,
    reply: &mut Reply,
    found: Found<'_>,
    account: UserId,
    part: Option<Range<u64>>,
) -> Result<FileBody, Failure> {
    let entry = &found.entry;
    if reply.is_head {
        return Ok(FileBody::Length(entry.size));
    }
    if edge.files.is_small(entry) {
        let (bytes, layer) = edge.files.small(account, entry).await?;
        reply.came_from(layer);
        return Ok(FileBody::Held(match part {
            // Both ends lie within the file, whose length in memory was checked.
            Some(part) => bytes.slice(part.start as usize..part.end as usize),
            None => bytes,
        }));
    }
    let len = part.as_ref().map_or(entry.size, |part| part.end - part.start);
    let stream = edge.files.large(account, entry, part).await?;
    reply.came_from(Layer::Storage);
    Ok(FileBody::Stream(len, Box::pin(stream)))
}
