//! The way of one request, from its method to its answer: early returns, one step after another.
//!
//! What memory has ready is answered at once ([`Edge::at_once`]); all else goes the whole way
//! ([`Edge::answer`]), which makes the answer ready for the next one.

use crate::domain::host::{HostKind, Hostname};
use crate::domain::http::accept_encoding::Accepted;
use crate::domain::http::conditions::{Outcome as Asking, evaluate};
use crate::domain::manifest::Manifest;
use crate::domain::media_type::is_compressible;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::files::{Found, find};
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::{Answer, Outcome, resolve};
use crate::domain::routing::trace::Trace;
use crate::edge::files::FileRef;
use crate::edge::fingerprint::is_fingerprinted;
use crate::edge::held::HeldFile;
use crate::edge::layers::{Failure, Layer};
use crate::edge::pages;
use crate::edge::pointers::Sighting;
use crate::edge::ready::{Parts, Ready, Wanted};
use crate::edge::reply::{FOR_EVER, FileBody, Manner, NO_STORE, REVALIDATE, Reply};
use crate::edge::request::{Method, Request, RuleFields};
use crate::edge::rules::dress;
use crate::edge::site::Seen;
use crate::edge::site_host::{SiteHost, plain_host, site_host};
use crate::edge::{Edge, first_visit};
use crate::ports::traces::Span;
use crate::tls::certificates::token_in;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Of a request target, in bytes (RFC 9110, 4.1 asks for 8,000 at least).
pub const MAX_TARGET_BYTES: usize = 16 * 1024;

impl Edge {
    /// What memory alone answers; `None`: go the whole way.
    pub fn at_once(&self, request: &Request<'_>, now: Instant) -> Option<Reply> {
        if !request.method.reads() {
            return None;
        }
        let host = plain_host(request)?;
        let ready = self.ready.get(&Wanted { host, path: request.path(), accepted: request.accepted() })?;
        let layer = self.pointers.trusts(host, &ready.seen, now)?;
        let manner = Manner {
            is_head: request.method == Method::Head,
            is_stale: layer == Layer::Stale,
            layer: Some(layer),
            deployment: Some(ready.deployment),
            ..Manner::default()
        };
        let part = match asked_for(request, &ready) {
            Asking::Whole => None,
            Asking::Part(part) => Some(part),
            Asking::NotModified => return Some(manner.not_modified(ready)),
            Asking::PreconditionFailed | Asking::Unsatisfiable => return None,
        };
        let body = if manner.is_head {
            FileBody::Length(ready.file.len)
        } else if let Some(bytes) = ready.body() {
            part.as_ref().map_or(FileBody::OfReady, |part| cut(HeldFile::Bytes(bytes.clone()), Some(part)))
        } else {
            let held = self.files.held(&ready.file)?;
            ready.embody(&held);
            cut(held, part.as_ref())
        };
        Some(match part {
            None => manner.file(ready, body),
            Some(part) => manner.part(&ready, &part, body),
        })
    }

    /// Answers a request from wherever its answer is.
    pub async fn answer(&self, request: &Request<'_>) -> Reply {
        let mut manner = Manner { is_head: request.method == Method::Head, ..Manner::default() };
        let mut visit = Span::NONE;
        let reply = match self.whole_way(request, &mut manner, &mut visit).await {
            Ok(reply) => reply,
            Err(Failure::Unavailable) => manner.page(pages::UNAVAILABLE),
            Err(Failure::Broken) => manner.page(pages::BROKEN),
        };
        first_visit::end(visit, &reply);
        reply
    }

