//! What the adapters on Redis do when it is absent, killed, frozen, slow, full or emptied, and what
//! they make of what others left there. Each test has a server of its own.

use crate::support::fault_proxy::{FaultProxy, Mode};
use crate::support::redis::RedisServer;
use futures_util::future::{join, join_all};
use gv::adapters::cache::redis::Redis;
use gv::domain::deployment::StepName;
use gv::domain::host::{HostKind, Hostname, Pointer};
use gv::domain::id::DeploymentId;
use gv::domain::log::{LogLine, LogStream};
use gv::ports::cache::Cache;
use gv::ports::error::{StoreError, StoreErrorKind};
use gv::ports::live_logs::{Appended, LiveLogs};
use gv::ports::notices::{Heard, Notice, Notices, Subscription};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::time::timeout;

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What costs no waiting for a server; a busy machine may still take its time.
const AT_ONCE: Duration = Duration::from_millis(50);
const CAP: u64 = 1 << 20;

fn id() -> DeploymentId {
    DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())
}

fn cancel() -> Notice {
    Notice::CancelRequested { deployment: id() }
}

fn pointer(version: i64) -> Pointer {
    let host = Hostname::parse("blog.example.com").unwrap();
    Pointer {
        version,
        host,
        kind: HostKind::Production,
        target: None,
        earlier: Vec::new(),
        trace: None,
        published_at: None,
    }
}

fn lines(seqs: impl IntoIterator<Item = u64>) -> Vec<LogLine> {
    let (time, stream, step) = (OffsetDateTime::UNIX_EPOCH, LogStream::Stdout, StepName::Build);
    let line = |seq| LogLine { seq, time, stream, step, text: format!("line {seq}") };
    seqs.into_iter().map(line).collect()
}

fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(error) if error.kind == StoreErrorKind::Unavailable)
}

fn is_corrupt<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(error) if error.kind == StoreErrorKind::Corrupt)
}

async fn until(mut question: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !question().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("it comes about");
}

async fn until_it_answers(cache: &dyn Cache) {
    until(async || cache.put("key", "value".into(), MINUTE).await.is_ok()).await;
    until(async || cache.get("key").await.is_ok_and(|held| held.is_some())).await;
}

async fn next(listener: &mut dyn Subscription) -> Heard {
    timeout(PATIENCE, listener.next()).await.expect("something is heard")
}

