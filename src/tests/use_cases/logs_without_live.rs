//! Followed logs while the live stream, on a Redis of the test's own, is away, full, frozen or
//! emptied: every line once, in order, and the end. The worker's process and the followers' share
//! database, storage and that server.

use super::logs::{follow, read, texts};
use super::{PATIENCE, Process, house};
use crate::support::redis::RedisServer;
use futures_util::StreamExt;
use gv::adapters::cache::redis::Redis;
use gv::app::App;
use gv::app::logs::{LogEvent, LogWriter};
use gv::domain::deployment::{Deployment, StepName};
use gv::domain::log::LogStream;
use gv::ports::blobs::Key;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The same process, with its live logs there.
fn on(server: &RedisServer, process: Process) -> Process {
    let redis = Redis::connect(&server.url()).unwrap();
    let app = App { live_logs: Arc::new(redis.live_logs(4 << 20)), ..App::clone(&process.app) };
    Process { app: Arc::new(app), ..process }
}

/// A worker and an api.
async fn two_on(server: &RedisServer) -> (Process, Process) {
    let worker = on(server, house().await);
    let api = on(server, worker.another());
    (worker, api)
}

fn write(log: &LogWriter, lines: impl IntoIterator<Item = u32>) {
    for number in lines {
        log.line(StepName::Build, LogStream::Stdout, &number.to_string()).unwrap();
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Waits until a new follower gets so many lines, all from the first one on, while the deployment
/// runs.
async fn until_a_new_follower_has(app: &Arc<App>, held: &Deployment, last: u32) {
    let mut events = app.read_log(held.clone(), 0, true);
    let reading = async {
        for number in 1..=last {
            match events.next().await {
                Some(Ok(LogEvent::Line(line))) => assert_eq!(line.text, number.to_string()),
                other => panic!("{other:?} in place of line {number}"),
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("all lines come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_server_a_log_is_followed_through_storage() {
    let server = RedisServer::absent();
    let (worker, api) = two_on(&server).await;
    let held = worker.held().await;
    let follower = follow(&api.app, &held);
    assert!(read(&api.app, &held, 0, false).await.0.is_empty(), "nothing yet, and no error");
    let log = worker.app.log_writer(&held);
    write(&log, 1..=10);
    until_a_new_follower_has(&api.app, &held, 10).await;
    write(&log, 11..=20);
    until_a_new_follower_has(&api.app, &held, 20).await;
    let (so_far, end) = read(&api.app, &held, 0, false).await;
    assert_eq!(
        (texts(&so_far), end.is_some()),
        (numbers(1..=20).iter().map(String::as_str).collect(), false)
    );
    write(&log, 21..=30);
    log.finish().await.unwrap();
    let ended = worker.fail(held).await;
    let (lines, end) = follower.await.unwrap();
    assert_eq!(
        (texts(&lines), end),
        (numbers(1..=30).iter().map(String::as_str).collect(), Some(ended.clone()))
    );
    assert_eq!(read(&api.app, &ended, 0, true).await.0, lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_nobody_began_ends_for_its_followers_without_any_server() {
    let server = RedisServer::absent();
    let (_, api) = two_on(&server).await;
    let waiting = api.submit(super::request(super::BLOG)).await;
    let follower = follow(&api.app, &waiting);
    api.app.cancel(api.account, waiting.id).await.unwrap();
    let (lines, end) = follower.await.unwrap();
    assert!(lines.is_empty() && end.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_emptied_is_filled_again_even_in_silence() {
    let server = RedisServer::start();
    let (worker, api) = two_on(&server).await;
    let held = worker.held().await;
    let follower = follow(&api.app, &held);
    let log = worker.app.log_writer(&held);
    write(&log, 1..=1500);
    until_a_new_follower_has(&api.app, &held, 1500).await;
    server.empty();
    write(&log, 1501..=1501);
    until_a_new_follower_has(&api.app, &held, 1501).await;
    server.empty();
    // The build prints nothing: the writer finds out by itself.
    until_a_new_follower_has(&api.app, &held, 1501).await;
    let object = worker.app.blobs.get(&Key::log(held.id), 1 << 20).await.unwrap();
    assert!(object.is_none(), "all of it came over the live stream");
    log.finish().await.unwrap();
    let ended = worker.fail(held).await;
    let (lines, end) = follower.await.unwrap();
    assert_eq!(texts(&lines), numbers(1..=1501));
    assert_eq!(end, Some(ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_a_full_server_refuses_are_followed_through_storage() {
    let server = RedisServer::start();
    let (worker, api) = two_on(&server).await;
    let held = worker.held().await;
    let follower = follow(&api.app, &held);
    let log = worker.app.log_writer(&held);
    write(&log, 1..=10);
    until_a_new_follower_has(&api.app, &held, 10).await;
    server.fill();
    write(&log, 11..=20);
    until_a_new_follower_has(&api.app, &held, 20).await;
    server.make_room();
    write(&log, 21..=30);
    until_a_new_follower_has(&api.app, &held, 30).await;
    log.finish().await.unwrap();
    worker.fail(held).await;
    assert_eq!(texts(&follower.await.unwrap().0), numbers(1..=30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_and_goes_costs_no_line() {
    let mut server = RedisServer::start();
    let (worker, api) = two_on(&server).await;
    let held = worker.held().await;
    let mut followers = vec![follow(&api.app, &held)];
    let log = worker.app.log_writer(&held);
    let mut last = 0;
    for trouble in 0..6 {
        for _ in 0..20 {
            write(&log, last + 1..=last + 10);
            last += 10;
            sleep(Duration::from_millis(50)).await;
        }
        match trouble {
            0 => server.empty(),
            1 => server.kill(),
            2 => server.run(),
            3 => server.freeze(),
            4 => server.thaw(),
            _ => server.kill(),
        }
        followers.push(follow(&api.app, &held));
    }
    log.finish().await.unwrap();
    let ended = worker.fail(held).await;
    for follower in followers {
        let (lines, end) = timeout(PATIENCE, follower).await.expect("it ends").unwrap();
        assert_eq!(texts(&lines), numbers(1..=last));
        assert_eq!(end.as_ref(), Some(&ended));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_attempt_left_in_a_frozen_server_is_in_the_log_of_the_next() {
    let server = RedisServer::start();
    let (worker, api) = two_on(&server).await;
    let held = worker.held().await;
    let killed = worker.app.log_writer(&held);
    write(&killed, 1..=10);
    until_a_new_follower_has(&api.app, &held, 10).await;
    drop(killed);
    let waiting = worker.advance(held.give_back().unwrap()).await;
    server.freeze();
    let held = worker.take(waiting.id).await;
    let log = worker.app.log_writer(&held);
    write(&log, 11..=20);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(texts(&read(&api.app, &held, 0, false).await.0), numbers(11..=20), "what is known so far");
    server.thaw();
    let whole = async {
        while texts(&read(&api.app, &held, 0, false).await.0) != numbers(1..=20) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, whole).await.expect("it is whole again while the deployment runs");
    log.finish().await.unwrap();
    let ended = worker.fail(held).await;
    assert_eq!(texts(&read(&api.app, &ended, 0, true).await.0), numbers(1..=20));
}
