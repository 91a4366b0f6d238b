//! A page that was opened before a deployment still loads its chunks.

use super::{Running, pointer_to};
use gv::adapters::clock::SystemClock;
use gv::domain::digest::Digest;
use gv::domain::host::Earlier;
use gv::domain::host::HostKind::Production;
use gv::domain::manifest::Manifest;
use gv::ports::blobs::Key;
use gv::ports::clock::Clock as _;
use time::Duration;

const CHUNK: &str = "assets/index-BkT7aQ2x.js";

/// Points the host at `present`, which took the place of `earlier` so long ago.
async fn replace(edge: &Running, earlier: &Manifest, present: &Manifest, ago: Duration) {
    let mut pointer = pointer_to(("blog.localhost", 9, Production), present);
    let target = pointer_to(("blog.localhost", 1, Production), earlier).target.unwrap();
    pointer.earlier = vec![Earlier { target, replaced_at: SystemClock.now() - ago }];
    edge.store(&Key::host(&pointer.host), &serde_json::to_vec(&pointer).unwrap()).await;
}

/// Another deployment of the same project.
async fn two_of(edge: &Running, first: &Manifest, files: &[(&str, &[u8])]) -> Manifest {
    let made = edge.publish(("blog.localhost", 2, Production), files).await;
    for (_, bytes) in files {
        edge.store(&Key::blob(first.account, &Digest::of(bytes)), bytes).await;
    }
    let second = Manifest { account: first.account, project: first.project, ..made };
    edge.store(&Key::manifest(second.deployment), &second.encode()).await;
    second
}

async fn two_deployments(ago: Duration) -> (Running, Manifest) {
    let edge = Running::start().await;
    let files: [(&str, &[u8]); 3] = [("index.html", b"old"), (CHUNK, b"chunk"), ("about.html", b"about")];
    let old = edge.publish(("old.localhost", 1, Production), &files).await;
    let new = two_of(&edge, &old, &[("index.html", b"new"), ("404.html", b"lost")]).await;
    replace(&edge, &old, &new, ago).await;
    (edge, old)
}

#[tokio::test(flavor = "multi_thread")]
async fn fingerprinted_files_of_an_earlier_deployment_stay_and_nothing_else_does() {
    let (edge, old) = two_deployments(Duration::hours(1)).await;
    for _ in 0..2 {
        let chunk = edge.get(&format!("/{CHUNK}")).await;
        assert_eq!((chunk.status, chunk.text()), (200, "chunk"));
        assert_eq!(chunk.field("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(chunk.field("x-gv-deployment"), old.deployment.to_string());
        assert_eq!(edge.get("/").await.text(), "new");
        for path in ["/about", "/assets/other-BkT7aQ2y.js"] {
            let lost = edge.get(path).await;
            assert_eq!((lost.status, lost.text()), (404, "lost"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_gone_when_their_time_is_over() {
    let (edge, _) = two_deployments(Duration::hours(25)).await;
    assert_eq!(edge.get(&format!("/{CHUNK}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_past_is_not_shown_and_a_failure_is_not_remembered() {
    let edge = Running::start().await;
    let files: [(&str, &[u8]); 2] = [("index.html", b"old"), (CHUNK, b"chunk")];
    let foreign = edge.publish(("old.localhost", 1, Production), &files).await;
    let new = edge.publish(("blog.localhost", 2, Production), &[("index.html", b"new")]).await;
    replace(&edge, &foreign, &new, Duration::hours(1)).await;
    assert_eq!(edge.get(&format!("/{CHUNK}")).await.status, 404);

    let (edge, old) = two_deployments(Duration::hours(1)).await;
    edge.remove(&Key::manifest(old.deployment)).await;
    for _ in 0..2 {
        assert_eq!(edge.get(&format!("/{CHUNK}")).await.status, 404);
    }
    edge.store(&Key::manifest(old.deployment), &old.encode()).await;
    while edge.get(&format!("/{CHUNK}")).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
