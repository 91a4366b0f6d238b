//! What every live log must do. An adapter is made with a cap of [`CAP`] bytes a stream.

use crate::support::redis::{RedisServer, connected};
use futures_util::future::{join, join_all};
use gv::adapters::cache::local_logs::LocalLogs;
use gv::domain::deployment::StepName;
use gv::domain::id::DeploymentId;
use gv::domain::log::{LogLine, LogStream};
use gv::ports::live_logs::{Appended, LiveLogs};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::timeout;

contract!([local, redis] [
    lines_are_read_in_order_from_any_number_on,
    an_unknown_stream_is_empty,
    lines_that_come_late_or_twice_are_left_out,
    past_its_cap_a_stream_loses_its_oldest_lines,
    waiting_ends_with_the_next_line,
    waiting_ends_when_the_stream_is_closed,
    waiting_ends_when_its_time_is_over,
    what_is_there_already_is_not_waited_for,
    readers_that_follow_miss_no_line,
    a_closed_stream_can_still_be_read,
    a_closed_stream_takes_no_more_lines,
    lines_that_follow_what_is_not_there_are_not_held,
]);

const CAP: usize = 1 << 20;

async fn local() -> (Box<dyn LiveLogs>, ()) {
    (Box::new(LocalLogs::new(CAP)), ())
}

async fn redis() -> (Box<dyn LiveLogs>, Option<RedisServer>) {
    let (redis, server) = connected().await;
    (Box::new(redis.live_logs(CAP as u64)), server)
}

/// Longer than any adapter takes.
const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(300);

fn id() -> DeploymentId {
    DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())
}

fn line(seq: u64) -> LogLine {
    LogLine {
        seq,
        time: OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(seq as i64),
        stream: LogStream::Stderr,
        step: StepName::Build,
        text: format!("\u{1b}[1mline {seq}, naïvely\u{1b}[0m"),
    }
}

fn lines(seqs: impl IntoIterator<Item = u64>) -> Vec<LogLine> {
    seqs.into_iter().map(line).collect()
}

async fn numbers(logs: &dyn LiveLogs, id: DeploymentId, after: u64) -> Vec<u64> {
    logs.read(id, after, 1000).await.unwrap().iter().map(|line| line.seq).collect()
}

async fn lines_are_read_in_order_from_any_number_on(logs: &dyn LiveLogs) {
    let (ours, others) = (id(), id());
    logs.append(others, 0, &lines([4])).await.unwrap();
    logs.append(ours, 0, &lines([1, 2, 5])).await.unwrap();
    let later = LogLine::base(2) + 1;
    logs.append(ours, 0, &lines([9, later])).await.unwrap();
    assert_eq!(logs.read(ours, 0, 10).await.unwrap(), lines([1, 2, 5, 9, later]));
    assert_eq!(logs.read(ours, 0, 2).await.unwrap(), lines([1, 2]));
    assert_eq!(logs.read(ours, 2, 2).await.unwrap(), lines([5, 9]));
    assert_eq!(logs.read(ours, 3, 10).await.unwrap(), lines([5, 9, later]));
    assert!(logs.read(ours, later, 10).await.unwrap().is_empty());
    assert!(logs.read(ours, u64::MAX, 10).await.unwrap().is_empty());
    assert!(logs.read(ours, 0, 0).await.unwrap().is_empty());
}

async fn an_unknown_stream_is_empty(logs: &dyn LiveLogs) {
    assert!(logs.read(id(), 0, 10).await.unwrap().is_empty());
    logs.append(id(), 0, &[]).await.unwrap();
    logs.close(id()).await.unwrap();
}

async fn lines_that_come_late_or_twice_are_left_out(logs: &dyn LiveLogs) {
    let id = id();
    logs.append(id, 0, &lines([1, 2, 3])).await.unwrap();
    logs.append(id, 0, &lines([2, 3, 4])).await.unwrap();
    logs.append(id, 0, &lines([7, 6, 7, 8])).await.unwrap();
    logs.append(id, 0, &lines([5])).await.unwrap();
    assert_eq!(numbers(logs, id, 0).await, [1, 2, 3, 4, 7, 8]);
}

async fn past_its_cap_a_stream_loses_its_oldest_lines(logs: &dyn LiveLogs) {
    let id = id();
    let long = |seq| LogLine { text: "x".repeat(LogLine::MAX_TEXT), ..line(seq) };
    for batch in 0..32 {
        let batch: Vec<LogLine> = (1..=32).map(|n| long(batch * 32 + n)).collect();
        logs.append(id, 0, &batch).await.unwrap();
    }
    let held = numbers(logs, id, 0).await;
    let first = *held.first().unwrap();
    assert!(first > 1, "four times the cap cannot all be held");
    assert!(held.len() > 50, "and the room is used");
    assert_eq!(held, (first..=1024).collect::<Vec<u64>>(), "the newest are held without a gap");
}

