//! Git LFS: pointers that stand in place of large files, and the files themselves, by its batch API
//! (git-lfs/docs/api/batch.md) on the repository's own host.
//!
//! Each request passes the [`Wire`]: the same rules about addresses, the token
//! to its own origin alone, the same limits. A file is taken when it has the digest and length of
//! its pointer. Start with [`pointers`], then [`Job::fetch_large_files`].

use super::clone::{Job, Totals};
use super::faults::disk_error;
use super::tree::{self, Measured};
use super::wire::Wire;
use crate::ports::source::SourceError;
use gix::bstr::{BString, ByteSlice};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use url::Url;

const VERSION: &str = "version https://git-lfs.github.com/spec/v1";
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.git-lfs+json");
/// Objects of one request, as git-lfs asks for them.
const BATCH: usize = 100;
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// A file that is kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    path: BString,
    /// SHA-256 in hexadecimal digits.
    oid: String,
    size: u64,
}

/// The pointers of a tree: none, where no `.gitattributes` speaks of LFS.
pub(super) fn pointers(repository: &gix::Repository, measured: &Measured) -> Vec<Pointer> {
    let text = |id| Some(repository.find_blob(id).ok()?.data.to_str_lossy().into_owned());
    let speaks = |id: &gix::ObjectId| text(*id).is_some_and(|text| text.contains("filter=lfs"));
    if !measured.attributes.iter().any(speaks) {
        return Vec::new();
    }
    let found = measured.small.iter().filter_map(|(path, id)| parse(path, &text(*id)?));
    found.collect()
}

fn parse(path: &BString, text: &str) -> Option<Pointer> {
    let mut lines = text.lines();
    lines.next().filter(|line| *line == VERSION)?;
    let (mut oid, mut size) = (None, None);
    for (name, value) in lines.filter_map(|line| line.split_once(' ')) {
        match name {
            "oid" => oid = value.strip_prefix("sha256:").map(str::to_owned),
            "size" => size = value.parse().ok(),
            _ => {}
        }
    }
    let oid =
        oid.filter(|oid| oid.len() == 64 && oid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))?;
    Some(Pointer { path: path.clone(), oid, size: size? })
}

#[derive(Deserialize)]
struct Answer {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
}

impl Job {
    /// Puts large files in the place of their pointers.
    pub(super) fn fetch_large_files(
        &self,
        pointers: &[Pointer],
        tree: &Path,
        totals: &mut Totals,
    ) -> Result<(), SourceError> {
        if pointers.is_empty() {
            return Ok(());
        }
        let bytes = pointers.iter().fold(0_u64, |sum, pointer| sum.saturating_add(pointer.size));
        totals.bytes = totals.bytes.saturating_add(bytes);
        if bytes > self.request.limits.bytes || totals.bytes > self.received_limit {
            return Err(SourceError::TooLarge { what: "bytes of files", limit: self.received_limit });
        }
        (self.request.progress)(&format!("Fetching {} files that Git LFS keeps", pointers.len()));
        let wire = self.wire();
        for batch in pointers.chunks(BATCH) {
            if self.interrupt.load(Relaxed) {
                return Err(SourceError::Stopped);
            }
            let found = self.ask(&wire, batch)?;
            for pointer in batch {
                let action = found.get(pointer.oid.as_str()).ok_or_else(|| {
                    SourceError::LargeFiles(format!(
                        "the server does not have {}",
                        tree::shown(&pointer.path)
                    ))
                })?;
                download(&wire, pointer, action, tree)?;
            }
        }
        Ok(())
    }

