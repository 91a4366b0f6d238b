//! The bytes of a file: the sixth step of a request.
//!
//! Small files are held in memory, bounded by bytes; large ones are streamed from disk or storage
//! and never held whole. Whatever comes from outside is checked against its digest before a visitor
//! gets the end of it. Start with [`Files::small`] and [`Files::large`].

use crate::domain::coding::Coding;
use crate::domain::digest::{Digest, Digester};
use crate::domain::id::UserId;
use crate::domain::manifest::{CodedCheck, FileEntry};
use crate::edge::disk::Disk;
use crate::edge::held::{HeldFile, PageRoom};
use crate::edge::layers::{Failure, Layer, Layers, broken, carrying, failed};
use crate::flights::Flights;
use crate::ports::blobs::{Key, Opened};
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use quick_cache::sync::Cache as Memory;
use quick_cache::{OptionsBuilder, Weighter};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The largest file that memory holds, where there is room for 16 of them.
const MAX_SMALL_BYTES: u64 = 8 * 1024 * 1024;
/// Memory has parts, each with a lock of its own and its share of the room: as many as leave each of
/// them place for several of the largest files.
const SHARDS: RangeInclusive<u64> = 4..=64;
/// What a held file costs beside its bytes.
const HELD_BYTES: u64 = 256;
/// Files of this many bytes are digested off the runtime.
const LONG_DIGEST_BYTES: usize = 256 * 1024;
/// A visitor waits no longer for a small file, besides what its bytes take, however many want one.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);
/// Streams of storage that are open at the same time, each with a piece or two in memory.
const STREAMS: usize = 512;
/// How long a visitor waits for a place among them.
const STREAM_PATIENCE: Duration = Duration::from_secs(2);
/// A stream of storage that gives nothing for so long is dead.
const STALL: Duration = Duration::from_secs(30);

/// A file of an account, or one of its codings: equal bytes of two accounts are two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileRef {
    account: UserId,
    digest: Digest,
    coding: Option<(Coding, CodedCheck)>,
    /// Bytes, as they are sent.
    pub len: u64,
}

impl FileRef {
    pub fn plain(account: UserId, entry: &FileEntry<'_>) -> Self {
        Self { account, digest: entry.digest, coding: None, len: entry.size }
    }

    /// `None`: it has no such coding.
    pub fn coded(account: UserId, entry: &FileEntry<'_>, coding: Coding) -> Option<Self> {
        let coded = entry.codings.get(coding)?;
        let coding = Some((coding, coded.check));
        Some(Self { account, digest: entry.digest, coding, len: u64::from(coded.size) })
    }

    pub fn coding(&self) -> Option<Coding> {
        self.coding.map(|(coding, _)| coding)
    }

    /// Strong, with its quotes: each coding has its own (RFC 9110, 8.8.3.3).
    pub fn etag(&self) -> String {
        let mut etag = self.digest.to_string();
        etag.truncate(32);
        match &self.coding {
            None => format!("\"{etag}\""),
            // Another encoder's bytes are another representation.
            Some((coding, check)) => format!("\"{etag}-{coding}-{:.8}\"", check.to_string()),
        }
    }

    /// Whether these bytes are the file.
    pub fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.len && self.expected().is(Digest::of(bytes))
    }

    /// The digest that a range of the file must have, where it is known: that of the whole.
    pub fn digest_of(&self, range: &Range<u64>) -> Option<Expected> {
        (*range == (0..self.len)).then(|| self.expected())
    }

    fn expected(&self) -> Expected {
        self.coding.map_or(Expected::Whole(self.digest), |(_, check)| Expected::Coded(check))
    }

    /// In the shared cache and on disk: unique, and a file's name.
    pub fn name(&self) -> String {
        let Self { account, digest, .. } = self;
        match &self.coding {
            None => format!("{account}-{digest}"),
            Some((coding, check)) => format!("{account}-{digest}.{check}.{}", coding.suffix()),
        }
    }

    fn key(&self) -> Key {
        match &self.coding {
            None => Key::blob(self.account, &self.digest),
            Some((coding, check)) => Key::coded(self.account, &self.digest, check, *coding),
        }
    }
}

