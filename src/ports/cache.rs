//! Fast, shared, forgetful: hot bytes, host pointers and counters. Losing all of it costs latency
//! only; every caller has a slower way to the same answer.

use crate::domain::host::{Hostname, Pointer};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

#[async_trait]
pub trait Cache: Send + Sync {
    /// Hot bytes under a key, if they are still held.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Holds bytes for at most `lifetime`, or less: the whole is bounded by bytes, and what is
    /// too large for it is not held at all.
    async fn put(&self, key: &str, bytes: Bytes, lifetime: Duration) -> Result<(), StoreError>;

    async fn remove(&self, key: &str) -> Result<(), StoreError>;

    async fn pointer(&self, host: &Hostname) -> Result<Option<Pointer>, StoreError>;

    /// Holds a pointer for `lifetime`, unless one of a higher version is held for its host.
    async fn put_pointer(&self, pointer: &Pointer, lifetime: Duration) -> Result<(), StoreError>;

    /// Counts one event under `key` and returns how many there were since the first of the
    /// present window, this one included. A window begins with its first event and lasts `window`.
    /// A shared cache that cannot be reached counts the events of this process instead: less than
    /// all of them, and better than none.
    async fn count(&self, key: &str, window: Duration) -> Result<Count, StoreError>;

    /// Answers when the cache does.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What answers, over a way of its own: the error says why nothing does.
    async fn server(&self) -> Result<Server, StoreError>;

    /// Whether other processes can use the same cache.
    fn is_shared(&self) -> bool;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Product and version, such as `Redis 7.4.1`.
    pub name: String,
    /// What it does when it is full; `None`: it does not tell.
    pub room: Option<Room>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It makes room, at so many bytes.
    MadeAt(u64),
    /// Nothing ends its growth but the machine's memory.
    Unbounded,
    /// It takes nothing more once it holds so many bytes.
    RefusedAt(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub events: u64,
    /// Until the window is over.
    pub remaining: Duration,
}
