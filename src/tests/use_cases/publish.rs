//! What hosts show: going live, publishing, promoting, rolling back.

use super::{BLOG, house, name, new_account, request};
use futures_util::future::join_all;
use gv::app::publish::Move;
use gv::app::submit::SubmitRequest;
use gv::domain::deployment::Target;
use gv::domain::failure::{Failure, FailureCode};
use gv::domain::host::{Hostname, Pointer};
use gv::ports::blobs::{Body, Key};
use gv::ports::notices::{Heard, Notice};
use rand::seq::SliceRandom;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_goes_live_is_shown_by_its_hosts() {
    let gv = house().await;
    let mut notices = gv.app.notices.subscribe().await.unwrap();
    let live = gv.deploy(request(BLOG)).await;
    let own = format!("blog-{}.example.com", live.id.body());
    for host in ["blog.example.com", "blog-git-main.example.com", own.as_str()] {
        let pointer = gv.published(host).await.unwrap();
        assert_eq!(pointer.target.as_ref().unwrap().deployment, live.id, "{host}");
        let host = Hostname::parse(host).unwrap();
        assert_eq!(gv.app.cache.pointer(&host).await.unwrap(), Some(pointer));
        let record = gv.database.find_host(&host).await.unwrap().unwrap();
        assert_eq!(record.published, record.revision);
        assert!(matches!(notices.next().await, Heard::Notice(Notice::HostMoved { .. })));
    }
    let preview = gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(live.id));
    assert_eq!(gv.shown("blog-git-main.example.com").await, Some(preview.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_submission_wins_whatever_finishes_first() {
    let gv = house().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let waiting = gv.submit(request(BLOG)).await;
        held.push(gv.take(waiting.id).await);
    }
    let newest = held[2].id;
    for i in [1, 2, 0] {
        let ready = gv.make_ready(held[i].clone()).await;
        let own = format!("blog-{}.example.com", ready.id.body());
        assert_eq!(gv.shown(&own).await, Some(ready.id));
    }
    assert_eq!(gv.shown("blog.example.com").await, Some(newest));
    assert_eq!(gv.shown("blog-git-main.example.com").await, Some(newest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_publishers_never_leave_an_older_pointer() {
    let gv = house().await;
    let other = gv.another();
    let ready = [gv.deploy(request(BLOG)).await, gv.deploy(request(BLOG)).await];
    let host = Hostname::parse("blog.example.com").unwrap();
    for _ in 0..3 {
        let mut records = Vec::new();
        for i in 0..12 {
            records.push(gv.database.point(&host, &ready[i % 2]).await.unwrap().unwrap());
        }
        let newest = records.last().unwrap().clone();
        records.shuffle(&mut rand::rng());
        let publishing = records.into_iter().enumerate().map(|(i, record)| {
            let process = if i % 2 == 0 { &gv } else { &other };
            process.app.publish_host(record)
        });
        for published in join_all(publishing).await {
            published.unwrap();
        }
        // Which of them it saw on its way is another matter.
        let published = gv.published("blog.example.com").await.unwrap();
        assert_eq!(Pointer { earlier: Vec::new(), published_at: None, ..published }, Pointer::from(&newest));
        let record = gv.database.find_host(&host).await.unwrap().unwrap();
        assert_eq!(record.published, newest.revision);
        assert_eq!(record.revision, newest.revision, "no newer pointer was taken for a restored database");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_that_are_made_and_published_at_once_are_never_taken_for_a_restore() {
    let gv = house().await;
    let other = gv.another();
    let ready = [gv.deploy(request(BLOG)).await, gv.deploy(request(BLOG)).await];
    let host = Hostname::parse("blog.example.com").unwrap();
    let moving = (0..24).map(|i| {
        let process = if i % 3 == 0 { &gv } else { &other };
        let (host, ready) = (&host, &ready);
        async move {
            let record = process.database.point(host, &ready[i % 2]).await.unwrap().unwrap();
            process.app.publish_host(record.clone()).await.unwrap();
            record.revision
        }
    });
    let newest = join_all(moving).await.into_iter().max().unwrap();
    let record = gv.database.find_host(&host).await.unwrap().unwrap();
    assert_eq!((record.revision, record.published), (newest, newest));
    assert!(gv.published("blog.example.com").await.unwrap().is_of(&record));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_pointer_is_written_over() {
    let gv = house().await;
    let live = gv.deploy(request(BLOG)).await;
    let host = Hostname::parse("blog.example.com").unwrap();
    gv.app.blobs.put(&Key::host(&host), Body::Bytes("{".into())).await.unwrap();
    let record = gv.database.find_host(&host).await.unwrap().unwrap();
    gv.app.publish_host(record).await.unwrap();
    assert_eq!(gv.shown("blog.example.com").await, Some(live.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_and_rollback_move_a_pointer_and_nothing_else() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let preview = gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    let content = gv.content();
    assert!(!content.is_empty());
    let moved = gv.app.promote(gv.account, preview.id).await.unwrap();
    assert_eq!(moved, Move::Moved(Box::new(preview.clone())));
    assert_eq!(gv.shown("blog.example.com").await, Some(preview.id));
    let moved = gv.app.rollback(gv.account, &name("blog"), Some(first.id)).await.unwrap();
    assert_eq!(moved, Move::Moved(Box::new(first.clone())));
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
    assert_eq!(gv.content(), content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_goes_back_step_by_step_until_nothing_is_earlier() {
    let gv = house().await;
    let project = name("blog");
    let none = gv.app.rollback(gv.account, &project, None).await.unwrap();
    assert_eq!(none, Move::NotFound);
    let mut ready = Vec::new();
    for _ in 0..3 {
        ready.push(gv.deploy(request(BLOG)).await);
    }
    gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    for earlier in [&ready[1], &ready[0]] {
        let moved = gv.app.rollback(gv.account, &project, None).await.unwrap();
        assert_eq!(moved, Move::Moved(Box::new(earlier.clone())));
        assert_eq!(gv.shown("blog.example.com").await, Some(earlier.id));
    }
    let moved = gv.app.rollback(gv.account, &project, None).await.unwrap();
    assert_eq!(moved, Move::NothingEarlier);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_ready_and_ones_own_can_be_promoted() {
    let gv = house().await;
    let ready = gv.deploy(request(BLOG)).await;
    let waiting = gv.submit(request(BLOG)).await;
    assert_eq!(gv.app.promote(gv.account, waiting.id).await.unwrap(), Move::NotReady);
    let failure = Failure::new(FailureCode::BuildFailed, "it broke");
    let failed = gv.take(waiting.id).await.fail(gv.app.clock.now(), failure).unwrap();
    let failed = gv.advance(failed).await;
    let project = name("blog");
    let rollback = |to| gv.app.rollback(gv.account, &project, Some(to));
    assert_eq!(rollback(failed.id).await.unwrap(), Move::NotReady);
    let elsewhere = gv.deploy(request("https://git.example.com/other.git")).await;
    assert_eq!(rollback(elsewhere.id).await.unwrap(), Move::NotFound);
    let stranger = new_account(&*gv.database, "bob@example.com").await;
    assert_eq!(gv.app.promote(stranger, ready.id).await.unwrap(), Move::NotFound);
    assert_eq!(gv.app.rollback(stranger, &project, Some(ready.id)).await.unwrap(), Move::NotFound);
    assert_eq!(gv.shown("blog.example.com").await, Some(ready.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_submitted_before_a_promotion_does_not_take_production_back() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    gv.deploy(request(BLOG)).await;
    let slow = gv.submit(request(BLOG)).await;
    gv.app.promote(gv.account, first.id).await.unwrap();
    let slow = gv.make_ready(gv.take(slow.id).await).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
    assert_eq!(gv.shown("blog-git-main.example.com").await, Some(slow.id));
    let later = gv.deploy(request(BLOG)).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(later.id));
}
