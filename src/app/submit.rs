//! From a request to a row that waits: submit, redeploy, cancel, delete.

use crate::app::App;
use crate::app::deadline::{COURTESY, within};
use crate::app::projects::NewProject;
use crate::domain::deployment::{BuildOptions, Deployment, SourceRequest, State, Target};
use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::project::{Project, ProjectName};
use crate::domain::repo::{GitRef, RepoUrl};
use crate::domain::secret::Secret;
use crate::domain::settings::{BuildSettings, Variables};
use crate::domain::trace::TraceContext;
use crate::ports::deployments::{Deletion, DeploymentFilter, IdempotencyKey, Submitted};
use crate::ports::error::StoreError;
use crate::ports::notices::Notice;
use crate::ports::traces::SpanKind;
use std::sync::Arc;
use std::time::Duration;

/// How long a cancel waits for the worker to stop, and how often it looks.
const CANCEL_WAIT: Duration = Duration::from_secs(2);
const CANCEL_LOOK: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct SubmitRequest {
    pub repo_url: RepoUrl,
    pub reference: Option<GitRef>,
    /// `None`: the account's project of this repository, else one named after the repository.
    pub project: Option<ProjectName>,
    pub target: Target,
    pub settings: BuildSettings,
    pub env: Variables,
    pub options: BuildOptions,
    pub git_token: Option<Secret>,
}

/// A project to deploy into, and whether this very call made it.
struct Resolved {
    project: Project,
    made: bool,
}

impl App {
    /// Stores a deployment that waits, in its project (made when missing), and rings the bell. A
    /// bell that cannot be rung is no failure: the sweeper rings again.
    ///
    /// The request's settings hold for this deployment; those that it leaves out are the project's.
    pub async fn submit(
        &self,
        account: UserId,
        request: SubmitRequest,
        key: Option<IdempotencyKey>,
    ) -> Result<Submitted, StoreError> {
        let Resolved { project, made } = match &request.project {
            Some(name) => self.project_named(account, name, &request.repo_url).await?,
            None => self.project_of_repo(account, &request.repo_url).await?,
        };
        let source = SourceRequest {
            repo_url: request.repo_url,
            reference: request.reference,
            git_token: request.git_token,
        };
        let settings = request.settings.or(project.settings.clone());
        let deployment = self.queued(
            account,
            (project.id, project.name.clone()),
            (request.target, source, settings, request.env, request.options),
        );
        let submitted = self.enqueue(deployment, key).await?;
        let used = match &submitted {
            Submitted::New(deployment) | Submitted::Repeated(deployment) => Some(deployment.project),
            Submitted::KeyTaken | Submitted::LineFull(_) => None,
        };
        if made && used != Some(project.id) {
            self.unmake(&project).await;
        }
        Ok(submitted)
    }

    /// Submits the same again: same repository, reference, settings and variables. The reference
    /// is resolved anew. An ended deployment's Git token is forgotten: a private repository needs
    /// `git_token`. `None`: no such deployment of this account.
    pub async fn redeploy(
        &self,
        account: UserId,
        id: DeploymentId,
        git_token: Option<Secret>,
        no_cache: bool,
        (key, trace): (Option<IdempotencyKey>, Option<TraceContext>),
    ) -> Result<Option<Submitted>, StoreError> {
        let Some(earlier) = self.database.find_deployment(account, id).await? else { return Ok(None) };
        let git_token = git_token.or(earlier.source.git_token);
        let source = SourceRequest { git_token, ..earlier.source };
        // Whoever deploys the same again wants it built again.
        let options = BuildOptions { force: true, no_cache, trace, ..BuildOptions::default() };
        let again = self.queued(
            account,
            (earlier.project, earlier.project_name),
            (earlier.target, source, earlier.settings, earlier.env, options),
        );
        self.enqueue(again, key).await.map(Some)
    }

