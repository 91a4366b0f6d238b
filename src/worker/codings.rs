//! The codings of a site's text: made once, here, so that no edge ever compresses. What the project's
//! previous deployment has is taken from there. An encoder's failure fails no deployment: a file
//! that is not coded is served as it is.
//!
//! Start with [`store`]; the encoders are `worker::encode`'s.

use crate::app::App;
use crate::app::deadline::within;
use crate::app::logs::LogWriter;
use crate::domain::coding::Coding;
use crate::domain::deployment::{Deployment, StepName};
use crate::domain::digest::Digest;
use crate::domain::manifest::Codings;
use crate::domain::media_type::{self, is_compressible};
use crate::ports::blobs::{Body, Key};
use crate::ports::error::StoreError;
use crate::worker::collect::{CollectedFile, Origin};
use crate::worker::encode::{Effort, encode};
use crate::worker::inside::Inside;
use crate::worker::upload::{amount, batches, files_of, put_all};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a file has that is coded, in bytes. A smaller one is a packet of the network in any case; a
/// larger one is no page, and would be held in memory whole.
const SIZES: std::ops::RangeInclusive<u64> = 1024..=16 * 1024 * 1024;
/// How long the previous manifest may take: without it there is more to do, that is all.
const PREVIOUS: Duration = Duration::from_secs(5);

/// By the digest of the file.
pub type ByDigest = HashMap<Digest, Codings>;

/// Whether a file is one to be coded.
pub fn is_candidate(media_type: &str, size: u64) -> bool {
    SIZES.contains(&size) && is_compressible(media_type)
}

/// What the project's previous deployment knows of its files; nothing is as good an answer.
pub async fn known(app: &App, deployment: &Deployment) -> ByDigest {
    let reading = async {
        let (account, project) = (deployment.account, deployment.project);
        let previous = app.database.previous_ready(account, project, deployment.seq).await?;
        let Some(previous) = previous else { return Ok(None) };
        app.manifest(previous.id).await
    };
    let manifest = match within(PREVIOUS, "reading the previous manifest", reading).await {
        Ok(manifest) => manifest.filter(|manifest| manifest.account == deployment.account),
        Err(error) => {
            tracing::debug!(%error, "no codings are known");
            None
        }
    };
    let Some(files) = manifest.map(|manifest| manifest.files).filter(|files| files.knows_codings()) else {
        return ByDigest::new();
    };
    let candidates = files.iter().filter(|(_, entry)| is_candidate(entry.media_type, entry.size));
    // What has none may have had bad luck: it is tried again.
    let coded = candidates.filter(|(_, entry)| !entry.codings.is_empty());
    coded.map(|(_, entry)| (entry.digest, entry.codings)).collect()
}

/// The folder of a site, and whose files these are.
pub struct Place {
    pub folder: Arc<Inside>,
    pub origin: Origin,
}

/// Codes and stores what is to be coded and is not `known`. What is known is there, unless its file
/// was `missing`.
pub async fn store(
    (app, log, deployment): (&App, &LogWriter, &Deployment),
    files: &[CollectedFile],
    (known, missing): (&ByDigest, &HashSet<Digest>),
    place: Place,
    stop: &CancellationToken,
) -> Result<ByDigest, StoreError> {
    let mut done = ByDigest::new();
    let mut new: Vec<Raw> = Vec::new();
    let mut seen = HashSet::new();
    let media_type = |file: &CollectedFile| media_type::of(file.path.as_str());
    for file in files.iter().filter(|file| is_candidate(&media_type(file), file.size)) {
        if !seen.insert(file.digest) {
            continue;
        }
        match known.get(&file.digest).filter(|_| !missing.contains(&file.digest)) {
            Some(codings) => drop(done.insert(file.digest, *codings)),
            None => new.push(Raw::of(file)),
        }
    }
    if seen.is_empty() {
        return Ok(done);
    }
    let reused = done.len() as u64;
    let effort = Effort::of(place.origin, new.iter().map(|raw| raw.size).sum());
    let place = Arc::new(place);
    let mut sum = Sum::default();
    // Dropped, the encoders stop.
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    // What is coded at once is held in memory meanwhile, with what becomes of it.
    for batch in batches(new, usize::MAX, |raw| raw.size) {
        let (place, stop) = (Arc::clone(&place), stop.clone());
        let made = tokio::task::spawn_blocking(move || encode_all(&batch, &place, effort, &stop)).await;
        let made = made.unwrap_or_else(|error| {
            tracing::warn!(%error, "files could not be compressed");
            Vec::new()
        });
        let mut objects = Vec::new();
        for Made { digest, size, codings, bytes } in made {
            sum.add(size, &codings);
            done.insert(digest, codings);
            let key =
                |coding| Some(Key::coded(deployment.account, &digest, &codings.get(coding)?.check, coding));
            let named =
                bytes.into_iter().filter_map(|(coding, bytes)| Some((key(coding)?, Body::Bytes(bytes))));
            objects.extend(named);
        }
        put_all(app, objects, |_| {}).await?;
    }
    log.say(
        StepName::Upload,
        format!(
            "Compressed {} ({} to {}), {reused} known already.",
            files_of(sum.files),
            amount(sum.raw),
            amount(sum.coded)
        ),
    );
    Ok(done)
}

