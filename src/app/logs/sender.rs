//! The task behind a writer: sends lines to the live stream as they come. While that takes none, it
//! stores the log so far as the object that it will be in the end, where followers look for it.
//!
//! Start with [`Sender::run`].

use super::stored;
use super::writer::AttemptLog;
use crate::app::deadline::within;
use crate::domain::log::LogLine;
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::ports::live_logs::Appended;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const SEND_EVERY: Duration = Duration::from_millis(50);
/// How often the live stream is asked, while there is nothing to send, whether it still has all.
const ASK_EVERY: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// How often one sending may begin anew: a stream that is emptied faster takes none.
const RESTARTS: u32 = 3;
/// For one batch of live lines, and for reading those of earlier attempts.
const LIVE: Duration = Duration::from_secs(2);
const RECALLING: Duration = Duration::from_secs(5);
/// How long the end of an attempt waits for live lines to be sent.
const LAST_SENDING: Duration = Duration::from_secs(3);
/// How long the whole takes to end.
pub(super) const ENDING: Duration = Duration::from_secs(8);
/// For storing the log so far.
const STORING: Duration = Duration::from_secs(20);
/// Lines of earlier attempts that are read at a time.
const PAGE: usize = 1000;

pub(super) struct Sender {
    log: Arc<AttemptLog>,
    /// A failure was logged and not yet followed by a success.
    failing: bool,
    /// What earlier attempts left in the live stream is known: only then are lines added.
    recalled: bool,
    /// The last number that storage has for certain, and when it may be written to again.
    stored: u64,
    store_next: Instant,
}

impl Sender {
    pub(super) fn new(log: Arc<AttemptLog>) -> Self {
        let recalled = log.attempt <= 1;
        Self { log, failing: false, recalled, stored: 0, store_next: Instant::now() }
    }

    pub(super) async fn run(mut self) {
        let stop = self.log.stop.clone();
        if !self.recalled {
            let _ = stop.run_until_cancelled(self.send_all()).await;
        }
        while let Some(begun) =
            stop.run_until_cancelled(timeout(self.pause(), self.log.begun.notified())).await
        {
            if begun.is_ok() {
                // A moment's lines go together; a build that prints much is sent without delay.
                let gather = timeout(SEND_EVERY, self.log.hurry.notified());
                let _ = stop.run_until_cancelled(gather).await;
            }
            // A full log has said so, and whoever adds is told.
            let _ = self.log.lines().release();
            let mut backoff = SEND_EVERY;
            while !self.send_all().await {
                let meanwhile = async {
                    self.store_so_far().await;
                    sleep(backoff).await;
                };
                if stop.run_until_cancelled(meanwhile).await.is_none() {
                    break;
                }
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
        // What is left, once: the object has it in any case.
        let _ = timeout(LAST_SENDING, self.send_all()).await;
    }

    /// Until there is something to do without anything new.
    fn pause(&self) -> Duration {
        let due = self.log.lines().next_due().map(|due| due.saturating_duration_since(Instant::now()));
        due.map_or(ASK_EVERY, |due| due.min(ASK_EVERY))
    }

    /// Sends all that there is, or asks whether what was sent is still there. `false`: the stream
    /// did not take it.
    async fn send_all(&mut self) -> bool {
        if !self.recalled {
            self.recalled = timeout(RECALLING, self.recall()).await.unwrap_or(false);
            if !self.recalled {
                return false;
            }
        }
        let mut restarts = 0;
        loop {
            let (sent, batch) = {
                let lines = self.log.lines();
                (lines.sent, lines.unsent())
            };
            if batch.is_empty() && sent == 0 {
                return true;
            }
            match self.append(sent, &batch).await {
                Some(Appended::Held) => match batch.last() {
                    Some(last) => self.log.lines().sent = last.seq,
                    None => return true,
                },
                Some(Appended::Missing) if restarts < RESTARTS => {
                    restarts += 1;
                    self.log.lines().sent = 0;
                }
                Some(Appended::Missing | Appended::Closed) | None => return false,
            }
            if self.log.lines().count_unsent() == 0 {
                return true;
            }
        }
    }

    async fn append(&mut self, follows: u64, batch: &[LogLine]) -> Option<Appended> {
        let appending = self.log.app.live_logs.append(self.log.id, follows, batch);
        let problem = match within(LIVE, "sending live lines", appending).await {
            Ok(Appended::Closed) => "the live log was closed".to_owned(),
            Ok(appended) => {
                self.failing = false;
                return Some(appended);
            }
            Err(error) => error.to_string(),
        };
        self.held_back(&problem);
        None
    }

    fn held_back(&mut self, problem: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let deployment = self.log.id;
            tracing::warn!(%deployment, error = problem, "live lines are held back: followers find them in storage");
        }
    }

    /// Stores the log so far, unless that was done a moment ago or nothing is new.
    async fn store_so_far(&mut self) {
        let newest = self.log.lines().newest();
        if newest <= self.stored || Instant::now() < self.store_next {
            return;
        }
        let storing = async {
            let mut bytes = self.log.encoded().await?;
            if !self.log.store_over(bytes.clone()).await? {
                bytes = self.log.encoded().await?;
                if !self.log.store_over(bytes.clone()).await? {
                    return Err(StoreError::conflict("storing a log so far"));
                }
            }
            Ok(bytes.len())
        };
        let pause = match within(STORING, "storing a log so far", storing).await {
            Ok(length) => {
                self.stored = newest;
                stored::pace(length)
            }
            Err(error) => {
                tracing::debug!(deployment = %self.log.id, %error, "a log could not be stored so far");
                stored::pace(0)
            }
        };
        self.store_next = Instant::now() + pause;
    }

    /// Reads the lines of earlier attempts from wherever they are; what the live stream lacks of
    /// them is sent before the first of this one. `false`: it does not say what it has.
    async fn recall(&mut self) -> bool {
        let base = LogLine::base(self.log.attempt);
        let stored = self.read_stored(base).await.unwrap_or_else(|error| {
            tracing::warn!(deployment = %self.log.id, %error, "lines of earlier attempts may be missing");
            Vec::new()
        });
        self.log.lines().recall(stored);
        match self.read_live(base).await {
            Ok(live) => {
                let mut lines = self.log.lines();
                lines.sent = live.last().map_or(0, |line| line.seq);
                lines.recall(live);
                true
            }
            Err(error) => {
                self.held_back(&error.to_string());
                false
            }
        }
    }

    async fn read_live(&self, base: u64) -> Result<Vec<LogLine>, StoreError> {
        let mut lines: Vec<LogLine> = Vec::new();
        loop {
            let after = lines.last().map_or(0, |line| line.seq);
            let reading = self.log.app.live_logs.read(self.log.id, after, PAGE);
            let next = match within(LIVE, "reading live lines", reading).await {
                Ok(next) => next,
                // What cannot be read now cannot be read later.
                Err(error) if error.kind == StoreErrorKind::Corrupt => Vec::new(),
                Err(error) => return Err(error),
            };
            let count = lines.len();
            lines.extend(next.into_iter().take_while(|line| line.seq <= base));
            if lines.len() == count {
                return Ok(lines);
            }
        }
    }

    async fn read_stored(&self, base: u64) -> Result<Vec<LogLine>, StoreError> {
        let found = self.log.app.find_stored_log(self.log.id).await?;
        let lines = found.map_or(Ok(Vec::new()), |found| found.log.read_all())?;
        Ok(lines.into_iter().filter(|line| line.seq <= base).collect())
    }
}