async fn waiting_ends_with_the_next_line(logs: &dyn LiveLogs) {
    // Before the stream's first line, and after it.
    let id = id();
    for seq in [1, 2] {
        let reader = async {
            while logs.read(id, seq - 1, 1).await.unwrap().is_empty() {
                logs.wait(id, seq - 1, LONG).await.unwrap();
            }
        };
        let writer = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            logs.append(id, 0, &lines([seq])).await.unwrap();
        };
        timeout(PATIENCE, join(reader, writer)).await.expect("the line is heard of");
    }
}

async fn waiting_ends_when_the_stream_is_closed(logs: &dyn LiveLogs) {
    let id = id();
    logs.append(id, 0, &lines([1])).await.unwrap();
    let closer = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        logs.close(id).await.unwrap();
    };
    let waiters = join_all((0..5).map(|_| logs.wait(id, 1, LONG)));
    timeout(PATIENCE, join(waiters, closer)).await.expect("the end is heard of");
    timeout(PATIENCE, logs.wait(id, 1, LONG)).await.expect("afterwards too").unwrap();
}

async fn waiting_ends_when_its_time_is_over(logs: &dyn LiveLogs) {
    let waiting = logs.wait(id(), 0, Duration::from_millis(20));
    timeout(PATIENCE, waiting).await.expect("nothing comes, and that is an answer").unwrap();
}

async fn what_is_there_already_is_not_waited_for(logs: &dyn LiveLogs) {
    let id = id();
    logs.append(id, 0, &lines([1, 2])).await.unwrap();
    timeout(PATIENCE, logs.wait(id, 1, LONG)).await.expect("line 2 is there").unwrap();
}

async fn readers_that_follow_miss_no_line(logs: &dyn LiveLogs) {
    const LINES: u64 = 300;
    let id = id();
    let writer = async {
        for seq in 1..=LINES {
            logs.append(id, 0, &lines([seq])).await.unwrap();
            if seq % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
        logs.close(id).await.unwrap();
    };
    let readers = (0..8).map(|n| async move {
        let mut heard = Vec::new();
        while heard.last() != Some(&LINES) {
            let after = heard.last().copied().unwrap_or(0);
            let more = logs.read(id, after, 1 + n).await.unwrap();
            if more.is_empty() {
                logs.wait(id, after, LONG).await.unwrap();
            }
            heard.extend(more.iter().map(|line| line.seq));
        }
        assert_eq!(heard, (1..=LINES).collect::<Vec<u64>>());
    });
    timeout(PATIENCE, join(join_all(readers), writer)).await.expect("no reader sleeps over a line");
}

async fn a_closed_stream_can_still_be_read(logs: &dyn LiveLogs) {
    let id = id();
    logs.append(id, 0, &lines([1, 2])).await.unwrap();
    logs.close(id).await.unwrap();
    logs.close(id).await.unwrap();
    assert_eq!(numbers(logs, id, 0).await, [1, 2]);
}

async fn a_closed_stream_takes_no_more_lines(logs: &dyn LiveLogs) {
    let id = id();
    assert_eq!(logs.append(id, 0, &lines([1])).await.unwrap(), Appended::Held);
    logs.close(id).await.unwrap();
    assert_eq!(logs.append(id, 1, &lines([2])).await.unwrap(), Appended::Closed);
    assert_eq!(logs.append(id, 5, &lines([6])).await.unwrap(), Appended::Closed);
    assert_eq!(numbers(logs, id, 0).await, [1]);
}

async fn lines_that_follow_what_is_not_there_are_not_held(logs: &dyn LiveLogs) {
    let id = id();
    assert_eq!(logs.append(id, 3, &lines([4])).await.unwrap(), Appended::Missing);
    assert!(numbers(logs, id, 0).await.is_empty());
    assert_eq!(logs.append(id, 0, &lines([1, 2])).await.unwrap(), Appended::Held);
    assert_eq!(logs.append(id, 3, &lines([4])).await.unwrap(), Appended::Missing);
    assert_eq!(logs.append(id, 2, &lines([3])).await.unwrap(), Appended::Held);
    // A writer that thinks it is less far repeats itself, and no more.
    assert_eq!(logs.append(id, 1, &lines([2, 3, 4])).await.unwrap(), Appended::Held);
    assert_eq!(logs.append(id, 4, &[]).await.unwrap(), Appended::Held);
    assert_eq!(numbers(logs, id, 0).await, [1, 2, 3, 4]);
}