type Loaded = Result<(HeldFile, Layer), Failure>;

pub struct Files {
    shelf: Arc<Shelf>,
    flights: Flights<FileRef, Loaded>,
    max_small_bytes: u64,
}

struct Shelf {
    memory: Memory<FileRef, HeldFile, ByLength>,
    pages: Arc<PageRoom>,
    disk: Option<Arc<Disk>>,
    layers: Layers,
    /// Larger ones go past the shared cache, in bytes.
    max_cached_bytes: u64,
    /// Room for what is being loaded, in KiB.
    loading: Semaphore,
    streams: Arc<Semaphore>,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<FileRef, HeldFile> for ByLength {
    fn weight(&self, _: &FileRef, held: &HeldFile) -> u64 {
        HELD_BYTES + held.len()
    }
}

/// How much of files is held where.
pub struct Room {
    /// In memory, in all.
    pub memory_bytes: u64,
    /// Of one file in the shared cache.
    pub max_cached_bytes: u64,
    pub pages: Arc<PageRoom>,
}

impl Files {
    pub fn new(
        layers: Layers,
        disk: Option<Arc<Disk>>,
        room: &Room,
        runtime: Handle,
    ) -> anyhow::Result<Self> {
        let &Room { memory_bytes, max_cached_bytes, ref pages } = room;
        let max_small_bytes = MAX_SMALL_BYTES.min(memory_bytes / 16);
        let shards = (memory_bytes / (4 * MAX_SMALL_BYTES)).clamp(*SHARDS.start(), *SHARDS.end());
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards)?)
            .estimated_items_capacity(10_000)
            .weight_capacity(memory_bytes)
            .build()?;
        let memory = Memory::with_options(options, ByLength, Default::default(), Default::default());
        let loading = usize::try_from((memory_bytes / 4).max(max_small_bytes) / 1024 + 1)?;
        let loading = Semaphore::new(loading.min(Semaphore::MAX_PERMITS));
        let shelf = Shelf {
            memory,
            pages: Arc::clone(pages),
            disk,
            layers,
            max_cached_bytes,
            loading,
            streams: Arc::new(Semaphore::new(STREAMS)),
        };
        Ok(Self { shelf: Arc::new(shelf), flights: Flights::new(runtime), max_small_bytes })
    }

    /// A file that memory has.
    pub fn held(&self, file: &FileRef) -> Option<HeldFile> {
        self.shelf.memory.get(file)
    }

    pub fn is_small(&self, file: &FileRef) -> bool {
        file.len <= self.max_small_bytes
    }

    /// The whole of a file that [`is_small`](Self::is_small).
    pub async fn small(&self, file: &FileRef) -> Loaded {
        if let Some(bytes) = self.held(file) {
            return Ok((bytes, Layer::Memory));
        }
        let flight = self.flights.join(file, || {
            let (shelf, file) = (Arc::clone(&self.shelf), *file);
            async move {
                let limit = LOAD_DEADLINE + carrying(file.len);
                timeout(limit, shelf.load(file)).await.unwrap_or_else(|_| {
                    tracing::warn!("{} took too long to load", file.key());
                    Err(Failure::Unavailable)
                })
            }
        });
        if flight.is_shared {
            metrics::counter!("gv_edge_coalesced_total").increment(1);
        }
        flight.landed().await.unwrap_or(Err(Failure::Unavailable))
    }

    /// A file, or a range of it, as it comes from disk or storage. A stream that ends early or turns
    /// out wrong gives an error in place of its end.
    pub async fn large(
        &self,
        file: &FileRef,
        range: Option<Range<u64>>,
    ) -> Result<(BoxStream<'static, Result<Bytes, StoreError>>, Layer), Failure> {
        let wanted = range.clone().unwrap_or(0..file.len);
        let place = timeout(STREAM_PATIENCE, Arc::clone(&self.shelf.streams).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            tracing::warn!("too many large files are being sent at once");
            return Err(Failure::Unavailable);
        };
        let disk = self.shelf.disk.as_ref();
        if let Some(disk) = disk
            && let Some(stream) = disk.stream(file, wanted.clone()).await
        {
            return Ok((holding(place, stream), Layer::Disk));
        }
        let key = file.key();
        let opened = match self.shelf.layers.open(&key, range).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(broken(&format!("{key} is not there"))),
            Err(error) => return Err(failed(&error)),
        };
        if opened.total != file.len || opened.range != wanted {
            return Err(broken(&format!("{key} has {} bytes instead of {}", opened.total, file.len)));
        }
        let expected = file.digest_of(&wanted);
        let is_whole = expected.is_some();
        let stream = checked(Passage::new(key.to_string(), opened, expected));
        let stream = match disk {
            Some(disk) if is_whole => disk.keep_stream(file, stream),
            _ => stream.boxed(),
        };
        Ok((holding(place, stream), Layer::Storage))
    }
}

