//! The writing side: lines are numbered and kept in memory at once, sent to the live stream by a
//! task of their own, and stored as one object in the end.
//!
//! The object is the log; the live stream is a courtesy, whose failing neither stops a build nor
//! costs a line. Start with [`LogWriter`]; [`Sender`] is its task.

use super::stored::{self, Found};
use super::text::Mask;
use crate::app::App;
use crate::app::deadline::{COURTESY, STORED_LOG, within};
use crate::domain::deployment::{Deployment, StepName};
use crate::domain::id::DeploymentId;
use crate::domain::log::{LogLine, LogStream};
use crate::ports::blobs::Key;
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a line counts for besides its text: its number, time and so on. Empty lines are bounded too.
const LINE_BYTES: u64 = 32;
/// What gv itself may say once the log is full.
const LAST_WORDS_BYTES: u64 = 64 * 1024;
const SEND_EVERY: Duration = Duration::from_millis(50);
const BATCH: usize = 100;
/// How long the end of an attempt waits for live lines to be sent.
const LAST_SENDING: Duration = Duration::from_secs(3);
/// For one batch of live lines, and for reading those of earlier attempts.
const LIVE: Duration = Duration::from_secs(2);
const RECALLING: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// How often storing is tried, and how often another writer may come between.
const STORE_ROUNDS: u32 = 4;

/// Writes the log of one attempt. Cheap to clone; lines are sent on in batches. When the last clone
/// is dropped unfinished (its worker lost the lease), nothing is stored.
#[derive(Clone)]
pub struct LogWriter {
    log: Arc<AttemptLog>,
    _sending: Arc<DropGuard>,
}

/// The log has reached its cap: nothing more is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is full")]
pub struct LogFull;

struct AttemptLog {
    app: Arc<App>,
    id: DeploymentId,
    attempt: u32,
    lines: Mutex<Lines>,
    /// There is something to send.
    begun: Notify,
    /// There is a whole batch to send.
    hurry: Notify,
    stop: CancellationToken,
    sender: Mutex<Option<JoinHandle<()>>>,
}

/// What is kept of the log in memory, at most its cap twice.
struct Lines {
    mask: Mask,
    /// Of earlier attempts, as far as they are still known: the newest, up to the cap.
    earlier: Vec<LogLine>,
    own: Vec<LogLine>,
    /// How many of `own` the live stream has.
    sent: usize,
    room: u64,
    room_for_words: u64,
    full: bool,
    /// Stored or left: what a killed process still says is not kept.
    closed: bool,
}

impl LogWriter {
    /// Adds a line (cut into several when it is long or has line breaks). Known secrets are masked.
    pub fn line(&self, step: StepName, stream: LogStream, text: &str) -> Result<(), LogFull> {
        self.log.add(step, stream, text)
    }

    /// Adds gv's own words: they are kept even past the cap.
    pub fn say(&self, step: StepName, text: impl AsRef<str>) {
        // It is full when even the room for last words is used up: then there is nobody to tell.
        let _ = self.log.add(step, LogStream::System, text.as_ref());
    }

    /// Hides these values in every line that follows.
    pub fn mask(&self, secrets: impl IntoIterator<Item = String>) {
        self.log.lines().mask.add(secrets);
    }

    /// Stores the whole log as an object and closes the live stream. To be called before the
    /// deployment's row says that it ended.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.log.stop_sending().await;
        let stored = self.log.store().await;
        let live_logs = &self.log.app.live_logs;
        if let Err(error) = within(COURTESY, "closing a live log", live_logs.close(self.log.id)).await {
            tracing::debug!(deployment = %self.log.id, %error, "followers see the end at their next look");
        }
        stored
    }

    /// Sends on what is still held, and leaves the log open for the next attempt.
    pub async fn pause(self) {
        self.log.stop_sending().await;
        // Kept as an object too: the live stream may go with this very process.
        if let Err(error) = self.log.store().await {
            tracing::warn!(deployment = %self.log.id, %error, "the log of an interrupted attempt may be lost");
        }
    }
}

