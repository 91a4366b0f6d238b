//! A bell within one process. It holds ids, each with the trace that it was rung in: what they stand for is in
//! the rows.
//!
//! An id waits once, however often it is announced. One that is out with a listener may be
//! announced again, and then comes again. Past `CAPACITY` a new announcement is dropped without
//! an error: the sweeper rings again for it, when there is room.
//!
//! Start with [`LocalQueue::new`].

use crate::domain::id::DeploymentId;
use crate::domain::trace::TraceContext;
use crate::ports::error::StoreError;
use crate::ports::queue::{Announcement, Announcements, Queue, Rehearsed, Settlement};
use async_trait::async_trait;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Announcements that wait.
const CAPACITY: usize = 10_000;
/// Before an announcement comes again: a listener that fails at once must not spin.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

pub struct LocalQueue {
    bell: Arc<Bell>,
}

type Ring = (DeploymentId, Option<TraceContext>);

struct Bell {
    waiting: Mutex<Waiting>,
    /// Rung whenever there may be more to take, or sooner.
    rung: Notify,
}

#[derive(Default)]
struct Waiting {
    order: VecDeque<Ring>,
    ids: HashSet<DeploymentId>,
    /// Those that come again, and when; always after the same delay, and thus in order.
    later: VecDeque<(Instant, Ring)>,
}

struct Listener {
    bell: Arc<Bell>,
    /// One permit for each announcement that may be out.
    places: Arc<Semaphore>,
}

impl LocalQueue {
    pub fn new() -> Self {
        Self { bell: Arc::new(Bell { waiting: Mutex::default(), rung: Notify::new() }) }
    }
}

impl Default for LocalQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Queue for LocalQueue {
    async fn announce(&self, id: DeploymentId, trace: Option<TraceContext>) -> Result<(), StoreError> {
        self.bell.waiting().add((id, trace));
        self.bell.rung.notify_waiters();
        Ok(())
    }

    /// A `prefetch` of 0 is taken for 1.
    async fn listen(&self, prefetch: u16) -> Result<Box<dyn Announcements>, StoreError> {
        let places = Arc::new(Semaphore::new(prefetch.max(1).into()));
        Ok(Box::new(Listener { bell: Arc::clone(&self.bell), places }))
    }

    /// An id waits once, however often it is announced: there is nothing to hold back.
    async fn depth(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn rehearse(&self) -> Result<Rehearsed, StoreError> {
        Ok(Rehearsed { listeners: None })
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[async_trait]
impl Announcements for Listener {
    async fn next(&mut self) -> Announcement {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            // Cannot be: nobody closes it.
            return std::future::pending().await;
        };
        loop {
            // Made before looking: what is rung for from here on wakes it.
            let rung = self.bell.rung.notified();
            let next = self.bell.waiting().take(Instant::now());
            match next {
                Next::Now(ring) => return announcement(Arc::clone(&self.bell), ring, place),
                Next::At(when) => {
                    tokio::select! {
                        () = rung => {}
                        () = tokio::time::sleep_until(when) => {}
                    }
                }
                Next::Unknown => rung.await,
            }
        }
    }
}

fn announcement(bell: Arc<Bell>, ring: Ring, place: OwnedSemaphorePermit) -> Announcement {
    Announcement::new(ring.0, ring.1, move |settlement| {
        if settlement == Settlement::Again {
            bell.waiting().postpone(ring, Instant::now() + AGAIN_AFTER);
            // Not to take it, but to wait no longer than until it comes.
            bell.rung.notify_waiters();
        }
        drop(place);
    })
}

impl Bell {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Now(Ring),
    At(Instant),
    Unknown,
}

impl Waiting {
    fn add(&mut self, ring: Ring) {
        if self.order.len() < CAPACITY && self.ids.insert(ring.0) {
            self.order.push_back(ring);
        }
    }

    fn postpone(&mut self, ring: Ring, until: Instant) {
        if self.later.len() < CAPACITY {
            self.later.push_back((until, ring));
        }
    }

    fn take(&mut self, now: Instant) -> Next {
        while let Some((_, ring)) = self.later.pop_front_if(|(when, _)| *when <= now) {
            self.add(ring);
        }
        match self.order.pop_front() {
            Some(ring) => {
                self.ids.remove(&ring.0);
                Next::Now(ring)
            }
            None => self.later.front().map_or(Next::Unknown, |(when, _)| Next::At(*when)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn id() -> Ring {
        (DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng()), None)
    }

    #[test]
    fn announcements_come_in_order_and_each_once() {
        let mut waiting = Waiting::default();
        let (first, second) = (id(), id());
        for id in [first, second, first, second] {
            waiting.add(id);
        }
        let now = Instant::now();
        assert!(matches!(waiting.take(now), Next::Now(id) if id == first));
        assert!(matches!(waiting.take(now), Next::Now(id) if id == second));
        assert!(matches!(waiting.take(now), Next::Unknown));
    }

    #[test]
    fn what_comes_again_waits_and_stands_at_the_end() {
        let mut waiting = Waiting::default();
        let (failing, other) = (id(), id());
        let now = Instant::now();
        let then = now + AGAIN_AFTER;
        waiting.postpone(failing, then);
        assert!(matches!(waiting.take(now), Next::At(when) if when == then));
        waiting.add(other);
        assert!(matches!(waiting.take(then), Next::Now(id) if id == other));
        assert!(matches!(waiting.take(then), Next::Now(id) if id == failing));
    }

    #[test]
    fn a_full_bell_stays_bounded() {
        let mut waiting = Waiting::default();
        for _ in 0..CAPACITY + 10 {
            waiting.add(id());
            waiting.postpone(id(), Instant::now());
        }
        assert_eq!(waiting.order.len(), CAPACITY);
        assert_eq!(waiting.later.len(), CAPACITY);
        assert_eq!(waiting.ids.len(), CAPACITY);
    }
}
