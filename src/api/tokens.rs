//! `/tokens`: personal tokens, for scripts and other machines.

use crate::api::Api;
use crate::api::error::{Kind, Problem};
use crate::api::extract::{Body, Params};
use crate::api::views::{NewTokenView, Page, TokenView};
use crate::app::accounts::Actor;
use crate::domain::account::DisplayName;
use crate::domain::id::TokenId;
use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenInput {
    /// What the token is for, in up to 100 characters.
    #[schema(value_type = String, example = "laptop")]
    name: DisplayName,
    /// 1 to 3650; left out, it does not expire.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u16>,
}

/// Make a personal token
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = NewTokenInput,
    responses((status = 201, body = NewTokenView, description = "The token, shown this once")))]
pub async fn create(actor: Actor, api: Data<Api>, body: Body) -> Result<HttpResponse, Problem> {
    let input: NewTokenInput = body.read()?;
    if input.expires_in_days.is_some_and(|days| !(1..=3650).contains(&days)) {
        return Err(Problem::invalid("expires_in_days", "must be a number from 1 to 3650"));
    }
    let made = api
        .run(|app| async move { app.create_token(actor.account, input.name, input.expires_in_days).await })
        .await?;
    let (token, text) = made.ok_or_else(|| {
        Problem::new(
            Kind::Conflict,
            "This account has 100 personal tokens, the most there can be: delete one.",
        )
    })?;
    Ok(HttpResponse::Created().json(NewTokenView::new(token, &text)))
}

/// List personal tokens, newest first
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, body = Page<TokenView>, description = "All of them, on one page")))]
pub async fn list(actor: Actor, api: Data<Api>, query: Params) -> Result<Json<Page<TokenView>>, Problem> {
    query.finish()?;
    let tokens = api.run(|app| async move { app.database.list_tokens(actor.account).await }).await?;
    Ok(Json(Page { items: tokens.into_iter().map(TokenView::from).collect(), next_cursor: None }))
}

/// Delete a personal token
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204, description = "It opens nothing any more")))]
pub async fn delete(actor: Actor, api: Data<Api>, id: Path<TokenId>) -> Result<HttpResponse, Problem> {
    match api.run(|app| async move { app.database.delete_token(actor.account, *id).await }).await? {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(Problem::not_found("token")),
    }
}
