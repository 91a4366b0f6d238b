//! `/auth`: accounts and sessions. And `/me`.

use crate::api::Api;
use crate::api::error::{Kind, Problem};
use crate::api::extract::{Body, refusal};
use crate::api::limits;
use crate::api::views::{SessionView, UserView};
use crate::app::accounts::{Actor, Login};
use crate::config::Registration;
use crate::domain::account::{DisplayName, Email, Password};
use crate::domain::secret::Secret;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterInput {
    #[schema(value_type = String, example = "ada@example.com")]
    email: Email,
    /// 8 to 256 characters.
    #[schema(value_type = String, example = "correct horse battery")]
    password: Password,
    #[schema(value_type = Option<String>, example = "Ada")]
    name: Option<DisplayName>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginInput {
    #[schema(value_type = String, example = "ada@example.com")]
    email: Email,
    #[schema(value_type = String, example = "correct horse battery")]
    password: Secret,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshInput {
    #[schema(value_type = String, example = "gvref_...")]
    refresh_token: Secret,
}

/// Make an account
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "accounts", security(()), request_body = RegisterInput,
    responses((status = 201, body = SessionView, description = "The account, signed in")))]
pub async fn register(api: Data<Api>, request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    if api.settings.registration == Registration::Closed {
        return Err(Problem::new(
            Kind::Forbidden,
            "Registration is closed here: ask the operator for an account.",
        ));
    }
    limits::count_address(&api, "register", &request).await?;
    let input: RegisterInput = body.read()?;
    let made =
        api.run(|app| async move { app.register(input.email, input.password, input.name).await }).await?;
    let session = made.ok_or_else(|| {
        Problem::new(Kind::Conflict, "").with_error("email", "has an account already: sign in instead")
    })?;
    Ok(HttpResponse::Created().json(SessionView::from(session)))
}

/// Sign in
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "accounts", security(()), request_body = LoginInput,
    responses((status = 200, body = SessionView, description = "Signed in")))]
pub async fn login(api: Data<Api>, request: HttpRequest, body: Body) -> Result<Json<SessionView>, Problem> {
    limits::count_address(&api, "login", &request).await?;
    let input: LoginInput = body.read()?;
    limits::count_email(&api, &input.email).await?;
    let wrong = || Problem::new(Kind::Unauthenticated, "The e-mail address or the password is wrong.");
    // What cannot be anybody's password is a wrong one, not an invalid one.
    let password = Password::parse(input.password.expose()).map_err(|_| wrong())?;
    match api.run(|app| async move { app.login(&input.email, password).await }).await? {
        Login::SignedIn(session) => Ok(Json((*session).into())),
        Login::Disabled => Err(Problem::disabled()),
        Login::Refused => Err(wrong()),
    }
}

/// Stay signed in
///
/// Swaps a refresh token for new tokens. A refresh token that is used twice ends its session.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "accounts", security(()), request_body = RefreshInput,
    responses((status = 200, body = SessionView, description = "New tokens")))]
pub async fn refresh(api: Data<Api>, request: HttpRequest, body: Body) -> Result<Json<SessionView>, Problem> {
    limits::count_address(&api, "refresh", &request).await?;
    let input: RefreshInput = body.read()?;
    let token = input.refresh_token.clone();
    match api.run(|app| async move { app.refresh(&token).await }).await? {
        Some(session) => Ok(Json(session.into())),
        None => {
            let otherwise =
                "The refresh token is unknown, used or expired, or its session has ended: sign in again.";
            Err(refusal(&api, input.refresh_token.expose().to_owned(), otherwise).await?)
        }
    }
}

/// Sign out
///
/// Ends the session of this refresh token, and its access tokens with it.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "accounts", security(()), request_body = RefreshInput,
    responses((status = 204, description = "Signed out")))]
pub async fn logout(api: Data<Api>, request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    limits::count_address(&api, "logout", &request).await?;
    let input: RefreshInput = body.read()?;
    api.run(|app| async move { app.logout(&input.refresh_token).await }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who am I
#[utoipa::path(get, path = "/api/v1/me", tag = "accounts",
    responses((status = 200, body = UserView, description = "The account that asks")))]
pub async fn me(actor: Actor, api: Data<Api>) -> Result<Json<UserView>, Problem> {
    let user = api.run(|app| async move { app.database.find_user(actor.account).await }).await?;
    user.map(|user| Json(user.into()))
        .ok_or_else(|| Problem::new(Kind::Unauthenticated, "This account is no more."))
}
