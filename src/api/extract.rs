//! From a request to values: who asks, the body, the query. What cannot be read becomes a
//! [`Problem`] that names the field.
//!
//! A body is read at once but judged only by [`Body::read`], so that a handler's `Actor` is known
//! before: a stranger learns nothing from sending rubbish.

use crate::api::Api;
use crate::api::error::{Kind, Problem};
use crate::app::accounts::Actor;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::{Ready, ready};
use std::str::FromStr;
use std::time::Duration;

/// The most bytes that a body of JSON may have.
pub const MAX_BODY: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

impl FromRequest for Actor {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = bearer(request).map(str::to_owned);
        let api = request.app_data::<Data<Api>>().cloned();
        Box::pin(async move {
            let (Some(token), Some(api)) = (token, api) else {
                return Err(Problem::new(
                    Kind::Unauthenticated,
                    "This call needs `Authorization: Bearer <token>`: an access token or a personal token.",
                ));
            };
            let asked = token.clone();
            match api.run(|app| async move { app.authenticate(&asked).await }).await? {
                Some(actor) => Ok(actor),
                None => Err(refusal(
                    &api,
                    token,
                    "The token is unknown, has expired or was withdrawn: sign in again.",
                )
                .await?),
            }
        })
    }
}

/// Why a token opens nothing: `otherwise`, unless an operator keeps its account out.
pub async fn refusal(api: &Api, token: String, otherwise: &'static str) -> Result<Problem, Problem> {
    let disabled = api.run(|app| async move { app.is_of_disabled(&token).await }).await?;
    Ok(if disabled { Problem::disabled() } else { Problem::new(Kind::Unauthenticated, otherwise) })
}

/// The credentials of the one scheme that is known (RFC 6750, 2.1; its name has no case).
fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A body of JSON, as it arrived.
pub struct Body(Result<Bytes, Problem>);

impl FromRequest for Body {
    type Error = std::convert::Infallible;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let arrived = tokio::time::timeout(BODY_TIME, receive(&request, payload)).await;
            Ok(Self(arrived.unwrap_or_else(|_| {
                Err(Problem::new(Kind::TooSlow, "The body did not arrive within 30 s."))
            })))
        })
    }
}

impl Body {
    /// The body as a value.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Problem> {
        parse(&self.0?)
    }

    /// The same where a body may be left out: nothing at all is the empty object.
    pub fn read_or_empty<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let bytes = self.0?;
        parse(if bytes.is_empty() { b"{}" } else { &bytes })
    }
}

async fn receive(request: &HttpRequest, mut payload: Payload) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Kind::TooLarge, format!("The body may have at most {} KiB.", MAX_BODY / 1024));
    let headers = request.headers();
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let coded = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    let kind = request.content_type();
    let json = kind.is_empty() || kind.eq_ignore_ascii_case("application/json");
    if coded || !json {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "The body must be uncompressed JSON, with `Content-Type: application/json`.",
        ));
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Kind::Malformed, "The body broke off before its end."))?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array as a struct whose fields have no names.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(Problem::new(Kind::Malformed, "The body must be a JSON object."));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, error.inner())
    })?;
    json.end().map_err(|error| refused(".", &error))?;
    Ok(value)
}

/// Says what is wrong with which field. serde puts the name of a missing or unknown field into its
/// message only.
fn refused(path: &str, error: &serde_json::Error) -> Problem {
    if !error.is_data() {
        return Problem::new(Kind::Malformed, format!("The body is no JSON: {error}."));
    }
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let quoted = |start: &str| message.strip_prefix(start)?.split_once('`').map(|(name, _)| name.to_owned());
    let parent = |name: String| match path {
        "." => name,
        // For an unknown field the path may already end in its name.
        _ if path.ends_with(&name) => path.to_owned(),
        _ => format!("{path}.{name}"),
    };
    if let Some(name) = quoted("missing field `") {
        return Problem::invalid(parent(name), "is required");
    }
    if let Some(name) = quoted("duplicate field `") {
        return Problem::invalid(parent(name), "is given twice");
    }
    if let Some(name) = quoted("unknown field `") {
        let known = message.split_once(", expected ").map(|(_, known)| format!(": known are {known}"));
        let known = known.unwrap_or_default().replace("one of ", "").replace('`', "");
        return Problem::invalid(parent(name), format!("is not a field of this request{known}"));
    }
    if let Some((_, words)) =
        message.split_once("unknown variant ").and_then(|_| message.split_once("expected "))
    {
        let words = words.replace("one of ", "").replace('`', "");
        return Problem::invalid(path, format!("must be one of: {}", words.replace(" or ", ", ")));
    }
    let message =
        message.replace("invalid type:", "has the wrong type:").replace("invalid value:", "is out of range:");
    Problem::invalid(path, message)
}

/// The parameters of a query, to be taken one by one; [`Params::finish`] refuses what is left.
pub struct Params(Vec<(String, String)>);

impl FromRequest for Params {
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.query_string())))
    }
}

