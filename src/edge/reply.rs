//! An answer: its status, its field lines and its body, whoever writes them to the connection.
//!
//! Start with [`Reply`]; [`Manner`] is how answers to one request begin.

use crate::domain::id::DeploymentId;
use crate::edge::field_list::FieldList;
use crate::edge::held::Pages;
use crate::edge::layers::Layer;
use crate::edge::pages::{Page, UNSATISFIABLE};
use crate::edge::ready::Ready;
use crate::edge::site::Site;
use crate::edge::site_counters::SiteCounters;
use crate::ports::error::StoreError;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

pub const REVALIDATE: &str = "public, max-age=0, must-revalidate";
pub const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// In lower case.
pub const HSTS: &str = "strict-transport-security";
pub const NO_STORE: &str = "no-store";
const ALLOWED: &str = "GET, HEAD";
const HTML: &str = "text/html; charset=utf-8";
/// Seconds.
const RETRY_AFTER: &str = "5";

pub struct Reply {
    pub status: u16,
    pub lines: Lines,
    pub body: FileBody,
    pub manner: Manner,
}

/// Field lines, each with its end. A status that has a content has a Content-Length among them.
pub enum Lines {
    Ready(Arc<Ready>),
    NotModified(Arc<Ready>),
    Own(Vec<u8>),
}

/// How answers to one request begin, and what is noted of them.
#[derive(Clone, Default)]
pub struct Manner {
    pub is_head: bool,
    /// Where the bytes came from, or what there is to know where there are none.
    pub layer: Option<Layer>,
    /// Its host may have moved, but nobody could be asked.
    pub is_stale: bool,
    pub deployment: Option<DeploymentId>,
    /// A preview is not for search engines.
    pub is_preview: bool,
    /// Where lines are ready, they know it.
    pub site: Option<Arc<Site>>,
}

/// The bytes of a file, or of a part of it.
pub enum FileBody {
    Empty,
    /// All of the file, which the lines have with them.
    OfReady,
    Held(Bytes),
    /// A range of pages.
    Pages(Arc<Pages>, Range<u64>),
    /// Its length, then the bytes.
    Stream(u64, BoxStream<'static, Result<Bytes, StoreError>>),
    /// For HEAD: nobody loads what nobody gets.
    Length(u64),
}

impl Lines {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ready(ready) => ready.lines(),
            Self::NotModified(ready) => ready.lines_of_not_modified(),
            Self::Own(lines) => lines,
        }
    }

    /// Of [`FileBody::OfReady`].
    pub fn body(&self) -> Option<&Bytes> {
        self.ready().and_then(Ready::body)
    }

    /// Whether they say of themselves, or by a rule of the site, how long browsers stay with TLS.
    pub fn has_hsts(&self) -> bool {
        match self {
            Self::Ready(ready) | Self::NotModified(ready) => ready.has_hsts,
            Self::Own(lines) => fields_of(lines).any(|(name, _)| name.eq_ignore_ascii_case(HSTS.as_bytes())),
        }
    }

    fn ready(&self) -> Option<&Ready> {
        match self {
            Self::Ready(ready) | Self::NotModified(ready) => Some(ready),
            Self::Own(_) => None,
        }
    }
}

impl Reply {
    /// Bytes of content that go to the visitor.
    pub fn bytes(&self) -> u64 {
        if self.manner.is_head { 0 } else { self.len() }
    }

    /// Of what would be sent to a GET, in bytes.
    pub fn len(&self) -> u64 {
        match &self.body {
            FileBody::Empty => 0,
            FileBody::OfReady => self.lines.body().map_or(0, Bytes::len) as u64,
            FileBody::Held(bytes) => bytes.len() as u64,
            FileBody::Pages(_, range) => range.end - range.start,
            FileBody::Stream(len, _) | FileBody::Length(len) => *len,
        }
    }

    /// The body by itself, for who cannot write it with the lines.
    pub fn take_body(&mut self) -> FileBody {
        match std::mem::replace(&mut self.body, FileBody::Empty) {
            FileBody::OfReady => FileBody::Held(self.lines.body().cloned().unwrap_or_default()),
            other => other,
        }
    }

