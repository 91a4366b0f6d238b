//! The cache of a process that shares it with no other: bounded memory, nothing else.
//!
//! What is over is dropped when it is looked at, or when its room is needed. Start with
//! [`LocalCache::new`].

use crate::domain::host::{Hostname, Pointer};
use crate::ports::cache::{Cache, Count, Room, Server};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Parts at most, each with a lock of its own and an equal share of the room.
const PARTS: usize = 8;
/// Of an entry besides its key and bytes, roughly.
const OVERHEAD_BYTES: u64 = 128;
/// For [`OptionsBuilder::estimated_items_capacity`], where an order of magnitude is enough.
const USUAL_BYTES: u64 = 16 * 1024;
const MAX_POINTERS: usize = 50_000;
/// Room for some hundred thousand counters: strangers choose their keys.
const COUNTERS_BYTES: u64 = 32 * 1024 * 1024;

pub struct LocalCache {
    max_bytes: u64,
    hot: sync::Cache<String, Held<Bytes>, ByBytes>,
    pointers: sync::Cache<Hostname, Held<Pointer>>,
    /// Held while a pointer is compared with the one before it.
    moving: Mutex<()>,
    counters: sync::Cache<String, Arc<Mutex<Window>>, ByBytes>,
}

/// A value until it is over; `None`: further away than clocks reach.
#[derive(Clone)]
struct Held<T> {
    value: T,
    until: Option<Instant>,
}

struct Window {
    events: u64,
    over: Option<Instant>,
}

#[derive(Clone)]
struct ByBytes;

impl LocalCache {
    /// Holds at most `max_bytes` of hot bytes, and nothing that alone takes more than an eighth.
    ///
    /// Bytes are held as they are given: a small piece of a large buffer keeps the whole buffer.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            hot: by_bytes(max_bytes, USUAL_BYTES),
            pointers: sync::Cache::new(MAX_POINTERS),
            moving: Mutex::new(()),
            counters: by_bytes(COUNTERS_BYTES, 2 * OVERHEAD_BYTES),
        }
    }
}

fn by_bytes<V>(max_bytes: u64, usual_bytes: u64) -> sync::Cache<String, V, ByBytes>
where
    V: Clone,
    ByBytes: Weighter<String, V>,
{
    let items = usize::try_from(max_bytes / usual_bytes).unwrap_or(usize::MAX).max(PARTS);
    let mut options = OptionsBuilder::new();
    options.shards(PARTS).weight_capacity(max_bytes).estimated_items_capacity(items);
    // What is new gets a fifth of the room: with the usual thirtieth a large file would never stay.
    options.hot_allocation(0.8);
    #[expect(clippy::expect_used, reason = "it fails only without the two capacities, which are given")]
    let options = options.build().expect("both capacities are given");
    sync::Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), Default::default())
}

