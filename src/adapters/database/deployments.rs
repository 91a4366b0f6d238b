//! Deployments as people meet them: submitted, listed, cancelled, deleted. What workers do with
//! them is in [`super::leases`].
//!
//! Start with [`Progress`], which says what of a deployment is ever written again.

use crate::adapters::database::Database;
use crate::adapters::database::dialect::{self, locked};
use crate::adapters::database::fault::Fault;
use crate::adapters::database::hosts::HostRow;
use crate::adapters::database::leases;
use crate::adapters::database::line;
use crate::adapters::database::rows::{
    from_json, from_word, json, micros, number, parsed, parsed_if_any, time, word,
};
use crate::adapters::database::schema::{deployments, hosts, idempotency_keys, projects};
use crate::adapters::database::sealed;
use crate::adapters::database::{read, transact};
use crate::domain::deployment::{BuildOptions, Deployment, SourceRequest, State, StateName};
use crate::domain::digest::Digest;
use crate::domain::host::HostRecord;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::sealing::SecretKeys;
use crate::ports::deployments::{
    Backlog, Claim, Deletion, DeploymentFilter, Deployments, IdempotencyKey, PlaceInLine, Renewal, Submitted,
    Superseded,
};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;
use time::OffsetDateTime;

/// How long a client's key stands for its submission.
const KEY_LIFETIME: time::Duration = time::Duration::DAY;

/// What was submitted: written once.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = deployments, treat_none_as_default_value = false)]
pub(super) struct Submission {
    id: String,
    account: String,
    project: String,
    project_name: String,
    target: String,
    repo_url: String,
    reference: Option<String>,
    created_at: i64,
    /// Left out where they are the ordinary ones.
    options: Option<String>,
}

/// What became of it: written over by compare-and-set on the revision, which it does not hold.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = deployments, treat_none_as_default_value = false, treat_none_as_null = true)]
pub(super) struct Progress {
    attempt: i64,
    losses: i64,
    git_token: Option<String>,
    settings: String,
    env: String,
    git_commit: Option<String>,
    state: String,
    state_at: Option<i64>,
    files: Option<i64>,
    bytes: Option<i64>,
    failure: Option<String>,
    reason: Option<String>,
    reused: bool,
    fingerprint: Option<String>,
    started_at: Option<i64>,
    steps: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = deployments)]
pub(super) struct DeploymentRow {
    seq: i64,
    revision: i64,
    cancel_requested: bool,
    #[diesel(embed)]
    submission: Submission,
    #[diesel(embed)]
    progress: Progress,
}

impl TryFrom<&Deployment> for Submission {
    type Error = Fault;

    fn try_from(deployment: &Deployment) -> Result<Self, Fault> {
        Ok(Self {
            id: deployment.id.to_string(),
            account: deployment.account.to_string(),
            project: deployment.project.to_string(),
            project_name: deployment.project_name.to_string(),
            target: word(&deployment.target)?,
            repo_url: deployment.source.repo_url.to_string(),
            reference: deployment.source.reference.as_ref().map(ToString::to_string),
            created_at: micros(deployment.created_at),
            options: Some(&deployment.options)
                .filter(|options| **options != BuildOptions::default())
                .map(json)
                .transpose()?,
        })
    }
}

impl Progress {
    /// As it is stored: variables and token sealed by `keys`.
    pub(super) fn of(deployment: &Deployment, keys: &SecretKeys) -> Result<Self, Fault> {
        let count = |count: u64| i64::try_from(count).map_err(Fault::defect);
        let mut cancellation = None;
        let (state_at, files, bytes, failure) = match &deployment.state {
            State::Queued => (None, None, None, None),
            State::Cloning { since } | State::Building { since } | State::Uploading { since } => {
                (Some(*since), None, None, None)
            }
            State::Ready { at, files, bytes } => {
                (Some(*at), Some(count(*files)?), Some(count(*bytes)?), None)
            }
            State::Failed { at, failure } => (Some(*at), None, None, Some(json(failure)?)),
            State::Canceled { at, reason } => {
                cancellation = reason.as_ref().map(json).transpose()?;
                (Some(*at), None, None, None)
            }
        };
        // Nothing clones any more, so nothing needs it.
        let git_token = deployment.source.git_token.as_ref().filter(|_| !deployment.state.is_ended());
        Ok(Self {
            attempt: deployment.attempt.into(),
            losses: deployment.losses.into(),
            git_token: git_token.map(|token| sealed::token(deployment, token, keys)).transpose()?,
            settings: json(&deployment.settings)?,
            env: sealed::env(deployment, keys)?,
            git_commit: deployment.commit.as_ref().map(json).transpose()?,
            state: deployment.state.name().word().to_owned(),
            state_at: state_at.map(micros),
            files,
            bytes,
            failure,
            reason: cancellation,
            reused: deployment.reused,
            fingerprint: deployment.fingerprint.map(|fingerprint| fingerprint.to_string()),
            started_at: deployment.started_at.map(micros),
            steps: json(&deployment.steps)?,
        })
    }

