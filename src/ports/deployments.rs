//! Keeps deployments. The row is the job: whoever holds its lease does the work.
//!
//! A lease is an owner, an expiry by the database's own clock, and an attempt number. It is taken
//! by compare-and-set on the row's revision; every later write by its holder is one as well, so
//! that a worker which woke up too late changes nothing. No other clock than the database's
//! decides whether a lease is over.

use crate::domain::deployment::{Deployment, StateName};
use crate::domain::digest::Digest;
use crate::domain::host::HostRecord;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use std::time::Duration;
use time::OffsetDateTime;

#[async_trait]
pub trait Deployments: Send + Sync {
    /// Stores a queued deployment and gives it its `seq`. With a key that the account used within
    /// the last 24 hours (by `deployment.created_at`), the deployment of then is given instead. Of
    /// calls at the same time with one key, exactly one stores. Nothing is stored where `account_queued`
    /// deployments of the account wait already, apart from those that this one would [`supersede`].
    ///
    /// [`supersede`]: Self::supersede
    async fn submit(
        &self,
        deployment: Deployment,
        key: Option<&IdempotencyKey>,
        account_queued: u32,
    ) -> Result<Submitted, StoreError>;

    /// Absence is an ordinary answer; another account's deployment is absent.
    async fn find_deployment(
        &self,
        account: UserId,
        id: DeploymentId,
    ) -> Result<Option<Deployment>, StoreError>;

    /// Newest first, those submitted before `before`.
    async fn list_deployments(
        &self,
        account: UserId,
        filter: DeploymentFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Deployment>, StoreError>;

    /// The newest ready production deployment of the project that was submitted before `before`.
    async fn previous_ready(
        &self,
        account: UserId,
        project: ProjectId,
        before: i64,
    ) -> Result<Option<Deployment>, StoreError>;

    /// The newest ready deployment of the project that was made of the same.
    async fn find_built(
        &self,
        account: UserId,
        project: ProjectId,
        fingerprint: &Digest,
    ) -> Result<Option<Deployment>, StoreError>;

    /// Where in the line those of the deployments stand that wait: in one query, for any number.
    async fn places(&self, ids: &[DeploymentId]) -> Result<Vec<PlaceInLine>, StoreError>;

    /// Calls off older deployments that wait for the same project, target and reference, naming the newer
    /// one; with `running`, asks the workers of those that are built to stop.
    async fn supersede(
        &self,
        newer: &Deployment,
        running: bool,
        now: OffsetDateTime,
    ) -> Result<Superseded, StoreError>;

    /// The deployment that is next to be taken: of the account that has the fewest running, and less than
    /// `account_builds`, the oldest that waits or whose lease is over.
    async fn next_in_line(&self, account_builds: u32) -> Result<Option<DeploymentId>, StoreError>;

    /// Cancels it at once when it is queued; when a worker holds it, leaves word for that worker.
    /// Returns the deployment as it then is.
    async fn request_cancel(
        &self,
        account: UserId,
        id: DeploymentId,
        now: OffsetDateTime,
    ) -> Result<Option<Deployment>, StoreError>;

    /// Deletes an ended deployment and empties the hosts that showed it, in one transaction.
    async fn delete_deployment(&self, account: UserId, id: DeploymentId) -> Result<Deletion, StoreError>;

    /// Takes the lease of a deployment that waits, or whose lease is over, for `lease` from the
    /// database's now. Counts a loss when another's lease had run out. Of one account no more than
    /// `account_builds` are held at a time, whoever claims. One that none of this process's keys opens ends
    /// as failed, and says why.
    async fn claim(
        &self,
        id: DeploymentId,
        worker: &str,
        lease: Duration,
        now: OffsetDateTime,
        account_builds: u32,
    ) -> Result<Claim, StoreError>;

    /// Holds on to a lease, also a late one that nobody took meanwhile.
    async fn renew(&self, id: DeploymentId, attempt: u32, lease: Duration) -> Result<Renewal, StoreError>;

    /// Writes `next` over the revision that it was read at, and returns it with the new revision.
    /// A deployment that is queued or ended holds no lease from then on, and one that has ended
    /// forgets its Git token. `None`: someone else wrote first, nothing was changed.
    async fn advance(&self, next: Deployment) -> Result<Option<Deployment>, StoreError>;

    /// Deployments that wait or whose lease is over, oldest first, and which nobody announced for
    /// `quiet`. Of several callers at the same time each deployment is given to one; being given
    /// counts as being announced.
    async fn take_unannounced(&self, quiet: Duration, limit: u32) -> Result<Vec<DeploymentId>, StoreError>;

    /// Ends at once all leases of a worker that is known to be dead. Returns how many.
    async fn abandon(&self, worker: &str) -> Result<u64, StoreError>;

    /// How much waits. Where an account may have `account_builds` running, those of it that find no place are
    /// no reason for another worker.
    async fn backlog(&self, account_builds: u32) -> Result<Backlog, StoreError>;
}

/// A client's name for one submission, and what it submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    /// Digest of the request: the same key with another request is a mistake.
    pub fingerprint: Digest,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    New(Deployment),
    /// The key had been used for the same request.
    Repeated(Deployment),
    /// The key had been used for another request, or its deployment was deleted.
    KeyTaken,
    /// The account has so many waiting already.
    LineFull(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeploymentFilter {
    pub project: Option<ProjectId>,
    pub state: Option<StateName>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    Taken(Box<Deployment>),
    /// Another worker holds it.
    Held,
    /// Its account has as many running as it may.
    AccountBusy,
    /// It has ended, or was deleted.
    Over,
    /// It is sealed by a key that this process does not have, and has failed of that.
    Locked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    Held {
        cancel_requested: bool,
    },
    /// Someone else took it, or it has ended.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Its hosts, now without a target, are still to be published.
    Deleted(Vec<HostRecord>),
    NotFound,
    NotEnded,
    /// The production host shows it.
    InProduction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceInLine {
    pub deployment: DeploymentId,
    /// From 1, over all accounts: as it would be taken if nothing ended and nothing new came.
    pub position: u64,
    /// How many deployments its account has running.
    pub account_running: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Superseded {
    /// They waited, and have ended.
    pub called_off: Vec<DeploymentId>,
    /// They are built, and will stop.
    pub told: Vec<DeploymentId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// What free workers could take now: what is queued, and what was held until its lease ran out, of each
    /// account no more than it has free places.
    pub waiting: u64,
    /// For how many seconds the oldest of these has waited: since it was submitted, or its lease ran out.
    pub oldest_s: u64,
    /// All that nobody holds.
    pub unheld: u64,
}
