//! From a request to a row that waits: submit, redeploy, cancel, delete.

use crate::app::App;
use crate::domain::deployment::{Deployment, Target};
use crate::domain::id::{DeploymentId, UserId};
use crate::domain::project::ProjectName;
use crate::domain::repo::{GitRef, RepoUrl};
use crate::domain::secret::Secret;
use crate::domain::settings::{BuildSettings, Variables};
use crate::ports::deployments::{Deletion, IdempotencyKey, Submitted};
use crate::ports::error::StoreError;

#[derive(Clone, Debug)]
pub struct SubmitRequest {
    pub repo_url: RepoUrl,
    pub reference: Option<GitRef>,
    /// `None`: the account's project of this repository, else one named after the repository.
    pub project: Option<ProjectName>,
    pub target: Target,
    pub settings: BuildSettings,
    pub env: Variables,
    pub git_token: Option<Secret>,
}

impl App {
    /// Stores a deployment that waits, in its project (made when missing), and rings the bell. A
    /// bell that cannot be rung is no failure: the sweeper rings again.
    pub async fn submit(
        &self,
        account: UserId,
        request: SubmitRequest,
        key: Option<IdempotencyKey>,
    ) -> Result<Submitted, StoreError> {
        unimplemented!("{account} {request:?} {key:?}")
    }

    /// Submits the same again: same repository, reference, settings and variables. The reference
    /// is resolved anew. `None`: no such deployment of this account.
    pub async fn redeploy(
        &self,
        account: UserId,
        id: DeploymentId,
        git_token: Option<Secret>,
        key: Option<IdempotencyKey>,
    ) -> Result<Option<Submitted>, StoreError> {
        unimplemented!("{account} {id} {git_token:?} {key:?}")
    }

    /// Cancels, and waits a moment for the worker that holds it. Returns the deployment as it then
    /// is; one that had ended before is returned unchanged.
    pub async fn cancel(&self, account: UserId, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        unimplemented!("{account} {id}")
    }

    /// Deletes an ended deployment, its address and its own objects. Content that other
    /// deployments may share stays.
    pub async fn delete_deployment(&self, account: UserId, id: DeploymentId) -> Result<Deletion, StoreError> {
        unimplemented!("{account} {id}")
    }
}
