//! What lies below an edge's own memory: the shared cache, then object storage. Each call is
//! bounded in time here, so that a slow backend costs a visitor little.
//!
//! A cache that is down, slow or wrong is a miss, never an error. Start with [`Layers`].

use crate::domain::host::Pointer;
use crate::edge::EdgePorts;
use crate::ports::blobs::{Blobs, Key, Opened};
use crate::ports::cache::Cache;
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// How long the cache may take: longer, and asking storage would have been better.
const CACHE_DEADLINE: Duration = Duration::from_millis(100);
/// How long one try at storage may take, besides what its bytes take at least.
const STORAGE_DEADLINE: Duration = Duration::from_secs(4);
const STORAGE_TRIES: u32 = 2;
/// Bytes a second: a line that carries less is no line to a storage.
const LEAST_RATE: u64 = 1 << 20;
const STORAGE_PAUSE: Duration = Duration::from_millis(100);
/// How long the cache holds what never changes.
const CACHE_LIFETIME: Duration = Duration::from_secs(3600);

/// Which layer an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    Memory,
    /// Memory again, past its lifetime, since nobody could be asked for news.
    Stale,
    Disk,
    Cache,
    Storage,
}

impl Layer {
    pub const ALL: [Self; 5] = [Self::Memory, Self::Stale, Self::Disk, Self::Cache, Self::Storage];

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Stale => "stale",
            Self::Disk => "disk",
            Self::Cache => "cache",
            Self::Storage => "storage",
        }
    }
}

/// Why there is no answer. The cause has been logged where it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// May work later.
    Unavailable,
    /// What is stored is not what was published.
    Broken,
}

#[derive(Clone)]
pub struct Layers {
    pub cache: Arc<dyn Cache>,
    blobs: Arc<dyn Blobs>,
    runtime: Handle,
}

impl Layers {
    pub fn new(ports: &EdgePorts, runtime: Handle) -> Self {
        Self { cache: Arc::clone(&ports.cache), blobs: Arc::clone(&ports.blobs), runtime }
    }

    pub async fn cached(&self, key: &str) -> Option<Bytes> {
        in_time(self.cache.get(key)).await?
    }

    /// Puts into the cache what never changes, behind the visitor's back.
    pub fn keep(&self, key: String, bytes: Bytes) {
        let cache = Arc::clone(&self.cache);
        self.runtime.spawn(async move { in_time(cache.put(&key, bytes, CACHE_LIFETIME)).await });
    }

    /// Puts what was read of a host into the cache, behind the visitor's back too: a cache that is
    /// silent costs its deadline.
    pub fn keep_pointer(&self, pointer: Pointer, lifetime: Duration) {
        let cache = Arc::clone(&self.cache);
        self.runtime.spawn(async move { in_time(cache.put_pointer(&pointer, lifetime)).await });
    }

    /// Takes a wrong thing out of the cache.
    pub async fn drop_cached(&self, key: &str) {
        in_time(self.cache.remove(key)).await;
    }

    /// The whole of a small object, of which so many bytes are expected at most.
    pub async fn read(&self, key: &Key, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let limit = STORAGE_DEADLINE + carrying(max_bytes);
        let object = self.tried(key, limit, || self.blobs.get(key, max_bytes)).await?;
        Ok(object.map(|object| object.bytes))
    }

    /// A large object, or a range of it.
    pub async fn open(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Opened>, StoreError> {
        self.tried(key, STORAGE_DEADLINE, || self.blobs.open(key, range.clone())).await
    }

    async fn tried<T, F>(&self, key: &Key, limit: Duration, ask: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut tries = 1;
        loop {
            metrics::counter!("gv_edge_storage_reads_total").increment(1);
            let answer = timeout(limit, ask()).await.unwrap_or_else(|elapsed| {
                Err(StoreError::new(StoreErrorKind::Unavailable, format!("reading {key}"), elapsed))
            });
            match answer {
                Err(error) if error.kind == StoreErrorKind::Unavailable && tries < STORAGE_TRIES => {
                    tries += 1;
                    sleep(STORAGE_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// How long so many bytes may take on their way.
pub fn carrying(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / LEAST_RATE)
}

/// The cache's answer, if it gives one in time.
pub async fn in_time<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(CACHE_DEADLINE, asked).await {
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(error)) => tracing::debug!(%error, "the cache does not answer"),
        Err(_) => tracing::debug!("the cache is too slow"),
    }
    metrics::counter!("gv_edge_cache_failures_total").increment(1);
    None
}

/// Logs a failed read of storage and says what it means to a visitor.
pub fn failed(error: &StoreError) -> Failure {
    match error.kind {
        StoreErrorKind::Unavailable => {
            tracing::warn!(%error, "storage does not answer");
            Failure::Unavailable
        }
        _ => broken(error),
    }
}

/// Logs that something stored is not what was published.
pub fn broken(what: &dyn std::fmt::Display) -> Failure {
    metrics::counter!("gv_edge_corrupt_total").increment(1);
    tracing::error!(error = %what, "what is stored is not what was published: deploy the site again");
    Failure::Broken
}
