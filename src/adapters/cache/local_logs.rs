//! The logs of running deployments in one process's memory, bounded each and as a whole.
//!
//! Start with [`LocalLogs::new`]. Whoever waits subscribes to a stream before it looks at it, so
//! that no line falls between the two.

use crate::domain::id::DeploymentId;
use crate::domain::log::LogLine;
use crate::ports::error::StoreError;
use crate::ports::live_logs::{Appended, LiveLogs};
use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a closed stream stays readable.
const AFTER_CLOSE: Duration = Duration::from_secs(10 * 60);
/// How long a stream is kept that nobody writes to, nor closes: its worker is gone for good.
const IDLE: Duration = Duration::from_secs(6 * 60 * 60);
/// Between two searches for streams to drop.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
const MAX_STREAMS: usize = 10_000;
/// All streams together may be this many times as large as one.
const STREAMS_AT_FULL_SIZE: usize = 16;

pub struct LocalLogs {
    max_stream_bytes: usize,
    streams: Mutex<Streams>,
}

struct Streams {
    by_id: HashMap<DeploymentId, Stream>,
    bytes: usize,
    swept: Instant,
}

struct Stream {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The highest number so far, which its line may have outlived.
    last: u64,
    closed: bool,
    touched: Instant,
    /// Told of every change; what it carries says nothing.
    changed: watch::Sender<()>,
}

impl LocalLogs {
    /// Keeps the newest `max_stream_bytes` of each stream, and 16 times as much of all together:
    /// past that the streams that were longest unused go first.
    pub fn new(max_stream_bytes: usize) -> Self {
        let streams = Streams { by_id: HashMap::new(), bytes: 0, swept: Instant::now() };
        Self { max_stream_bytes, streams: Mutex::new(streams) }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: there is something to read already.
    fn subscribe(&self, id: DeploymentId, after: u64) -> Option<watch::Receiver<()>> {
        let mut streams = self.streams();
        let stream = streams.stream(id);
        (stream.last <= after && !stream.closed).then(|| stream.changed.subscribe())
    }
}

#[async_trait]
impl LiveLogs for LocalLogs {
    async fn append(
        &self,
        id: DeploymentId,
        follows: u64,
        lines: &[LogLine],
    ) -> Result<Appended, StoreError> {
        let mut streams = self.streams();
        let stream = streams.stream(id);
        if stream.closed {
            return Ok(Appended::Closed);
        }
        if stream.last < follows {
            return Ok(Appended::Missing);
        }
        let before = stream.bytes;
        if stream.append(lines, self.max_stream_bytes) {
            stream.changed.send_replace(());
        }
        let after = stream.bytes;
        streams.bytes = streams.bytes - before + after;
        streams.shrink(self.max_stream_bytes.saturating_mul(STREAMS_AT_FULL_SIZE), id);
        Ok(Appended::Held)
    }

    async fn read(&self, id: DeploymentId, after: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        let streams = self.streams();
        let Some(stream) = streams.by_id.get(&id) else { return Ok(Vec::new()) };
        let from = stream.lines.partition_point(|line| line.seq <= after);
        Ok(stream.lines.iter().skip(from).take(limit).cloned().collect())
    }

    async fn wait(&self, id: DeploymentId, after: u64, at_most: Duration) -> Result<(), StoreError> {
        let waiting = async {
            while let Some(mut changed) = self.subscribe(id, after) {
                if changed.changed().await.is_err() {
                    // The stream was dropped: whoever waits looks again.
                    break;
                }
            }
        };
        // Time running out is an ordinary answer.
        let _ = tokio::time::timeout(at_most, waiting).await;
        Ok(())
    }

    async fn close(&self, id: DeploymentId) -> Result<(), StoreError> {
        let mut streams = self.streams();
        let stream = streams.stream(id);
        stream.closed = true;
        stream.touched = Instant::now();
        stream.changed.send_replace(());
        Ok(())
    }
}

impl Streams {
    /// The stream of this deployment, a new one where none is.
    fn stream(&mut self, id: DeploymentId) -> &mut Stream {
        if !self.by_id.contains_key(&id) {
            self.make_room();
        }
        self.by_id.entry(id).or_insert_with(Stream::new)
    }

    fn make_room(&mut self) {
        let now = Instant::now();
        let full = self.by_id.len() >= MAX_STREAMS;
        if full || now.saturating_duration_since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.by_id.retain(|_, stream| !stream.is_over(now));
            self.bytes = self.by_id.values().map(|stream| stream.bytes).sum();
        }
        while self.by_id.len() >= MAX_STREAMS && self.drop_oldest(None) {}
    }