impl Params {
    fn of(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The parameter of this name, if it is there: once and with a value.
    pub fn take<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Problem::invalid(name, error))
    }

    pub fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "must be true or false")),
        }
    }

    /// How many items a page of a list may have: 1 to 100, 20 when not said.
    pub fn take_limit(&mut self) -> Result<u32, Problem> {
        let text = self.text("limit")?;
        let limit = text.map_or(Ok(20), |text| text.parse().map_err(|_| ()));
        limit
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| Problem::invalid("limit", "must be a number from 1 to 100"))
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut found = self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value);
        let value = found.next();
        if found.next().is_some() {
            return Err(Problem::invalid(name, "is given twice"));
        }
        Ok(value)
    }

    /// All values of a parameter that may be given several times.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    pub fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Problem::invalid(name, "is not a parameter of this call")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::{Email, Password};
    use crate::domain::deployment::Target;
    use actix_web::ResponseError as _;
    use actix_web::body::MessageBody as _;
    use actix_web::test::TestRequest;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        email: Email,
        password: Option<Password>,
        env: Option<BTreeMap<String, String>>,
        target: Option<Target>,
    }

    /// Status and the field that is named.
    fn outcome(body: &str) -> (u16, Option<String>) {
        let problem = parse::<Sample>(body.as_bytes()).unwrap_err();
        let document = problem.error_response().into_body().try_into_bytes().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        let field = document["errors"][0]["field"].as_str().map(str::to_owned);
        (problem.status_code().as_u16(), field)
    }

    #[test]
    fn what_is_no_json_object_is_malformed() {
        for bad in
            ["", " ", "{", "[]", "[\"a@x.org\"]", "null", "{\"email\":", "{}x", "{\"email\":\"a@x.org\"}{"]
        {
            let (status, field) = outcome(bad);
            assert!(status == 400 || bad == "{}x" && field.as_deref() == Some("email"), "{bad}: {status}");
        }
        let deep = format!("{{\"email\":{}", "[".repeat(100_000));
        assert!(matches!(outcome(&deep).0, 400 | 422));
    }

    #[test]
    fn a_field_that_is_refused_is_named() {
        for (body, field) in [
            (r#"{}"#, "email"),
            (r#"{"email": 5}"#, "email"),
            (r#"{"email": "no"}"#, "email"),
            (r#"{"email": null}"#, "email"),
            (r#"{"email": "a@x.org", "password": "short"}"#, "password"),
            (r#"{"email": "a@x.org", "nam": "x"}"#, "nam"),
            (r#"{"email": "a@x.org", "email": "a@x.org"}"#, "email"),
            (r#"{"email": "a@x.org", "env": {"KEY": 5}}"#, "env.KEY"),
            (r#"{"email": "a@x.org", "target": "prod"}"#, "target"),
        ] {
            assert_eq!(outcome(body), (422, Some(field.to_owned())), "{body}");
        }
    }

    async fn body(request: TestRequest) -> Result<Sample, Problem> {
        let (request, mut payload) = request.to_http_parts();
        Body::from_request(&request, &mut payload).await.unwrap().read()
    }

    #[actix_web::test]
    async fn a_body_is_json_of_a_bounded_size() {
        let good = r#"{"email": "a@x.org"}"#;
        let post = || TestRequest::post().set_payload(good);
        assert!(body(post()).await.is_ok(), "without a content type");
        assert!(
            body(post().insert_header(("content-type", "application/json; charset=utf-8"))).await.is_ok()
        );
        for (name, value, kind) in [
            ("content-type", "text/plain", Kind::UnsupportedMediaType),
            ("content-encoding", "gzip", Kind::UnsupportedMediaType),
            ("content-length", "300000", Kind::TooLarge),
        ] {
            assert_eq!(body(post().insert_header((name, value))).await.unwrap_err().kind, kind);
        }
        let large = TestRequest::post().set_payload(format!("{good}{}", " ".repeat(MAX_BODY)));
        assert_eq!(body(large).await.unwrap_err().kind, Kind::TooLarge);
    }

    #[test]
    fn an_unknown_repeated_or_bad_parameter_is_named() {
        let named = |problem: Problem| problem.to_string().split(' ').next().unwrap().to_owned();
        let mut params = Params::of("limit=5&limit=6&after=x&follow=maybe&extra=1");
        assert_eq!(named(params.take_limit().unwrap_err()), "limit");
        assert_eq!(named(params.take::<u64>("after").unwrap_err()), "after");
        assert_eq!(named(params.take_flag("follow").unwrap_err()), "follow");
        assert_eq!(named(params.finish().unwrap_err()), "extra");
        for bad in ["limit=0", "limit=101", "limit=-1", "limit=", "limit=x"] {
            assert!(Params::of(bad).take_limit().is_err(), "{bad}");
        }
        let mut params = Params::of("after=7&follow=true");
        assert_eq!((params.take("after").unwrap(), params.take_limit().unwrap()), (Some(7_u64), 20));
        assert!(params.take_flag("follow").unwrap());
        assert!(params.finish().is_ok());
    }

    #[test]
    fn the_scheme_of_authorization_has_no_case() {
        let given = |value: &str| {
            let request = TestRequest::get().insert_header(("authorization", value)).to_http_request();
            bearer(&request).map(str::to_owned)
        };
        assert_eq!(given("bearer abc").as_deref(), Some("abc"));
        assert_eq!(given("Bearer abc").as_deref(), Some("abc"));
        for bad in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