    /// Of its site, where it has one.
    pub fn counters(&self) -> Option<&SiteCounters> {
        let site = self.manner.site.as_ref().or(self.lines.ready().map(|ready| &ready.seen.site));
        site.map(|site| &site.counters)
    }
}

impl Manner {
    pub fn came_from(&mut self, layer: Layer) {
        self.layer = Some(if self.is_stale { layer.max(Layer::Stale) } else { layer });
    }

    /// The fields that all answers of a deployment have.
    pub fn fields(&self) -> FieldList {
        let mut fields = FieldList::default();
        fields.set("Server", "gv");
        fields.set("X-Content-Type-Options", "nosniff");
        if let Some(deployment) = &self.deployment {
            fields.set("X-Gv-Deployment", deployment.to_string());
        }
        if self.is_preview {
            fields.set("X-Robots-Tag", "noindex");
        }
        fields
    }

    pub fn file(self, ready: Arc<Ready>, body: FileBody) -> Reply {
        Reply { status: ready.status, lines: Lines::Ready(ready), body, manner: self }
    }

    pub fn part(self, ready: &Ready, part: &Range<u64>, body: FileBody) -> Reply {
        Reply { status: 206, lines: Lines::Own(ready.lines_of_part(part)), body, manner: self }
    }

    pub fn not_modified(self, ready: Arc<Ready>) -> Reply {
        Reply { status: 304, lines: Lines::NotModified(ready), body: FileBody::Empty, manner: self }
    }

    pub fn options(self) -> Reply {
        let mut fields = self.fields();
        fields.set("Allow", ALLOWED);
        Reply {
            status: 204,
            lines: Lines::Own(fields.lines(|_| true).0),
            body: FileBody::Empty,
            manner: self,
        }
    }

    /// An answer with a redirect's fields, before rules have their say.
    pub fn moved_fields(&self, location: &str) -> FieldList {
        let mut fields = self.fields();
        // Permanent for this deployment: the next one may have another file there.
        fields.set("Cache-Control", REVALIDATE);
        fields.set("Location", location.to_owned());
        fields
    }

    pub fn unsatisfiable(self, size: u64) -> Reply {
        let mut fields = self.page_fields(UNSATISFIABLE);
        fields.set("Content-Range", format!("bytes */{size}"));
        self.built_in(UNSATISFIABLE, fields)
    }

    /// A short text that is for this moment alone.
    pub fn document(self, text: String) -> Reply {
        let mut fields = self.fields();
        fields.set("Content-Type", "application/octet-stream");
        fields.set("Cache-Control", NO_STORE);
        self.own(200, fields, text.into())
    }

    /// One of the edge's own pages.
    pub fn page(self, page: Page) -> Reply {
        let fields = self.page_fields(page);
        self.built_in(page, fields)
    }

    pub fn page_fields(&self, page: Page) -> FieldList {
        let mut fields = self.fields();
        match page.status {
            405 => fields.set("Allow", ALLOWED),
            503 => fields.set("Retry-After", RETRY_AFTER),
            _ => {}
        }
        fields.set("Content-Type", HTML);
        fields.set("Cache-Control", NO_STORE);
        fields
    }

    pub fn built_in(self, page: Page, fields: FieldList) -> Reply {
        self.own(page.status, fields, page.html().into())
    }

    pub fn own(self, status: u16, mut fields: FieldList, body: Bytes) -> Reply {
        fields.set("Content-Length", body.len().to_string());
        let lines = Lines::Own(fields.lines(|_| true).0);
        Reply { status, lines, body: FileBody::Held(body), manner: self }
    }
}

/// Names and values of whole lines.
pub fn fields_of(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// RFC 9211, a whole line.
pub fn cache_status(layer: Layer) -> &'static [u8] {
    match layer {
        Layer::Memory => b"Cache-Status: gv-edge; hit; detail=memory\r\n",
        Layer::Stale => b"Cache-Status: gv-edge; hit; detail=stale\r\n",
        Layer::Disk => b"Cache-Status: gv-edge; hit; detail=disk\r\n",
        Layer::Cache => b"Cache-Status: gv-edge; fwd=miss; detail=cache\r\n",
        Layer::Storage => b"Cache-Status: gv-edge; fwd=miss; detail=storage\r\n",
    }
}