/// A stream that has its place among those that are open until it ends.
fn holding<T>(
    place: OwnedSemaphorePermit,
    stream: impl Stream<Item = T> + Send + 'static,
) -> BoxStream<'static, T> {
    stream
        .map(move |piece| {
            let _ = &place;
            piece
        })
        .boxed()
}

impl Shelf {
    async fn load(&self, file: FileRef) -> Loaded {
        if let Some(bytes) = self.memory.get(&file) {
            return Ok((bytes, Layer::Memory));
        }
        let room = u32::try_from(file.len.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let _room = self.loading.acquire_many(room).await.map_err(|_| Failure::Unavailable)?;
        if let Some(disk) = &self.disk
            && let Some(bytes) = disk.read(&file).await
        {
            return Ok((self.hold(&file, &bytes), Layer::Disk));
        }
        let cache_key = format!("file:{}", file.name());
        let is_cached = file.len <= self.max_cached_bytes;
        if is_cached && let Some(bytes) = self.layers.cached(&cache_key).await {
            if is_file(&file, &bytes).await {
                return Ok((self.hold_below(&file, &bytes), Layer::Cache));
            }
            broken(&format!("{cache_key} in the cache has another digest"));
            self.layers.drop_cached(&cache_key).await;
        }
        let key = file.key();
        let bytes = match self.layers.read(&key, file.len).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(broken(&format!("{key} is not there"))),
            Err(error) => return Err(failed(&error)),
        };
        if !is_file(&file, &bytes).await {
            return Err(broken(&format!("{key} has another digest or length")));
        }
        let held = self.hold_below(&file, &bytes);
        if is_cached {
            self.layers.keep(cache_key, bytes);
        }
        Ok((held, Layer::Storage))
    }

    /// On disk too.
    fn hold_below(&self, file: &FileRef, bytes: &Bytes) -> HeldFile {
        if let Some(disk) = &self.disk {
            disk.keep(file, bytes);
        }
        self.hold(file, bytes)
    }

    fn hold(&self, file: &FileRef, bytes: &Bytes) -> HeldFile {
        let held = HeldFile::new(bytes, &self.pages);
        self.memory.insert(*file, held.clone());
        held
    }
}

async fn is_file(file: &FileRef, bytes: &Bytes) -> bool {
    if bytes.len() < LONG_DIGEST_BYTES {
        return file.is(bytes);
    }
    let (file, bytes) = (*file, bytes.clone());
    tokio::task::spawn_blocking(move || file.is(&bytes)).await.unwrap_or(false)
}

/// A stream under way. One piece is always kept back: a visitor gets the last one only when the
/// whole was right, so that a wrong file is never a complete answer.
pub struct Passage {
    /// Whose bytes they are, for the log.
    what: String,
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    /// Bytes still to come.
    left: u64,
    kept: Option<Bytes>,
    digest: Option<(Digester, Expected)>,
}

