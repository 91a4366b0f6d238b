//! An edge's own disk, between its memory and the shared layers: for sites that are larger than
//! memory, and files that are too large for it. Bounded by bytes; what was not asked for longest
//! makes room. It outlives the process: what lies there is found again at the next start.
//!
//! A folder belongs to one process. What is read from it is checked like everything that comes
//! from outside. Start with [`Disk::open`].

use crate::edge::files::{FileRef, Passage, checked};
use crate::ports::blobs::Opened;
use crate::ports::error::{StoreError, StoreErrorKind};
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use quick_cache::sync::Cache as Index;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use rustix::fs::{FlockOperation, flock};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::spawn_blocking;

/// What a file takes beside its bytes: a block and an entry of a folder.
const HELD_BYTES: u64 = 4096;
/// Bytes that a stream gives at once.
const CHUNK: usize = 256 * 1024;
/// Files that are being written begin so; they are nobody's after a crash.
const UNFINISHED: &str = "new-";

pub struct Disk {
    folder: PathBuf,
    index: Index<String, u64, ByLength, DefaultHashBuilder, Unlink>,
    /// What is on its way into the folder.
    filling: Mutex<Filled>,
    /// Of what is on its way at the same time, in bytes; a file of more is not kept.
    max_filling: u64,
    /// Held as long as the folder is this process's.
    _lock: File,
}

#[derive(Default)]
struct Filled {
    names: HashSet<String>,
    bytes: u64,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<String, u64> for ByLength {
    fn weight(&self, _: &String, len: &u64) -> u64 {
        HELD_BYTES + len
    }
}

/// What gives way to others leaves the folder too.
#[derive(Clone)]
struct Unlink(PathBuf);

impl Lifecycle<String, u64> for Unlink {
    type RequestState = Vec<String>;

    fn begin_request(&self) -> Vec<String> {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Vec<String>, name: String, _: u64) {
        evicted.push(name);
    }

    /// Not before: while something is evicted nobody can read the index.
    fn end_request(&self, evicted: Vec<String>) {
        evicted.iter().for_each(|name| unlink(&path_in(&self.0, name)));
    }
}

impl Disk {
    /// Takes the folder, makes it where it is missing, and finds what an earlier process left.
    /// Blocks. Fails when another process has it or it cannot be written to.
    pub fn open(folder: &Path, max_bytes: u64) -> anyhow::Result<Arc<Self>> {
        let cannot = || format!("edge.disk_dir: {} cannot be used", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"));
        let lock = lock.with_context(cannot)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            anyhow::anyhow!("edge.disk_dir: another edge uses {}: give each one its own", folder.display())
        })?;
        let options = OptionsBuilder::new()
            // Each shard has its share of the room, and a large file must find a place.
            .shards(1)
            .estimated_items_capacity(10_000)
            .weight_capacity(max_bytes - max_bytes / 8)
            .build()?;
        let index =
            Index::with_options(options, ByLength, DefaultHashBuilder::default(), Unlink(folder.to_owned()));
        // An eighth of the room is for what is being written.
        let max_filling = max_bytes / 8;
        let disk =
            Self { folder: folder.to_owned(), index, filling: Mutex::default(), max_filling, _lock: lock };
        disk.find_again().with_context(cannot)?;
        Ok(Arc::new(disk))
    }

