//! The bytes of a file: the sixth step of a request.
//!
//! Small files are held in memory, bounded by bytes; large ones are streamed from storage and
//! never held whole. Whatever comes from outside is checked against its digest before a visitor
//! gets the end of it. Start with [`Files::small`] and [`Files::large`].

use crate::domain::digest::{Digest, Digester};
use crate::domain::id::UserId;
use crate::domain::manifest::FileEntry;
use crate::edge::flights::Flights;
use crate::edge::layers::{Failure, Layer, Layers, broken, carrying, failed};
use crate::ports::blobs::{Key, Opened};
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use quick_cache::sync::Cache as Memory;
use quick_cache::{OptionsBuilder, Weighter};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The largest file that memory holds, where there is room for 16 of them.
const MAX_SMALL_BYTES: u64 = 8 * 1024 * 1024;
/// Larger ones go past the shared cache.
const MAX_CACHED_BYTES: u64 = 256 * 1024;
/// What a held file costs beside its bytes.
const HELD_BYTES: u64 = 256;
/// Files of this many bytes are digested off the runtime.
const LONG_DIGEST_BYTES: usize = 256 * 1024;
/// A visitor waits no longer for a small file, besides what its bytes take, however many want one.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);
/// A stream of storage that gives nothing for so long is dead.
const STALL: Duration = Duration::from_secs(30);

/// An account's own content: equal bytes of two accounts are two files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileKey {
    account: UserId,
    digest: Digest,
}

type Loaded = Result<(Bytes, Layer), Failure>;

pub struct Files {
    shelf: Arc<Shelf>,
    flights: Flights<FileKey, Loaded>,
    max_small_bytes: u64,
}

struct Shelf {
    memory: Memory<FileKey, Bytes, ByLength>,
    layers: Layers,
    /// Room for what is being loaded, in KiB.
    loading: Semaphore,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<FileKey, Bytes> for ByLength {
    fn weight(&self, _: &FileKey, bytes: &Bytes) -> u64 {
        HELD_BYTES + bytes.len() as u64
    }
}

impl Files {
    /// Holds files of `max_bytes` in all.
    pub fn new(layers: Layers, max_bytes: u64, runtime: Handle) -> anyhow::Result<Self> {
        let max_small_bytes = MAX_SMALL_BYTES.min(max_bytes / 16);
        let options = OptionsBuilder::new()
            // Each shard has its share of the room: 4 leave place for several of the largest.
            .shards(4)
            .estimated_items_capacity(10_000)
            .weight_capacity(max_bytes)
            .build()?;
        let memory = Memory::with_options(options, ByLength, Default::default(), Default::default());
        let loading = usize::try_from((max_bytes / 4).max(max_small_bytes) / 1024 + 1)?;
        let loading = Semaphore::new(loading.min(Semaphore::MAX_PERMITS));
        let shelf = Arc::new(Shelf { memory, layers, loading });
        Ok(Self { shelf, flights: Flights::new(runtime), max_small_bytes })
    }

    pub fn is_small(&self, entry: &FileEntry<'_>) -> bool {
        entry.size <= self.max_small_bytes
    }

    /// The whole of a file that [`is_small`](Self::is_small).
    pub async fn small(&self, account: UserId, entry: &FileEntry<'_>) -> Loaded {
        let key = FileKey { account, digest: entry.digest };
        if let Some(bytes) = self.shelf.memory.get(&key) {
            return Ok((bytes, Layer::Memory));
        }
        let size = entry.size;
        let flight = self.flights.join(&key, || {
            let shelf = Arc::clone(&self.shelf);
            async move {
                timeout(LOAD_DEADLINE + carrying(size), shelf.load(key, size)).await.unwrap_or_else(|_| {
                    tracing::warn!("{} took too long to load", key.digest);
                    Err(Failure::Unavailable)
                })
            }
        });
        if flight.is_shared {
            metrics::counter!("gv_edge_coalesced_total").increment(1);
        }
        flight.landed().await.unwrap_or(Err(Failure::Unavailable))
    }

