//! What the sweeper mends.

use super::{BLOG, PATIENCE, Process, house, request};
use gv::domain::host::Hostname;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sweeps while `work` goes on.
async fn with_sweeper<T>(gv: &Process, work: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let (app, stopped) = (Arc::clone(&gv.app), stop.clone());
    let sweeper = tokio::spawn(async move { app.sweep(stopped).await });
    let done = tokio::time::timeout(PATIENCE, work).await.expect("it should have happened by now");
    stop.cancel();
    sweeper.await.unwrap();
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_rings_in_every_process_for_what_waits() {
    let gv = house().await;
    // Its bell rings in the first process, where nobody listens.
    let waiting = gv.submit(request(BLOG)).await;
    let other = gv.another();
    let mut bell = other.app.queue.listen(1).await.unwrap();
    let heard = with_sweeper(&gv, with_sweeper(&other, bell.next())).await;
    assert_eq!(heard.deployment, waiting.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_rings_for_a_lease_that_ran_out() {
    let gv = house().await;
    let held = gv.submit(request(BLOG)).await;
    gv.take(held.id).await;
    let other = gv.another();
    let mut bell = other.app.queue.listen(1).await.unwrap();
    let heard = with_sweeper(&other, bell.next()).await;
    assert_eq!(heard.deployment, held.id);
    assert_eq!(other.take(held.id).await.attempt, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_publishes_what_was_not() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let second = gv.deploy(request(BLOG)).await;
    let host = Hostname::parse("blog.example.com").unwrap();
    // Whoever made this move fell over right after it.
    gv.database.point(&host, &first).await.unwrap().unwrap();
    assert_eq!(gv.shown("blog.example.com").await, Some(second.id));
    let published = async {
        while gv.database.find_host(&host).await.unwrap().is_some_and(|it| it.published < it.revision) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    with_sweeper(&gv, published).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_ends_when_told() {
    let gv = house().await;
    with_sweeper(&gv, async {}).await;
}
