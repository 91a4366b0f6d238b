//! Objects in a folder: what `gv up` uses, and every process that shares the folder with it.
//!
//! An object is written beside the others, synced, and renamed into its place: readers and crashes
//! see all of it or nothing. Several processes may use one folder at once. The blocking half, and
//! how it stays inside the folder, is `folder.rs`.
//!
//! Each file is synced by itself, a few in parallel (8 did best: 100 small files in 15 to 20 ms on an
//! idle virtual disk). Syncing the whole filesystem once a batch took two thirds of that, but three
//! times as long beside busy builds: it waits for whatever they wrote.
//!
//! Start with [`FilesystemBlobs::open`].

use super::folder::{self, Folder};
use crate::domain::digest::Digest;
use crate::ports::blobs::{Blobs, Body, Key, Object, Opened, Tag};
use crate::ports::error::{StoreError, StoreErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Threads that write at once, and how many of them one batch may have.
const WRITERS: usize = 16;
const WRITERS_PER_BATCH: usize = 8;
/// Bytes that a stream gives at once.
const CHUNK: u64 = 64 * 1024;

pub struct FilesystemBlobs {
    root: PathBuf,
    folder: Arc<Folder>,
    writers: Arc<Semaphore>,
}

impl FilesystemBlobs {
    /// Opens the folder, and makes it where there is none. Blocks for a moment.
    ///
    /// [`StoreErrorKind::Internal`] where it cannot be made or written to.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let doing = || format!("opening the blobs folder {}", root.display());
        let folder = Folder::open(root).map_err(|error| store_error(doing(), error))?;
        let writers = Arc::new(Semaphore::new(WRITERS));
        Ok(Self { root: root.to_owned(), folder: Arc::new(folder), writers })
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = Arc::clone(&self.folder);
        blocking(doing, move || work(&folder)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.writers).acquire_owned().await;
        let turn = turn.map_err(|closed| StoreError::new(StoreErrorKind::Internal, doing.clone(), closed))?;
        // The turn goes along: a caller that gives up does not stop the thread.
        self.read(doing, move |folder| {
            let _turn = turn;
            work(folder)
        })
        .await
    }
}

#[async_trait]
impl Blobs for FilesystemBlobs {
    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError> {
        let (doing, key) = (format!("storing {key}"), key.clone());
        self.write(doing, move |folder| {
            let dir = folder.make(folder::split(&key).0)?;
            put_into(folder, &dir, &key, &body)?;
            Ok(rustix::fs::fsync(dir)?)
        })
        .await
    }