    fn state(&self) -> Result<State, Fault> {
        let missing =
            |column| Fault::corrupt(format!("deployments.{column} is empty in state {}", self.state));
        let at = || time("deployments.state_at", self.state_at.ok_or_else(|| missing("state_at"))?);
        Ok(match parsed("deployments.state", &self.state)? {
            StateName::Queued => State::Queued,
            StateName::Cloning => State::Cloning { since: at()? },
            StateName::Building => State::Building { since: at()? },
            StateName::Uploading => State::Uploading { since: at()? },
            StateName::Ready => State::Ready {
                at: at()?,
                files: number("deployments.files", self.files.ok_or_else(|| missing("files"))?)?,
                bytes: number("deployments.bytes", self.bytes.ok_or_else(|| missing("bytes"))?)?,
            },
            StateName::Failed => {
                let failure = self.failure.as_deref().ok_or_else(|| missing("failure"))?;
                State::Failed { at: at()?, failure: from_json("deployments.failure", failure)? }
            }
            StateName::Canceled => {
                let reason = self.reason.as_deref();
                let reason = reason.map(|reason| from_json("deployments.reason", reason)).transpose()?;
                State::Canceled { at: at()?, reason }
            }
        })
    }
}

impl DeploymentRow {
    /// What the row says, variables and token opened by `keys`.
    pub(super) fn read(self, keys: &SecretKeys) -> Result<Deployment, Fault> {
        let Self { seq, revision, cancel_requested, submission, progress } = self;
        let id = parsed("deployments.id", &submission.id)?;
        let account = parsed("deployments.account", &submission.account)?;
        let token = progress.git_token.as_deref();
        Ok(Deployment {
            id,
            account,
            project: parsed("deployments.project", &submission.project)?,
            project_name: parsed("deployments.project_name", &submission.project_name)?,
            seq,
            revision,
            attempt: number("deployments.attempt", progress.attempt)?,
            losses: number("deployments.losses", progress.losses)?,
            target: from_word("deployments.target", &submission.target)?,
            source: SourceRequest {
                repo_url: parsed("deployments.repo_url", &submission.repo_url)?,
                reference: parsed_if_any("deployments.reference", submission.reference.as_deref())?,
                git_token: token.map(|token| sealed::opened_token((account, id), token, keys)).transpose()?,
            },
            settings: from_json("deployments.settings", &progress.settings)?,
            env: sealed::opened_env((account, id), &progress.env, keys)?,
            options: submission
                .options
                .as_deref()
                .map(|options| from_json("deployments.options", options))
                .transpose()?
                .unwrap_or_default(),
            commit: progress
                .git_commit
                .as_deref()
                .map(|commit| from_json("deployments.git_commit", commit))
                .transpose()?,
            state: progress.state()?,
            cancel_requested,
            reused: progress.reused,
            fingerprint: parsed_if_any("deployments.fingerprint", progress.fingerprint.as_deref())?,
            created_at: time("deployments.created_at", submission.created_at)?,
            started_at: progress.started_at.map(|at| time("deployments.started_at", at)).transpose()?,
            steps: from_json("deployments.steps", &progress.steps)?,
        })
    }
}