impl App {
    /// A writer for the attempt that holds `deployment`; lines of earlier attempts stay before it.
    /// Its Git token is masked from the start. Must be called within the asynchronous runtime.
    pub fn log_writer(self: &Arc<Self>, deployment: &Deployment) -> LogWriter {
        let mut mask = Mask::default();
        mask.add(deployment.source.git_token.as_ref().map(|token| token.expose().to_owned()));
        let stop = CancellationToken::new();
        let log = Arc::new(AttemptLog {
            app: Arc::clone(self),
            id: deployment.id,
            attempt: deployment.attempt,
            lines: Mutex::new(Lines::new(mask, self.policy.log_bytes)),
            begun: Notify::new(),
            hurry: Notify::new(),
            stop: stop.clone(),
            sender: Mutex::new(None),
        });
        let sender = tokio::spawn(Sender { log: Arc::clone(&log), failing: false }.run());
        *log.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        LogWriter { log, _sending: Arc::new(stop.drop_guard()) }
    }
}

impl AttemptLog {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, step: StepName, stream: LogStream, text: &str) -> Result<(), LogFull> {
        let base = LogLine::base(self.attempt);
        let mut lines = self.lines();
        let added = lines.add(base, || self.app.clock.now(), (step, stream, text));
        let unsent = lines.own.len().saturating_sub(lines.sent);
        drop(lines);
        self.begun.notify_one();
        if unsent >= BATCH {
            self.hurry.notify_one();
        }
        added
    }

    /// No line is taken from here on; those that were are sent, if they can be soon.
    async fn stop_sending(&self) {
        self.lines().closed = true;
        self.stop.cancel();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut sender) = sender
            && tokio::time::timeout(RECALLING + LAST_SENDING, &mut sender).await.is_err()
        {
            sender.abort();
        }
    }

    /// Puts all lines into the object, unless it holds a later attempt's: then this is a worker
    /// that woke too late.
    async fn store(&self) -> Result<(), StoreError> {
        // They stay where they are: a storage that refuses them now is asked again.
        let lines: Vec<LogLine> = {
            let lines = self.lines();
            lines.earlier.iter().chain(&lines.own).cloned().collect()
        };
        let encoding = tokio::task::spawn_blocking(move || stored::encode(&lines)).await;
        let bytes = encoding
            .map_err(|error| StoreError::new(StoreErrorKind::Internal, "encoding a log", error))??;
        let mut last = None;
        for round in 0..STORE_ROUNDS {
            if round > 0 {
                tokio::time::sleep(Duration::from_millis(100) * 4_u32.pow(round - 1)).await;
            }
            match self.store_once(bytes.clone()).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind == StoreErrorKind::Unavailable => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| StoreError::conflict(format!("storing {}", Key::log(self.id)))))
    }

    /// `false`: another writer came between.
    async fn store_once(&self, bytes: Bytes) -> Result<bool, StoreError> {
        let (key, blobs) = (Key::log(self.id), &self.app.blobs);
        if within(STORED_LOG, "storing a log", blobs.put_new(&key, bytes.clone())).await? {
            return Ok(true);
        }
        let tag = match self.app.find_stored_log(self.id).await {
            Ok(None) => return Ok(false),
            Ok(Some(Found { log, tag })) => {
                let newest = log.read_all()?.last().map_or(0, |line| line.seq);
                if newest > LogLine::base(self.attempt + 1) {
                    return Ok(true);
                }
                tag
            }
            Err(error) if error.kind == StoreErrorKind::Corrupt => {
                let whole = crate::ports::blobs::Body::Bytes(bytes);
                return within(STORED_LOG, "storing a log", blobs.put(&key, whole)).await.map(|()| true);
            }
            Err(error) => return Err(error),
        };
        within(STORED_LOG, "storing a log", blobs.replace(&key, bytes, Some(&tag))).await
    }
}

impl Lines {
    fn new(mask: Mask, cap: u64) -> Self {
        Self {
            mask,
            earlier: Vec::new(),
            own: Vec::new(),
            sent: 0,
            room: cap,
            room_for_words: LAST_WORDS_BYTES,
            full: false,
            closed: false,
        }
    }