    /// Cancels, and waits a moment for the worker that holds it. Returns the deployment as it then
    /// is; one that had ended before is returned unchanged.
    pub async fn cancel(&self, account: UserId, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let asked = self.database.request_cancel(account, id, self.clock.now()).await?;
        let Some(deployment) = asked else { return Ok(None) };
        if deployment.state.is_ended() {
            // Followers of a deployment that had only waited need not wait for their next look.
            if let Err(error) = within(COURTESY, "closing a live log", self.live_logs.close(id)).await {
                tracing::debug!(deployment = %id, %error, "its live log was not closed");
            }
            return Ok(Some(deployment));
        }
        self.tell_to_stop(id).await;
        self.wait_for_end(deployment).await
    }

    /// Deletes an ended deployment, its address and its own objects. Content that other
    /// deployments may share stays.
    pub async fn delete_deployment(&self, account: UserId, id: DeploymentId) -> Result<Deletion, StoreError> {
        let deletion = self.database.delete_deployment(account, id).await?;
        if let Deletion::Deleted(hosts) = &deletion {
            tracing::info!(deployment = %id, "deployment deleted");
            self.clear(account, hosts.clone(), vec![id]).await;
        }
        Ok(deletion)
    }

    /// Rings without making anybody wait: the row is what counts, and the sweeper rings again.
    fn ring(&self, id: DeploymentId, trace: Option<TraceContext>) {
        let queue = Arc::clone(&self.queue);
        let mut span = self.tracer.go_on("announce", SpanKind::Producer, trace);
        span.note("messaging.operation.name", "announce");
        span.note("messaging.operation.type", "send");
        tokio::spawn(async move {
            let announcing = queue.announce(id, span.context());
            if let Err(error) = within(COURTESY, "announcing a deployment", announcing).await {
                span.fail("unavailable");
                tracing::debug!(deployment = %id, %error, "the bell did not ring: the sweeper will ring again");
            }
        });
    }

    async fn enqueue(
        &self,
        deployment: Deployment,
        key: Option<IdempotencyKey>,
    ) -> Result<Submitted, StoreError> {
        let account_queued = self.policy.account_queued;
        let submitted = self.database.submit(deployment, key.as_ref(), account_queued).await?;
        if let Submitted::New(deployment) = &submitted {
            self.ring(deployment.id, deployment.options.trace);
            let target = match deployment.target {
                Target::Production => "production",
                Target::Preview => "preview",
            };
            metrics::counter!("gv_deployments_submitted_total", "target" => target).increment(1);
            tracing::info!(deployment = %deployment.id, project = %deployment.project_name, target, "deployment submitted");
            self.supersede(deployment).await;
        }
        Ok(submitted)
    }

    /// What is older and of the same branch is not wanted any more. Not being able to say so costs a build
    /// that nobody looks at, and no more: the newest submission wins its hosts.
    async fn supersede(&self, newer: &Deployment) {
        // A commit is no branch: nothing newer of it can come.
        if newer.source.reference.as_ref().is_some_and(GitRef::is_commit) {
            return;
        }
        let running = self.policy.supersede_running;
        let calling = self.database.supersede(newer, running, self.clock.now());
        let superseded = match within(COURTESY, "superseding older deployments", calling).await {
            Ok(superseded) => superseded,
            Err(error) => {
                tracing::warn!(deployment = %newer.id, %error, "older deployments of the branch are built too");
                return;
            }
        };
        for id in superseded.called_off {
            tracing::info!(deployment = %id, newer = %newer.id, "superseded while it waited");
            metrics::counter!("gv_deployments_finished_total", "state" => "canceled", "code" => "superseded")
                .increment(1);
            if let Err(error) = within(COURTESY, "closing a live log", self.live_logs.close(id)).await {
                tracing::debug!(deployment = %id, %error, "its followers see the end at their next look");
            }
        }
        for id in superseded.told {
            tracing::info!(deployment = %id, newer = %newer.id, "superseded while it is built");
            self.tell_to_stop(id).await;
        }
    }

    /// Only quicker than the worker's own next look.
    async fn tell_to_stop(&self, id: DeploymentId) {
        let notice = Notice::CancelRequested { deployment: id };
        let publishing = self.notices.publish(&notice);
        if let Err(error) = within(COURTESY, "publishing a cancellation", publishing).await {
            tracing::debug!(deployment = %id, %error, "its worker will see the cancellation at its next heartbeat");
        }
    }

