//! A deployment and its life: `queued -> cloning -> building -> uploading -> ready`, or `failed` /
//! `canceled` from any of the first four.
//!
//! Start with [`State`], then [`Deployment`], whose methods are the only transitions. A row in the
//! database is written over only by compare-and-set on `revision`, and by a worker only while
//! `attempt` is still its own (see `ports::deployments`).

use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::project::ProjectName;
use crate::domain::repo::{Commit, GitRef, RepoUrl};
use crate::domain::secret::Secret;
use crate::domain::settings::{BuildSettings, Variables};
use crate::domain::trace::TraceContext;
use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    pub id: DeploymentId,
    pub account: UserId,
    pub project: ProjectId,
    pub project_name: ProjectName,
    /// The order of submission: set by the database, unique, rising. Zero before the insert.
    pub seq: i64,
    /// Counts every write of the row.
    pub revision: i64,
    /// The fencing number: how often a worker took this deployment.
    pub attempt: u32,
    /// How often a worker that held it went silent.
    pub losses: u32,
    pub target: Target,
    pub source: SourceRequest,
    pub settings: BuildSettings,
    pub env: Variables,
    pub options: BuildOptions,
    /// What was checked out, once it was; a later attempt builds the same commit.
    pub commit: Option<Commit>,
    pub state: State,
    /// A person asked for it to stop; the worker that holds it does the stopping.
    pub cancel_requested: bool,
    pub reused: bool,
    /// What its output is made of, once that is known: the same means the same output.
    pub fingerprint: Option<Digest>,
    pub created_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRequest {
    pub repo_url: RepoUrl,
    /// `None`: the repository's default branch.
    pub reference: Option<GitRef>,
    /// For a private repository. Forgotten by the store when the deployment ends.
    pub git_token: Option<Secret>,
}

/// How a deployment was asked for, beside what is to be built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildOptions {
    /// Builds even where the same was built before, and where it would be skipped.
    pub force: bool,
    /// Builds without what earlier builds left in caches.
    pub no_cache: bool,
    pub origin: Origin,
    /// The request that asked for it, as a part of its trace: whatever is done for it goes on from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// Who asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody, or a program of theirs, for this very deployment.
    #[default]
    Person,
    /// A push to the repository.
    Hook,
}

/// Where a deployment stands. Each variant carries only what is true in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Queued,
    Cloning {
        since: OffsetDateTime,
    },
    Building {
        since: OffsetDateTime,
    },
    Uploading {
        since: OffsetDateTime,
    },
    Ready {
        at: OffsetDateTime,
        files: u64,
        bytes: u64,
    },
    Failed {
        at: OffsetDateTime,
        failure: Failure,
    },
    /// With a reason where no person did it.
    Canceled {
        at: OffsetDateTime,
        reason: Option<Failure>,
    },
}

/// A state's name, as users and tables know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    Queued,
    Cloning,
    Building,
    Uploading,
    Ready,
    Failed,
    Canceled,
}

/// The part of the work that a step's times and a log line belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Queue,
    Clone,
    Build,
    Upload,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: StepName,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    #[default]
    Production,
    Preview,
}

/// A transition that the present state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deployment that is {from} cannot {action}")]
pub struct InvalidTransition {
    pub from: StateName,
    pub action: &'static str,
}

impl StateName {
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Cloning,
        Self::Building,
        Self::Uploading,
        Self::Ready,
        Self::Failed,
        Self::Canceled,
    ];
    /// The states in which a worker holds the deployment, or did before it went silent.
    pub const HELD: [Self; 3] = [Self::Cloning, Self::Building, Self::Uploading];

    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Cloning => "cloning",
            Self::Building => "building",
            Self::Uploading => "uploading",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    pub fn is_ended(self) -> bool {
        matches!(self, Self::Ready | Self::Failed | Self::Canceled)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for StateName {
    type Err = crate::domain::text::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.word() == text).ok_or_else(|| {
            crate::domain::text::Invalid::new(
                "must be one of queued, cloning, building, uploading, ready, failed, canceled",
            )
        })
    }
}

impl State {
    pub fn name(&self) -> StateName {
        match self {
            Self::Queued => StateName::Queued,
            Self::Cloning { .. } => StateName::Cloning,
            Self::Building { .. } => StateName::Building,
            Self::Uploading { .. } => StateName::Uploading,
            Self::Ready { .. } => StateName::Ready,
            Self::Failed { .. } => StateName::Failed,
            Self::Canceled { .. } => StateName::Canceled,
        }
    }

    pub fn is_ended(&self) -> bool {
        self.name().is_ended()
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Ready { at, .. } | Self::Failed { at, .. } | Self::Canceled { at, .. } => Some(*at),
            _ => None,
        }
    }
}

impl Deployment {
    /// A worker takes it, for the first time or again: the work starts over from the clone.
    pub fn take(self, now: OffsetDateTime) -> Result<Self, InvalidTransition> {
        self.expect(|state| !state.is_ended(), "be taken")?;
        let mut next = Self {
            state: State::Cloning { since: now },
            attempt: self.attempt + 1,
            steps: Vec::new(),
            ..self
        };
        next.started_at.get_or_insert(now);
        next.open_step(StepName::Clone, now);
        Ok(next)
    }

    /// The source is there: the build begins.
    pub fn build(self, now: OffsetDateTime, commit: Commit) -> Result<Self, InvalidTransition> {
        self.expect(|state| matches!(state, State::Cloning { .. }), "begin to build")?;
        let mut next = Self { state: State::Building { since: now }, commit: Some(commit), ..self };
        next.open_step(StepName::Build, now);
        Ok(next)
    }

