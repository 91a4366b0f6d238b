//! The log of a deployment while it runs: a capped stream that many read while one writes.
//! Its finished copy is an object in storage (see `app::logs`).

use crate::domain::id::DeploymentId;
use crate::domain::log::LogLine;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use std::time::Duration;

/// What became of lines that were to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Held,
    /// The stream has not had what they follow (it was emptied, say): nothing was added, and all
    /// lines from the first one on are to be sent again.
    Missing,
    /// The stream was closed: it takes no line any more.
    Closed,
}

#[async_trait]
pub trait LiveLogs: Send + Sync {
    /// Adds lines to a stream that has had all those up to number `follows` (0: nothing before). Their
    /// numbers rise and are above all that are there: a line that is not (a worker that woke too
    /// late) is left out. Past the stream's cap the oldest are dropped.
    async fn append(&self, id: DeploymentId, follows: u64, lines: &[LogLine])
    -> Result<Appended, StoreError>;

    /// The lines after number `after`, oldest first, at most `limit`. An unknown stream is empty.
    async fn read(&self, id: DeploymentId, after: u64, limit: usize) -> Result<Vec<LogLine>, StoreError>;

    /// Returns as soon as there is a line after number `after` or the stream was closed, and at
    /// the latest after `at_most`. May return early for no reason.
    async fn wait(&self, id: DeploymentId, after: u64, at_most: Duration) -> Result<(), StoreError>;

    /// No line will come any more. The stream stays readable for a while and is then dropped.
    async fn close(&self, id: DeploymentId) -> Result<(), StoreError>;
}
