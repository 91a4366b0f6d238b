//! How often storage is asked, what a moved host does, and what happens when storage fails.

use super::line::State;
use super::{Answer, HOUR, Running, noise};
use futures_util::future::join_all;
use gv::domain::host::HostKind::Production;
use gv::domain::manifest::Manifest;
use gv::ports::blobs::Key;
use gv::ports::cache::Cache;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const BLOG: &str = "blog.localhost";
/// Short enough that every request finds its pointer too old.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// Asks until the answer is as wanted; the test fails when it never is.
async fn until(edge: &Running, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..500 {
        let answer = edge.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} never becomes what it should");
}

fn blob(manifest: &Manifest, path: &str) -> Key {
    Key::blob(manifest.account, &manifest.files.get(path).unwrap().1.digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_visitors_of_a_cold_file_cost_one_read_of_each_object() {
    let edge = Running::start().await;
    let bytes = noise(1024 * 1024, 1);
    edge.publish_files(&[("file", &bytes)]).await;
    for answer in join_all((0..200).map(|_| edge.get("/file"))).await {
        assert!(answer.status == 200 && answer.body == bytes);
    }
    assert_eq!(edge.blobs.reads(""), 3, "pointer, manifest, file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_who_leaves_takes_nothing_from_the_others() {
    let edge = Running::start().await;
    edge.publish_files(&[("index.html", b"first"), ("file", b"bytes")]).await;
    edge.get("/").await;
    edge.blobs.set(State::Frozen);
    let mut first = edge.connect().await;
    first.write_all(b"GET /file HTTP/1.1\r\nHost: blog.localhost\r\n\r\n").await.unwrap();
    while edge.blobs.reads("blobs/") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(first);
    let others = join_all((0..20).map(|_| edge.get("/file")));
    let thaw = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        edge.blobs.set(State::Whole);
    };
    let (others, ()) = tokio::join!(others, thaw);
    assert!(others.iter().all(|answer| answer.status == 200 && answer.text() == "bytes"));
    assert_eq!(edge.blobs.reads("blobs/"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_costs_one_read_in_a_lifetime() {
    let edge = Running::start().await;
    for _ in 0..2 {
        for answer in join_all((0..200).map(|_| edge.host("nobody.localhost"))).await {
            assert_eq!(answer.status, 404);
            assert_eq!(answer.field("cache-control"), "no-store");
            assert!(answer.text().contains("no site here"));
        }
    }
    assert_eq!(edge.blobs.reads("hosts/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_host_shows_its_new_site_once_the_notice_is_there() {
    let edge = Running::with(64 * 1024 * 1024, HOUR).await;
    edge.publish((BLOG, 1, Production), &[("index.html", b"one")]).await;
    until(&edge, "/", |answer| answer.text() == "one").await;
    let two = edge.publish((BLOG, 2, Production), &[("index.html", b"two")]).await;
    assert_eq!(edge.get("/").await.text(), "one", "nobody told");
    edge.tell((BLOG, 2, Production), &two).await;
    until(&edge, "/", |answer| answer.text() == "two").await;
    // A notice that was overtaken changes nothing; one for an unknown host ends its absence.
    edge.tell((BLOG, 1, Production), &two).await;
    assert_eq!(edge.host("new.localhost").await.status, 404);
    let new = edge.publish(("new.localhost", 1, Production), &[("index.html", b"new")]).await;
    edge.tell(("new.localhost", 1, Production), &new).await;
    while edge.host("new.localhost").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(edge.get("/").await.text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notices_a_lifetime_ends_and_never_goes_back() {
    let edge = Running::with(64 * 1024 * 1024, AT_ONCE).await;
    let one = edge.publish((BLOG, 1, Production), &[("index.html", b"one")]).await;
    assert_eq!(edge.get("/").await.text(), "one");
    edge.publish((BLOG, 2, Production), &[("index.html", b"two")]).await;
    until(&edge, "/", |answer| answer.text() == "two").await;
    let old = super::pointer_to((BLOG, 1, Production), &one);
    edge.cache.put_pointer(&old, HOUR).await.unwrap();
    edge.store(&Key::host(&old.host), &serde_json::to_vec(&old).unwrap()).await;
    assert_eq!(edge.get("/").await.text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_reach_a_second_edge_by_the_cache() {
    let edge = Running::start().await;
    let manifest = edge.publish_files(&[("index.html", b"hi")]).await;
    let key = format!("file:{}-{}", manifest.account, manifest.files.get("index.html").unwrap().1.digest);
    assert_eq!(edge.get("/").await.status, 200);
    while edge.cache.get(&key).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_holds_wrong_bytes_is_passed_over() {
    let edge = Running::start().await;
    let manifest = edge.publish_files(&[("index.html", b"hi")]).await;
    let file = format!("file:{}-{}", manifest.account, manifest.files.get("index.html").unwrap().1.digest);
    edge.cache.put(&file, "ho".into(), HOUR).await.unwrap();
    edge.cache.put(&format!("manifest:{}", manifest.deployment), "{".into(), HOUR).await.unwrap();
    let answer = edge.get("/").await;
    assert_eq!((answer.status, answer.text()), (200, "hi"));
    assert_eq!(answer.field("cache-status"), "gv-edge; fwd=miss; detail=storage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_file_is_an_error_that_is_not_kept() {
    let edge = Running::start().await;
    let large = noise(9 * 1024 * 1024, 4);
    let files: [(&str, &[u8]); 2] = [("small", b"right"), ("large", &large)];
    let manifest = edge.publish_files(&files).await;
    let mut wrong = large.clone();
    *wrong.last_mut().unwrap() ^= 1;
    edge.store(&blob(&manifest, "small"), b"wrong").await;
    edge.store(&blob(&manifest, "large"), &wrong).await;
    let answer = edge.get("/small").await;
    assert_eq!((answer.status, answer.field("cache-control")), (500, "no-store"));
    let short = edge.get("/large").await;
    assert!(short.body.len() < large.len(), "the end is never given");
    edge.store(&blob(&manifest, "large"), &large[1..]).await;
    assert_eq!(edge.get("/large").await.status, 500, "another length is seen before the first byte");
    for (path, bytes) in files {
        edge.store(&blob(&manifest, path), bytes).await;
        let answer = edge.get(&format!("/{path}")).await;
        assert!(answer.status == 200 && answer.body == bytes, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_account_is_not_shown() {
    let edge = Running::start().await;
    let manifest = edge.publish_files(&[("index.html", b"hi")]).await;
    let other = edge.publish(("other.localhost", 1, Production), &[("index.html", b"ho")]).await;
    let foreign = Manifest { deployment: manifest.deployment, ..other };
    edge.store(&Key::manifest(manifest.deployment), &foreign.encode()).await;
    assert_eq!(edge.get("/").await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_storage_what_is_held_is_served_and_the_rest_is_asked_to_come_back() {
    let edge = Running::with(64 * 1024 * 1024, AT_ONCE).await;
    edge.publish_files(&[("index.html", b"held"), ("cold", b"cold")]).await;
    assert_eq!(edge.get("/").await.status, 200);
    for state in [State::Cut, State::Frozen] {
        edge.blobs.set(state);
        for _ in 0..3 {
            let held = edge.get("/").await;
            assert_eq!((held.status, held.text()), (200, "held"));
            assert_eq!(held.field("cache-status"), "gv-edge; hit; detail=stale");
        }
    }
    edge.blobs.set(State::Cut);
    for answer in [edge.get("/cold").await, edge.host("elsewhere.localhost").await] {
        assert_eq!((answer.status, answer.field("retry-after")), (503, "5"));
    }
    edge.blobs.set(State::Whole);
    assert_eq!(edge.get("/cold").await.text(), "cold");
    until(&edge, "/", |answer| answer.field("cache-status") != "gv-edge; hit; detail=stale").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_holds_no_more_than_its_bytes() {
    let memory_bytes = 16 * 1024 * 1024;
    let edge = Running::with(memory_bytes, HOUR).await;
    let size = 500 * 1024;
    let files: Vec<(String, Vec<u8>)> = (0..60).map(|i| (format!("f{i}"), noise(size, 100 + i))).collect();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    edge.publish_files(&named).await;
    let mut held = 0;
    for pass in 0..2 {
        for (name, bytes) in &files {
            let answer = edge.get(&format!("/{name}")).await;
            assert!(answer.status == 200 && answer.body == *bytes, "{name}");
            held += usize::from(pass == 1 && answer.field("cache-status").contains("memory"));
        }
    }
    assert!(held * size <= memory_bytes as usize * 3 / 4, "{held} files held");
    for _ in 0..3 {
        edge.get("/f0").await;
    }
    assert_eq!(edge.get("/f0").await.field("cache-status"), "gv-edge; hit; detail=memory");
}
