//! The answer's fields and body: the last step of a request.
//!
//! A HEAD gets what a GET would get, without the body. Start with [`Reply`].

use crate::domain::digest::Digest;
use crate::domain::manifest::FileEntry;
use crate::edge::layers::Layer;
use crate::edge::pages::{Page, UNSATISFIABLE};
use crate::ports::error::StoreError;
use actix_web::body::{BodySize, MessageBody, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::Stream;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

const REVALIDATE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");
/// Seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// How much of a held file is handed to the connection at once: what a slow client can pin.
const PIECE_BYTES: usize = 128 * 1024;

/// How answers to one request begin.
pub struct Reply {
    pub is_head: bool,
    /// Where the bytes came from, or what there is to know where there are none.
    pub layer: Option<Layer>,
    /// Its host may have moved, but nobody could be asked.
    pub is_stale: bool,
    pub deployment: Option<HeaderValue>,
    /// A preview is not for search engines.
    pub is_preview: bool,
}

/// A strong ETag, with its quotes.
pub fn etag(digest: &Digest) -> String {
    let mut etag = String::with_capacity(34);
    etag.push('"');
    for byte in &digest.as_bytes()[..16] {
        // Writing into a string cannot fail.
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    etag
}

impl Reply {
    pub fn new(is_head: bool) -> Self {
        Self { is_head, layer: None, is_stale: false, deployment: None, is_preview: false }
    }

    pub fn came_from(&mut self, layer: Layer) {
        self.layer = Some(if self.is_stale { layer.max(Layer::Stale) } else { layer });
    }

    /// A file with 200, or a part of it with 206; `body` are those bytes. `lasts`: it is the same for
    /// ever under this address.
    pub fn file(
        &self,
        lasts: bool,
        entry: &FileEntry<'_>,
        etag: &str,
        part: Option<&Range<u64>>,
        body: FileBody,
    ) -> HttpResponse {
        let mut response =
            self.begin(if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
        response
            .insert_header((header::CONTENT_TYPE, media_type(entry)))
            .insert_header((header::CACHE_CONTROL, lifetime(lasts)))
            .insert_header((header::ETAG, etag))
            .insert_header((header::ACCEPT_RANGES, "bytes"));
        if let Some(Range { start, end }) = part {
            let range = format!("bytes {start}-{}/{}", end.saturating_sub(1), entry.size);
            response.insert_header((header::CONTENT_RANGE, range));
        }
        self.finish(response, body)
    }

    /// The site's own page for what is not there, or what a rule shows with a status of its own.
    /// Neither conditions nor ranges apply to it.
    pub fn error_page(&self, status: u16, entry: &FileEntry<'_>, body: FileBody) -> HttpResponse {
        let mut response = self.begin(StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND));
        response
            .insert_header((header::CONTENT_TYPE, media_type(entry)))
            .insert_header((header::CACHE_CONTROL, NO_STORE));
        self.finish(response, body)
    }

    pub fn not_modified(&self, lasts: bool, etag: &str) -> HttpResponse {
        let mut response = self.begin(StatusCode::NOT_MODIFIED);
        response.insert_header((header::CACHE_CONTROL, lifetime(lasts))).insert_header((header::ETAG, etag));
        response.finish()
    }

    pub fn moved(&self, status: u16, location: &str) -> HttpResponse {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
        let mut response = self.begin(status);
        // Permanent for this deployment: the next one may have another file there.
        response
            .insert_header((header::CACHE_CONTROL, REVALIDATE))
            .insert_header((header::LOCATION, location));
        self.finish(response, FileBody::Held(Bytes::new()))
    }

    pub fn options(&self) -> HttpResponse {
        self.begin(StatusCode::NO_CONTENT).insert_header((header::ALLOW, ALLOWED)).finish()
    }

    pub fn unsatisfiable(&self, size: u64) -> HttpResponse {
        let mut response = self.begin(UNSATISFIABLE.status);
        response.insert_header((header::CONTENT_RANGE, format!("bytes */{size}")));
        self.built_in(response, UNSATISFIABLE)
    }

    /// One of the edge's own pages.
    pub fn page(&self, page: Page) -> HttpResponse {
        let mut response = self.begin(page.status);
        match page.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                response.insert_header((header::ALLOW, ALLOWED));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
            }
            _ => {}
        }
        self.built_in(response, page)
    }

    fn built_in(&self, mut response: HttpResponseBuilder, page: Page) -> HttpResponse {
        response.insert_header((header::CONTENT_TYPE, HTML)).insert_header((header::CACHE_CONTROL, NO_STORE));
        self.finish(response, FileBody::Held(page.html().into()))
    }

    fn begin(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response
            .insert_header((header::SERVER, "gv"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if let Some(layer) = self.layer {
            response.insert_header((header::CACHE_STATUS, cache_status(layer)));
        }
        if let Some(deployment) = &self.deployment {
            response.insert_header(("x-gv-deployment", deployment.clone()));
        }
        if self.is_preview {
            response.insert_header(("x-robots-tag", "noindex"));
        }
        response
    }

    fn finish(&self, mut response: HttpResponseBuilder, body: FileBody) -> HttpResponse {
        match body {
            body if self.is_head => response.no_chunking(body.len()).body(NoBody),
            FileBody::Length(len) => response.no_chunking(len).body(NoBody),
            FileBody::Held(bytes) => response.body(Pieces(bytes)),
            FileBody::Stream(len, stream) => response.body(SizedStream::new(len, stream)),
        }
    }
}

/// RFC 9211.
fn cache_status(layer: Layer) -> HeaderValue {
    HeaderValue::from_static(match layer {
        Layer::Memory => "gv-edge; hit; detail=memory",
        Layer::Stale => "gv-edge; hit; detail=stale",
        Layer::Cache => "gv-edge; fwd=miss; detail=cache",
        Layer::Storage => "gv-edge; fwd=miss; detail=storage",
    })
}

fn lifetime(lasts: bool) -> HeaderValue {
    if lasts { FOR_EVER } else { REVALIDATE }
}

/// The manifest comes from outside: what no header can hold is plain bytes.
fn media_type(entry: &FileEntry<'_>) -> HeaderValue {
    HeaderValue::from_str(entry.media_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

type BoxedBytes = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>>>>;

/// The bytes of a file, or of a part of it.
pub enum FileBody {
    Held(Bytes),
    /// Its length, then the bytes.
    Stream(u64, BoxedBytes),
    /// For HEAD: nobody loads what nobody gets.
    Length(u64),
}

impl FileBody {
    fn len(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Stream(len, _) | Self::Length(len) => *len,
        }
    }
}

/// Held bytes, given away piece by piece.
struct Pieces(Bytes);

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.0.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.0.split_to(len))))
    }
}

/// What a HEAD gets beside the length of what does not come. Its size is left open: with one, the
/// HTTP library ends a connection on which the next request is already waiting, since it takes
/// that one's method for this one's.
struct NoBody;

impl MessageBody for NoBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
