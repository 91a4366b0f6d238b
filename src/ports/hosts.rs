//! Keeps hosts: which deployment each name shows. What visitors see is the published copy in
//! object storage (see `app::publish`), which follows these records.

use crate::domain::deployment::Deployment;
use crate::domain::host::{HostClaim, HostRecord, Hostname};
use crate::domain::id::DeploymentId;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
pub trait Hosts: Send + Sync {
    /// Points the claimed hosts at a deployment, in one transaction, if its row still has the
    /// revision given. For each claim the first candidate is taken that is unclaimed or the
    /// project's own for the same kind. A host that already answered to a later submission, or to
    /// a person's move after this submission, stays as it is and is not among those returned. Doing it again changes nothing and returns the same.
    /// `None`: the deployment was taken by someone else meanwhile.
    async fn assign(
        &self,
        deployment: &Deployment,
        claims: &[HostClaim],
    ) -> Result<Option<Vec<HostRecord>>, StoreError>;

    /// Points a host of the deployment's project at it because a person said so: whatever was
    /// submitted before this moment will not take the host back. `None`: no such host of this
    /// project, or the deployment is gone or not ready.
    async fn point(&self, host: &Hostname, deployment: &Deployment)
    -> Result<Option<HostRecord>, StoreError>;

    async fn find_host(&self, host: &Hostname) -> Result<Option<HostRecord>, StoreError>;

    /// The hosts that show any of these deployments, in the order of their names.
    async fn hosts_of(&self, deployments: &[DeploymentId]) -> Result<Vec<HostRecord>, StoreError>;

    /// Hosts whose last move is at least `age` old and is not certain to have been published.
    async fn unpublished(&self, age: Duration, limit: u32) -> Result<Vec<HostRecord>, StoreError>;

    /// Lifts a host's revision over `published`, which storage has although this database does not know of
    /// it, unless it is higher already. Nothing else of the record changes. Returns it as it then is; `None`:
    /// there is no such host.
    async fn lift_host(&self, host: &Hostname, published: i64) -> Result<Option<HostRecord>, StoreError>;

    /// Lifts up to `limit` hosts, the next after `after` by name, over everything that can have been published of
    /// them, whatever this database forgot of it: by a million, and at least to the microseconds since 1970
    /// by the database's clock, which no host reaches by moves. `None`: there are no more.
    async fn lift_hosts(&self, after: Option<&Hostname>, limit: u32) -> Result<Option<Lifted>, StoreError>;

    /// Object storage has this revision, or a newer one.
    async fn mark_published(&self, host: &Hostname, revision: i64) -> Result<(), StoreError>;
}

/// Some hosts, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifted {
    pub count: u64,
    pub last: Hostname,
}
