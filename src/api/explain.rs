//! `/deployments/{id}/explain`: which rule or file answers a request, and why the others did not.

use crate::api::Api;
use crate::api::deployments::find;
use crate::api::error::{Kind, Problem};
use crate::api::extract::Params;
use crate::app::accounts::Actor;
use crate::domain::deployment::StateName;
use crate::domain::host::Hostname;
use crate::domain::id::DeploymentId;
use crate::domain::manifest::Manifest;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::request::{Asked, Fields};
use crate::domain::routing::resolve::{Answer, Outcome, resolve};
use crate::domain::routing::trace::{Step, Trace};
use crate::ports::error::{StoreError, StoreErrorKind};
use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

/// Requests that are explained at the same time.
static EXPLAINING: Semaphore = Semaphore::const_new(2);
/// Of `path`, in bytes: what the edge takes.
const MAX_PATH: usize = 16 * 1024;

/// What a request would be answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationView {
    /// Whose rules the deployment speaks.
    #[schema(value_type = crate::api::views::RoutingWord)]
    pub dialect: Dialect,
    #[schema(example = "/old?a=1")]
    pub path: String,
    #[schema(example = 301)]
    pub status: u16,
    /// The file of the site that is shown.
    #[schema(required = true, example = "404.html")]
    pub file: Option<String>,
    /// Where the visitor is sent.
    #[schema(required = true, example = "/new?a=1")]
    pub location: Option<String>,
    /// What rules do with the fields of the answer.
    pub headers: Vec<FieldView>,
    /// The fields of the request that the answer depends on.
    #[schema(required = true, example = "accept-language, cookie")]
    pub vary: Option<String>,
    /// What was looked at, in order.
    pub steps: Vec<ReasonView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedField)]
pub struct FieldView {
    pub name: String,
    /// Null: it is taken away.
    #[schema(required = true)]
    pub value: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedStep)]
pub struct ReasonView {
    /// A rule's place, a file, or a stage.
    #[schema(example = "_redirects:3")]
    pub what: String,
    /// Whether it decided something.
    pub taken: bool,
    #[schema(example = "/blog/* is not for this path")]
    pub because: String,
}

impl From<Step> for ReasonView {
    fn from(step: Step) -> Self {
        Self { what: step.what, taken: step.taken, because: step.because }
    }
}

/// Explain how a path of a deployment is answered
#[utoipa::path(get, path = "/api/v1/deployments/{id}/explain", tag = "deployments",
    params(("id" = String, Path),
        ("path" = String, Query, description = "The path that a visitor asks for, with its query", example = "/old?a=1"),
        ("header" = Option<Vec<String>>, Query, description = "A field of the request, as `Name:value`; may be given several times"),
        ("host" = Option<String>, Query, description = "The host that is asked; left out, the deployment's own")),
    responses((status = 200, body = ExplanationView, description = "The answer, and why")))]
pub async fn explain(
    actor: Actor,
    api: Data<Api>,
    id: Path<DeploymentId>,
    mut query: Params,
) -> Result<Json<ExplanationView>, Problem> {
    // First of all: what is another's is absent, whatever is asked about it.
    let deployment = find(&api, actor, *id).await?;
    let path = query.text("path")?.ok_or_else(|| Problem::invalid("path", "is required"))?;
    let host: Option<Hostname> = query.take("host")?;
    let fields = query.texts("header").iter().map(|text| field(text)).collect::<Result<Vec<_>, _>>()?;
    query.finish()?;
    if path.len() > MAX_PATH {
        return Err(Problem::invalid("path", "is too long"));
    }
    RequestPath::parse(path.split('?').next().unwrap_or(&path))
        .map_err(|why| Problem::invalid("path", why))?;
    let not_ready = || Problem::new(Kind::Conflict, "It is not ready: only what is served can be explained.");
    if deployment.state.name() != StateName::Ready {
        return Err(not_ready());
    }
    let names = &api.app.policy.names;
    let [own, _] = names.deployment(&deployment.project_name, deployment.project, deployment.id).candidates;
    let host = host.unwrap_or(own);
    let explained = api
        .run(|app| async move {
            // A manifest may be large, and its rules costly: few are explained at the same time.
            let _place = EXPLAINING.acquire().await;
            let Some(manifest) = app.manifest(deployment.id).await? else { return Ok(None) };
            let viewing = move || view(&manifest, path, &host, &fields);
            let viewed = tokio::task::spawn_blocking(viewing).await;
            let fell = |error| StoreError::new(StoreErrorKind::Internal, "explaining a request", error);
            viewed.map(Some).map_err(fell)
        })
        .await?;
    explained.ok_or_else(not_ready).map(Json)
}

fn field(text: &str) -> Result<(String, String), Problem> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| Problem::invalid("header", "must be Name:value"))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn view(manifest: &Manifest, path: String, host: &Hostname, fields: &dyn Fields) -> ExplanationView {
    let mut trace = Trace::on();
    let (plain, query) = match path.split_once('?') {
        Some((plain, query)) => (plain, Some(query)),
        None => (path.as_str(), None),
    };
    // It was parsed before: the root stands for what cannot come here.
    let parsed = RequestPath::parse(plain).unwrap_or_else(|_| RequestPath::root());
    let asked = Asked { host: host.as_str(), path: &parsed, query, fields };
    let Answer { outcome, edits, varies, .. } = resolve(manifest, &asked, &mut trace);
    let (status, file, location) = match outcome {
        Outcome::File(found) => (200, Some(found.path.to_string()), None),
        Outcome::Page { status, found } => (status, Some(found.path.to_string()), None),
        Outcome::Moved { status, location, .. } => (status, None, Some(location)),
        Outcome::Nothing { status } => (status, None, None),
        Outcome::TooCostly => (414, None, None),
    };
    let headers = edits.into_iter().flat_map(|edit| {
        let taken_away = edit.values.is_empty().then_some(None);
        let values = edit.values.into_iter().map(Some).chain(taken_away);
        values.map(|value| FieldView { name: edit.name.clone(), value }).collect::<Vec<_>>()
    });
    ExplanationView {
        dialect: manifest.rules.dialect,
        status,
        file,
        location,
        headers: headers.collect(),
        vary: varies.list(),
        steps: trace.steps().into_iter().map(ReasonView::from).collect(),
        path,
    }
}