    fn queued(
        &self,
        account: UserId,
        (project, project_name): (ProjectId, ProjectName),
        (target, source, settings, env, options): (
            Target,
            SourceRequest,
            BuildSettings,
            Variables,
            BuildOptions,
        ),
    ) -> Deployment {
        let now = self.clock.now();
        Deployment {
            id: DeploymentId::new(now, &mut rand::rng()),
            account,
            project,
            project_name,
            seq: 0,
            revision: 0,
            attempt: 0,
            losses: 0,
            target,
            source,
            settings,
            env,
            options,
            commit: None,
            state: State::Queued,
            cancel_requested: false,
            reused: false,
            fingerprint: None,
            created_at: now,
            started_at: None,
            steps: Vec::new(),
        }
    }

    async fn project_named(
        &self,
        account: UserId,
        name: &ProjectName,
        repo_url: &RepoUrl,
    ) -> Result<Resolved, StoreError> {
        // Twice: the project that was in the way of ours may be found, or gone again by then.
        for _ in 0..2 {
            if let Some(project) = self.database.find_project(account, name).await? {
                return Ok(Resolved { project, made: false });
            }
            if let Some(project) = self.make_project(account, name.clone(), repo_url).await? {
                return Ok(Resolved { project, made: true });
            }
        }
        let found = self.database.find_project(account, name).await?;
        found
            .map(|project| Resolved { project, made: false })
            .ok_or_else(|| StoreError::conflict(format!("making the project {name}")))
    }

    async fn project_of_repo(&self, account: UserId, repo_url: &RepoUrl) -> Result<Resolved, StoreError> {
        let plain = ProjectName::derive(&repo_url.name());
        // After a few repositories of one name, a number that is surely free.
        let hash = Digest::of(repo_url.as_str().as_bytes());
        let far =
            hash.as_bytes().iter().take(4).fold(0_u32, |far, byte| far << 8 | u32::from(*byte)) | 1 << 31;
        for number in [1, 2, 3, far] {
            // Asked for again each time: whoever was in the way may have come from the same
            // repository at the same moment.
            if let Some(project) = self.database.find_project_by_repo(account, repo_url).await? {
                return Ok(Resolved { project, made: false });
            }
            let name = if number == 1 { plain.clone() } else { plain.numbered(number) };
            if let Some(project) = self.make_project(account, name.clone(), repo_url).await? {
                return Ok(Resolved { project, made: true });
            }
            // One that was made without a repository takes the first that has its name.
            if let Some(project) = self.database.find_project(account, &name).await?
                && project.repo_url.as_ref().is_none_or(|url| url == repo_url)
            {
                return Ok(Resolved { project, made: false });
            }
        }
        Err(StoreError::conflict(format!("finding a free name like {plain}: name a project")))
    }

    async fn make_project(
        &self,
        account: UserId,
        name: ProjectName,
        repo_url: &RepoUrl,
    ) -> Result<Option<Project>, StoreError> {
        let repo_url = Some(repo_url.clone());
        self.create_project(account, NewProject { name, repo_url, settings: BuildSettings::default() }).await
    }

    /// Takes back a project that a call made in vain, unless somebody has deployed into it.
    async fn unmake(&self, project: &Project) {
        let filter = DeploymentFilter { project: Some(project.id), state: None };
        let unmade = async {
            if self.database.list_deployments(project.account, filter, None, 1).await?.is_empty() {
                self.delete_project(project.account, &project.name).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = unmade.await {
            tracing::debug!(project = %project.name, %error, "an empty project was left behind");
        }
    }

    async fn wait_for_end(&self, asked: Deployment) -> Result<Option<Deployment>, StoreError> {
        let (account, id) = (asked.account, asked.id);
        let mut seen = Some(asked);
        // Counted in looks, so that a slow database is not asked more often than it answers.
        let looking = async {
            while seen.as_ref().is_some_and(|deployment| !deployment.state.is_ended()) {
                tokio::time::sleep(CANCEL_LOOK).await;
                seen = self.database.find_deployment(account, id).await?;
            }
            Ok::<_, StoreError>(())
        };
        match tokio::time::timeout(CANCEL_WAIT, looking).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(seen),
        }
    }
}