#[async_trait]
impl Deployments for Database {
    async fn submit(
        &self,
        deployment: Deployment,
        key: Option<&IdempotencyKey>,
        account_queued: u32,
    ) -> Result<Submitted, StoreError> {
        let (id, account) = (deployment.id.to_string(), deployment.account.to_string());
        let created_at = micros(deployment.created_at);
        let expired = micros(deployment.created_at - KEY_LIFETIME);
        transact!(self, "storing a deployment", |conn| {
            let used_before = key.map(|key| (key, key.fingerprint.to_string()));
            if let Some((key, fingerprint)) = &used_before {
                let old = idempotency_keys::table
                    .filter(idempotency_keys::account.eq(&account))
                    .filter(idempotency_keys::created_at.le(expired));
                diesel::delete(old).execute(conn).await?;
                // Of several at once PostgreSQL lets one in; the others wait here for its commit.
                let new = diesel::insert_into(idempotency_keys::table)
                    .values((
                        idempotency_keys::account.eq(&account),
                        idempotency_keys::name.eq(&key.key),
                        idempotency_keys::fingerprint.eq(fingerprint),
                        idempotency_keys::created_at.eq(created_at),
                    ))
                    .on_conflict_do_nothing();
                if new.execute(conn).await? == 0 {
                    let named = idempotency_keys::table
                        .filter(idempotency_keys::account.eq(&account))
                        .filter(idempotency_keys::name.eq(&key.key))
                        .filter(idempotency_keys::fingerprint.eq(fingerprint))
                        .select(idempotency_keys::deployment);
                    let same = deployments::table
                        .filter(deployments::id.nullable().eq_any(named))
                        .filter(deployments::account.eq(&account))
                        .select(DeploymentRow::as_select());
                    return match same.first::<DeploymentRow>(conn).await.optional()? {
                        Some(row) => Ok(Submitted::Repeated(row.read(&self.keys)?)),
                        None => Ok(Submitted::KeyTaken),
                    };
                }
            }
            let own = Submission::try_from(&deployment)?;
            let elsewhere = deployments::project.ne(&own.project).or(deployments::target.ne(&own.target));
            let queued = deployments::table
                .filter(deployments::account.eq(&account).and(deployments::state.eq("queued")))
                .count();
            let others = match &own.reference {
                Some(own) => {
                    let other = deployments::reference.is_null().or(deployments::reference.ne(own));
                    queued.filter(elsewhere.or(other)).get_result::<i64>(conn).await?
                }
                None => {
                    let other = deployments::reference.is_not_null();
                    queued.filter(elsewhere.or(other)).get_result::<i64>(conn).await?
                }
            };
            let waiting: u64 = number("count", others)?;
            if waiting >= u64::from(account_queued) {
                // Rolled back by hand: the key is not to stay taken.
                if let Some((key, _)) = &used_before {
                    let row = idempotency_keys::table.find((&account, &key.key));
                    diesel::delete(row).execute(conn).await?;
                }
                return Ok(Submitted::LineFull(waiting));
            }
            // Whoever submits announces: the sweeper looks only when that was long ago.
            let values = (
                own,
                Progress::of(&deployment, &self.keys)?,
                deployments::revision.eq(deployment.revision),
                deployments::cancel_requested.eq(deployment.cancel_requested),
                deployments::announced_at.eq(dialect::now()),
            );
            let stored = diesel::insert_into(deployments::table)
                .values(values)
                .returning(DeploymentRow::as_returning())
                .get_result::<DeploymentRow>(conn)
                .await?;
            if let Some((key, _)) = &used_before {
                let row = idempotency_keys::table.find((&account, &key.key));
                diesel::update(row).set(idempotency_keys::deployment.eq(&id)).execute(conn).await?;
            }
            Ok(Submitted::New(stored.read(&self.keys)?))
        })
    }

    async fn find_deployment(
        &self,
        account: UserId,
        id: DeploymentId,
    ) -> Result<Option<Deployment>, StoreError> {
        let (account, id) = (account.to_string(), id.to_string());
        read!(self, "reading a deployment", |conn| {
            let query = deployments::table
                .filter(deployments::id.eq(&id).and(deployments::account.eq(&account)))
                .select(DeploymentRow::as_select());
            let row = query.first::<DeploymentRow>(conn).await.optional()?;
            row.map(|row| row.read(&self.keys)).transpose()
        })
    }

