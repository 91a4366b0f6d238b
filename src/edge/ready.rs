//! Answers that are ready to be written: what a path of a deployment gives, for visitors who take
//! the same codings. All that is left to do for a hot request is to copy lines.
//!
//! Kept are answers that depend on nothing but their address; the bytes of their files are held
//! elsewhere, by content (see `edge::files`). Start with [`Ready`], then [`ReadyAnswers`].

use crate::domain::http::accept_encoding::Accepted;
use crate::domain::id::DeploymentId;
use crate::edge::field_list::{FieldList, write_field};
use crate::edge::files::FileRef;
use quick_cache::sync::Cache as Memory;
use quick_cache::{Equivalent, OptionsBuilder, Weighter};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// The answer with a file, but for its bytes.
#[derive(Debug)]
pub struct Ready {
    pub status: u16,
    pub file: FileRef,
    /// A page for what is not there answers no conditions and has no ranges.
    pub is_page: bool,
    /// Strong, with its quotes.
    pub etag: Box<str>,
    pub deployment: DeploymentId,
    /// Field lines: those that a 304 has too, then those of the content, its length last.
    lines: Box<[u8]>,
    content_at: u32,
    length_at: u32,
}

impl Ready {
    /// `fields` are all but the length. What rules set belongs to a 304 too: `is_ruled` says whether
    /// a name is theirs.
    pub fn new(
        status: u16,
        file: FileRef,
        deployment: DeploymentId,
        fields: &FieldList,
        is_ruled: impl Fn(&str) -> bool,
    ) -> Self {
        let is_of_content = |name: &str| {
            let of_content = ["content-type", "content-encoding", "accept-ranges"];
            of_content.iter().any(|one| name.eq_ignore_ascii_case(one) && !is_ruled(one))
        };
        let (mut lines, content_at) = fields.lines(|name| !is_of_content(name));
        let length_at = lines.len() as u32;
        write_field(&mut lines, "Content-Length", file.len.to_string().as_bytes());
        Self {
            status,
            file,
            is_page: status != 200,
            etag: file.etag().into(),
            deployment,
            lines: lines.into(),
            content_at: content_at as u32,
            length_at,
        }
    }

    /// Of the whole file.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Of a 304 (RFC 9110, 15.4.5).
    pub fn lines_of_not_modified(&self) -> &[u8] {
        &self.lines[..self.content_at as usize]
    }

    /// Of a 206, with its range.
    pub fn lines_of_part(&self, part: &Range<u64>) -> Vec<u8> {
        let mut lines = self.lines[..self.length_at as usize].to_vec();
        let (first, last, total) = (part.start, part.end.saturating_sub(1), self.file.len);
        let range = format!("bytes {first}-{last}/{total}");
        write_field(&mut lines, "Content-Range", range.as_bytes());
        let len = (part.end - part.start).to_string();
        write_field(&mut lines, "Content-Length", len.as_bytes());
        lines
    }
}

/// What an answer is kept under.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    deployment: DeploymentId,
    is_preview: bool,
    accepted: Accepted,
    path: Box<str>,
}

/// The same, borrowed.
pub struct Wanted<'r> {
    pub deployment: DeploymentId,
    pub is_preview: bool,
    pub accepted: Accepted,
    /// As it was sent.
    pub path: &'r str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { deployment, is_preview, accepted, path } = self;
        Wanted { deployment: *deployment, is_preview: *is_preview, accepted: *accepted, path }.hash(state);
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.deployment.hash(state);
        (self.is_preview, self.accepted).hash(state);
        self.path.hash(state);
    }
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.path == &*key.path
            && self.deployment == key.deployment
            && self.accepted == key.accepted
            && self.is_preview == key.is_preview
    }
}

pub struct ReadyAnswers(Memory<Key, Arc<Ready>, ByMemory>);

/// What an answer takes beside its lines, its tag and its path: key, places in tables, counts.
const HELD_BYTES: u64 = 320;
/// Longer paths are not kept: strangers may ask for any.
const MAX_PATH: usize = 1024;

#[derive(Clone)]
struct ByMemory;

impl Weighter<Key, Arc<Ready>> for ByMemory {
    fn weight(&self, key: &Key, ready: &Arc<Ready>) -> u64 {
        HELD_BYTES + (key.path.len() + ready.lines.len() + ready.etag.len()) as u64
    }
}

impl ReadyAnswers {
    /// Holds answers of `max_bytes` in all, by estimate.
    pub fn new(max_bytes: u64) -> anyhow::Result<Self> {
        let options =
            OptionsBuilder::new().estimated_items_capacity(10_000).weight_capacity(max_bytes).build()?;
        Ok(Self(Memory::with_options(options, ByMemory, Default::default(), Default::default())))
    }

    pub fn get(&self, wanted: &Wanted<'_>) -> Option<Arc<Ready>> {
        self.0.get(wanted)
    }

    pub fn keep(&self, wanted: &Wanted<'_>, ready: &Arc<Ready>) {
        let &Wanted { deployment, is_preview, accepted, path } = wanted;
        if path.len() <= MAX_PATH {
            let key = Key { deployment, is_preview, accepted, path: path.into() };
            self.0.insert(key, Arc::clone(ready));
        }
    }
}
