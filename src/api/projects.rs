//! `/projects`: what repositories become, and which deployment production shows.

use crate::api::deployments::moved;
use crate::api::error::{Kind, Problem};
use crate::api::extract::{Body, Params};
use crate::api::source::CloneableUrl;
use crate::api::views::{DeploymentView, Page, ProjectView, cut};
use crate::api::{Api, cursor};
use crate::app::accounts::Actor;
use crate::app::projects::NewProject;
use crate::domain::id::DeploymentId;
use crate::domain::project::ProjectName;
use crate::domain::routing::dialect::Dialect;
use crate::domain::settings::{BuildSettings, CommandLine, NodeVersion, RelativeDir};
use crate::ports::projects::ProjectDeletion;
use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use utoipa::ToSchema;

const LIST: &str = "projects";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProjectInput {
    #[schema(value_type = String, example = "my-site")]
    name: ProjectName,
    #[schema(value_type = Option<String>, example = "https://example.com/team/site.git")]
    repo_url: Option<CloneableUrl>,
    #[schema(value_type = Option<String>)]
    root_dir: Option<RelativeDir>,
    #[schema(value_type = Option<String>)]
    install_command: Option<CommandLine>,
    #[schema(value_type = Option<String>)]
    build_command: Option<CommandLine>,
    #[schema(value_type = Option<String>)]
    output_dir: Option<RelativeDir>,
    #[schema(value_type = Option<String>)]
    node_version: Option<NodeVersion>,
    /// Whose rules for redirects, rewrites and headers are read; left out, the rule files in the
    /// repository say so.
    #[schema(value_type = Option<crate::api::views::RoutingWord>)]
    routing: Option<Dialect>,
    /// Whether unknown paths show `/index.html` with 200.
    spa: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackInput {
    /// A ready deployment of this project; left out: the one before the present.
    #[schema(value_type = Option<String>, example = "dpl_01jz0000000000000000")]
    to: Option<DeploymentId>,
}

/// List projects by name
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects",
    params(("limit" = Option<u32>, Query, description = "1 to 100"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<ProjectView>, description = "A page of projects")))]
pub async fn list(
    actor: Actor,
    api: Data<Api>,
    mut query: Params,
) -> Result<Json<Page<ProjectView>>, Problem> {
    let (limit, after) = (query.take_limit()?, query.text("cursor")?);
    query.finish()?;
    let after: Option<ProjectName> = after.map(|text| cursor::decode(LIST, &text)).transpose()?;
    let mut found = api
        .run(|app| async move { app.database.list_projects(actor.account, after.as_ref(), limit + 1).await })
        .await?;
    let next_cursor = cut(&mut found, limit, |last| cursor::encode(LIST, &last.name));
    let items = found.into_iter().map(|project| ProjectView::new(&api, project)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// Make a project
///
/// Not needed for a first deployment, which makes its project by itself.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = NewProjectInput,
    responses((status = 201, body = ProjectView, description = "The project",
        headers(("Location" = String)))))]
pub async fn create(actor: Actor, api: Data<Api>, body: Body) -> Result<HttpResponse, Problem> {
    let input: NewProjectInput = body.read()?;
    let repo_url = input.repo_url.map(|url| url.checked(&api, None)).transpose()?;
    let settings = BuildSettings {
        root_dir: input.root_dir,
        install_command: input.install_command,
        build_command: input.build_command,
        output_dir: input.output_dir,
        node_version: input.node_version,
        routing: input.routing,
        spa: input.spa,
    };
    let new = NewProject { name: input.name, repo_url, settings };
    let made = api.run(|app| async move { app.create_project(actor.account, new).await }).await?;
    let project = made.ok_or_else(|| {
        Problem::new(Kind::Conflict, "").with_error("name", "is the name of another project of yours")
    })?;
    let location = format!("/api/v1/projects/{}", project.name);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .json(ProjectView::new(&api, project)))
}

/// Show a project
#[utoipa::path(get, path = "/api/v1/projects/{name}", tag = "projects", params(("name" = String, Path)),
    responses((status = 200, body = ProjectView, description = "The project")))]
pub async fn show(
    actor: Actor,
    api: Data<Api>,
    name: Path<ProjectName>,
) -> Result<Json<ProjectView>, Problem> {
    let project = api.run(|app| async move { app.database.find_project(actor.account, &name).await }).await?;
    let project = project.ok_or_else(|| Problem::not_found("project"))?;
    Ok(Json(ProjectView::new(&api, project)))
}

/// Delete a project with its deployments and addresses
#[utoipa::path(delete, path = "/api/v1/projects/{name}", tag = "projects", params(("name" = String, Path)),
    responses((status = 204, description = "It is gone")))]
pub async fn delete(actor: Actor, api: Data<Api>, name: Path<ProjectName>) -> Result<HttpResponse, Problem> {
    match api.run(|app| async move { app.delete_project(actor.account, &name).await }).await? {
        ProjectDeletion::Deleted { .. } => Ok(HttpResponse::NoContent().finish()),
        ProjectDeletion::NotFound => Err(Problem::not_found("project")),
        ProjectDeletion::Busy(id) => Err(Problem::new(
            Kind::Conflict,
            format!("Its deployment {id} has not ended: cancel it, or wait for it."),
        )),
    }
}

/// Roll production back
///
/// Only moves a pointer: nothing is built.
#[utoipa::path(post, path = "/api/v1/projects/{name}/rollback", tag = "projects",
    params(("name" = String, Path)), request_body = Option<RollbackInput>,
    responses((status = 200, body = DeploymentView, description = "What production shows now")))]
pub async fn rollback(
    actor: Actor,
    api: Data<Api>,
    name: Path<ProjectName>,
    body: Body,
) -> Result<Json<DeploymentView>, Problem> {
    let input: RollbackInput = body.read_or_empty()?;
    let outcome = api.run(|app| async move { app.rollback(actor.account, &name, input.to).await }).await?;
    let not_found = if input.to.is_some() { "project, or no such deployment in it" } else { "project" };
    moved(&api, outcome, not_found).await
}
