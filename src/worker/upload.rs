//! Storing a site: its new files, its source, its manifest. Nothing here is visible to visitors;
//! hosts are moved afterwards (see `app::publish`).
//!
//! Start with [`missing`] and [`store_files`], then [`store_manifest`]. The codings of the files are
//! `worker::codings`'.

use crate::app::App;
use crate::app::deadline::within;
use crate::app::logs::LogWriter;
use crate::domain::deployment::{Deployment, StepName};
use crate::domain::digest::Digest;
use crate::domain::id::DeploymentId;
use crate::domain::manifest::{FileTable, Manifest, NewEntry, SitePath, TooLarge};
use crate::domain::media_type;
use crate::domain::routing::rules::Rules;
use crate::ports::blobs::{Blobs, Body, Key, OpenFile};
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::worker::codings::{ByDigest, is_candidate};
use crate::worker::collect::CollectedFile;
use crate::worker::inside::Inside;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

/// After so many bytes or objects the log is told how far it is.
const BATCH_BYTES: u64 = 64 * 1024 * 1024;
const BATCH_OBJECTS: usize = 512;
/// How long a storage that cannot be reached is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one call may take, besides what it carries.
pub const CALL: Duration = Duration::from_secs(60);
/// The least that a line to storage carries, in bytes a second: adapters notice by themselves when
/// nothing moves any more, so that this is only the last net.
const LEAST_RATE: u64 = 100_000;

/// How long a call that carries so many bytes may take.
fn carrying(bytes: u64) -> Duration {
    CALL + Duration::from_secs(bytes / LEAST_RATE)
}

