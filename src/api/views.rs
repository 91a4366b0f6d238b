//! What the api shows, in its exact shape. Nothing here holds a secret, but for the tokens that
//! are shown once, to the person whom they are made for.
//!
//! Start with [`DeploymentView`].

use crate::api::Api;
use crate::api::error::Problem;
use crate::app::App;
use crate::app::accounts::SignedIn;
use crate::domain::account::{Token, User};
use crate::domain::deployment::{Deployment, State, StateName, Step, StepName, Target};
use crate::domain::host::{HostKind, HostRecord};
use crate::domain::id::DeploymentId;
use crate::domain::project::Project;
use crate::domain::routing::dialect::Dialect;
use crate::domain::secret::Secret;
use crate::domain::variable::ProjectVariable;
use crate::ports::deployments::PlaceInLine;
use crate::ports::error::StoreError;
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

/// A page of a list. `next_cursor` is the next page's `cursor`; without one this is the last.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    #[schema(example = "usr_01jz0000000000000000")]
    pub id: String,
    #[schema(example = "ada@example.com")]
    pub email: String,
    #[schema(required = true)]
    pub name: Option<String>,
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.to_string(),
            name: user.name.map(|name| name.to_string()),
            created_at: user.created_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    pub user: UserView,
    /// To be sent as `Authorization: Bearer`.
    pub access_token: String,
    /// Good for one call of `/auth/refresh`, which gives the next one.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    pub expires_in: u64,
}

impl From<SignedIn> for SessionView {
    fn from(signed_in: SignedIn) -> Self {
        Self {
            user: signed_in.user.into(),
            access_token: signed_in.access_token.expose().to_owned(),
            refresh_token: signed_in.refresh_token.expose().to_owned(),
            expires_in: signed_in.expires_in.as_secs(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    #[schema(example = "tok_01jz0000000000000000")]
    pub id: String,
    pub name: String,
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    #[schema(required = true)]
    pub expires_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    #[schema(required = true)]
    pub last_used_at: Option<OffsetDateTime>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = NewToken)]
pub struct NewTokenView {
    #[serde(flatten)]
    pub info: TokenView,
    /// The token itself: shown this once.
    #[schema(example = "gvtok_...")]
    pub token: String,
}

impl NewTokenView {
    pub fn new(token: Token, text: &Secret) -> Self {
        Self { info: token.into(), token: text.expose().to_owned() }
    }
}

/// A deployment: one source, built once, under addresses of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub struct DeploymentView {
    #[schema(example = "dpl_01jz0000000000000000")]
    pub id: String,
    /// The project's name.
    #[schema(example = "my-site")]
    pub project: String,
    #[schema(value_type = StateWord)]
    pub state: StateName,
    #[schema(value_type = TargetWord)]
    pub target: Target,
    pub repo_url: String,
    /// As it was asked for; null is the default branch.
    #[serde(rename = "ref")]
    #[schema(required = true)]
    pub reference: Option<String>,
    /// The branch that was followed, once it is known.
    #[schema(required = true)]
    pub branch: Option<String>,
    /// The commit that was checked out, in 40 digits.
    #[schema(required = true)]
    pub commit: Option<String>,
    #[schema(required = true)]
    pub commit_message: Option<String>,
    /// This deployment's own address, for ever.
    pub url: String,
    /// The hosts that show it at the moment.
    pub hosts: Vec<String>,
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    #[schema(required = true)]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    #[schema(required = true)]
    pub finished_at: Option<OffsetDateTime>,
    pub steps: Vec<StepView>,
    /// How often a worker took it up.
    pub attempt: u32,
    #[schema(required = true)]
    pub error: Option<ErrorView>,
    /// How many files were published.
    #[schema(required = true)]
    pub files: Option<u64>,
    /// Their size, in bytes.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// Whether the output of an earlier deployment with the same source was taken over.
    pub reused: bool,
    /// Its place among all that wait, from 1, as they would be taken if nothing new came: accounts take turns, so
    /// that a newer one may come first. Null when it does not wait.
    #[schema(required = true)]
    pub queue_position: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Step)]