    async fn put_all(&self, objects: Vec<(Key, Body)>) -> Result<(), StoreError> {
        let batch = Arc::new(Batch::new(objects));
        // Stops the threads when the caller gives up.
        let _stop = StopOnDrop(Arc::clone(&batch));
        let threads = batch.objects.len().min(WRITERS_PER_BATCH);
        let doing = format!("storing {} objects", batch.objects.len());
        let work = (0..threads).map(|_| {
            let batch = Arc::clone(&batch);
            self.write(doing.clone(), move |folder| batch.work(folder))
        });
        let touched = futures_util::future::try_join_all(work).await?;
        let folders: HashMap<String, OwnedFd> = touched.into_iter().flatten().collect();
        let synced = move |_: &Folder| Ok(folders.values().try_for_each(rustix::fs::fsync)?);
        self.write(doing, synced).await
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<bool, StoreError> {
        let (doing, key) = (format!("storing {key}"), key.clone());
        self.write(doing, move |folder| put_new(folder, &key, bytes)).await
    }

    async fn replace(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, StoreError> {
        let (doing, key, expected) = (format!("replacing {key}"), key.clone(), expected.cloned());
        self.write(doing, move |folder| match expected {
            None => put_new(folder, &key, bytes),
            Some(expected) => replace(folder, &key, bytes, &expected),
        })
        .await
    }

    async fn get(&self, key: &Key, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        let (doing, key) = (format!("reading {key}"), key.clone());
        self.read(doing, move |folder| {
            let Some((file, len)) = folder.read(&key)? else { return Ok(None) };
            if len > max_bytes {
                let text = format!("it has {len} bytes, and at most {max_bytes} are read at once");
                return Err(io::Error::other(text));
            }
            let bytes = read_whole(file, len)?;
            Ok(Some(Object { tag: tag_of(&bytes), bytes }))
        })
        .await
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Opened>, StoreError> {
        let (doing, key) = (format!("reading {key}"), key.clone());
        let about = doing.clone();
        let opened = self.read(doing, move |folder| {
            let Some((file, total)) = folder.read(&key)? else { return Ok(None) };
            let range = range.unwrap_or(0..total);
            let start = range.start.min(total);
            let range = start..range.end.clamp(start, total);
            let mut rest = Rest { file: Arc::new(file), range: range.clone() };
            // Most objects are small: their bytes come along, without a second way to a thread.
            let first = rest.next()?;
            Ok(Some((total, range, first, rest)))
        });
        let Some((total, range, first, rest)) = opened.await? else { return Ok(None) };
        Ok(Some(Opened { total, range, stream: streamed(first, rest, about) }))
    }

    async fn missing(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        let (doing, keys) = (format!("looking for {} objects", keys.len()), keys.to_vec());
        self.read(doing, move |folder| missing(folder, keys)).await
    }

    /// A crash right afterwards may bring the object back.
    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (doing, key) = (format!("deleting {key}"), key.clone());
        self.write(doing, move |folder| {
            let (dir, name) = folder::split(&key);
            let Some(dir) = folder.enter(dir)? else { return Ok(()) };
            // A compare-and-swap may be under way, which no other change may come between.
            let _held = key.is_rewritten().then(|| folder.lock(&key)).transpose()?;
            folder::remove(&dir, name)
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read(format!("checking the blobs folder {}", self.root.display()), Folder::check).await
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Objects that several threads store together, each taking the next one.
struct Batch {
    objects: Vec<(Key, Body)>,
    next: AtomicUsize,
    stopped: AtomicBool,
}

struct StopOnDrop(Arc<Batch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

impl Batch {
    fn new(objects: Vec<(Key, Body)>) -> Self {
        Self { objects, next: AtomicUsize::new(0), stopped: AtomicBool::new(false) }
    }

    /// The folders that have new names in them, which are not yet synced.
    fn work(&self, folder: &Folder) -> io::Result<HashMap<String, OwnedFd>> {
        let mut folders = HashMap::new();
        while let Some((key, body)) = self.take() {
            let path = folder::split(key).0;
            if !folders.contains_key(path) {
                folders.insert(path.to_owned(), folder.make(path)?);
            }
            if let Err(error) = put_into(folder, &folders[path], key, body) {
                self.stopped.store(true, Ordering::Relaxed);
                return Err(io::Error::new(error.kind(), Failed { key: key.clone(), error }));
            }
        }
        Ok(folders)
    }

    fn take(&self) -> Option<&(Key, Body)> {
        let stopped = self.stopped.load(Ordering::Relaxed);
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.objects.get(index).filter(|_| !stopped)
    }
}

/// Which object of many it was.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {error}")]
struct Failed {
    key: Key,
    error: io::Error,
}

fn put_into(folder: &Folder, dir: &OwnedFd, key: &Key, body: &Body) -> io::Result<()> {
    let written = folder.write(body)?;
    let _held = key.is_rewritten().then(|| folder.lock(key)).transpose()?;
    written.place(dir, folder::split(key).1)
}

fn put_new(folder: &Folder, key: &Key, bytes: Bytes) -> io::Result<bool> {
    let (dir, name) = folder::split(key);
    let dir = folder.make(dir)?;
    let stored =
        !folder::is_there(&dir, name)? && folder.write(&Body::Bytes(bytes))?.place_new(&dir, name)?;
    // After `false` too: what another one put there an instant ago is built upon.
    rustix::fs::fsync(dir)?;
    Ok(stored)
}

fn replace(folder: &Folder, key: &Key, bytes: Bytes, expected: &Tag) -> io::Result<bool> {
    // Without the lock first: most that lose have lost by now, and need not write.
    if current_tag(folder, key)?.as_ref() != Some(expected) {
        return Ok(false);
    }
    let (dir, name) = folder::split(key);
    let dir = folder.make(dir)?;
    let written = folder.write(&Body::Bytes(bytes))?;
    let held = folder.lock(key)?;
    if current_tag(folder, key)?.as_ref() != Some(expected) {
        return Ok(false);
    }
    written.place(&dir, name)?;
    drop(held);
    rustix::fs::fsync(dir)?;
    Ok(true)
}

fn current_tag(folder: &Folder, key: &Key) -> io::Result<Option<Tag>> {
    let Some((file, len)) = folder.read(key)? else { return Ok(None) };
    read_whole(file, len).map(|bytes| Some(tag_of(&bytes)))
}

fn tag_of(bytes: &[u8]) -> Tag {
    Tag(Digest::of(bytes).to_string())
}

fn read_whole(file: File, len: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
    file.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}

fn missing(folder: &Folder, keys: Vec<Key>) -> io::Result<Vec<Key>> {
    let mut folders: HashMap<String, Option<OwnedFd>> = HashMap::new();
    let mut missing = Vec::new();
    for key in keys {
        let (path, name) = folder::split(&key);
        if !folders.contains_key(path) {
            folders.insert(path.to_owned(), folder.enter(path)?);
        }
        let there = folders[path].as_ref().map_or(Ok(false), |dir| folder::is_there(dir, name))?;
        if !there {
            missing.push(key);
        }
    }
    // What is said to be there is not stored again: another process may have put it there an
    // instant ago, and not have synced its name yet.
    folders.values().flatten().try_for_each(rustix::fs::fsync)?;
    Ok(missing)
}

/// What of an open file is still to be read.
struct Rest {
    file: Arc<File>,
    range: Range<u64>,
}

impl Rest {
    /// The next bytes; none at the end.
    fn next(&mut self) -> io::Result<Bytes> {
        let len = CHUNK.min(self.range.end - self.range.start);
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, self.range.start)?;
        self.range.start += len;
        Ok(bytes.into())
    }
}

fn streamed(first: Bytes, rest: Rest, doing: String) -> BoxStream<'static, Result<Bytes, StoreError>> {
    if rest.range.is_empty() {
        return stream::iter((!first.is_empty()).then_some(Ok(first))).boxed();
    }
    let more = stream::try_unfold((rest, doing), |(mut rest, doing)| async move {
        if rest.range.is_empty() {
            return Ok(None);
        }
        let read = blocking(doing.clone(), move || rest.next().map(|bytes| (bytes, rest)));
        read.await.map(|(bytes, rest)| Some((bytes, (rest, doing))))
    });
    stream::iter([Ok(first)]).chain(more).boxed()
}

async fn blocking<T: Send + 'static>(
    doing: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| store_error(doing, error)),
        Err(fallen) => Err(StoreError::new(StoreErrorKind::Internal, doing, fallen)),
    }
}

fn store_error(doing: String, error: io::Error) -> StoreError {
    StoreError::new(kind_of(&error), doing, error)
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    if let Some(Failed { error, .. }) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return kind_of(error);
    }
    match Errno::from_io_error(error) {
        // Full, broken, gone or overloaded, all of which an operator mends while gv runs.
        Some(
            Errno::NOSPC
            | Errno::DQUOT
            | Errno::IO
            | Errno::ROFS
            | Errno::STALE
            | Errno::NOENT
            | Errno::NODEV
            | Errno::NFILE
            | Errno::MFILE
            | Errno::NOMEM
            | Errno::BUSY
            | Errno::AGAIN
            | Errno::TIMEDOUT,
        ) => StoreErrorKind::Unavailable,
        // A link, a folder or a socket where an object should be.
        Some(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO) => StoreErrorKind::Corrupt,
        None if error.kind() == io::ErrorKind::TimedOut => StoreErrorKind::Unavailable,
        _ if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            StoreErrorKind::Corrupt
        }
        _ => StoreErrorKind::Internal,
    }
}
