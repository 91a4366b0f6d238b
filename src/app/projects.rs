//! Making and deleting projects, and clearing up after what was deleted.

use crate::app::App;
use crate::app::deadline::{AFTERMATH, OBJECT, within};
use crate::domain::host::HostRecord;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::project::{Project, ProjectName};
use crate::domain::repo::RepoUrl;
use crate::domain::settings::BuildSettings;
use crate::ports::blobs::Key;
use crate::ports::error::StoreError;
use crate::ports::projects::{ProjectDeletion, unclaimed};
use futures_util::StreamExt;

/// Objects and hosts that are cleared at the same time.
const CLEARING_WIDTH: usize = 16;

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
        let now = self.clock.now();
        let id = ProjectId::new(now, &mut rand::rng());
        let claim = self.policy.names.production(&new.name, id);
        let project = Project {
            id,
            account,
            name: new.name,
            host: unclaimed(&claim),
            repo_url: new.repo_url,
            production_branch: None,
            framework: None,
            settings: new.settings,
            created_at: now,
        };
        match self.database.insert_project(project, &claim).await {
            Ok(project) => {
                tracing::info!(project = %project.name, host = %project.host, "project made");
                Ok(Some(project))
            }
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a project with its deployments, addresses and their own objects.
    pub async fn delete_project(
        &self,
        account: UserId,
        name: &ProjectName,
    ) -> Result<ProjectDeletion, StoreError> {
        let deletion = self.database.delete_project(account, name).await?;
        if let ProjectDeletion::Deleted { hosts, deployments } = &deletion {
            tracing::info!(project = %name, deployments = deployments.len(), "project deleted");
            self.clear(account, hosts.clone(), deployments.clone()).await;
        }
        Ok(deletion)
    }

    /// Publishes that these hosts show nothing, then removes the objects of these deployments,
    /// whose rows are gone already. A failure is logged and no more: without its row and its host
    /// an object is out of everybody's view, and the sweeper publishes what is left.
    pub(super) async fn clear(
        &self,
        account: UserId,
        hosts: Vec<HostRecord>,
        deployments: Vec<DeploymentId>,
    ) {
        let app = self.clone();
        // A task of its own, since a client that hangs up takes the caller with it.
        let clearing = tokio::spawn(async move {
            app.publish_all(hosts, None).await;
            let each = |id| app.remove_objects(account, id);
            futures_util::stream::iter(deployments).for_each_concurrent(CLEARING_WIDTH, each).await;
        });
        if let Ok(Err(panicked)) = tokio::time::timeout(AFTERMATH, clearing).await {
            tracing::error!(error = %panicked, "clearing up after a deletion broke off");
        }
    }

    async fn remove_objects(&self, account: UserId, id: DeploymentId) {
        let removed = async {
            for key in [Key::manifest(id), Key::source(account, id)] {
                within(OBJECT, "removing an object", self.blobs.delete(&key)).await?;
            }
            self.forget_log(id).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(deployment = %id, %error, "objects of a deleted deployment stay in storage, out of everybody's view");
        }
    }
}