    async fn whole_way(
        &self,
        request: &Request<'_>,
        manner: &mut Manner,
        visit: &mut Span,
    ) -> Result<Reply, Failure> {
        if request.method == Method::Refused {
            return Ok(manner.clone().page(pages::METHOD_NOT_ALLOWED));
        }
        if request.target.len() > MAX_TARGET_BYTES {
            return Ok(manner.clone().page(pages::TOO_LONG));
        }
        let host = match site_host(request) {
            SiteHost::Named(host) => host,
            SiteHost::Nameless => return Ok(manner.clone().page(pages::NO_SITE)),
            SiteHost::Malformed => return Ok(manner.clone().page(pages::BAD_REQUEST)),
        };
        let sighting = self.pointers.find(&host).await?;
        let (layer, pointer, seen) = (sighting.layer, sighting.pointer.clone(), sighting.seen.clone());
        *manner = self::manner(request, sighting);
        manner.came_from(layer);
        let (Some(pointer), Some(seen)) = (pointer.as_deref(), seen) else {
            return Ok(self.without_site(request, manner, &host).await);
        };
        if seen.site.is_seen_first() {
            *visit = first_visit::begin(&self.tracer, &*self.clock, pointer, request);
        }
        let Some(target) = pointer.target.as_ref() else {
            return Ok(self.without_site(request, manner, &host).await);
        };
        if let Some(proof) = self.proof(request, &host).await {
            return Ok(manner.clone().document(proof));
        }
        if request.method == Method::Options {
            return Ok(manner.clone().options());
        }
        let Ok(path) = RequestPath::parse(request.path()) else {
            return Ok(manner.clone().page(pages::BAD_REQUEST));
        };
        let (manifest, layer) = self.manifests.find(target).await?;
        manner.came_from(layer);
        manner.deployment = Some(target.deployment);
        let rule_fields = RuleFields(request.fields);
        let asked = Asked { host: host.as_str(), path: &path, query: request.query(), fields: &rule_fields };
        let answer = resolve(&manifest, &asked, &mut Trace::off());
        let lost = path.file().filter(|file| is_fingerprinted(file) && !manifest.files.contains(file));
        if let Some(file) = lost.filter(|_| request.method.reads())
            && let Some(earlier) = self.kept_of_earlier(pointer, file, &answer).await
            && let Some(found) = find(&earlier, file)
        {
            let shown =
                Shown { manifest: &earlier, answer: &answer, host: host.as_str(), seen, is_kept: false };
            return self.shown(request, manner, &shown, &Answering::file(&path, found)).await;
        }
        // What is lost may come back with another host's past, or once that can be read.
        let is_kept = lost.is_none();
        let shown = Shown { manifest: &manifest, answer: &answer, host: host.as_str(), seen, is_kept };
        match &answer.outcome {
            Outcome::Moved { status, location, by_rule } if request.method.reads() || *by_rule => {
                let mut fields = manner.moved_fields(location);
                dress(&mut fields, &answer);
                Ok(manner.clone().own(*status, fields, Bytes::new()))
            }
            _ if !request.method.reads() => Ok(manner.clone().page(pages::METHOD_NOT_ALLOWED)),
            Outcome::File(found) => {
                self.shown(request, manner, &shown, &Answering::file(&path, *found)).await
            }
            Outcome::Page { status, found } => {
                // Neither conditions nor ranges apply to it.
                let answering = Answering { status: *status, lifetime: NO_STORE, found: *found };
                self.shown(request, manner, &shown, &answering).await
            }
            Outcome::Nothing { status } => {
                let page = pages::missing(*status);
                let mut fields = manner.page_fields(page);
                dress(&mut fields, &answer);
                Ok(manner.clone().built_in(page, fields))
            }
            Outcome::Moved { .. } | Outcome::TooCostly => Ok(manner.clone().page(pages::TOO_LONG)),
        }
    }

    /// Port 80 of the API's hosts may lead to edges: these prove that they are ours.
    async fn without_site(&self, request: &Request<'_>, manner: &Manner, host: &Hostname) -> Reply {
        let is_of_api = self.certificates.as_ref().is_some_and(|certificates| certificates.is_of_api(host));
        let proof = if is_of_api { self.proof(request, host).await } else { None };
        let manner = manner.clone();
        match proof {
            Some(proof) => manner.document(proof),
            None => manner.page(pages::NO_SITE),
        }
    }

    /// What proves to an authority that a host is ours, while a certificate for it is being got.
    async fn proof(&self, request: &Request<'_>, host: &Hostname) -> Option<String> {
        let certificates = self.certificates.as_ref().filter(|_| request.method.reads())?;
        certificates.document(host, token_in(request.path())?).await
    }

    async fn shown(
        &self,
        request: &Request<'_>,
        manner: &mut Manner,
        shown: &Shown<'_>,
        answering: &Answering<'_>,
    ) -> Result<Reply, Failure> {
        manner.deployment = Some(shown.manifest.deployment);
        let wanted = Wanted { host: shown.host, path: request.path(), accepted: request.accepted() };
        let keep = |ready: &Arc<Ready>| {
            if shown.is_kept && shown.answer.is_general && self.files.is_small(&ready.file) {
                self.ready.keep(ready);
            }
        };
        let ready = made_ready(manner, shown, answering, &wanted, wanted.accepted);
        keep(&ready);
        match self.reply(request, manner, &ready).await {
            // A coding that is lost costs bytes, not the page, and no second look.
            Err(Failure::Broken) if ready.file.coding().is_some() => {
                let plain = made_ready(manner, shown, answering, &wanted, Accepted::default());
                keep(&plain);
                self.reply(request, manner, &plain).await
            }
            reply => reply,
        }
    }