    async fn list_deployments(
        &self,
        account: UserId,
        filter: DeploymentFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Deployment>, StoreError> {
        let account = account.to_string();
        let project = filter.project.map(|project| project.to_string());
        read!(self, "listing deployments", |conn| {
            let mut query = deployments::table
                .filter(deployments::account.eq(&account))
                .order(deployments::seq.desc())
                .limit(limit.into())
                .select(DeploymentRow::as_select())
                .into_boxed();
            if let Some(project) = &project {
                query = query.filter(deployments::project.eq(project));
            }
            if let Some(state) = filter.state {
                query = query.filter(deployments::state.eq(state.word()));
            }
            if let Some(before) = before {
                query = query.filter(deployments::seq.lt(before));
            }
            let rows = query.load::<DeploymentRow>(conn).await?;
            rows.into_iter().map(|row| row.read(&self.keys)).collect()
        })
    }

    async fn previous_ready(
        &self,
        account: UserId,
        project: ProjectId,
        before: i64,
    ) -> Result<Option<Deployment>, StoreError> {
        let (account, project) = (account.to_string(), project.to_string());
        read!(self, "reading the deployment before", |conn| {
            let query = deployments::table
                .filter(deployments::project.eq(&project).and(deployments::account.eq(&account)))
                .filter(deployments::state.eq("ready").and(deployments::target.eq("production")))
                .filter(deployments::seq.lt(before))
                .order(deployments::seq.desc())
                .select(DeploymentRow::as_select());
            let row = query.first::<DeploymentRow>(conn).await.optional()?;
            row.map(|row| row.read(&self.keys)).transpose()
        })
    }

    async fn find_built(
        &self,
        account: UserId,
        project: ProjectId,
        fingerprint: &Digest,
    ) -> Result<Option<Deployment>, StoreError> {
        let (account, project) = (account.to_string(), project.to_string());
        let fingerprint = fingerprint.to_string();
        read!(self, "looking for what was made of the same", |conn| {
            let query = deployments::table
                .filter(deployments::project.eq(&project).and(deployments::account.eq(&account)))
                .filter(deployments::fingerprint.eq(&fingerprint).and(deployments::state.eq("ready")))
                .order(deployments::seq.desc())
                .select(DeploymentRow::as_select());
            let row = query.first::<DeploymentRow>(conn).await.optional()?;
            row.map(|row| row.read(&self.keys)).transpose()
        })
    }

    async fn places(&self, ids: &[DeploymentId]) -> Result<Vec<PlaceInLine>, StoreError> {
        line::places(self, ids).await
    }

    async fn supersede(
        &self,
        newer: &Deployment,
        running: bool,
        now: OffsetDateTime,
    ) -> Result<Superseded, StoreError> {
        line::supersede(self, newer, running, now).await
    }

    async fn next_in_line(&self, account_builds: u32) -> Result<Option<DeploymentId>, StoreError> {
        line::next_in_line(self, account_builds).await
    }

    async fn request_cancel(
        &self,
        account: UserId,
        id: DeploymentId,
        now: OffsetDateTime,
    ) -> Result<Option<Deployment>, StoreError> {
        leases::request_cancel(self, account, id, now).await
    }

    async fn delete_deployment(&self, account: UserId, id: DeploymentId) -> Result<Deletion, StoreError> {
        let (account, id) = (account.to_string(), id.to_string());
        transact!(self, "deleting a deployment", |conn| {
            let own =
                deployments::table.filter(deployments::id.eq(&id).and(deployments::account.eq(&account)));
            // The project first, as everything that moves its hosts does.
            let project = own.select(deployments::project).first::<String>(conn).await.optional()?;
            let Some(project) = project else { return Ok(Deletion::NotFound) };
            locked(projects::table.find(&project).select(projects::id)).load::<String>(conn).await?;
            let state = locked(own.select(deployments::state)).get_result::<String>(conn).await.optional()?;
            let Some(state) = state else { return Ok(Deletion::NotFound) };
            if !parsed::<StateName>("deployments.state", &state)?.is_ended() {
                return Ok(Deletion::NotEnded);
            }
            let showing = hosts::table.filter(hosts::deployment.eq(&id));
            let live = diesel::select(exists(showing.filter(hosts::kind.eq("production"))));
            if live.get_result(conn).await? {
                return Ok(Deletion::InProduction);
            }
            let emptied = diesel::update(showing)
                .set((
                    hosts::deployment.eq(None::<String>),
                    hosts::revision.eq(hosts::revision + 1),
                    hosts::moved_at.eq(dialect::now()),
                ))
                .returning(HostRow::as_returning());
            let emptied = emptied.get_results::<HostRow>(conn).await?;
            diesel::delete(own).execute(conn).await?;
            let mut hosts =
                emptied.into_iter().map(HostRecord::try_from).collect::<Result<Vec<_>, Fault>>()?;
            hosts.sort_unstable_by(|one, other| one.host.cmp(&other.host));
            Ok(Deletion::Deleted(hosts))
        })
    }

    async fn claim(
        &self,
        id: DeploymentId,
        worker: &str,
        lease: Duration,
        now: OffsetDateTime,
        account_builds: u32,
    ) -> Result<Claim, StoreError> {
        leases::claim(self, id, worker, (lease, now), account_builds).await
    }

    async fn renew(&self, id: DeploymentId, attempt: u32, lease: Duration) -> Result<Renewal, StoreError> {
        leases::renew(self, id, attempt, lease).await
    }

    async fn advance(&self, next: Deployment) -> Result<Option<Deployment>, StoreError> {
        leases::advance(self, &next).await
    }

    async fn take_unannounced(&self, quiet: Duration, limit: u32) -> Result<Vec<DeploymentId>, StoreError> {
        leases::take_unannounced(self, quiet, limit).await
    }

    async fn abandon(&self, worker: &str) -> Result<u64, StoreError> {
        leases::abandon(self, worker).await
    }

    async fn backlog(&self, account_builds: u32) -> Result<Backlog, StoreError> {
        line::backlog(self, account_builds).await
    }
}
