//! Between a consumer's task and who listens: announcements lie here until they are taken, and
//! the task sees whether anybody asks for them.
//!
//! Start with [`Listener::next`].

use crate::ports::queue::{Announcement, Announcements};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

/// Whoever listens. The task ends when it is dropped.
pub(super) struct Listener {
    pub(super) shelf: Arc<Shelf>,
    pub(super) _gone: DropGuard,
}

#[async_trait]
impl Announcements for Listener {
    async fn next(&mut self) -> Announcement {
        let _asking = Asking::begin(&self.shelf);
        loop {
            // Made before looking: what is put from here on wakes it.
            let filled = self.shelf.filled.notified();
            // Nothing is awaited once it is taken, or it could be lost.
            if let Some(announcement) = self.shelf.lock().ready.pop_front() {
                return announcement;
            }
            filled.await;
        }
    }
}

pub(super) struct Shelf {
    content: Mutex<Content>,
    filled: Notify,
    /// Somebody began to ask, or ceased to.
    turned: Notify,
}

struct Content {
    ready: VecDeque<Announcement>,
    /// Since when nobody asks; `None`: somebody does.
    idle_since: Option<Instant>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        let content = Content { ready: VecDeque::new(), idle_since: Some(Instant::now()) };
        Self { content: Mutex::new(content), filled: Notify::new(), turned: Notify::new() }
    }

    pub(super) fn put(&self, announcement: Announcement) {
        self.lock().ready.push_back(announcement);
        self.filled.notify_waiters();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Drops what lies here, and so gives it back.
    pub(super) fn clear(&self) {
        // Outside the lock, since each one tells its consumer.
        let ready = std::mem::take(&mut self.lock().ready);
        drop(ready);
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.lock().idle_since
    }

    /// Until somebody begins or ceases to ask, if that has not happened since the last call.
    pub(super) async fn turned(&self) {
        self.turned.notified().await;
    }

    fn turn(&self, idle_since: Option<Instant>) {
        self.lock().idle_since = idle_since;
        self.turned.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for the next announcement, until this is dropped.
struct Asking<'a>(&'a Shelf);

impl<'a> Asking<'a> {
    fn begin(shelf: &'a Shelf) -> Self {
        shelf.turn(None);
        Self(shelf)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.turn(Some(Instant::now()));
    }
}
