//! What every cache must do, whatever it forgets. Each rule uses keys of its own.

use crate::support::redis::{RedisServer, connected};
use futures_util::future::join_all;
use gv::adapters::cache::local::LocalCache;
use gv::domain::host::{HostKind, Hostname, Pointer, PointerTarget};
use gv::domain::id::{DeploymentId, ProjectId, UserId};
use gv::ports::cache::Cache;
use std::time::Duration;
use time::OffsetDateTime;

contract!([local, redis] [
    bytes_are_held_until_they_are_removed,
    bytes_are_dropped_when_their_lifetime_is_over,
    a_pointer_is_held_under_its_host,
    an_older_pointer_never_takes_the_place_of_a_newer_one,
    of_many_pointers_at_once_the_newest_stays,
    a_pointer_is_dropped_when_its_lifetime_is_over,
    each_event_is_counted_once_under_its_key,
    a_window_is_over_in_its_time_however_many_events_come,
    ping_answers,
    it_says_what_it_is,
]);

async fn local() -> (Box<dyn Cache>, ()) {
    (Box::new(LocalCache::new(64 << 20)), ())
}

async fn redis() -> (Box<dyn Cache>, Option<RedisServer>) {
    let (redis, server) = connected().await;
    (Box::new(redis.cache()), server)
}

const MINUTE: Duration = Duration::from_secs(60);
const BRIEF: Duration = Duration::from_millis(100);

fn deployment() -> DeploymentId {
    DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())
}

fn key() -> String {
    format!("test {}", deployment())
}

fn host() -> Hostname {
    Hostname::parse(&format!("{}.test", deployment().body())).unwrap()
}

fn pointer(host: &Hostname, version: i64) -> Pointer {
    let (now, rng) = (OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
    let target = PointerTarget {
        account: UserId::new(now, rng),
        project: ProjectId::new(now, rng),
        deployment: deployment(),
    };
    Pointer {
        version,
        host: host.clone(),
        kind: HostKind::Production,
        target: Some(target),
        earlier: Vec::new(),
        trace: None,
        published_at: None,
    }
}

/// Asks until the answer is yes, for a good while.
async fn eventually(mut question: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if question().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came about");
}

async fn bytes_are_held_until_they_are_removed(cache: &dyn Cache) {
    let (first, second) = (key(), key());
    assert!(cache.get(&first).await.unwrap().is_none());
    let binary = bytes::Bytes::from_static(&[0, 255, 10, 13, 0]);
    cache.put(&first, binary.clone(), MINUTE).await.unwrap();
    cache.put(&second, "old".into(), MINUTE).await.unwrap();
    cache.put(&second, "new".into(), MINUTE).await.unwrap();
    assert_eq!(cache.get(&first).await.unwrap().unwrap(), binary);
    assert_eq!(cache.get(&second).await.unwrap().unwrap(), "new");
    cache.remove(&first).await.unwrap();
    cache.remove(&first).await.unwrap();
    assert!(cache.get(&first).await.unwrap().is_none());
    assert!(cache.get(&second).await.unwrap().is_some());
}

async fn bytes_are_dropped_when_their_lifetime_is_over(cache: &dyn Cache) {
    let (brief, lasting) = (key(), key());
    cache.put(&lasting, "lasting".into(), MINUTE).await.unwrap();
    cache.put(&brief, "brief".into(), BRIEF).await.unwrap();
    eventually(async || cache.get(&brief).await.unwrap().is_none()).await;
    assert!(cache.get(&lasting).await.unwrap().is_some());
}

async fn a_pointer_is_held_under_its_host(cache: &dyn Cache) {
    let (full, empty) = (pointer(&host(), 1), Pointer { target: None, ..pointer(&host(), 7) });
    assert!(cache.pointer(&full.host).await.unwrap().is_none());
    for pointer in [&full, &empty] {
        cache.put_pointer(pointer, MINUTE).await.unwrap();
    }
    for pointer in [full, empty] {
        assert_eq!(cache.pointer(&pointer.host).await.unwrap(), Some(pointer));
    }
}

async fn an_older_pointer_never_takes_the_place_of_a_newer_one(cache: &dyn Cache) {
    let host = host();
    let [old, new, newest] = [9, 10, 11].map(|version| pointer(&host, version));
    for (put, held) in [(&new, &new), (&old, &new), (&newest, &newest), (&new, &newest)] {
        cache.put_pointer(put, MINUTE).await.unwrap();
        assert_eq!(cache.pointer(&host).await.unwrap().as_ref(), Some(held));
    }
}

async fn of_many_pointers_at_once_the_newest_stays(cache: &dyn Cache) {
    let host = host();
    let pointers: Vec<Pointer> = (0..50).map(|n| pointer(&host, (n * 7 + 3) % 50)).collect();
    let puts = join_all(pointers.iter().map(|pointer| cache.put_pointer(pointer, MINUTE))).await;
    assert!(puts.into_iter().all(|put| put.is_ok()));
    assert_eq!(cache.pointer(&host).await.unwrap().unwrap().version, 49);
}

async fn a_pointer_is_dropped_when_its_lifetime_is_over(cache: &dyn Cache) {
    let host = host();
    cache.put_pointer(&pointer(&host, 5), BRIEF).await.unwrap();
    eventually(async || cache.pointer(&host).await.unwrap().is_none()).await;
    let older = pointer(&host, 4);
    cache.put_pointer(&older, MINUTE).await.unwrap();
    assert_eq!(cache.pointer(&host).await.unwrap(), Some(older), "what is forgotten bars nothing");
}

async fn each_event_is_counted_once_under_its_key(cache: &dyn Cache) {
    let (ours, others) = (key(), key());
    assert_eq!(cache.count(&others, MINUTE).await.unwrap().events, 1);
    let counts = join_all((0..50).map(|_| cache.count(&ours, MINUTE))).await;
    let counts: Vec<_> = counts.into_iter().map(Result::unwrap).collect();
    assert!(counts.iter().all(|count| count.remaining > Duration::ZERO && count.remaining <= MINUTE));
    let mut events: Vec<u64> = counts.iter().map(|count| count.events).collect();
    events.sort_unstable();
    assert_eq!(events, (1..=50).collect::<Vec<u64>>());
    assert_eq!(cache.count(&others, MINUTE).await.unwrap().events, 2);
}

async fn a_window_is_over_in_its_time_however_many_events_come(cache: &dyn Cache) {
    let key = key();
    cache.count(&key, Duration::from_secs(1)).await.unwrap();
    // The events go on: a window that each of them prolonged would never be over.
    eventually(async || cache.count(&key, Duration::from_secs(1)).await.unwrap().events == 1).await;
}

async fn ping_answers(cache: &dyn Cache) {
    cache.ping().await.unwrap();
}

async fn it_says_what_it_is(cache: &dyn Cache) {
    let server = cache.server().await.unwrap();
    let name = server.name;
    assert!(["memory", "Redis ", "Valkey "].iter().any(|known| name.starts_with(known)), "{name}");
    assert!(server.room.is_some(), "and what it does when it is full");
}