    /// A file, or a range of it, as it comes from storage. A stream that ends early or turns out
    /// wrong gives an error in place of its end.
    pub async fn large(
        &self,
        account: UserId,
        entry: &FileEntry<'_>,
        range: Option<Range<u64>>,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, Failure> {
        let key = Key::blob(account, &entry.digest);
        let wanted = range.clone().unwrap_or(0..entry.size);
        let opened = match self.shelf.layers.open(&key, range.clone()).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(broken(&format!("{key} is not there"))),
            Err(error) => return Err(failed(&error)),
        };
        if opened.total != entry.size || opened.range != wanted {
            return Err(broken(&format!("{key} has {} bytes instead of {}", opened.total, entry.size)));
        }
        // A part cannot be digested; a file of one part is the whole.
        let digest = (wanted == (0..entry.size)).then_some(entry.digest);
        Ok(checked(key, opened, digest))
    }
}

impl Shelf {
    async fn load(&self, key: FileKey, size: u64) -> Loaded {
        if let Some(bytes) = self.memory.get(&key) {
            return Ok((bytes, Layer::Memory));
        }
        let room = u32::try_from(size.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let _room = self.loading.acquire_many(room).await.map_err(|_| Failure::Unavailable)?;
        let cache_key = format!("file:{}:{}", key.account, key.digest);
        let is_cached = size <= MAX_CACHED_BYTES;
        if is_cached && let Some(bytes) = self.layers.cached(&cache_key).await {
            if digest_of(&bytes).await == Some(key.digest) {
                return Ok((self.hold(key, &bytes), Layer::Cache));
            }
            broken(&format!("{cache_key} in the cache has another digest"));
            self.layers.drop_cached(&cache_key).await;
        }
        let blob = Key::blob(key.account, &key.digest);
        let bytes = match self.layers.read(&blob, size).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(broken(&format!("{blob} is not there"))),
            Err(error) => return Err(failed(&error)),
        };
        if bytes.len() as u64 != size || digest_of(&bytes).await != Some(key.digest) {
            return Err(broken(&format!("{blob} has another digest or length")));
        }
        let bytes = self.hold(key, &bytes);
        if is_cached {
            self.layers.keep(cache_key, bytes.clone());
        }
        Ok((bytes, Layer::Storage))
    }

    /// Holds a copy: what an adapter gives may be a slice of something larger, which the weight
    /// would not count.
    fn hold(&self, key: FileKey, bytes: &Bytes) -> Bytes {
        let bytes = Bytes::copy_from_slice(bytes);
        self.memory.insert(key, bytes.clone());
        bytes
    }
}

async fn digest_of(bytes: &Bytes) -> Option<Digest> {
    if bytes.len() < LONG_DIGEST_BYTES {
        return Some(Digest::of(bytes));
    }
    let bytes = bytes.clone();
    tokio::task::spawn_blocking(move || Digest::of(&bytes)).await.ok()
}

/// A stream under way. One piece is always kept back: a visitor gets the last one only when the
/// whole was right, so that a wrong file is never a complete answer.
struct Passage {
    key: Key,
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    /// Bytes still to come.
    left: u64,
    kept: Option<Bytes>,
    digest: Option<(Digester, Digest)>,
}

fn checked(
    key: Key,
    opened: Opened,
    digest: Option<Digest>,
) -> impl Stream<Item = Result<Bytes, StoreError>> + use<> {
    let passage = Passage {
        key,
        left: opened.range.end - opened.range.start,
        stream: opened.stream,
        kept: None,
        digest: digest.map(|digest| (Digester::default(), digest)),
    };
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
    /// The next piece; `None` at an end that is right.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let wrong = |what: &str| {
            let what = format!("{} {what}", self.key);
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
            Ok(None) => match self.digest.take().map(|(digester, digest)| digester.finish() == digest) {
                Some(false) => Err(wrong("has another digest")),
                _ => Ok(None),
            },
            Err(stalled) => {
                let kind = StoreErrorKind::Unavailable;
                let error = StoreError::new(kind, format!("reading {}", self.key), stalled);
                failed(&error);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed(pieces: &[&'static str], len: u64, digest: Option<Digest>) -> (String, bool) {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        let opened = Opened { total: len, range: 0..len, stream: stream::iter(pieces).boxed() };
        let account = UserId::new(time::OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        let key = Key::blob(account, &Digest::of(b""));
        let mut given = String::new();
        let mut whole = true;
        let mut stream = std::pin::pin!(checked(key, opened, digest));
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
