//! Logs as their readers see them: while a deployment runs, when it has ended, over attempts and
//! processes. Start with [`follow`].

use super::{BLOG, PATIENCE, Process, house, request};
use futures_util::{StreamExt, TryStreamExt};
use gv::app::App;
use gv::app::logs::{LogEvent, LogFull};
use gv::app::submit::SubmitRequest;
use gv::domain::deployment::{Deployment, StateName, StepName};
use gv::domain::failure::{Failure, FailureCode};
use gv::domain::log::{LogLine, LogStream};
use gv::domain::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a follower is told, lines and end apart.
pub(super) type Followed = (Vec<LogLine>, Option<Deployment>);

pub(super) async fn read(app: &Arc<App>, deployment: &Deployment, after: u64, follow: bool) -> Followed {
    let reading = app.read_log(deployment.clone(), after, follow).try_collect::<Vec<_>>();
    let events = tokio::time::timeout(PATIENCE, reading).await.expect("it ends").unwrap();
    let mut followed = (Vec::new(), None);
    for event in events {
        assert!(followed.1.is_none(), "nothing follows the end");
        match event {
            LogEvent::Line(line) => followed.0.push(line),
            LogEvent::End(deployment) => followed.1 = Some(*deployment),
        }
    }
    assert!(followed.0.windows(2).all(|pair| pair[0].seq < pair[1].seq), "in order, none twice");
    followed
}

/// Follows from now on, beside the test.
pub(super) fn follow(app: &Arc<App>, deployment: &Deployment) -> JoinHandle<Followed> {
    let (app, deployment) = (Arc::clone(app), deployment.clone());
    tokio::spawn(async move { read(&app, &deployment, 0, true).await })
}

pub(super) fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

impl Process {
    pub(super) async fn held(&self) -> Deployment {
        let waiting = self.submit(request(BLOG)).await;
        self.take(waiting.id).await
    }

    pub(super) async fn fail(&self, held: Deployment) -> Deployment {
        let failure = Failure::new(FailureCode::BuildFailed, "it broke");
        self.advance(held.fail(self.app.clock.now(), failure).unwrap()).await
    }

