//! Keeps projects. Every query takes the owner: there is none without.

use crate::domain::host::{HostClaim, HostRecord, Hostname};
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::project::{Project, ProjectName};
use crate::domain::repo::RepoUrl;
use crate::ports::error::StoreError;
use async_trait::async_trait;

#[async_trait]
pub trait Projects: Send + Sync {
    /// Stores the project and claims its production host in one transaction: the first candidate
    /// that no other project holds becomes `project.host`, and the stored project is returned.
    /// A name that the account has already is a conflict.
    async fn insert_project(&self, project: Project, host: &HostClaim) -> Result<Project, StoreError>;

    async fn find_project(&self, account: UserId, name: &ProjectName) -> Result<Option<Project>, StoreError>;

    /// The account's oldest project of this repository.
    async fn find_project_by_repo(
        &self,
        account: UserId,
        repo_url: &RepoUrl,
    ) -> Result<Option<Project>, StoreError>;

    /// By name, ascending, after `after`.
    async fn list_projects(
        &self,
        account: UserId,
        after: Option<&ProjectName>,
        limit: u32,
    ) -> Result<Vec<Project>, StoreError>;

    /// Notes what a build learned: the framework, and the production branch where none is set.
    async fn note_build(
        &self,
        id: ProjectId,
        framework: Option<&str>,
        default_branch: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Deletes the project and all its deployments, and empties its hosts, in one transaction.
    async fn delete_project(
        &self,
        account: UserId,
        name: &ProjectName,
    ) -> Result<ProjectDeletion, StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectDeletion {
    /// Its hosts, now without a target, are still to be published; its deployments' objects are
    /// still to be removed.
    Deleted {
        hosts: Vec<HostRecord>,
        deployments: Vec<DeploymentId>,
    },
    NotFound,
    /// A deployment of it has not ended.
    Busy(DeploymentId),
}

/// The placeholder for `Project::host` before [`Projects::insert_project`] chose one.
pub fn unclaimed(host: &HostClaim) -> Hostname {
    host.candidates[0].clone()
}