    /// gv's own words go on for a while once the log is full; whatever else is refused.
    fn add(
        &mut self,
        base: u64,
        now: impl Fn() -> time::OffsetDateTime,
        (step, stream, text): (StepName, LogStream, &str),
    ) -> Result<(), LogFull> {
        if self.closed {
            return Ok(());
        }
        let own_words = stream == LogStream::System;
        if self.full && !own_words {
            return Err(LogFull);
        }
        let Self { mask, own, room, room_for_words, full, .. } = self;
        let mut push = |step, stream, text| {
            let seq = base + 1 + own.len() as u64;
            own.push(LogLine { seq, time: now(), stream, step, text });
        };
        for text in mask.lines(text) {
            let cost = text.len() as u64 + LINE_BYTES;
            if !*full && cost <= *room {
                *room -= cost;
            } else if own_words && cost <= *room_for_words {
                *room_for_words -= cost;
            } else if own_words {
                return Err(LogFull);
            } else {
                *full = true;
                push(step, LogStream::System, "The log is full: what follows is not kept.".to_owned());
                return Err(LogFull);
            }
            push(step, stream, text);
        }
        Ok(())
    }

    /// Keeps the newest lines of earlier attempts, up to `cap`.
    fn recall(&mut self, earlier: Vec<LogLine>, cap: u64) {
        let mut kept = 0;
        let fits = |line: &&LogLine| {
            kept += line.text.len() as u64 + LINE_BYTES;
            kept <= cap
        };
        let count = earlier.iter().rev().take_while(fits).count();
        let from = earlier.len() - count;
        self.earlier = earlier.into_iter().skip(from).collect();
    }

    fn unsent(&self) -> Vec<LogLine> {
        self.own.iter().skip(self.sent).take(BATCH).cloned().collect()
    }
}

/// Sends lines to the live stream in their order.
struct Sender {
    log: Arc<AttemptLog>,
    /// A failure was logged and not yet followed by a success.
    failing: bool,
}

