//! `/projects/{name}/env`: what a project's builds are told. A secret's value goes in and never comes out.

use crate::api::Api;
use crate::api::error::{Kind, Problem};
use crate::api::extract::{Body, Params};
use crate::api::views::{Page, VariableView};
use crate::app::accounts::Actor;
use crate::domain::deployment::Target;
use crate::domain::project::{Project, ProjectName};
use crate::domain::secret::Secret;
use crate::domain::settings::Variables;
use crate::domain::variable::{ProjectVariable, VariableName, check_value};
use crate::ports::variables::PutVariable;
use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableInput {
    /// At most 64 KiB; all of a target's variables together have no more either.
    #[schema(value_type = String, example = "https://api.example.com")]
    value: Secret,
    /// Whose builds are given it; left out, all. What it had for another target stays.
    #[serde(default)]
    #[schema(value_type = Option<Vec<crate::api::views::TargetWord>>)]
    targets: Option<Vec<Target>>,
    /// Its value is never given back, and hidden in logs.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    secret: bool,
}

/// List a project's variables by name
///
/// The value of a secret is null.
#[utoipa::path(get, path = "/api/v1/projects/{name}/env", tag = "variables", params(("name" = String, Path)),
    responses((status = 200, body = Page<VariableView>, description = "All of them")))]
pub async fn list(
    actor: Actor,
    api: Data<Api>,
    name: Path<ProjectName>,
) -> Result<Json<Page<VariableView>>, Problem> {
    let project = find(&api, actor, name.into_inner()).await?;
    let listed = api
        .run(|app| async move { app.database.list_variables(actor.account, project.id, None).await })
        .await?;
    Ok(Json(Page { items: listed.into_iter().map(VariableView::from).collect(), next_cursor: None }))
}

/// Set a variable
///
/// Counts for builds that begin afterwards.
#[utoipa::path(put, path = "/api/v1/projects/{name}/env/{key}", tag = "variables",
    params(("name" = String, Path), ("key" = String, Path, description = "Letters, digits and _")),
    request_body = VariableInput,
    responses((status = 200, body = VariableView, description = "As it was set")))]
pub async fn put(
    actor: Actor,
    api: Data<Api>,
    path: Path<(ProjectName, String)>,
    body: Body,
) -> Result<Json<VariableView>, Problem> {
    let (name, key) = path.into_inner();
    let key = VariableName::parse(&key).map_err(|invalid| Problem::invalid("key", invalid))?;
    let input: VariableInput = body.read()?;
    check_value(input.value.expose()).map_err(|invalid| Problem::invalid("value", invalid))?;
    let mut targets = input.targets.unwrap_or_else(|| vec![Target::Production, Target::Preview]);
    targets.sort_by_key(|target| *target == Target::Preview);
    targets.dedup();
    if targets.is_empty() {
        return Err(Problem::invalid("targets", "must name production, preview or both"));
    }
    let project = find(&api, actor, name).await?;
    let variable = ProjectVariable {
        name: key,
        value: input.value,
        targets,
        secret: input.secret,
        updated_at: api.app.clock.now(),
    };
    let storing = variable.clone();
    let stored = api
        .run(|app| async move { app.database.put_variable(actor.account, project.id, &storing).await })
        .await?;
    match stored {
        PutVariable::Stored => Ok(Json(VariableView::from(variable))),
        PutVariable::NotFound => Err(Problem::not_found("project")),
        PutVariable::TooMany => Err(Problem::new(
            Kind::InvalidInput,
            format!("A project has at most {} variables: delete one first.", Variables::MAX_COUNT),
        )),
        PutVariable::TooLarge => Err(Problem::invalid(
            "value",
            "is too long: all variables of a target have at most 64 KiB together, names included",
        )),
    }
}

/// Delete a variable
#[utoipa::path(delete, path = "/api/v1/projects/{name}/env/{key}", tag = "variables",
    params(("name" = String, Path), ("key" = String, Path),
        ("target" = Option<crate::api::views::TargetWord>, Query, description = "For this target alone")),
    responses((status = 204, description = "It is gone")))]
pub async fn delete(
    actor: Actor,
    api: Data<Api>,
    path: Path<(ProjectName, VariableName)>,
    mut query: Params,
) -> Result<HttpResponse, Problem> {
    let target: Option<String> = query.text("target")?;
    query.finish()?;
    let target = match target.as_deref() {
        None => None,
        Some("production") => Some(Target::Production),
        Some("preview") => Some(Target::Preview),
        Some(_) => return Err(Problem::invalid("target", "must be production or preview")),
    };
    let (name, key) = path.into_inner();
    let project = find(&api, actor, name).await?;
    let deleted = api
        .run(|app| async move { app.database.delete_variable(actor.account, project.id, &key, target).await })
        .await?;
    if deleted { Ok(HttpResponse::NoContent().finish()) } else { Err(Problem::not_found("variable")) }
}

async fn find(api: &Api, actor: Actor, name: ProjectName) -> Result<Project, Problem> {
    let found = api.run(|app| async move { app.database.find_project(actor.account, &name).await }).await?;
    found.ok_or_else(|| Problem::not_found("project"))
}
