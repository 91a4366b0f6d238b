//! `/deployments`: one call puts a repository live; the others look, stop, repeat and move.

use crate::api::error::{Kind, Problem};
use crate::api::extract::{Body, Params};
use crate::api::source::{CloneableUrl, GitToken, check_way_of_token};
use crate::api::views::{DeploymentView, Page, cut};
use crate::api::{Api, cursor, traced};
use crate::app::accounts::Actor;
use crate::app::publish::Move;
use crate::app::submit::SubmitRequest;
use crate::domain::deployment::{BuildOptions, Deployment, StateName, Target};
use crate::domain::digest::Digest;
use crate::domain::id::DeploymentId;
use crate::domain::project::ProjectName;
use crate::domain::repo::GitRef;
use crate::domain::routing::dialect::Dialect;
use crate::domain::settings::{BuildSettings, CommandLine, NodeVersion, RelativeDir, Variables};
use crate::ports::deployments::{Deletion, DeploymentFilter, IdempotencyKey, Submitted};
use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

const LIST: &str = "deployments";
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeploymentInput {
    #[schema(value_type = String, example = "https://example.com/team/site.git")]
    repo_url: CloneableUrl,
    /// A branch, a tag or a commit; left out, the repository's default branch.
    #[serde(rename = "ref")]
    #[schema(value_type = Option<String>, example = "main")]
    reference: Option<GitRef>,
    /// Left out: your project of this repository, made when missing.
    #[schema(value_type = Option<String>, example = "my-site")]
    project: Option<ProjectName>,
    #[serde(default)]
    #[schema(value_type = Option<crate::api::views::TargetWord>)]
    target: Option<Target>,
    /// The folder of the repository that has the site.
    #[schema(value_type = Option<String>, example = "apps/web")]
    root_dir: Option<RelativeDir>,
    /// An empty one runs nothing.
    #[schema(value_type = Option<String>, example = "npm ci")]
    install_command: Option<CommandLine>,
    #[schema(value_type = Option<String>, example = "npm run build")]
    build_command: Option<CommandLine>,
    #[schema(value_type = Option<String>, example = "dist")]
    output_dir: Option<RelativeDir>,
    #[schema(value_type = Option<String>, example = "24")]
    node_version: Option<NodeVersion>,
    /// Whose rules for redirects, rewrites and headers are read; left out, the rule files in the
    /// repository say so.
    #[schema(value_type = Option<crate::api::views::RoutingWord>)]
    routing: Option<Dialect>,
    /// Whether unknown paths show `/index.html` with 200.
    spa: Option<bool>,
    /// Variables of this build alone.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    env: Option<Variables>,
    /// For a private repository on https. Used by this deployment alone, never shown, and
    /// forgotten when it has ended.
    #[schema(value_type = Option<String>, write_only)]
    git_token: Option<GitToken>,
    /// Build even where the same source was built before with the same settings and variables, whose
    /// output would else be taken over, and where it would be skipped.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    force: bool,
    /// Build without what earlier builds left in caches.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    no_cache: bool,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeployInput {
    /// For a private repository: the earlier deployment has forgotten its own.
    #[schema(value_type = Option<String>, write_only)]
    git_token: Option<GitToken>,
    /// Build without what earlier builds left in caches.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    no_cache: bool,
}

/// Deploy a repository
#[utoipa::path(post, path = "/api/v1/deployments", tag = "deployments", request_body = NewDeploymentInput,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "The same key within 24 hours answers with the same deployment")),
    responses(
        (status = 201, body = DeploymentView, description = "It waits to be built",
            headers(("Location" = String))),
        (status = 200, body = DeploymentView, description = "This key made it before")))]
