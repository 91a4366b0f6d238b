//! One load for many askers: whoever wants what is being loaded already waits for that load.
//!
//! A load is a task of its own, so a visitor who goes away takes nothing from the others, and its
//! failure is shared like its success: a dead storage is asked once, not once a visitor.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub struct Flights<K, V> {
    runtime: Handle,
    flying: Arc<Mutex<HashMap<K, Flight<V>>>>,
}

/// A load under way.
pub struct Flight<V> {
    landed: watch::Receiver<Option<V>>,
    pub since: Instant,
    /// Whether someone else had started it.
    pub is_shared: bool,
}

impl<K: Hash + Eq + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// Loads run on `runtime`, which must outlive the askers' own.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, flying: Arc::default() }
    }

    /// Joins the load of `key`, else starts `load`. That must put what it loads where askers look
    /// first, and look there itself first: another load may have landed just before this call.
    pub fn join<F>(&self, key: &K, load: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flying.get(key) {
            return Flight { landed: flight.landed.clone(), since: flight.since, is_shared: true };
        }
        let (tell, landed) = watch::channel(None);
        let since = Instant::now();
        flying.insert(key.clone(), Flight { landed: landed.clone(), since, is_shared: false });
        let runway = Runway { flying: Arc::clone(&self.flying), key: key.clone() };
        let load = load();
        self.runtime.spawn(async move {
            let value = load.await;
            drop(runway);
            tell.send_replace(Some(value));
        });
        Flight { landed, since, is_shared: false }
    }
}

impl<V: Clone> Flight<V> {
    /// `None`: the load died (the runtime is going down).
    pub async fn landed(mut self) -> Option<V> {
        self.landed.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }
}

/// Frees the key however its load ends.
struct Runway<K: Hash + Eq, V> {
    flying: Arc<Mutex<HashMap<K, Flight<V>>>>,
    key: K,
}

impl<K: Hash + Eq, V> Drop for Runway<K, V> {
    fn drop(&mut self) {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn many_askers_share_one_load_and_leaving_ends_nothing() {
        let flights = Flights::<u8, u32>::new(Handle::current());
        let loads = AtomicU32::new(0);
        let (go, gate) = oneshot::channel::<()>();
        let first = flights.join(&1, || {
            loads.fetch_add(1, Ordering::SeqCst);
            async move { gate.await.map_or(0, |()| 7) }
        });
        assert!(!first.is_shared);
        drop(first);
        let others: Vec<_> = (0..50).map(|_| flights.join(&1, || async { 8 })).collect();
        assert!(others.iter().all(|flight| flight.is_shared));
        go.send(()).unwrap();
        for flight in others {
            assert_eq!(flight.landed().await, Some(7));
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert_eq!(flights.join(&1, || async { 9 }).landed().await, Some(9), "landed, so a new one");
    }

    #[tokio::test]
    async fn a_load_that_dies_frees_its_key() {
        let flights = Flights::<u8, u32>::new(Handle::current());
        let (died, gate) = oneshot::channel::<()>();
        let first = flights.join(&1, || async move {
            let _ = gate.await;
            panic!("a defect")
        });
        drop(died);
        assert_eq!(first.landed().await, None);
        assert_eq!(flights.join(&1, || async { 2 }).landed().await, Some(2));
    }
}