#[async_trait]
impl Cache for LocalCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(current(&self.hot, key))
    }

    async fn put(&self, key: &str, bytes: Bytes, lifetime: Duration) -> Result<(), StoreError> {
        let (key, held) = (key.to_owned(), Held::during(bytes, lifetime));
        if ByBytes.weight(&key, &held) > self.max_bytes / PARTS as u64 {
            // Nor may what was there before go on answering in its place.
            self.hot.remove(&key);
        } else {
            self.hot.insert(key, held);
        }
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.hot.remove(key);
        Ok(())
    }

    async fn pointer(&self, host: &Hostname) -> Result<Option<Pointer>, StoreError> {
        Ok(current(&self.pointers, host))
    }

    async fn put_pointer(&self, pointer: &Pointer, lifetime: Duration) -> Result<(), StoreError> {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let held = current(&self.pointers, &pointer.host);
        if held.is_none_or(|held| held.version <= pointer.version) {
            self.pointers.insert(pointer.host.clone(), Held::during(pointer.clone(), lifetime));
        }
        Ok(())
    }

    async fn count(&self, key: &str, window: Duration) -> Result<Count, StoreError> {
        let now = Instant::now();
        let begun = || Arc::new(Mutex::new(Window { events: 0, over: now.checked_add(window) }));
        let counter = self.counters.get_or_insert_with(key, || Ok::<_, StoreError>(begun()))?;
        let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
        if counter.over.is_some_and(|over| over <= now) {
            *counter = Window { events: 0, over: now.checked_add(window) };
        }
        counter.events += 1;
        let remaining = counter.over.map_or(window, |over| over.saturating_duration_since(now));
        Ok(Count { events: counter.events, remaining })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn server(&self) -> Result<Server, StoreError> {
        let room = Some(Room::MadeAt(self.max_bytes));
        Ok(Server { name: "memory of this process".to_owned(), room })
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl<T> Held<T> {
    fn during(value: T, lifetime: Duration) -> Self {
        Self { value, until: Instant::now().checked_add(lifetime) }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

fn current<K, Q, V, W>(cache: &sync::Cache<K, Held<V>, W>, key: &Q) -> Option<V>
where
    K: Eq + Hash,
    Q: Hash + quick_cache::Equivalent<K> + ?Sized,
    V: Clone,
    W: Weighter<K, Held<V>> + Clone,
{
    let held = cache.get(key)?;
    if held.is_over() {
        // It may have been replaced meanwhile: only what is over goes.
        cache.remove_if(key, Held::is_over);
        return None;
    }
    Some(held.value)
}

impl Weighter<String, Held<Bytes>> for ByBytes {
    fn weight(&self, key: &String, held: &Held<Bytes>) -> u64 {
        key.len() as u64 + held.value.len() as u64 + OVERHEAD_BYTES
    }
}

impl Weighter<String, Arc<Mutex<Window>>> for ByBytes {
    fn weight(&self, key: &String, _: &Arc<Mutex<Window>>) -> u64 {
        key.len() as u64 + OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_whole_stays_within_its_bytes_and_what_is_too_large_is_not_held() {
        let cache = LocalCache::new(1_000_000);
        for n in 0..1000 {
            cache.put(&format!("key {n}"), vec![0; 10_000].into(), HOUR).await.unwrap();
        }
        assert!(cache.hot.weight() <= 1_000_000);
        assert!(cache.hot.len() > 50, "and the room is used");
        cache.put("large", vec![0; 200_000].into(), HOUR).await.unwrap();
        assert!(cache.get("large").await.unwrap().is_none());
        // New among full parts, it may have to prove that it is wanted more than once.
        for _ in 0..2 {
            cache.put("key", vec![0; 20_000].into(), HOUR).await.unwrap();
        }
        assert!(cache.get("key").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_grew_too_large_no_longer_answers_with_its_old_bytes() {
        let cache = LocalCache::new(1_000_000);
        cache.put("key", "old".into(), HOUR).await.unwrap();
        cache.put("key", vec![0; 500_000].into(), HOUR).await.unwrap();
        assert!(cache.get("key").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_lifetime_beyond_all_clocks_is_no_error() {
        let cache = LocalCache::new(1_000_000);
        cache.put("key", "value".into(), Duration::MAX).await.unwrap();
        assert!(cache.get("key").await.unwrap().is_some());
        assert_eq!(cache.count("key", Duration::MAX).await.unwrap().events, 1);
        assert_eq!(cache.count("key", Duration::MAX).await.unwrap().events, 2);
    }

    #[tokio::test]
    async fn a_flood_of_strange_keys_does_not_reset_a_counter_in_use() {
        let cache = LocalCache::new(1_000_000);
        let mut last = 0;
        for n in 0..300_000_u64 {
            cache.count(&format!("stranger {n}"), HOUR).await.unwrap();
            if n % 1000 == 0 {
                last = cache.count("guarded", HOUR).await.unwrap().events;
            }
        }
        assert_eq!(last, 300);
        assert!(cache.counters.weight() <= COUNTERS_BYTES);
    }
}