/// What was gained, in files and bytes; `coded` counts the smallest coding of each file.
#[derive(Default)]
struct Sum {
    files: u64,
    raw: u64,
    coded: u64,
}

impl Sum {
    fn add(&mut self, size: u64, codings: &Codings) {
        let smallest = codings.iter().map(|(_, coded)| u64::from(coded.size)).min();
        if let Some(smallest) = smallest {
            self.files += 1;
            self.raw += size;
            self.coded += smallest;
        }
    }
}

/// A file to be coded.
struct Raw {
    path: String,
    size: u64,
    digest: Digest,
    /// The content, where it was kept.
    bytes: Option<Bytes>,
}

struct Made {
    digest: Digest,
    size: u64,
    codings: Codings,
    bytes: Vec<(Coding, Bytes)>,
}

impl Raw {
    fn of(file: &CollectedFile) -> Self {
        let CollectedFile { path, size, digest, bytes } = file;
        Self { path: path.to_string(), size: *size, digest: *digest, bytes: bytes.clone() }
    }

    /// Reads the content. `None`: it is not there any more, or another one is.
    fn read(&self, folder: &Inside) -> Option<Bytes> {
        if let Some(bytes) = &self.bytes {
            return Some(bytes.clone());
        }
        let (file, len) = folder.file(&self.path).ok()??;
        if len != self.size {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).ok()?);
        file.take(len).read_to_end(&mut bytes).ok()?;
        (Digest::of(&bytes) == self.digest).then(|| Bytes::from(bytes))
    }
}

/// Blocks. A file that cannot be read has no codings.
fn encode_all(batch: &[Raw], place: &Place, effort: Effort, stop: &CancellationToken) -> Vec<Made> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    // A thread costs as much as a handful of small files.
    let threads = processors.min(8).min(batch.len().div_ceil(4)).max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        while let Some(raw) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.is_cancelled() {
                break;
            }
            if let Some(bytes) = raw.read(&place.folder) {
                let (codings, bytes) = encode(&bytes, effort, stop);
                made.push(Made { digest: raw.digest, size: raw.size, codings, bytes });
            }
        }
        made
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others
            .into_iter()
            .flat_map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        own.into_iter().chain(others).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn raw(path: &str, bytes: &[u8]) -> Raw {
        Raw { path: path.to_owned(), size: bytes.len() as u64, digest: Digest::of(bytes), bytes: None }
    }

    fn encoded(batch: &[Raw], folder: &Path) -> Vec<Made> {
        let place = Place { folder: Arc::new(Inside::open(folder).unwrap()), origin: Origin::Repository };
        encode_all(batch, &place, Effort::of(place.origin, 0), &CancellationToken::new())
    }

    #[test]
    fn text_between_one_kib_and_sixteen_mib_is_coded() {
        for (media_type, size, expected) in [
            ("text/html; charset=utf-8", 1024, true),
            ("text/html; charset=utf-8", 1023, false),
            ("application/json", 16 << 20, true),
            ("application/json", (16 << 20) + 1, false),
            ("image/png", 4096, false),
        ] {
            assert_eq!(is_candidate(media_type, size), expected, "{media_type} {size}");
        }
    }

    #[test]
    fn a_file_that_is_not_what_was_digested_is_not_coded() {
        let folder = tempfile::tempdir().unwrap();
        let text = "words and words, ".repeat(200);
        std::fs::write(folder.path().join("same"), &text).unwrap();
        std::fs::write(folder.path().join("other"), text.replace("words", "wards")).unwrap();
        std::fs::write(folder.path().join("short"), "words").unwrap();
        let batch = ["same", "other", "short", "gone"].map(|name| raw(name, text.as_bytes()));
        let made = encoded(&batch, folder.path());
        assert_eq!(made.len(), 1);
        assert_eq!((made[0].digest, made[0].codings.iter().count()), (Digest::of(text.as_bytes()), 3));
    }

    #[test]
    fn not_more_than_a_batch_is_held_at_once() {
        let file = |size: u64| Raw { size, ..raw("a", b"") };
        let sizes = |sizes: &[u64]| {
            batches(sizes.iter().map(|size| file(*size)).collect(), usize::MAX, |raw| raw.size)
                .iter()
                .map(Vec::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[16 << 20; 9]), [4, 4, 1]);
        assert_eq!(sizes(&[1; 1000]), [1000]);
        assert_eq!(sizes(&[]), [] as [usize; 0]);
    }
}