pub async fn create(
    actor: Actor,
    api: Data<Api>,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let span = traced::begin(&api, &request, "/api/v1/deployments");
    traced::end(span, async |trace| {
        let input: NewDeploymentInput = body.read()?;
        let mut wanted = SubmitRequest {
            repo_url: input.repo_url.checked(&api, input.git_token.as_ref())?,
            reference: input.reference,
            project: input.project,
            target: input.target.unwrap_or_default(),
            settings: BuildSettings {
                root_dir: input.root_dir,
                install_command: input.install_command,
                build_command: input.build_command,
                output_dir: input.output_dir,
                node_version: input.node_version,
                routing: input.routing,
                spa: input.spa,
            },
            env: input.env.unwrap_or_default(),
            options: BuildOptions { force: input.force, no_cache: input.no_cache, ..BuildOptions::default() },
            git_token: input.git_token.map(|token| token.secret().clone()),
        };
        let key = idempotency_key(&request, &canonical(&wanted))?;
        // The same request again is another one's part, and the same all the same.
        wanted.options.trace = trace;
        let submitted = api.run(|app| async move { app.submit(actor.account, wanted, key).await }).await?;
        accepted(&api, submitted).await
    })
    .await
}

/// List deployments, newest first
#[utoipa::path(get, path = "/api/v1/deployments", tag = "deployments",
    params(("project" = Option<String>, Query, description = "A project's name"),
        ("state" = Option<crate::api::views::StateWord>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 100"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<DeploymentView>, description = "A page of deployments")))]
pub async fn list(
    actor: Actor,
    api: Data<Api>,
    mut query: Params,
) -> Result<Json<Page<DeploymentView>>, Problem> {
    let project: Option<ProjectName> = query.take("project")?;
    let state: Option<StateName> = query.take("state")?;
    let (limit, place) = (query.take_limit()?, query.text("cursor")?);
    query.finish()?;
    let before: Option<i64> = place.map(|text| cursor::decode(LIST, &text)).transpose()?;
    let (found, next_cursor) = api
        .run(|app| async move {
            let mut filter = DeploymentFilter { project: None, state };
            if let Some(name) = project {
                let Some(project) = app.database.find_project(actor.account, &name).await? else {
                    return Ok((Vec::new(), None));
                };
                filter.project = Some(project.id);
            }
            // One more than asked for tells whether there is a next page.
            let mut found = app.database.list_deployments(actor.account, filter, before, limit + 1).await?;
            let next_cursor = cut(&mut found, limit, |last| cursor::encode(LIST, last.seq));
            Ok((found, next_cursor))
        })
        .await?;
    Ok(Json(Page { items: DeploymentView::load_all(&api, found).await?, next_cursor }))
}

/// Show a deployment
#[utoipa::path(get, path = "/api/v1/deployments/{id}", tag = "deployments", params(("id" = String, Path)),
    responses((status = 200, body = DeploymentView, description = "The deployment")))]
pub async fn show(
    actor: Actor,
    api: Data<Api>,
    id: Path<DeploymentId>,
) -> Result<Json<DeploymentView>, Problem> {
    let deployment = find(&api, actor, *id).await?;
    Ok(Json(DeploymentView::load(&api, deployment).await?))
}

/// Delete a deployment that has ended, and its address
#[utoipa::path(delete, path = "/api/v1/deployments/{id}", tag = "deployments", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone")))]
pub async fn delete(actor: Actor, api: Data<Api>, id: Path<DeploymentId>) -> Result<HttpResponse, Problem> {
    let refused = |why| Err(Problem::new(Kind::Conflict, why));
    match api.run(|app| async move { app.delete_deployment(actor.account, *id).await }).await? {
        Deletion::Deleted(_) => Ok(HttpResponse::NoContent().finish()),
        Deletion::NotFound => Err(Problem::not_found("deployment")),
        Deletion::NotEnded => refused("It has not ended: cancel it first."),
        Deletion::InProduction => {
            refused("Production shows it: promote another deployment first, or roll back.")
        }
    }
}

/// Cancel a deployment
///
/// Stops what is running. One that has ended stays as it is.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/cancel", tag = "deployments", params(("id" = String, Path)),
    responses((status = 200, body = DeploymentView, description = "As it is now")))]