pub struct StepView {
    #[schema(value_type = StepWord)]
    pub name: StepName,
    #[serde(with = "rfc3339")]
    pub started_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    #[schema(required = true)]
    pub finished_at: Option<OffsetDateTime>,
}

impl From<&Step> for StepView {
    fn from(step: &Step) -> Self {
        Self { name: step.name, started_at: step.started_at, finished_at: step.finished_at }
    }
}

/// Why a deployment failed, or was canceled by gv itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = DeploymentError)]
pub struct ErrorView {
    /// A stable word.
    #[schema(example = "build_failed")]
    pub code: &'static str,
    /// What to do about it.
    pub message: String,
}

impl ErrorView {
    pub fn of(state: &State) -> Option<Self> {
        match state {
            State::Failed { failure, .. } | State::Canceled { reason: Some(failure), .. } => {
                Some(Self { code: failure.code.word(), message: failure.message.to_string() })
            }
            _ => None,
        }
    }
}

impl DeploymentView {
    /// One deployment with what else is known about it.
    pub async fn load(api: &Api, deployment: Deployment) -> Result<Self, Problem> {
        api.run(|app| async move { Self::read(&app, &deployment).await }).await
    }

    /// A page of deployments: one query for the hosts of all, and one for the places of those that wait.
    pub async fn load_all(api: &Api, deployments: Vec<Deployment>) -> Result<Vec<Self>, Problem> {
        if deployments.is_empty() {
            return Ok(Vec::new());
        }
        api.run(|app| async move {
            let ids: Vec<DeploymentId> = deployments.iter().map(|deployment| deployment.id).collect();
            let hosts = app.database.hosts_of(&ids).await?;
            let waits = |deployment: &&Deployment| deployment.state == State::Queued;
            let waiting: Vec<DeploymentId> =
                deployments.iter().filter(waits).map(|deployment| deployment.id).collect();
            let places = app.database.places(&waiting).await?;
            let view = |deployment| Self::new(&app, deployment, &hosts, &places);
            Ok(deployments.iter().map(view).collect())
        })
        .await
    }

    /// The same as [`Self::load`], for what runs apart from any request already.
    pub async fn read(app: &App, deployment: &Deployment) -> Result<Self, StoreError> {
        // One that nobody has taken up yet was given none.
        let hosts = match deployment.attempt {
            0 => Vec::new(),
            _ => app.database.hosts_of(&[deployment.id]).await?,
        };
        let waiting: &[DeploymentId] = match deployment.state {
            State::Queued => &[deployment.id],
            _ => &[],
        };
        let places = app.database.places(waiting).await?;
        Ok(Self::new(app, deployment, &hosts, &places))
    }