/// What a whole stream must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Whole(Digest),
    Coded(CodedCheck),
}

pub fn checked(passage: Passage) -> impl Stream<Item = Result<Bytes, StoreError>> + use<> {
    stream::try_unfold(Some(passage), |passage| async {
        let Some(mut passage) = passage else { return Ok(None) };
        loop {
            match passage.next().await? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    if let Some(kept) = passage.kept.replace(piece) {
                        return Ok(Some((kept, Some(passage))));
                    }
                }
                None => return Ok(passage.kept.take().map(|last| (last, None))),
            }
        }
    })
}

impl Passage {
    pub fn new(what: String, opened: Opened, expected: Option<Expected>) -> Self {
        Self {
            what,
            left: opened.range.end - opened.range.start,
            stream: opened.stream,
            kept: None,
            digest: expected.map(|expected| (Digester::default(), expected)),
        }
    }

    /// The next piece; `None` at an end that is right.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let wrong = |what: &str| {
            let what = format!("{} {what}", self.what);
            broken(&what);
            StoreError { kind: StoreErrorKind::Corrupt, doing: what, source: None }
        };
        match timeout(STALL, self.stream.next()).await {
            Ok(Some(Ok(piece))) => {
                let left = self.left.checked_sub(piece.len() as u64);
                self.left = left.ok_or_else(|| wrong("is longer than it was"))?;
                if let Some((digester, _)) = &mut self.digest {
                    digester.update(&piece);
                }
                Ok(Some(piece))
            }
            Ok(Some(Err(error))) => {
                failed(&error);
                Err(error)
            }
            Ok(None) if self.left > 0 => Err(wrong("is shorter than it was")),
            Ok(None) => match self.digest.take().map(|(digester, digest)| digest.is(digester.finish())) {
                Some(false) => Err(wrong("has another digest")),
                _ => Ok(None),
            },
            Err(stalled) => {
                let kind = StoreErrorKind::Unavailable;
                let error = StoreError::new(kind, format!("reading {}", self.what), stalled);
                failed(&error);
                Err(error)
            }
        }
    }
}

impl Expected {
    fn is(&self, digest: Digest) -> bool {
        match self {
            Self::Whole(whole) => *whole == digest,
            Self::Coded(check) => CodedCheck::from(digest) == *check,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed(pieces: &[&'static str], len: u64, digest: Option<Digest>) -> (String, bool) {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        let opened = Opened { total: len, range: 0..len, stream: stream::iter(pieces).boxed() };
        let mut given = String::new();
        let mut whole = true;
        let mut stream =
            std::pin::pin!(checked(Passage::new("a file".into(), opened, digest.map(Expected::Whole))));
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => given.push_str(std::str::from_utf8(&piece).unwrap()),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        (given, whole)
    }

    #[tokio::test]
    async fn a_right_stream_passes_whole() {
        let digest = Some(Digest::of(b"abcdef"));
        assert_eq!(passed(&["ab", "", "cd", "ef"], 6, digest).await, ("abcdef".into(), true));
        assert_eq!(passed(&["abcdef"], 6, None).await, ("abcdef".into(), true));
        assert_eq!(passed(&[], 0, Some(Digest::of(b""))).await, (String::new(), true));
    }

    #[tokio::test]
    async fn a_wrong_stream_never_gives_its_end() {
        let digest = Some(Digest::of(b"abcdef"));
        assert_eq!(passed(&["ab", "cd", "xx"], 6, digest).await, ("abcd".into(), false));
        assert_eq!(passed(&["abcdeX"], 6, digest).await, (String::new(), false));
        assert_eq!(passed(&["ab", "cd"], 6, None).await, ("ab".into(), false));
        assert_eq!(passed(&["ab", "cd", "efg"], 6, None).await, ("ab".into(), false));
    }
}