pub async fn cancel(
    actor: Actor,
    api: Data<Api>,
    id: Path<DeploymentId>,
) -> Result<Json<DeploymentView>, Problem> {
    let canceled = api.run(|app| async move { app.cancel(actor.account, *id).await }).await?;
    let deployment = canceled.ok_or_else(|| Problem::not_found("deployment"))?;
    Ok(Json(DeploymentView::load(&api, deployment).await?))
}

/// Make a ready deployment production
///
/// Only moves a pointer: nothing is built.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/promote", tag = "deployments", params(("id" = String, Path)),
    responses((status = 200, body = DeploymentView, description = "What production shows now")))]
pub async fn promote(
    actor: Actor,
    api: Data<Api>,
    id: Path<DeploymentId>,
) -> Result<Json<DeploymentView>, Problem> {
    let outcome = api.run(|app| async move { app.promote(actor.account, *id).await }).await?;
    moved(&api, outcome, "deployment").await
}

/// Deploy the same again
///
/// The same repository, ref, settings and variables; the ref may mean a newer commit by now.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/redeploy", tag = "deployments",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<RedeployInput>,
    responses(
        (status = 201, body = DeploymentView, description = "A new deployment", headers(("Location" = String))),
        (status = 200, body = DeploymentView, description = "This key made it before")))]
pub async fn redeploy(
    actor: Actor,
    api: Data<Api>,
    request: HttpRequest,
    id: Path<DeploymentId>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let span = traced::begin(&api, &request, "/api/v1/deployments/{id}/redeploy");
    traced::end(span, async |trace| {
        let (id, input): (_, RedeployInput) = (*id, body.read_or_empty()?);
        if input.git_token.is_some() {
            let earlier = find(&api, actor, id).await?;
            check_way_of_token(&earlier.source.repo_url, &api.settings.source_allow)?;
        }
        let git_token = input.git_token.map(|token| token.secret().clone());
        let digest = git_token.as_ref().map(|token| Digest::of(token.expose().as_bytes()));
        let no_cache = input.no_cache;
        let canonical = json!({ "redeploy": id, "git_token": digest, "no_cache": no_cache }).to_string();
        let key = idempotency_key(&request, &canonical)?;
        let again = (key, trace);
        let submitted = api
            .run(|app| async move { app.redeploy(actor.account, id, git_token, no_cache, again).await })
            .await?;
        accepted(&api, submitted.ok_or_else(|| Problem::not_found("deployment"))?).await
    })
    .await
}

/// The account's deployment of this id.
pub async fn find(api: &Api, actor: Actor, id: DeploymentId) -> Result<Deployment, Problem> {
    let found = api.run(|app| async move { app.database.find_deployment(actor.account, id).await }).await?;
    found.ok_or_else(|| Problem::not_found("deployment"))
}

/// The answer to a move of production. `what` is what may not have been found.
pub async fn moved(api: &Api, outcome: Move, what: &str) -> Result<Json<DeploymentView>, Problem> {
    match outcome {
        Move::Moved(deployment) => Ok(Json(DeploymentView::load(api, *deployment).await?)),
        Move::NotFound => Err(Problem::not_found(what)),
        Move::NotReady => {
            Err(Problem::new(Kind::Conflict, "That deployment is not ready: only a ready one can be shown."))
        }
        Move::NothingEarlier => Err(Problem::new(
            Kind::Conflict,
            "No ready production deployment came before what production shows: deploy first, or name one.",
        )),
    }
}