    /// Drops streams until they fit, but for the one that is being written.
    fn shrink(&mut self, max_bytes: usize, writing: DeploymentId) {
        while self.bytes > max_bytes && self.drop_oldest(Some(writing)) {}
    }

    /// Closed streams go first: their lines are in storage.
    fn drop_oldest(&mut self, but: Option<DeploymentId>) -> bool {
        let others = self.by_id.iter().filter(|(id, _)| Some(**id) != but);
        let oldest = others.min_by_key(|(_, stream)| (!stream.closed, stream.touched)).map(|(id, _)| *id);
        let dropped = oldest.and_then(|id| self.by_id.remove(&id));
        self.bytes -= dropped.as_ref().map_or(0, |stream| stream.bytes);
        dropped.is_some()
    }
}

impl Stream {
    fn new() -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            last: 0,
            closed: false,
            touched: Instant::now(),
            changed: watch::Sender::new(()),
        }
    }

    /// Whether a line was added.
    fn append(&mut self, lines: &[LogLine], max_bytes: usize) -> bool {
        let before = self.last;
        self.touched = Instant::now();
        for line in lines {
            if line.seq > self.last {
                self.last = line.seq;
                self.bytes += weight(line);
                self.lines.push_back(line.clone());
            }
        }
        // The newest line stays, however long it is: a reader gets on by it.
        while self.bytes > max_bytes && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().as_ref().map_or(0, weight);
        }
        self.last > before
    }

    fn is_over(&self, now: Instant) -> bool {
        // A reader made it, by waiting for a stream that never began.
        let unused = self.last == 0 && !self.closed && self.changed.receiver_count() == 0;
        let kept = if self.closed { AFTER_CLOSE } else { IDLE };
        unused || now.saturating_duration_since(self.touched) > kept
    }
}

fn weight(line: &LogLine) -> usize {
    size_of::<LogLine>() + line.text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::StepName;
    use crate::domain::log::LogStream;
    use time::OffsetDateTime;

    fn id() -> DeploymentId {
        DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())
    }

    fn line(seq: u64) -> LogLine {
        let text = "x".repeat(1000);
        let time = OffsetDateTime::UNIX_EPOCH;
        LogLine { seq, time, stream: LogStream::Stdout, step: StepName::Build, text }
    }

    #[tokio::test]
    async fn all_streams_together_are_bounded_and_closed_ones_go_first() {
        let logs = LocalLogs::new(10_000);
        let (running, closed) = (id(), id());
        logs.append(running, 0, &[line(1)]).await.unwrap();
        for _ in 0..17 {
            let full: Vec<_> = (1..=8).map(line).collect();
            logs.append(id(), 0, &full).await.unwrap();
        }
        logs.append(closed, 0, &[line(1)]).await.unwrap();
        logs.close(closed).await.unwrap();
        while !logs.read(closed, 0, 1).await.unwrap().is_empty() {
            logs.append(id(), 0, &[line(1)]).await.unwrap();
            assert!(logs.streams().bytes <= 160_000);
        }
        assert_eq!(logs.read(running, 0, 1).await.unwrap().len(), 1, "though it is the oldest");
        let counted: usize = logs.streams().by_id.values().map(|stream| stream.bytes).sum();
        assert_eq!(logs.streams().bytes, counted);
    }

    #[tokio::test]
    async fn waiting_for_streams_that_never_begin_leaves_nothing_behind() {
        let logs = LocalLogs::new(10_000);
        let known = id();
        logs.append(known, 0, &[line(1)]).await.unwrap();
        for _ in 0..MAX_STREAMS + 10 {
            drop(logs.subscribe(id(), 0));
        }
        assert!(logs.streams().by_id.len() < MAX_STREAMS);
        assert_eq!(logs.read(known, 0, 10).await.unwrap().len(), 1);
    }

    #[test]
    fn a_stream_is_over_a_while_after_its_end_or_its_writers() {
        let mut stream = Stream::new();
        stream.append(&[line(1)], 10_000);
        let minutes = |n: u64| stream.touched + Duration::from_secs(60 * n);
        assert!(!stream.is_over(minutes(60)));
        assert!(stream.is_over(minutes(7 * 60)));
        stream.closed = true;
        let minutes = |n: u64| stream.touched + Duration::from_secs(60 * n);
        assert!(!stream.is_over(minutes(9)));
        assert!(stream.is_over(minutes(11)));
    }
}
