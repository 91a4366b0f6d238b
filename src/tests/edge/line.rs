//! The line between an edge and its storage: counts what is read, and can be cut or frozen, as
//! networks are. What is on its other end is a real storage.

use async_trait::async_trait;
use bytes::Bytes;
use gv::adapters::blobs::filesystem::FilesystemBlobs;
use gv::ports::blobs::{Blobs, Body, Key, Object, Opened, Tag};
use gv::ports::error::{StoreError, StoreErrorKind};
use std::ops::Range;
use std::sync::Mutex;
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Whole,
    /// Every read fails at once.
    Cut,
    /// Every read waits until the state changes.
    Frozen,
}

pub struct Line {
    storage: FilesystemBlobs,
    read: Mutex<Vec<String>>,
    state: watch::Sender<State>,
}

impl Line {
    pub fn to(storage: FilesystemBlobs) -> Self {
        Self { storage, read: Mutex::default(), state: watch::Sender::new(State::Whole) }
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// How many objects were read whose keys begin so.
    pub fn reads(&self, prefix: &str) -> usize {
        self.read.lock().unwrap().iter().filter(|key| key.starts_with(prefix)).count()
    }

    async fn pass(&self, key: &Key) -> Result<(), StoreError> {
        self.read.lock().unwrap().push(key.to_string());
        let mut state = self.state.subscribe();
        match *state.wait_for(|state| *state != State::Frozen).await.unwrap() {
            State::Cut => Err(StoreError::new(StoreErrorKind::Unavailable, "reading", "the line is cut")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Blobs for Line {
    async fn get(&self, key: &Key, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        self.pass(key).await?;
        self.storage.get(key, max_bytes).await
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Opened>, StoreError> {
        self.pass(key).await?;
        self.storage.open(key, range).await
    }

    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError> {
        self.storage.put(key, body).await
    }

    async fn put_all(&self, objects: Vec<(Key, Body)>) -> Result<(), StoreError> {
        self.storage.put_all(objects).await
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<bool, StoreError> {
        self.storage.put_new(key, bytes).await
    }

    async fn replace(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, StoreError> {
        self.storage.replace(key, bytes, expected).await
    }

    async fn missing(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        self.storage.missing(keys).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.storage.delete(key).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.storage.ping().await
    }

    fn is_shared(&self) -> bool {
        self.storage.is_shared()
    }
}
