//! The writing side: lines are numbered and kept in memory at once, sent to the live stream by a
//! task of their own, and stored as one object in the end.
//!
//! The object is the log; the live stream is a courtesy, whose failing neither stops a build nor
//! costs a line. Start with [`LogWriter`]; [`super::sender`] is its task.

use super::lines::Lines;
use super::mask::Mask;
use super::secrets;
use super::sender::{self, Sender};
use super::stored::{self, Found};
use crate::app::App;
use crate::app::deadline::{COURTESY, STORED_LOG, within};
use crate::domain::deployment::{Deployment, StepName};
use crate::domain::id::DeploymentId;
use crate::domain::log::{LogLine, LogStream};
use crate::ports::blobs::Key;
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// So many lines are sent without delay.
const HURRY: usize = 100;
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

pub(super) struct AttemptLog {
    pub(super) app: Arc<App>,
    pub(super) id: DeploymentId,
    pub(super) attempt: u32,
    lines: Mutex<Lines>,
    /// There is something to send.
    pub(super) begun: Notify,
    /// There is much to send.
    pub(super) hurry: Notify,
    pub(super) stop: CancellationToken,
    sender: Mutex<Option<JoinHandle<()>>>,
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
        self.log.lines().hide(secrets);
    }

    /// A text without control characters and secrets, as the log shows it.
    pub fn masked(&self, text: &str) -> String {
        self.log.lines().mask.whole(text)
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
    /// Its Git token and the variables of its request are masked from the start. Must be called within the asynchronous runtime.
    pub fn log_writer(self: &Arc<Self>, deployment: &Deployment) -> LogWriter {
        let mut mask = Mask::default();
        mask.add(secrets::of_request(deployment));
        let stop = CancellationToken::new();
        let log = Arc::new(AttemptLog {
            app: Arc::clone(self),
            id: deployment.id,
            attempt: deployment.attempt,
            lines: Mutex::new(Lines::new(mask, self.policy.log_bytes, LogLine::base(deployment.attempt))),
            begun: Notify::new(),
            hurry: Notify::new(),
            stop: stop.clone(),
            sender: Mutex::new(None),
        });
        let sender = tokio::spawn(Sender::new(Arc::clone(&log)).run());
        *log.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        LogWriter { log, _sending: Arc::new(stop.drop_guard()) }
    }
}

impl AttemptLog {
    pub(super) fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, step: StepName, stream: LogStream, text: &str) -> Result<(), LogFull> {
        let mut lines = self.lines();
        let added = lines.add(|| self.app.clock.now(), (step, stream, text));
        let unsent = lines.count_unsent();
        drop(lines);
        self.begun.notify_one();
        if unsent >= HURRY {
            self.hurry.notify_one();
        }
        added
    }

    /// No line is taken from here on; those that were are sent, if they can be soon.
    async fn stop_sending(&self) {
        self.lines().close();
        self.stop.cancel();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut sender) = sender
            && tokio::time::timeout(sender::ENDING, &mut sender).await.is_err()
        {
            sender.abort();
        }
    }

    /// Puts all lines into the object, unless it holds a later attempt's: then this is a worker
    /// that woke too late.
    async fn store(&self) -> Result<(), StoreError> {
        let mut last = None;
        for round in 0..STORE_ROUNDS {
            if round > 0 {
                tokio::time::sleep(Duration::from_millis(100) * 4_u32.pow(round - 1)).await;
            }
            // They stay where they are: a storage that refuses them now is asked again.
            match self.store_once(self.encoded().await?).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind == StoreErrorKind::Unavailable => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| StoreError::conflict(format!("storing {}", Key::log(self.id)))))
    }

    /// All lines, as an object.
    pub(super) async fn encoded(&self) -> Result<Bytes, StoreError> {
        let lines = self.lines().all();
        let encoding = tokio::task::spawn_blocking(move || stored::encode(&lines)).await;
        encoding.map_err(|error| StoreError::new(StoreErrorKind::Internal, "encoding a log", error))?
    }

    /// Stores all lines, most often where nothing is stored yet, as [`Self::store_over`] does otherwise.
    async fn store_once(&self, bytes: Bytes) -> Result<bool, StoreError> {
        Ok(self.store_new(bytes.clone()).await? || self.store_over(bytes).await?)
    }

    /// `false`: something is stored there.
    async fn store_new(&self, bytes: Bytes) -> Result<bool, StoreError> {
        within(STORED_LOG, "storing a log", self.app.blobs.put_new(&Key::log(self.id), bytes)).await
    }

    /// Stores all lines in the place of what is found there, after a look at it: a worker that woke
    /// too late sends nothing at all. `false`: another writer came between, or the object has lines
    /// of earlier attempts that were not known; now they are, and the same is to be done again.
    pub(super) async fn store_over(&self, bytes: Bytes) -> Result<bool, StoreError> {
        let (key, blobs) = (Key::log(self.id), &self.app.blobs);
        let tag = match self.app.find_stored_log(self.id).await {
            Ok(None) => return self.store_new(bytes).await,
            Ok(Some(Found { log, tag, .. })) => {
                let held = log.read_all()?;
                if held.last().is_some_and(|newest| newest.seq > LogLine::base(self.attempt + 1)) {
                    return Ok(true);
                }
                let base = LogLine::base(self.attempt);
                if self.lines().recall(held.into_iter().filter(|line| line.seq <= base)) {
                    return Ok(false);
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