    /// The output is there: its files are stored. Also straight from `cloning`, when an earlier
    /// attempt had already stored everything.
    pub fn upload(self, now: OffsetDateTime) -> Result<Self, InvalidTransition> {
        self.expect(
            |state| matches!(state, State::Cloning { .. } | State::Building { .. }),
            "begin to upload",
        )?;
        let mut next = Self { state: State::Uploading { since: now }, ..self };
        next.open_step(StepName::Upload, now);
        Ok(next)
    }

    /// Everything is stored and its hosts point at it.
    pub fn finish(self, now: OffsetDateTime, files: u64, bytes: u64) -> Result<Self, InvalidTransition> {
        self.expect(|state| matches!(state, State::Uploading { .. }), "become ready")?;
        Ok(self.end(now, State::Ready { at: now, files, bytes }))
    }

    pub fn fail(self, now: OffsetDateTime, failure: Failure) -> Result<Self, InvalidTransition> {
        self.expect(|state| !state.is_ended(), "fail")?;
        Ok(self.end(now, State::Failed { at: now, failure }))
    }

    pub fn cancel(self, now: OffsetDateTime) -> Result<Self, InvalidTransition> {
        self.expect(|state| !state.is_ended(), "be canceled")?;
        Ok(self.end(now, State::Canceled { at: now, reason: None }))
    }

    /// It is not wanted any more, or there is nothing to build: canceled by gv itself.
    pub fn call_off(self, now: OffsetDateTime, reason: Failure) -> Result<Self, InvalidTransition> {
        self.expect(|state| !state.is_ended(), "be called off")?;
        Ok(self.end(now, State::Canceled { at: now, reason: Some(reason) }))
    }

    /// Its worker gives it back unfinished: it waits again.
    pub fn give_back(self) -> Result<Self, InvalidTransition> {
        self.expect(|state| StateName::HELD.contains(&state.name()), "be given back")?;
        Ok(Self { state: State::Queued, steps: Vec::new(), ..self })
    }

    fn expect(
        &self,
        allowed: impl Fn(&State) -> bool,
        action: &'static str,
    ) -> Result<(), InvalidTransition> {
        if allowed(&self.state) { Ok(()) } else { Err(InvalidTransition { from: self.state.name(), action }) }
    }

    fn end(mut self, now: OffsetDateTime, state: State) -> Self {
        self.close_step(now);
        Self { state, ..self }
    }

    fn open_step(&mut self, name: StepName, now: OffsetDateTime) {
        self.close_step(now);
        self.steps.push(Step { name, started_at: now, finished_at: None });
    }

    fn close_step(&mut self, now: OffsetDateTime) {
        if let Some(open) = self.steps.last_mut() {
            open.finished_at.get_or_insert(now);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;
    use time::Duration;

    fn now() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
    }

    /// With ids that no other has.
    pub(crate) fn queued() -> Deployment {
        let mut rng = rand::rng();
        Deployment {
            id: DeploymentId::new(now(), &mut rng),
            account: UserId::new(now(), &mut rng),
            project: ProjectId::new(now(), &mut rng),
            project_name: ProjectName::parse("site").unwrap(),
            seq: 1,
            revision: 0,
            attempt: 0,
            losses: 0,
            target: Target::Production,
            source: SourceRequest {
                repo_url: RepoUrl::parse("https://example.com/site.git").unwrap(),
                reference: None,
                git_token: None,
            },
            settings: BuildSettings::default(),
            env: Variables::default(),
            options: BuildOptions::default(),
            commit: None,
            state: State::Queued,
            cancel_requested: false,
            reused: false,
            fingerprint: None,
            created_at: now(),
            started_at: None,
            steps: Vec::new(),
        }
    }

    fn commit() -> Commit {
        Commit { id: "0".repeat(40), message: "first".into(), branch: Some("main".into()) }
    }

    #[test]
    fn a_deployment_walks_through_its_steps_and_each_has_its_times() {
        let at = |seconds| now() + Duration::seconds(seconds);
        let done = queued().take(at(1)).unwrap().build(at(2), commit()).unwrap().upload(at(3)).unwrap();
        let done = done.finish(at(4), 10, 2_000).unwrap();
        assert_eq!(done.state, State::Ready { at: at(4), files: 10, bytes: 2_000 });
        let times: Vec<_> =
            done.steps.iter().map(|step| (step.name, step.started_at, step.finished_at)).collect();
        assert_eq!(
            times,
            [
                (StepName::Clone, at(1), Some(at(2))),
                (StepName::Build, at(2), Some(at(3))),
                (StepName::Upload, at(3), Some(at(4))),
            ]
        );
    }

    #[test]
    fn taking_it_again_raises_the_fencing_number_and_starts_over() {
        let building = queued().take(now()).unwrap().build(now(), commit()).unwrap();
        let again = building.take(now()).unwrap();
        assert_eq!((again.attempt, again.state.name(), again.steps.len()), (2, StateName::Cloning, 1));
        assert_eq!(again.commit, Some(commit()), "the same commit is built again");
    }

    #[test]
    fn what_has_ended_stays_as_it_is() {
        let canceled = queued().cancel(now()).unwrap();
        assert!(canceled.clone().take(now()).is_err());
        assert!(canceled.clone().fail(now(), Failure::new(FailureCode::Internal, "x")).is_err());
        assert_eq!(
            canceled.cancel(now()).unwrap_err().to_string(),
            "a deployment that is canceled cannot be canceled"
        );
    }

    #[test]
    fn nothing_becomes_ready_without_having_been_uploaded() {
        let building = queued().take(now()).unwrap().build(now(), commit()).unwrap();
        assert!(building.finish(now(), 1, 1).is_err());
    }

    #[test]
    fn words_of_states_read_back() {
        for name in StateName::ALL {
            assert_eq!(name.word().parse::<StateName>().unwrap(), name);
        }
    }
}