async fn accepted(api: &Api, submitted: Submitted) -> Result<HttpResponse, Problem> {
    let (status, deployment) = match submitted {
        Submitted::New(deployment) => (StatusCode::CREATED, deployment),
        Submitted::Repeated(deployment) => (StatusCode::OK, deployment),
        Submitted::LineFull(waiting) => {
            return Err(Problem::new(
                Kind::TooManyRequests,
                format!(
                    "{waiting} deployments of yours wait already, which is as many as may: cancel some, or wait \
                     until the next one is taken."
                ),
            ));
        }
        Submitted::KeyTaken => {
            return Err(Problem::invalid(
                IDEMPOTENCY_KEY,
                "was used within 24 hours for another request, or its deployment was deleted: \
                 use a new key for each new request",
            ));
        }
    };
    if status == StatusCode::CREATED {
        // The id that the worker's and the edge's lines carry too.
        tracing::info!(deployment = %deployment.id, project = %deployment.project_name, "deployment accepted");
    }
    let location = format!("/api/v1/deployments/{}", deployment.id);
    let view = DeploymentView::load(api, deployment).await?;
    Ok(HttpResponse::build(status).insert_header((header::LOCATION, location)).json(view))
}

/// The key that the client gave this request, with the digest of what it asks for.
fn idempotency_key(request: &HttpRequest, canonical: &str) -> Result<Option<IdempotencyKey>, Problem> {
    let invalid = || Problem::invalid(IDEMPOTENCY_KEY, "must have 1 to 255 visible ASCII characters");
    let mut given = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(key) = given.next() else { return Ok(None) };
    let key = key.to_str().map_err(|_| invalid())?;
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if given.next().is_some() || !(1..=255).contains(&key.len()) || !visible {
        return Err(invalid());
    }
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint: Digest::of(canonical.as_bytes()) }))
}

/// A request in one spelling: what is equal here asks for the same. It is only ever digested.
fn canonical(wanted: &SubmitRequest) -> String {
    let SubmitRequest { repo_url, reference, project, target, settings, env, options, git_token } = wanted;
    json!({
        "repo_url": repo_url,
        "ref": reference,
        "project": project,
        "target": target,
        "settings": settings,
        "env": env,
        "options": options,
        "git_token": git_token.as_ref().map(|token| Digest::of(token.expose().as_bytes())),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repo::RepoUrl;
    use crate::domain::secret::Secret;
    use actix_web::test::TestRequest;
    use std::collections::BTreeMap;

    fn wanted() -> SubmitRequest {
        SubmitRequest {
            repo_url: RepoUrl::parse("https://example.com/site.git").unwrap(),
            reference: None,
            project: None,
            target: Target::Production,
            settings: BuildSettings::default(),
            env: Variables::default(),
            options: BuildOptions::default(),
            git_token: None,
        }
    }

    #[test]
    fn requests_that_differ_in_anything_have_different_fingerprints() {
        let plain = canonical(&wanted());
        assert_eq!(plain, canonical(&wanted()));
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for other in [
            SubmitRequest { reference: GitRef::parse("main").ok(), ..wanted() },
            SubmitRequest { target: Target::Preview, ..wanted() },
            SubmitRequest { env: Variables::parse(env).unwrap(), ..wanted() },
            SubmitRequest { options: BuildOptions { force: true, ..Default::default() }, ..wanted() },
            SubmitRequest { git_token: Some(Secret::new("hush")), ..wanted() },
        ] {
            assert_ne!(plain, canonical(&other));
            assert!(!canonical(&other).contains("hush"));
        }
    }

    #[test]
    fn an_idempotency_key_is_visible_and_short() {
        let of = |key: &str| {
            let request = TestRequest::post().insert_header((IDEMPOTENCY_KEY, key)).to_http_request();
            idempotency_key(&request, "x")
        };
        assert_eq!(of("2f1c-44").unwrap().unwrap().key, "2f1c-44");
        assert!(idempotency_key(&TestRequest::post().to_http_request(), "x").unwrap().is_none());
        for bad in ["", "a b", &"x".repeat(256)] {
            let problem = of(bad).unwrap_err();
            assert!(problem.to_string().starts_with(IDEMPOTENCY_KEY), "{bad}");
        }
    }
}