    async fn reply(
        &self,
        request: &Request<'_>,
        manner: &mut Manner,
        ready: &Arc<Ready>,
    ) -> Result<Reply, Failure> {
        let part = match asked_for(request, ready) {
            Asking::Whole => None,
            Asking::Part(part) => Some(part),
            Asking::NotModified => return Ok(manner.clone().not_modified(Arc::clone(ready))),
            Asking::PreconditionFailed => return Ok(manner.clone().page(pages::PRECONDITION_FAILED)),
            Asking::Unsatisfiable => return Ok(manner.clone().unsatisfiable(ready.file.len)),
        };
        let body = self.body(manner, ready, part.as_ref()).await?;
        Ok(match part {
            None => manner.clone().file(Arc::clone(ready), body),
            Some(part) => manner.clone().part(ready, &part, body),
        })
    }

    /// The bytes to send; the manner learns where they came from.
    async fn body(
        &self,
        manner: &mut Manner,
        ready: &Ready,
        part: Option<&Range<u64>>,
    ) -> Result<FileBody, Failure> {
        let file = &ready.file;
        if manner.is_head {
            return Ok(FileBody::Length(file.len));
        }
        if self.files.is_small(file) {
            let (held, layer) = self.files.small(file).await?;
            manner.came_from(layer);
            ready.embody(&held);
            return Ok(cut(held, part));
        }
        let len = part.map_or(file.len, |part| part.end - part.start);
        let (stream, layer) = self.files.large(file, part.cloned()).await?;
        manner.came_from(layer);
        Ok(FileBody::Stream(len, stream))
    }
}

/// What of a ready answer a request asks for.
fn asked_for(request: &Request<'_>, ready: &Ready) -> Asking {
    if ready.is_page {
        return Asking::Whole;
    }
    evaluate(&request.conditions(), request.method == Method::Get, ready.etag(), ready.file.len)
}

/// With the best coding that there is among those of `choice`.
fn made_ready(
    manner: &Manner,
    shown: &Shown<'_>,
    answering: &Answering<'_>,
    wanted: &Wanted<'_>,
    choice: Accepted,
) -> Arc<Ready> {
    let &Answering { status, lifetime, found } = answering;
    let (entry, account) = (&found.entry, shown.manifest.account);
    let coding = choice.choose(entry.codings.set());
    let file = coding
        .and_then(|coding| FileRef::coded(account, entry, coding))
        .unwrap_or_else(|| FileRef::plain(account, entry));
    let mut fields = manner.fields();
    fields.set("Cache-Control", lifetime);
    if status == 200 {
        fields.set("ETag", file.etag());
        fields.set("Accept-Ranges", "bytes");
    }
    fields.set("Content-Type", entry.media_type.to_owned());
    if let Some(coding) = file.coding() {
        fields.set("Content-Encoding", coding.token());
    }
    if is_compressible(entry.media_type) {
        fields.set("Vary", "Accept-Encoding");
    }
    dress(&mut fields, shown.answer);
    let is_ruled = |name: &str| shown.answer.edits.iter().any(|edit| edit.name == name);
    let (deployment, seen) = (shown.manifest.deployment, shown.seen.clone());
    let parts = Parts { status, file, deployment, seen, fields: &fields };
    Arc::new(Ready::new(wanted, parts, is_ruled))
}

/// The deployment that answers, and what its rules say.
struct Shown<'m> {
    manifest: &'m Manifest,
    answer: &'m Answer<'m>,
    /// In the usual spelling.
    host: &'m str,
    /// What the host showed, so long as which the answer holds.
    seen: Seen,
    /// Whether the answer may be kept ready: it is not for now alone.
    is_kept: bool,
}

struct Answering<'m> {
    status: u16,
    lifetime: &'static str,
    found: Found<'m>,
}

impl<'m> Answering<'m> {
    fn file(asked: &RequestPath<'_>, found: Found<'m>) -> Self {
        // Under another address than its own, a name's hash says nothing: the next deployment may
        // show another file there.
        let lasts = asked.file() == Some(found.path) && is_fingerprinted(found.path);
        Self { status: 200, lifetime: if lasts { FOR_EVER } else { REVALIDATE }, found }
    }
}

fn manner(request: &Request<'_>, sighting: Sighting) -> Manner {
    Manner {
        is_head: request.method == Method::Head,
        is_stale: sighting.layer == Layer::Stale,
        is_preview: sighting.pointer.as_ref().is_some_and(|pointer| pointer.kind != HostKind::Production),
        site: sighting.seen.map(|seen| seen.site),
        ..Manner::default()
    }
}

/// Both ends of a part lie within the file, whose length in memory was checked.
fn cut(held: HeldFile, part: Option<&Range<u64>>) -> FileBody {
    match (held, part) {
        (HeldFile::Bytes(bytes), None) => FileBody::Held(bytes),
        (HeldFile::Bytes(bytes), Some(part)) => {
            FileBody::Held(bytes.slice(part.start as usize..part.end as usize))
        }
        (HeldFile::Pages(pages), part) => {
            let range = part.cloned().unwrap_or(0..pages.len());
            FileBody::Pages(pages, range)
        }
    }
}