/// A subscription for certain: the gap of its beginning is past.
async fn listening(notices: &dyn Notices) -> Box<dyn Subscription> {
    let mut listener = notices.subscribe().await.unwrap();
    let sign = cancel();
    until(async || notices.publish(&sign).await.is_ok()).await;
    while next(&mut *listener).await != Heard::Notice(sign.clone()) {}
    listener
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_costs_nothing_and_is_used_when_it_comes() {
    let mut server = RedisServer::absent();
    let redis = Redis::connect(&server.url()).unwrap();
    let (cache, notices, logs) = (redis.cache(), redis.notices(), redis.live_logs(CAP));
    until(async || is_unavailable(&cache.ping().await)).await;
    let began = Instant::now();
    for _ in 0..100 {
        assert!(is_unavailable(&cache.get("key").await));
        assert!(is_unavailable(&cache.put_pointer(&pointer(1), MINUTE).await));
    }
    assert!(is_unavailable(&notices.publish(&cancel()).await));
    assert!(is_unavailable(&logs.append(id(), 0, &lines([1])).await));
    assert!(is_unavailable(&logs.wait(id(), 0, MINUTE).await));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mut listener = notices.subscribe().await.unwrap();
    server.run();
    until_it_answers(&cache).await;
    assert_eq!(next(&mut *listener).await, Heard::Gap);
    let notice = cancel();
    notices.publish(&notice).await.unwrap();
    assert_eq!(next(&mut *listener).await, Heard::Notice(notice));
    assert_eq!(logs.append(id(), 0, &lines([1])).await.unwrap(), Appended::Held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_each_lost_connection_listeners_hear_of_a_gap_and_all_goes_on() {
    let mut server = RedisServer::start();
    let redis = Redis::connect(&server.url()).unwrap();
    let (cache, notices) = (redis.cache(), redis.notices());
    let mut listener = listening(&notices).await;
    for _ in 0..2 {
        server.kill();
        until(async || is_unavailable(&cache.get("key").await)).await;
        server.run();
        assert_eq!(next(&mut *listener).await, Heard::Gap);
        until_it_answers(&cache).await;
        let notice = cancel();
        notices.publish(&notice).await.unwrap();
        assert_eq!(next(&mut *listener).await, Heard::Notice(notice));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_costs_a_few_deadlines_and_then_nothing_until_it_thaws() {
    let server = RedisServer::start();
    let redis = Redis::connect(&server.url()).unwrap();
    let (cache, notices, logs) = (redis.cache(), redis.notices(), redis.live_logs(CAP));
    let mut listener = listening(&notices).await;
    until_it_answers(&cache).await;
    server.freeze();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(is_unavailable(&cache.get("key").await));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // Counting goes on, and a thousand at once wait no longer than one.
    let counts = join_all((0..1000).map(|_| cache.count("knocks", MINUTE))).await;
    assert_eq!(counts.last().unwrap().as_ref().unwrap().events, 1000);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // A connection that is silent is given up, and then live logs cost nothing either.
    let mut asked = Duration::MAX;
    until(async || {
        let began = Instant::now();
        let failed = is_unavailable(&logs.append(id(), 0, &lines([1])).await);
        asked = began.elapsed();
        failed && asked < AT_ONCE
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    server.thaw();
    assert_eq!(next(&mut *listener).await, Heard::Gap, "the listening connection was silent too");
    until_it_answers(&cache).await;
    assert_eq!(logs.append(id(), 0, &lines([1])).await.unwrap(), Appended::Held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_left_alone_by_the_cache_and_still_carries_logs() {
    let server = RedisServer::start();
    let way = FaultProxy::start(format!("127.0.0.1:{}", server.port()));
    // In each direction.
    way.set(Mode::Slow(Duration::from_millis(125)));
    let redis = Redis::connect(&format!("redis://{}/0", way.address())).unwrap();
    let (cache, logs) = (redis.cache(), redis.live_logs(CAP));
    until(async || cache.ping().await.is_ok()).await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(is_unavailable(&cache.get("key").await));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let id = id();
    assert_eq!(logs.append(id, 0, &lines([1, 2])).await.unwrap(), Appended::Held);
    assert_eq!(logs.read(id, 1, 10).await.unwrap(), lines([2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_what_is_new_and_gives_what_it_has() {
    let server = RedisServer::start();
    let redis = Redis::connect(&server.url()).unwrap();
    let (cache, notices, logs) = (redis.cache(), redis.notices(), redis.live_logs(CAP));
    let mut listener = listening(&notices).await;
    let id = id();
    until_it_answers(&cache).await;
    logs.append(id, 0, &lines([1])).await.unwrap();
    server.fill();
    for _ in 0..20 {
        assert!(is_unavailable(&cache.put("other", "value".into(), MINUTE).await));
        assert!(is_unavailable(&cache.put_pointer(&pointer(1), MINUTE).await));
        assert!(is_unavailable(&logs.append(id, 1, &lines([2])).await));
    }
    assert_eq!(cache.get("key").await.unwrap().unwrap(), "value", "it is not left alone");
    assert_eq!(logs.read(id, 0, 10).await.unwrap(), lines([1]));
    assert_eq!(cache.count("knocks", MINUTE).await.unwrap().events, 1);
    assert_eq!(cache.count("knocks", MINUTE).await.unwrap().events, 2);
    let notice = cancel();
    notices.publish(&notice).await.unwrap();
    assert_eq!(next(&mut *listener).await, Heard::Notice(notice));
    server.make_room();
    cache.put("other", "value".into(), MINUTE).await.unwrap();
    assert_eq!(logs.append(id, 1, &lines([2])).await.unwrap(), Appended::Held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_says_that_lines_are_missing_and_forgets_no_expiry() {
    let server = RedisServer::start();
    let redis = Redis::connect(&server.url()).unwrap();
    let (cache, logs) = (redis.cache(), redis.live_logs(CAP));
    let id = id();
    logs.append(id, 0, &lines([1, 2])).await.unwrap();
    cache.count("knocks", MINUTE).await.unwrap();
    server.empty();
    assert_eq!(logs.append(id, 2, &lines([3])).await.unwrap(), Appended::Missing);
    assert_eq!(logs.append(id, 0, &lines([1, 2, 3])).await.unwrap(), Appended::Held);
    assert_eq!(logs.read(id, 0, 10).await.unwrap(), lines([1, 2, 3]));
    assert_eq!(cache.count("knocks", MINUTE).await.unwrap().events, 1);
    // Nothing that gv leaves there stays for ever, nor does what somebody else began.
    cache.put("key", "value".into(), Duration::MAX).await.unwrap();
    cache.put_pointer(&pointer(1), Duration::MAX).await.unwrap();
    logs.close(DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())).await.unwrap();
    server.command(&["SET", "gv:count:eternal", "41"]);
    assert_eq!(cache.count("eternal", MINUTE).await.unwrap().events, 42);
    let keys = server.command(&["KEYS", "gv:*"]);
    let keys: Vec<&str> = keys.lines().filter(|line| line.starts_with("gv:")).collect();
    assert_eq!(keys.len(), 6, "{keys:?}");
    for key in keys {
        let left = server.command(&["PTTL", key]);
        assert!(left.starts_with(':') && !left.starts_with(":-"), "{key} has {left}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_left_there_is_no_answer_and_gives_way() {
    let server = RedisServer::start();
    let redis = Redis::connect(&server.url()).unwrap();
    let (cache, notices, logs) = (redis.cache(), redis.notices(), redis.live_logs(CAP));
    let (host, log) = (pointer(1).host, id());
    let other = r#"7 {"version":7,"host":"other.example.com","kind":"production","target":null}"#;
    let lied = r#"8 {"version":7,"host":"blog.example.com","kind":"production","target":null}"#;
    for wrong in ["", "nothing", "1 {", "x {}", other, lied] {
        server.command(&["SET", "gv:pointer:blog.example.com", wrong]);
        assert!(is_corrupt(&cache.pointer(&host).await), "{wrong}");
    }
    server.command(&["SET", "gv:pointer:blog.example.com", "nothing"]);
    cache.put_pointer(&pointer(1), MINUTE).await.unwrap();
    assert_eq!(cache.pointer(&host).await.unwrap(), Some(pointer(1)));
    server.command(&["RPUSH", "gv:hot:key", "a", "b"]);
    assert!(is_corrupt(&cache.get("key").await));
    cache.put("key", "value".into(), MINUTE).await.unwrap();
    assert_eq!(cache.get("key").await.unwrap().unwrap(), "value");
    server.command(&["SET", "gv:hot:large", &"x".repeat((1 << 20) + 1)]);
    assert!(cache.get("large").await.unwrap().is_none());
    cache.put("large", vec![0; (1 << 20) + 1].into(), MINUTE).await.unwrap();
    assert!(server.command(&["EXISTS", "gv:hot:large"]).starts_with(":0"), "nor is it sent");
    server.command(&["SET", "gv:count:knocks", "many"]);
    assert_eq!(cache.count("knocks", MINUTE).await.unwrap().events, 1, "counted in the process");
    let stream = format!("gv:log:{log}");
    for entry in [&["field", "value"], &["line", "{}"], &["line", "\u{7f}"]] {
        server.command(&["DEL", &stream]);
        server.command(&["XADD", &stream, "5-0", entry[0], entry[1]]);
        assert!(is_corrupt(&logs.read(log, 0, 10).await), "{entry:?}");
        assert!(logs.wait(log, 9, Duration::from_millis(50)).await.is_err(), "{entry:?}");
    }
    let mut listener = listening(&notices).await;
    for garbage in ["", "{}", "nothing", r#"{"notice":"unheard_of"}"#] {
        server.command(&["PUBLISH", "gv:notices", garbage]);
    }
    let notice = cancel();
    notices.publish(&notice).await.unwrap();
    assert_eq!(next(&mut *listener).await, Heard::Notice(notice));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_followers_share_a_handful_of_connections() {
    let server = RedisServer::start();
    let redis = Redis::connect(&server.url()).unwrap();
    let logs = redis.live_logs(CAP);
    let ids: Vec<DeploymentId> = (0..10).map(|_| id()).collect();
    let followers = join_all((0..300).map(|n| {
        let (logs, id) = (&logs, ids[n % ids.len()]);
        async move {
            while logs.read(id, 0, 1).await.unwrap().is_empty() {
                logs.wait(id, 0, MINUTE).await.unwrap();
            }
        }
    }));
    let writer = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let clients = server.command(&["CLIENT", "LIST"]);
        assert!(clients.lines().filter(|line| line.starts_with("id=")).count() < 10, "{clients}");
        for id in &ids {
            logs.append(*id, 0, &lines([1])).await.unwrap();
        }
    };
    timeout(PATIENCE, join(followers, writer)).await.expect("all are woken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_lets_in_and_a_wrong_one_is_an_outage() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "requirepass", "p@ss/word"]);
    let with = |password: &str| server.url().replace("redis://", &format!("redis://:{password}@"));
    let redis = Redis::connect(&with("p%40ss%2Fword")).unwrap();
    until_it_answers(&redis.cache()).await;
    drop(listening(&redis.notices()).await);
    let shut_out = Redis::connect(&with("other")).unwrap();
    until(async || is_unavailable(&shut_out.cache().ping().await)).await;
    assert!(!format!("{redis:?}").contains("word"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_prefixes_on_one_server_know_nothing_of_each_other() {
    let server = RedisServer::start();
    let redis = |prefix: &str| Redis::connect(&format!("{}?prefix={prefix}", server.url())).unwrap();
    let (ours, theirs) = (redis("a:"), redis("b:"));
    until_it_answers(&ours.cache()).await;
    ours.cache().put_pointer(&pointer(1), MINUTE).await.unwrap();
    assert!(theirs.cache().get("key").await.unwrap().is_none());
    assert!(theirs.cache().pointer(&pointer(1).host).await.unwrap().is_none());
    let mut listener = listening(&theirs.notices()).await;
    ours.notices().publish(&cancel()).await.unwrap();
    let notice = cancel();
    theirs.notices().publish(&notice).await.unwrap();
    assert_eq!(next(&mut *listener).await, Heard::Notice(notice));
}