    /// Writes a log of these lines and ends the deployment.
    async fn run(&self, held: Deployment, lines: &[&str]) -> Deployment {
        let log = self.app.log_writer(&held);
        for line in lines {
            log.line(StepName::Build, LogStream::Stdout, line).unwrap();
        }
        log.finish().await.unwrap();
        self.fail(held).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sees_each_line_once_and_then_the_end() {
    let gv = house().await;
    let held = gv.held().await;
    let followers: Vec<_> = (0..3).map(|_| follow(&gv.app, &held)).collect();
    let log = gv.app.log_writer(&held);
    let written: Vec<String> = (0..2_500).map(|number| format!("line {number}")).collect();
    for (number, line) in written.iter().enumerate() {
        log.line(StepName::Build, LogStream::Stdout, line).unwrap();
        if number % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    log.finish().await.unwrap();
    let ended = gv.fail(held).await;
    for follower in followers {
        let (lines, end) = follower.await.unwrap();
        assert_eq!(texts(&lines), written);
        assert_eq!(end.as_ref(), Some(&ended));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_an_earlier_attempt_stay_before_those_of_the_next() {
    let gv = house().await;
    let held = gv.held().await;
    let follower = follow(&gv.app, &held);
    let log = gv.app.log_writer(&held);
    log.say(StepName::Clone, "first\nattempt");
    log.pause().await;
    let waiting = gv.advance(held.give_back().unwrap()).await;
    let ended = gv.run(gv.take(waiting.id).await, &["second", "attempt"]).await;
    let (lines, end) = follower.await.unwrap();
    assert_eq!(texts(&lines), ["first", "attempt", "second", "attempt"]);
    assert_eq!(end.unwrap().state.name(), StateName::Failed);
    assert_eq!(read(&gv.app, &ended, 0, false).await.0, lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_another_process_interrupted_is_not_forgotten() {
    let gv = house().await;
    let held = gv.held().await;
    let log = gv.app.log_writer(&held);
    log.say(StepName::Clone, "first");
    log.pause().await;
    let waiting = gv.advance(held.give_back().unwrap()).await;
    let other = gv.another();
    let held = other.take(waiting.id).await;
    let follower = follow(&other.app, &held);
    let ended = other.run(held, &["second"]).await;
    assert_eq!(texts(&follower.await.unwrap().0), ["first", "second"]);
    assert_eq!(texts(&read(&gv.app, &ended, 0, true).await.0), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_in_another_process_gets_every_line_at_the_end() {
    let gv = house().await;
    let held = gv.held().await;
    let other = gv.another();
    let follower = follow(&other.app, &held);
    let ended = gv.run(held, &["a", "b"]).await;
    let (lines, end) = follower.await.unwrap();
    assert_eq!((texts(&lines), end), (vec!["a", "b"], Some(ended)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_the_lines_after_any_number() {
    let gv = house().await;
    let held = gv.held().await;
    let ended = gv.run(held, &["a", "b", "c"]).await;
    let (all, _) = read(&gv.app, &ended, 0, true).await;
    assert_eq!(texts(&all), ["a", "b", "c"]);
    for (i, line) in all.iter().enumerate() {
        for follow in [true, false] {
            let (lines, end) = read(&gv.app, &ended, line.seq, follow).await;
            assert_eq!((&lines[..], end.is_some()), (&all[i + 1..], follow));
        }
    }
    assert_eq!(read(&gv.app, &ended, u64::MAX, true).await, (Vec::new(), Some(ended)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_follow_a_log_ends_with_its_last_line() {
    let gv = house().await;
    let held = gv.held().await;
    assert_eq!(read(&gv.app, &held, 0, false).await, (Vec::new(), None));
    let log = gv.app.log_writer(&held);
    log.say(StepName::Clone, "running");
    let seen = async {
        while texts(&read(&gv.app, &held, 0, false).await.0) != ["running"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("a live line is sent soon");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_whole_though_no_live_line_was_taken() {
    let gv = house().await;
    let held = gv.held().await;
    // What is closed takes no lines.
    gv.app.live_logs.close(held.id).await.unwrap();
    let follower = follow(&gv.app, &held);
    let ended = gv.run(held, &["a", "b"]).await;
    let (lines, end) = follower.await.unwrap();
    assert_eq!((texts(&lines), end), (vec!["a", "b"], Some(ended)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_woke_too_late_does_not_replace_the_log() {
    let gv = house().await;
    let held = gv.held().await;
    let late = gv.app.log_writer(&held);
    late.say(StepName::Build, "first attempt");
    let waiting = gv.advance(held.give_back().unwrap()).await;
    let ended = gv.run(gv.take(waiting.id).await, &["second attempt"]).await;
    late.finish().await.unwrap();
    let (lines, _) = read(&gv.app, &ended, 0, false).await;
    assert_eq!(lines.last().unwrap().text, "second attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_lines_and_says_so() {
    let gv = house().await;
    let held = gv.held().await;
    let log = gv.app.log_writer(&held);
    let line = "x".repeat(4_000);
    let mut written: u64 = 0;
    while log.line(StepName::Build, LogStream::Stdout, &line) != Err(LogFull) {
        written += 4_000;
        assert!(written <= gv.app.policy.log_bytes);
    }
    log.say(StepName::Build, "The build wrote too much.");
    log.finish().await.unwrap();
    let ended = gv.fail(held).await;
    let (lines, _) = read(&gv.app, &ended, 0, false).await;
    assert_eq!(lines.len() as u64, written / 4_000 + 2);
    assert_eq!(lines.last().unwrap().text, "The build wrote too much.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_git_token_is_in_no_copy_of_the_log() {
    let gv = house().await;
    let waiting =
        gv.submit(SubmitRequest { git_token: Some(Secret::new("hunter22")), ..request(BLOG) }).await;
    let held = gv.take(waiting.id).await;
    let follower = follow(&gv.app, &held);
    let ended = gv.run(held, &["the token is hunter22"]).await;
    let (lines, _) = follower.await.unwrap();
    assert_eq!(texts(&lines), ["the token is ***"]);
    assert_eq!(read(&gv.app, &ended, 0, false).await.0, lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_what_is_deleted_is_sent_home() {
    let gv = house().await;
    let held = gv.held().await;
    let mut following = gv.app.read_log(held.clone(), 0, true);
    let log = gv.app.log_writer(&held);
    log.say(StepName::Build, "a");
    assert!(matches!(following.next().await, Some(Ok(LogEvent::Line(_)))));
    drop(log);
    gv.fail(held.clone()).await;
    gv.app.delete_deployment(gv.account, held.id).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, following.next()).await.expect("it ends");
    assert!(matches!(end, Some(Ok(LogEvent::End(_)))), "{end:?}");
    assert!(following.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_finished_twice_is_stored_whole() {
    let house = house().await;
    let held = house.held().await;
    let log = house.app.log_writer(&held);
    log.line(StepName::Build, LogStream::Stdout, "one").unwrap();
    // The worker tries again when the storage refused it, or when the row could not be written.
    log.clone().finish().await.unwrap();
    log.finish().await.unwrap();
    let ended = house.fail(held).await;
    assert_eq!(texts(&read(&house.app, &ended, 0, false).await.0), ["one"]);
}