    fn new(app: &App, deployment: &Deployment, hosts: &[HostRecord], places: &[PlaceInLine]) -> Self {
        let place = places.iter().find(|place| place.deployment == deployment.id);
        let hosts: Vec<_> = hosts.iter().filter(|record| record.deployment == Some(deployment.id)).collect();
        let own = hosts.iter().find(|record| record.kind == HostKind::Deployment);
        // Until it has its own host: the one that it will be given.
        let [planned, _] = app
            .policy
            .names
            .deployment(&deployment.project_name, deployment.project, deployment.id)
            .candidates;
        let (files, bytes) = match deployment.state {
            State::Ready { files, bytes, .. } => (Some(files), Some(bytes)),
            _ => (None, None),
        };
        let commit = deployment.commit.as_ref();
        Self {
            id: deployment.id.to_string(),
            project: deployment.project_name.to_string(),
            state: deployment.state.name(),
            target: deployment.target,
            repo_url: deployment.source.repo_url.to_string(),
            reference: deployment.source.reference.as_ref().map(ToString::to_string),
            branch: commit.and_then(|commit| commit.branch.clone()),
            commit: commit.map(|commit| commit.id.clone()),
            commit_message: commit.map(|commit| commit.message.clone()),
            url: app.policy.site_urls.url(own.map_or(&planned, |record| &record.host)),
            hosts: hosts.iter().map(|record| record.host.to_string()).collect(),
            created_at: deployment.created_at,
            started_at: deployment.started_at,
            finished_at: deployment.state.ended_at(),
            steps: deployment.steps.iter().map(StepView::from).collect(),
            attempt: deployment.attempt,
            error: ErrorView::of(&deployment.state),
            files,
            bytes,
            reused: deployment.reused,
            queue_position: place.map(|place| place.position),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Project)]
pub struct ProjectView {
    #[schema(example = "prj_01jz0000000000000000")]
    pub id: String,
    #[schema(example = "my-site")]
    pub name: String,
    #[schema(required = true)]
    pub repo_url: Option<String>,
    #[schema(required = true)]
    pub production_branch: Option<String>,
    /// What the last build recognised.
    #[schema(required = true, example = "vite")]
    pub framework: Option<String>,
    #[schema(required = true)]
    pub root_dir: Option<String>,
    #[schema(required = true)]
    pub install_command: Option<String>,
    #[schema(required = true)]
    pub build_command: Option<String>,
    #[schema(required = true)]
    pub output_dir: Option<String>,
    #[schema(required = true)]
    pub node_version: Option<String>,
    #[schema(required = true, value_type = Option<RoutingWord>)]
    pub routing: Option<Dialect>,
    #[schema(required = true)]
    pub spa: Option<bool>,
    /// The address of production.
    pub url: String,
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
}

impl ProjectView {
    pub fn new(api: &Api, project: Project) -> Self {
        let settings = project.settings;
        Self {
            id: project.id.to_string(),
            name: project.name.to_string(),
            repo_url: project.repo_url.map(|url| url.to_string()),
            production_branch: project.production_branch,
            framework: project.framework,
            root_dir: settings.root_dir.map(|dir| dir.to_string()),
            install_command: settings.install_command.map(|command| command.to_string()),
            build_command: settings.build_command.map(|command| command.to_string()),
            output_dir: settings.output_dir.map(|dir| dir.to_string()),
            node_version: settings.node_version.map(|version| version.to_string()),
            routing: settings.routing,
            spa: settings.spa,
            url: api.app.policy.site_urls.url(&project.host),
            created_at: project.created_at,
        }
    }
}

/// A variable of a project.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Variable)]
pub struct VariableView {
    #[schema(example = "VITE_API_URL")]
    pub key: String,
    /// Null for a secret.
    #[schema(required = true)]
    pub value: Option<String>,
    #[schema(value_type = Vec<TargetWord>)]
    pub targets: Vec<Target>,
    pub secret: bool,
    #[serde(with = "rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl From<ProjectVariable> for VariableView {
    fn from(variable: ProjectVariable) -> Self {
        Self {
            key: variable.name.to_string(),
            value: (!variable.secret).then(|| variable.value.expose().to_owned()),
            targets: variable.targets,
            secret: variable.secret,
            updated_at: variable.updated_at,
        }
    }
}

/// Cuts a list that was read one item too far, and says where the next page begins.
pub fn cut<T>(items: &mut Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    items.last().filter(|_| more).map(cursor)
}

// The words of the domain's enums, for the OpenAPI document: the domain itself knows no OpenAPI. A
// test beside the document holds them equal.

/// Where a deployment stands.
#[derive(ToSchema)]
#[schema(as = DeploymentState, rename_all = "snake_case")]
pub enum StateWord {
    Queued,
    Cloning,
    Building,
    Uploading,
    Ready,
    Failed,
    Canceled,
}

#[derive(ToSchema)]
#[schema(as = Target, rename_all = "snake_case")]
pub enum TargetWord {
    Production,
    Preview,
}

#[derive(ToSchema)]
#[schema(as = StepName, rename_all = "snake_case")]
pub enum StepWord {
    Queue,
    Clone,
    Build,
    Upload,
}

/// Whose rules a site speaks.
#[derive(ToSchema)]
#[schema(as = Routing, rename_all = "snake_case")]
pub enum RoutingWord {
    Vercel,
    Netlify,
    Cloudflare,
    Plain,
}

#[derive(ToSchema)]
#[schema(as = LogStream, rename_all = "snake_case")]
pub enum StreamWord {
    System,
    Stdout,
    Stderr,
}