    /// Where the files of a batch are, by their digests.
    fn ask(&self, wire: &Wire, batch: &[Pointer]) -> Result<HashMap<String, Action>, SourceError> {
        let base = wire.url.as_str().trim_end_matches('/');
        let base = if base.ends_with(".git") { base.to_owned() } else { format!("{base}.git") };
        let url = Url::parse(&format!("{base}/info/lfs/objects/batch"))
            .map_err(|_| SourceError::LargeFiles("the repository's URL has no place for them".to_owned()))?;
        let objects: Vec<_> =
            batch.iter().map(|pointer| json!({"oid": pointer.oid, "size": pointer.size})).collect();
        let body = json!({"operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": objects});
        let headers = HeaderMap::from_iter([(ACCEPT, MEDIA_TYPE), (CONTENT_TYPE, MEDIA_TYPE)]);
        let mut answer = wire
            .send(&Method::POST, url, &headers, body.to_string().as_bytes())
            .map_err(|_| fault(wire, "the server did not say where they are"))?;
        let mut text = Vec::new();
        loop {
            let chunk = wire.receive(&mut answer).map_err(|_| fault(wire, "the server broke off"))?;
            if chunk.is_empty() {
                break;
            }
            if text.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(SourceError::LargeFiles("the server's answer is too long".to_owned()));
            }
            text.extend_from_slice(&chunk);
        }
        let answer: Answer = serde_json::from_slice(&text).map_err(|_| {
            SourceError::LargeFiles("the server does not speak the API of Git LFS".to_owned())
        })?;
        let mut found = HashMap::new();
        for object in answer.objects {
            if let Some(refusal) = object.error {
                let what = batch.iter().find(|pointer| pointer.oid == object.oid);
                let path =
                    what.map_or_else(String::new, |pointer| format!(" for {}", tree::shown(&pointer.path)));
                return Err(SourceError::LargeFiles(format!("the server answers {}{path}", refusal.code)));
            }
            if let Some(action) = object.actions.and_then(|actions| actions.download) {
                found.insert(object.oid, action);
            }
        }
        Ok(found)
    }
}

fn download(wire: &Wire, pointer: &Pointer, action: &Action, tree: &Path) -> Result<(), SourceError> {
    let path = tree::shown(&pointer.path);
    let url = Url::parse(&action.href)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.username().is_empty())
        .ok_or_else(|| SourceError::LargeFiles(format!("the server names no usable address for {path}")))?;
    let headers = action.header.iter().filter_map(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
    });
    let headers: HeaderMap = headers.filter(|(name, _)| ![HOST, CONTENT_LENGTH].contains(name)).collect();
    let mut answer = wire
        .send(&Method::GET, url, &headers, &[])
        .map_err(|_| fault(wire, &format!("{path} could not be read")))?;
    // Beside the tree, and moved over the pointer when it is whole.
    let beside = tree.parent().unwrap_or(tree);
    let mut file = tempfile::NamedTempFile::new_in(beside).map_err(|error| disk_error(&error))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
    loop {
        let chunk = wire.receive(&mut answer).map_err(|_| fault(wire, &format!("{path} broke off")))?;
        if chunk.is_empty() {
            break;
        }
        bytes += chunk.len() as u64;
        if bytes > pointer.size {
            break;
        }
        digest.update(&chunk);
        file.write_all(&chunk).map_err(|error| disk_error(&error))?;
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if bytes != pointer.size || digest != pointer.oid {
        return Err(SourceError::LargeFiles(format!("what the server sent is not {path}")));
    }
    let to = tree.join(OsStr::from_bytes(&pointer.path));
    let permissions = std::fs::symlink_metadata(&to).map_err(|error| disk_error(&error))?.permissions();
    std::fs::set_permissions(file.path(), permissions).map_err(|error| disk_error(&error))?;
    file.persist(&to).map_err(|error| disk_error(&error.error))?;
    Ok(())
}

/// What the wire knows of a failure, in words about large files.
fn fault(wire: &Wire, doing: &str) -> SourceError {
    match wire.fault.take() {
        Some(SourceError::NotFound) => {
            SourceError::LargeFiles(format!("{doing}: the server has none, or wants another token"))
        }
        Some(SourceError::Unreachable(why) | SourceError::Invalid(why)) => {
            SourceError::LargeFiles(format!("{doing}: {why}"))
        }
        Some(other) => other,
        None => SourceError::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_by_its_three_lines() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("{VERSION}\noid sha256:{oid}\nsize 12345\n");
        let path = BString::from("logo.png");
        let expected = Pointer { path: path.clone(), oid: oid.to_owned(), size: 12_345 };
        assert_eq!(parse(&path, &text), Some(expected));
        for bad in [
            "version 2\n".to_owned(),
            format!("{VERSION}\nsize 1\n"),
            format!("{VERSION}\noid sha256:{}\nsize 1\n", oid.to_uppercase()),
            format!("{VERSION}\noid sha256:{oid}\nsize -1\n"),
        ] {
            assert_eq!(parse(&path, &bad), None, "{bad}");
        }
    }
}