/// Calls again, with growing pauses, while the storage cannot be reached and there is patience. A
/// call that takes longer than `limit` counts as one that did not reach it.
pub async fn patiently<T, F>(limit: Duration, mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        match within(limit, "waiting for storage", call()).await {
            Err(error)
                if error.kind == StoreErrorKind::Unavailable && started.elapsed() + pause < PATIENCE =>
            {
                tracing::debug!(%error, "storage will be tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            done => return done,
        }
    }
}

/// Objects that are looked for in one call, which has [`CALL`] for them: storage is asked for each.
pub const LOOKED_FOR: usize = 2_000;

/// The contents that the account does not have yet.
pub async fn missing(
    app: &App,
    deployment: &Deployment,
    files: &[CollectedFile],
) -> Result<HashSet<Digest>, StoreError> {
    let unique: HashMap<Key, Digest> =
        files.iter().map(|file| (Key::blob(deployment.account, &file.digest), file.digest)).collect();
    let keys: Vec<Key> = unique.keys().cloned().collect();
    let mut missing = HashSet::new();
    for some in keys.chunks(LOOKED_FOR) {
        let absent = patiently(CALL, || app.blobs.missing(some)).await?;
        missing.extend(absent.iter().filter_map(|key| unique.get(key)));
    }
    Ok(missing)
}

/// Stores the files that are `missing`. `folder` is the one that they were collected from.
pub async fn store_files(
    (app, log, deployment): (&App, &LogWriter, &Deployment),
    files: &[CollectedFile],
    missing: &HashSet<Digest>,
    folder: &Arc<Inside>,
) -> Result<(), StoreError> {
    let new: HashMap<Key, Body> = files
        .iter()
        .filter(|file| missing.contains(&file.digest))
        .map(|file| (Key::blob(deployment.account, &file.digest), body(file, folder)))
        .collect();
    let new: Vec<(Key, Body)> = new.into_iter().collect();
    let (count, bytes) = (new.len(), new.iter().map(|(_, body)| body.len()).sum());
    log.say(
        StepName::Upload,
        format!("Uploading {count} new of {} ({}).", files_of(files.len() as u64), amount(bytes)),
    );
    let say = |stored| log.say(StepName::Upload, format!("{stored} of {count} files are stored."));
    put_all(app, new, say).await
}

/// Stores objects in batches; between them `say` is told how many are stored.
pub async fn put_all(app: &App, objects: Vec<(Key, Body)>, say: impl Fn(usize)) -> Result<(), StoreError> {
    let mut stored = 0;
    for batch in batches(objects, BATCH_OBJECTS, |(_, body)| body.len()) {
        if stored > 0 {
            say(stored);
        }
        stored += batch.len();
        let limit = carrying(batch.iter().map(|(_, body)| body.len()).sum());
        patiently(limit, || app.blobs.put_all(batch.clone())).await?;
    }
    Ok(())
}

/// Stores the packed source.
pub async fn store_source(
    app: &App,
    deployment: &Deployment,
    path: PathBuf,
    len: u64,
) -> Result<(), StoreError> {
    let key = Key::source(deployment.account, deployment.id);
    let body = Body::file(path, len);
    patiently(carrying(len), || app.blobs.put(&key, body.clone())).await
}

/// Stores the manifest, unless an earlier attempt did: the first one stays, and is returned.
pub async fn store_manifest(app: &App, manifest: Manifest) -> Result<Manifest, StoreError> {
    let key = Key::manifest(manifest.deployment);
    let bytes = Bytes::from(manifest.encode());
    if patiently(carrying(bytes.len() as u64), || app.blobs.put_new(&key, bytes.clone())).await? {
        return Ok(manifest);
    }
    let stored = stored_manifest(&*app.blobs, manifest.deployment).await?;
    stored.ok_or_else(|| {
        StoreError::new(StoreErrorKind::Unavailable, format!("reading {key}"), "it was there a moment ago")
    })
}

/// The manifest that an earlier attempt stored, if one came so far.
pub async fn stored_manifest(blobs: &dyn Blobs, id: DeploymentId) -> Result<Option<Manifest>, StoreError> {
    let key = Key::manifest(id);
    let Some(object) = patiently(CALL, || blobs.get(&key, Manifest::MAX_BYTES)).await? else {
        return Ok(None);
    };
    let manifest = Manifest::decode(&object.bytes, id);
    manifest
        .map(Some)
        .map_err(|error| StoreError::new(StoreErrorKind::Corrupt, format!("reading {key}"), error))
}

/// The table of contents for these files. `spa_fallback` counts where there is such a file and no
/// 404.html.
pub fn manifest(
    deployment: &Deployment,
    (files, codings): (&[CollectedFile], &ByDigest),
    spa_fallback: Option<&str>,
    rules: Rules,
) -> Result<Manifest, TooLarge> {
    let entry = |file: &CollectedFile| {
        let media_type = media_type::of(file.path.as_str());
        let codings = codings.get(&file.digest).filter(|_| is_candidate(&media_type, file.size));
        let codings = codings.copied().unwrap_or_default();
        NewEntry { digest: file.digest, size: file.size, media_type, codings }
    };
    let files = FileTable::build(files.iter().map(|file| (file.path.clone(), entry(file))))?;
    let fallback = spa_fallback.filter(|path| files.contains(path) && !files.contains("404.html"));
    Ok(Manifest {
        deployment: deployment.id,
        account: deployment.account,
        project: deployment.project,
        spa_fallback: fallback.and_then(|path| SitePath::parse(path).ok()),
        rules,
        files,
    })
}

fn body(file: &CollectedFile, folder: &Arc<Inside>) -> Body {
    match &file.bytes {
        Some(bytes) => Body::Bytes(bytes.clone()),
        None => {
            let published = Published { folder: Arc::clone(folder), path: file.path.clone() };
            Body::File { file: Arc::new(published), len: file.size }
        }
    }
}

/// A file of a site, beneath the very folder that it was collected from: whatever the build put at that
/// folder's path, and wherever a link leads, nothing else is read.
struct Published {
    folder: Arc<Inside>,
    path: SitePath,
}

impl OpenFile for Published {
    fn open(&self) -> io::Result<File> {
        let file = self.folder.file(self.path.as_str())?;
        file.map(|(file, _)| file).ok_or_else(|| io::Error::other("it is not a regular file"))
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// In their order, of so many things and [`BATCH_BYTES`] at most each.
pub fn batches<T>(things: Vec<T>, most: usize, bytes_of: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for thing in things {
        let len = bytes_of(&thing);
        match batches.last_mut() {
            Some(batch) if batch.len() < most && bytes + len <= BATCH_BYTES => {
                bytes += len;
                batch.push(thing);
            }
            _ => {
                bytes = len;
                batches.push(vec![thing]);
            }
        }
    }
    batches
}

/// `1 file`, `2 files`.
pub fn files_of(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Bytes as people read them.
pub fn amount(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    match bytes as f64 {
        small if small < KIB => format!("{bytes} B"),
        medium if medium < KIB * KIB => format!("{:.1} KB", medium / KIB),
        large => format!("{:.1} MB", large / KIB / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::UserId;

    #[test]
    fn objects_are_sent_in_batches_of_bounded_count_and_size() {
        let account = UserId::new(time::OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        let object = |len: u64| (Key::blob(account, &Digest::of(b"")), Body::file(PathBuf::new(), len));
        let counts = |lens: Vec<u64>| {
            let objects = lens.into_iter().map(object).collect();
            batches(objects, BATCH_OBJECTS, |(_, body)| body.len()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(counts(vec![1; 1100]), [512, 512, 76]);
        assert_eq!(counts(vec![BATCH_BYTES * 2, 1, BATCH_BYTES, 1]), [1, 1, 1, 1]);
        assert_eq!(counts(vec![]), [] as [usize; 0]);
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!([amount(12), amount(2048), amount(5 << 20)], ["12 B", "2.0 KB", "5.0 MB"]);
    }
}
