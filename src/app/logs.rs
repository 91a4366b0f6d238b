//! A deployment's log: written by the worker that holds it, followed by anybody who may see it.
//!
//! While it runs, lines live in the capped stream of `ports::live_logs`; before a deployment ends,
//! the whole log is stored as one object. So a reader that sees the deployment ended finds all of it.

use crate::app::App;
use crate::domain::deployment::{Deployment, StepName};
use crate::domain::id::DeploymentId;
use crate::domain::log::{LogLine, LogStream};
use crate::ports::error::StoreError;
use futures_util::stream::BoxStream;
use std::sync::Arc;

/// Writes the log of one attempt. Cheap to clone; lines are sent on in batches.
#[derive(Clone)]
pub struct LogWriter(());

/// The log has reached its cap: nothing more is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is full")]
pub struct LogFull;

impl LogWriter {
    /// Adds a line (cut into several when it is long or has line breaks). Known secrets are masked.
    pub fn line(&self, step: StepName, stream: LogStream, text: &str) -> Result<(), LogFull> {
        unimplemented!("{step:?} {stream:?} {text}")
    }

    /// Adds gv's own words: they are kept even past the cap.
    pub fn say(&self, step: StepName, text: impl AsRef<str>) {
        unimplemented!("{step:?} {}", text.as_ref())
    }

    /// Hides these values in every line that follows.
    pub fn mask(&self, secrets: impl IntoIterator<Item = String>) {
        let _ = secrets.into_iter().count();
        unimplemented!()
    }

    /// Stores the whole log as an object and closes the live stream. To be called before the
    /// deployment's row says that it ended.
    pub async fn finish(self) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Sends on what is still held, and leaves the log open for the next attempt.
    pub async fn pause(self) {
        unimplemented!()
    }
}

/// What a follower is told.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEvent {
    Line(LogLine),
    /// The deployment has ended, as this; nothing follows.
    End(Box<Deployment>),
}

impl App {
    /// A writer for the attempt that holds `deployment`; lines of earlier attempts stay before it.
    pub fn log_writer(self: &Arc<Self>, deployment: &Deployment) -> LogWriter {
        unimplemented!("{deployment:?}")
    }

    /// The lines after number `after`. With `follow`, goes on until the deployment has ended and
    /// then gives [`LogEvent::End`]; without it, ends with the last line there is. The deployment
    /// must be one that the reader may see.
    pub fn read_log(
        self: &Arc<Self>,
        deployment: Deployment,
        after: u64,
        follow: bool,
    ) -> BoxStream<'static, Result<LogEvent, StoreError>> {
        unimplemented!("{deployment:?} {after} {follow}")
    }

    /// Removes a deployment's log, finished or live.
    pub async fn forget_log(&self, id: DeploymentId) -> Result<(), StoreError> {
        unimplemented!("{id}")
    }
}
