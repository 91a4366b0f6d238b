//! Making and deleting projects.

use crate::app::App;
use crate::domain::id::UserId;
use crate::domain::project::{Project, ProjectName};
use crate::domain::repo::RepoUrl;
use crate::domain::settings::BuildSettings;
use crate::ports::error::StoreError;
use crate::ports::projects::ProjectDeletion;

#[derive(Clone, Debug)]
pub struct NewProject {
    pub name: ProjectName,
    pub repo_url: Option<RepoUrl>,
    pub settings: BuildSettings,
}

impl App {
    /// `None`: the account has a project of this name.
    pub async fn create_project(
        &self,
        account: UserId,
        new: NewProject,
    ) -> Result<Option<Project>, StoreError> {
        unimplemented!("{account} {new:?}")
    }

    /// Deletes a project with its deployments, addresses and their own objects.
    pub async fn delete_project(
        &self,
        account: UserId,
        name: &ProjectName,
    ) -> Result<ProjectDeletion, StoreError> {
        unimplemented!("{account} {name}")
    }
}
