//! Answers that are ready to be written: what a path of a host gives, for visitors who take the same
//! codings, as long as the host shows the same. All that is left to do for a hot request is to copy
//! lines, and a small body behind them.
//!
//! Kept are answers that depend on nothing but their address; the bytes of larger files are held
//! elsewhere, by content (see `edge::files`). Start with [`Ready`], then [`ReadyAnswers`].

use crate::domain::http::accept_encoding::Accepted;
use crate::domain::id::DeploymentId;
use crate::edge::field_list::{FieldList, write_field};
use crate::edge::files::FileRef;
use crate::edge::held::HeldFile;
use crate::edge::reply::HSTS;
use crate::edge::site::Seen;
use bytes::Bytes;
use quick_cache::sync::Cache as Memory;
use quick_cache::{Equivalent, OptionsBuilder, Weighter};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Bodies up to so many bytes are sent with their head, in one piece: that costs less than two.
pub const SMALL_BODY: usize = 16 * 1024;

/// The answer with a file.
pub struct Ready {
    pub status: u16,
    /// A page for what is not there answers no conditions and has no ranges.
    pub is_page: bool,
    /// Its site's rules say what there is to say of TLS.
    pub has_hsts: bool,
    accepted: Accepted,
    /// What its host showed when it was made.
    pub seen: Seen,
    pub deployment: DeploymentId,
    pub file: FileRef,
    /// The whole of a small one, once it was seen.
    body: OnceLock<Bytes>,
    /// Host and path, then the tag, then field lines: those that a 304 has too, then those of the
    /// content, its length last. Together, since a hot request reads all of it.
    text: Box<[u8]>,
    path_at: u32,
    etag_at: u32,
    lines_at: u32,
    content_at: u32,
    length_at: u32,
}

/// What an answer is asked for by.
#[derive(Clone, Copy)]
pub struct Wanted<'r> {
    /// In the usual spelling.
    pub host: &'r str,
    /// As it was sent.
    pub path: &'r str,
    pub accepted: Accepted,
}

/// What a ready answer is made of.
pub struct Parts<'p> {
    pub status: u16,
    pub file: FileRef,
    pub deployment: DeploymentId,
    pub seen: Seen,
    /// All but the length.
    pub fields: &'p FieldList,
}

impl Ready {
    /// What rules set belongs to a 304 too: `is_ruled` says whether a name is theirs.
    pub fn new(wanted: &Wanted<'_>, parts: Parts<'_>, is_ruled: impl Fn(&str) -> bool) -> Self {
        let Parts { status, file, deployment, seen, fields } = parts;
        let is_of_content = |name: &str| {
            let of_content = ["content-type", "content-encoding", "accept-ranges"];
            of_content.iter().any(|one| name.eq_ignore_ascii_case(one) && !is_ruled(one))
        };
        let mut text = Vec::with_capacity(1024);
        let mut add = |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            text.len() as u32
        };
        let path_at = add(wanted.host.as_bytes());
        let etag_at = add(wanted.path.as_bytes());
        let lines_at = add(file.etag().as_bytes());
        let (lines, content_at) = fields.lines(|name| !is_of_content(name));
        let length_at = add(&lines);
        write_field(&mut text, "Content-Length", file.len.to_string().as_bytes());
        Self {
            status,
            is_page: status != 200,
            has_hsts: is_ruled(HSTS),
            accepted: wanted.accepted,
            seen,
            deployment,
            file,
            body: OnceLock::new(),
            text: text.into(),
            path_at,
            etag_at,
            lines_at,
            content_at: lines_at + content_at as u32,
            length_at,
        }
    }

    /// Strong, with its quotes.
    pub fn etag(&self) -> &str {
        self.text(self.etag_at..self.lines_at)
    }

    /// Of the whole file.
    pub fn lines(&self) -> &[u8] {
        &self.text[self.lines_at as usize..]
    }

    /// Of a 304 (RFC 9110, 15.4.5).
    pub fn lines_of_not_modified(&self) -> &[u8] {
        &self.text[self.lines_at as usize..self.content_at as usize]
    }

    /// Of a 206, with its range.
    pub fn lines_of_part(&self, part: &Range<u64>) -> Vec<u8> {
        let mut lines = self.text[self.lines_at as usize..self.length_at as usize].to_vec();
        let (first, last, total) = (part.start, part.end.saturating_sub(1), self.file.len);
        let range = format!("bytes {first}-{last}/{total}");
        write_field(&mut lines, "Content-Range", range.as_bytes());
        let len = (part.end - part.start).to_string();
        write_field(&mut lines, "Content-Length", len.as_bytes());
        lines
    }

    /// Its file's bytes, where they are few and were seen.
    pub fn body(&self) -> Option<&Bytes> {
        self.body.get()
    }

    /// Remembers its file's bytes, where they are few.
    pub fn embody(&self, held: &HeldFile) {
        if let HeldFile::Bytes(bytes) = held
            && bytes.len() <= SMALL_BODY
        {
            // Equal bytes, whoever comes first.
            let _ = self.body.set(bytes.clone());
        }
    }

    /// Of what was text when it was put there.
    fn text(&self, range: Range<u32>) -> &str {
        std::str::from_utf8(&self.text[range.start as usize..range.end as usize]).unwrap_or_default()
    }

    fn wanted(&self) -> Wanted<'_> {
        let (host, path) = (self.text(0..self.path_at), self.text(self.path_at..self.etag_at));
        Wanted { host, path, accepted: self.accepted }
    }
}

/// An answer is its own key.
struct Key(Arc<Ready>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.wanted().hash(state);
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.hash(state);
        self.path.hash(state);
        self.accepted.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.wanted().equivalent(other)
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let Ready { accepted, text, path_at, etag_at, .. } = &*key.0;
        let (path_at, etag_at) = (*path_at as usize, *etag_at as usize);
        self.accepted == *accepted
            && *self.host.as_bytes() == text[..path_at]
            && *self.path.as_bytes() == text[path_at..etag_at]
    }
}

pub struct ReadyAnswers(Memory<Key, Arc<Ready>, ByMemory>);

/// What an answer takes beside its text and its body: itself, places in tables, counts.
const HELD_BYTES: u64 = 384;
/// Longer paths are not kept: strangers may ask for any.
const MAX_PATH: usize = 1024;

#[derive(Clone)]
struct ByMemory;

impl Weighter<Key, Arc<Ready>> for ByMemory {
    /// A small body counts from the beginning: it may come at any time, and stay when `edge::files` has
    /// long made room of its.
    fn weight(&self, _: &Key, ready: &Arc<Ready>) -> u64 {
        let body = if ready.file.len <= SMALL_BODY as u64 { ready.file.len } else { 0 };
        HELD_BYTES + ready.text.len() as u64 + body
    }
}

impl ReadyAnswers {
    /// Holds answers of `max_bytes` in all, by estimate.
    pub fn new(max_bytes: u64) -> anyhow::Result<Self> {
        let options =
            OptionsBuilder::new().estimated_items_capacity(10_000).weight_capacity(max_bytes).build()?;
        Ok(Self(Memory::with_options(options, ByMemory, Default::default(), Default::default())))
    }

    /// Whether its host still shows what it was made of, is for who asks to find out.
    pub fn get(&self, wanted: &Wanted<'_>) -> Option<Arc<Ready>> {
        self.0.get(wanted)
    }

    pub fn keep(&self, ready: &Arc<Ready>) {
        if (ready.etag_at - ready.path_at) as usize <= MAX_PATH {
            self.0.insert(Key(Arc::clone(ready)), Arc::clone(ready));
        }
    }
}