    fn find_again(&self) -> io::Result<()> {
        for shelf in fs::read_dir(&self.folder)? {
            let shelf = shelf?;
            // Only what this process's own kind makes is counted or removed.
            if shelf.file_name().len() != 2 || !shelf.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(shelf.path())? {
                let file = file?;
                match file.file_name().to_str() {
                    Some(name) if name.starts_with(UNFINISHED) => unlink(&file.path()),
                    Some(name) if file.path() == path_in(&self.folder, name) => {
                        self.index.insert(name.to_owned(), file.metadata()?.len());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The whole of a small file, if it is here and right.
    pub async fn read(self: &Arc<Self>, file: &FileRef) -> Option<Bytes> {
        let name = file.name();
        self.index.get(&name)?;
        let (path, wanted) = (path_in(&self.folder, &name), *file);
        let reading = spawn_blocking(move || {
            let mut bytes = Vec::with_capacity(usize::try_from(wanted.len).unwrap_or_default() + 1);
            File::open(path)?.take(wanted.len + 1).read_to_end(&mut bytes)?;
            io::Result::Ok(wanted.is(&bytes).then(|| Bytes::from(bytes)))
        });
        let read = reading.await.map_err(io::Error::other).flatten();
        self.unless_wrong(name, read)
    }

    /// Forgets a file that is gone or wrong; trouble of the moment is none of its own.
    fn unless_wrong<T>(self: &Arc<Self>, name: String, read: io::Result<Option<T>>) -> Option<T> {
        match read {
            Ok(Some(right)) => return Some(right),
            Ok(None) => self.forget(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.forget(name),
            Err(error) => tracing::warn!(%error, "the edge's disk cannot be read"),
        }
        None
    }

    /// A file, or a range of it, as a stream that is checked on its way.
    pub async fn stream(
        self: &Arc<Self>,
        file: &FileRef,
        range: Range<u64>,
    ) -> Option<impl Stream<Item = Result<Bytes, StoreError>> + use<>> {
        let name = file.name();
        self.index.get(&name)?;
        let (path, len) = (path_in(&self.folder, &name), file.len);
        let opening = spawn_blocking(move || {
            let file = File::open(path)?;
            io::Result::Ok((file.metadata()?.len() == len).then_some(file))
        });
        let opened = opening.await.map_err(io::Error::other).flatten();
        let opened = self.unless_wrong(name.clone(), opened)?;
        let opened =
            Opened { total: len, range: range.clone(), stream: chunks(opened, range.clone()).boxed() };
        let (disk, name) = (Arc::clone(self), name);
        let passage = Passage::new(format!("{name} on disk"), opened, file.digest_of(&range));
        // A wrong file is nobody's any more: the next visitor's comes from below.
        Some(checked(passage).inspect(move |piece| {
            if matches!(piece, Err(error) if error.kind == StoreErrorKind::Corrupt) {
                disk.forget(name.clone());
            }
        }))
    }

    /// Keeps a file that was checked, behind the visitor's back.
    pub fn keep(self: &Arc<Self>, file: &FileRef, bytes: &Bytes) {
        let Some(filling) = self.begin(file) else { return };
        let bytes = bytes.clone();
        spawn_blocking(move || match filling.create() {
            Ok(mut file) => {
                let written = file.write_all(&bytes);
                filling.end(&file, written);
            }
            Err(error) => tracing::warn!(%error, "the edge's disk does not take files"),
        });
    }

    /// Keeps what passes, once all of it has passed; a visitor who leaves takes it along.
    pub fn keep_stream(
        self: &Arc<Self>,
        file: &FileRef,
        passing: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
    ) -> stream::BoxStream<'static, Result<Bytes, StoreError>> {
        let Some(filling) = self.begin(file) else { return passing.boxed() };
        let Ok(new) = filling.create() else { return passing.boxed() };
        let len = file.len;
        let written = Written { filling: Some((filling, Arc::new(new))), bytes: 0 };
        let kept =
            stream::unfold((Box::pin(passing), written), move |(mut passing, mut written)| async move {
                let piece = passing.next().await?;
                match &piece {
                    Ok(bytes) => written.add(bytes, len).await,
                    Err(_) => written.filling = None,
                }
                Some((piece, (passing, written)))
            });
        kept.boxed()
    }

    fn begin(self: &Arc<Self>, file: &FileRef) -> Option<Filling> {
        let name = file.name();
        if self.index.peek(&name).is_some() {
            return None;
        }
        self.place(name, file.len)
    }

    /// The place of a file on its way: one a file, and so many bytes in all.
    fn place(self: &Arc<Self>, name: String, len: u64) -> Option<Filling> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = filling.bytes + HELD_BYTES + len;
        if bytes > self.max_filling || !filling.names.insert(name.clone()) {
            return None;
        }
        filling.bytes = bytes;
        Some(Filling { disk: Arc::clone(self), name, len })
    }

    fn forget(self: &Arc<Self>, name: String) {
        metrics::counter!("gv_edge_corrupt_total").increment(1);
        tracing::warn!(%name, "a file on the edge's disk is gone or wrong: it is read anew");
        let disk = Arc::clone(self);
        spawn_blocking(move || {
            // Who is writing it anew writes over it.
            let Some(place) = disk.place(name, 0) else { return };
            disk.index.remove(&place.name);
            unlink(&path_in(&disk.folder, &place.name));
        });
    }
}

/// A file on its way into the folder. Dropped, it leaves nothing behind.
struct Filling {
    disk: Arc<Disk>,
    name: String,
    len: u64,
}

impl Filling {
    fn unfinished(&self) -> PathBuf {
        let path = path_in(&self.disk.folder, &self.name);
        path.with_file_name(format!("{UNFINISHED}{}", self.name))
    }

    fn create(&self) -> io::Result<File> {
        let path = self.unfinished();
        if let Some(shelf) = path.parent() {
            fs::create_dir_all(shelf)?;
        }
        File::create(path)
    }

    /// Synced before it has its name: ranges of a file are not checked when they are read.
    fn end(self, file: &File, written: io::Result<()>) {
        let path = path_in(&self.disk.folder, &self.name);
        let synced = written.and_then(|()| file.sync_data());
        match synced.and_then(|()| fs::rename(self.unfinished(), path)) {
            Ok(()) => self.disk.index.insert(self.name.clone(), self.len),
            Err(error) => tracing::warn!(%error, "the edge's disk does not take files"),
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        unlink(&self.unfinished());
        let mut filling = self.disk.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.names.remove(&self.name);
        filling.bytes -= HELD_BYTES + self.len;
    }
}

struct Written {
    /// `None`: it is whole, or will never be.
    filling: Option<(Filling, Arc<File>)>,
    bytes: u64,
}

impl Written {
    async fn add(&mut self, bytes: &Bytes, len: u64) {
        let Some((filling, file)) = self.filling.take() else { return };
        let (at, piece) = (self.bytes, bytes.clone());
        self.bytes += piece.len() as u64;
        let is_whole = self.bytes >= len;
        let writing = spawn_blocking(move || match file.write_all_at(&piece, at) {
            Ok(()) if is_whole => {
                filling.end(&file, Ok(()));
                None
            }
            Ok(()) => Some((filling, file)),
            Err(error) => {
                filling.end(&file, Err(error));
                None
            }
        });
        self.filling = writing.await.ok().flatten();
    }
}

fn chunks(file: File, range: Range<u64>) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold((Arc::new(file), range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let (from, len) = (Arc::clone(&file), (range.end - range.start).min(CHUNK as u64) as usize);
        let start = range.start;
        let reading = spawn_blocking(move || {
            let mut chunk = vec![0; len];
            from.read_exact_at(&mut chunk, start).map(|()| Bytes::from(chunk))
        });
        let read = reading.await.map_err(io::Error::other).flatten();
        let chunk =
            read.map_err(|error| StoreError::new(StoreErrorKind::Unavailable, "reading the disk", error))?;
        Ok(Some((chunk, (file, start + len as u64..range.end))))
    })
}

/// Spread over 256 folders or so, by the last characters of the name before its suffix.
fn path_in(folder: &Path, name: &str) -> PathBuf {
    let stem = name.split('.').next().unwrap_or(name);
    let shelf = stem.get(stem.len().saturating_sub(2)..).unwrap_or("xx");
    folder.join(shelf).join(name)
}

fn unlink(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a file on the edge's disk cannot be removed");
        }
        _ => {}
    }
}