impl Sender {
    async fn run(mut self) {
        if self.log.attempt > 1 && tokio::time::timeout(RECALLING, self.recall()).await.is_err() {
            tracing::warn!(deployment = %self.log.id, "lines of earlier attempts could not be read in time");
        }
        let stop = self.log.stop.clone();
        while stop.run_until_cancelled(self.log.begun.notified()).await.is_some() {
            // A moment's lines go together; a build that prints much is sent without delay.
            let gather = tokio::time::timeout(SEND_EVERY, self.log.hurry.notified());
            let _ = stop.run_until_cancelled(gather).await;
            let mut backoff = SEND_EVERY;
            while !self.send_all().await {
                let waiting = tokio::time::sleep(backoff);
                if stop.run_until_cancelled(waiting).await.is_none() {
                    break;
                }
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
        // What is left, once: the object has it in any case.
        let _ = tokio::time::timeout(LAST_SENDING, self.send_all()).await;
    }

    /// `false`: the stream did not take them.
    async fn send_all(&mut self) -> bool {
        loop {
            let batch = self.log.lines().unsent();
            if batch.is_empty() {
                return true;
            }
            if !self.append(&batch).await {
                return false;
            }
            self.log.lines().sent += batch.len();
        }
    }

    async fn append(&mut self, batch: &[LogLine]) -> bool {
        let appending = self.log.app.live_logs.append(self.log.id, 0, batch);
        match within(LIVE, "sending live lines", appending).await {
            Ok(_) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(deployment = %self.log.id, %error, "live lines are held back");
            }
            Err(_) => {}
        }
        !self.failing
    }

    /// Reads the lines of earlier attempts from wherever they are, and sees to it that the live
    /// stream has them before the first of this one.
    async fn recall(&mut self) {
        let before = LogLine::base(self.log.attempt);
        let live = self.read_live(before).await;
        let stored = self.read_stored(before).await;
        let last_live = live.last().map_or(0, |line| line.seq);
        let missing: Vec<_> = stored.iter().filter(|line| line.seq > last_live).cloned().collect();
        let earlier: BTreeMap<u64, LogLine> =
            stored.into_iter().chain(live).map(|line| (line.seq, line)).collect();
        let cap = self.log.app.policy.log_bytes;
        self.log.lines().recall(earlier.into_values().collect(), cap);
        for batch in missing.chunks(BATCH) {
            self.append(batch).await;
        }
    }

    async fn read_live(&self, before: u64) -> Vec<LogLine> {
        let mut lines: Vec<LogLine> = Vec::new();
        loop {
            let after = lines.last().map_or(0, |line| line.seq);
            let reading = self.log.app.live_logs.read(self.log.id, after, 10 * BATCH);
            let next = within(LIVE, "reading live lines", reading).await.unwrap_or_else(|error| {
                tracing::warn!(deployment = %self.log.id, %error, "lines of earlier attempts may be missing");
                Vec::new()
            });
            let count = lines.len();
            lines.extend(next.into_iter().take_while(|line| line.seq <= before));
            if lines.len() == count {
                return lines;
            }
        }
    }

    async fn read_stored(&self, before: u64) -> Vec<LogLine> {
        let found = self.log.app.find_stored_log(self.log.id).await;
        let read = found.and_then(|found| found.map_or(Ok(Vec::new()), |found| found.log.read_all()));
        match read {
            Ok(lines) => lines.into_iter().filter(|line| line.seq <= before).collect(),
            Err(error) => {
                tracing::warn!(deployment = %self.log.id, %error, "lines of earlier attempts may be missing");
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn add(lines: &mut Lines, stream: LogStream, text: &str) -> Result<(), LogFull> {
        lines.add(0, || OffsetDateTime::UNIX_EPOCH, (StepName::Build, stream, text))
    }

    fn texts(lines: &Lines) -> Vec<&str> {
        lines.own.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_numbered_in_their_order() {
        let mut lines = Lines::new(Mask::default(), 1_000);
        add(&mut lines, LogStream::Stdout, "a\nb").unwrap();
        add(&mut lines, LogStream::Stderr, "c").unwrap();
        let numbers: Vec<_> = lines.own.iter().map(|line| line.seq).collect();
        assert_eq!((numbers, texts(&lines)), (vec![1, 2, 3], vec!["a", "b", "c"]));
    }

    #[test]
    fn a_full_log_says_so_once_and_still_takes_the_words_of_gv() {
        let mut lines = Lines::new(Mask::default(), 2 * (LINE_BYTES + 1));
        assert_eq!(add(&mut lines, LogStream::Stdout, "a\nb\nc"), Err(LogFull));
        assert_eq!(add(&mut lines, LogStream::Stdout, "d"), Err(LogFull));
        assert_eq!(add(&mut lines, LogStream::System, "failed"), Ok(()));
        assert_eq!(texts(&lines), ["a", "b", "The log is full: what follows is not kept.", "failed"]);
    }

    #[test]
    fn even_the_words_of_gv_are_bounded_and_so_are_empty_lines() {
        let mut lines = Lines::new(Mask::default(), 0);
        let mut said = 0;
        while add(&mut lines, LogStream::System, "").is_ok() {
            said += 1;
        }
        assert_eq!(said, LAST_WORDS_BYTES / LINE_BYTES);
    }

    #[test]
    fn what_comes_after_the_end_is_not_kept() {
        let mut lines = Lines::new(Mask::default(), 1_000);
        lines.closed = true;
        assert_eq!(add(&mut lines, LogStream::Stdout, "late"), Ok(()));
        assert!(lines.own.is_empty());
    }

    #[test]
    fn of_earlier_attempts_the_newest_lines_are_kept() {
        let mut earlier = Lines::new(Mask::default(), 1_000);
        add(&mut earlier, LogStream::Stdout, "a\nb\nc").unwrap();
        let mut lines = Lines::new(Mask::default(), 1_000);
        lines.recall(earlier.own, 2 * (LINE_BYTES + 1));
        let kept: Vec<_> = lines.earlier.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(kept, ["b", "c"]);
    }
}
