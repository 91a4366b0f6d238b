//! What goes wrong, as a client sees it: problem documents by RFC 9457.
//!
//! The only place that knows statuses. An internal cause is kept for the log and never shown.
//! Start with [`Kind`], whose table joins kinds, statuses and words.

use crate::ports::error::{StoreError, StoreErrorKind};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use utoipa::ToSchema;

/// What the client, or gv, got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read: no JSON, a broken header.
    Malformed,
    /// Nobody is signed in, or the proof is not valid.
    Unauthenticated,
    Forbidden,
    /// It does not exist, or belongs to another account.
    NotFound,
    MethodNotAllowed,
    /// The body did not arrive in time.
    TooSlow,
    /// What is asked does not go with how things stand.
    Conflict,
    TooLarge,
    UnsupportedMediaType,
    /// Readable, but a field's value is not acceptable.
    InvalidInput,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl Kind {
    /// Its status, the last part of its `type`, and its title.
    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed-request", "Malformed request"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long to arrive"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Request too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::InvalidInput => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-input", "Invalid input"),
            Self::TooManyRequests => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        }
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub struct Problem {
    pub kind: Kind,
    detail: Cow<'static, str>,
    more: Box<More>,
}

/// What few problems have.
#[derive(Debug, Default)]
struct More {
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    /// The methods that a resource has, for `Allow` (RFC 9110, 15.5.6).
    allow: Option<String>,
    cause: Option<StoreError>,
}

/// One field that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's path in the body (`env.KEY`), or the name of the query parameter or header.
    #[schema(example = "repo_url")]
    pub field: String,
    #[schema(example = "must begin with https:// or http://")]
    pub message: String,
}

/// The document that is sent: RFC 9457, with `errors` for bad input.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView<'a> {
    #[serde(rename = "type")]
    #[schema(example = "urn:gv:problem:not-found")]
    pub kind: String,
    #[schema(example = "Not found")]
    pub title: &'a str,
    #[schema(example = 404)]
    pub status: u16,
    pub detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    pub errors: &'a [FieldError],
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), more: Box::default() }
    }

    /// `what` is a noun: `deployment`.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    /// Whoever asks is known, and an operator keeps the account out.
    pub fn disabled() -> Self {
        Self::new(Kind::Forbidden, "This account is disabled: ask whoever runs this gv.")
    }

    /// A field whose value was refused.
    pub fn invalid(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::new(Kind::InvalidInput, "").with_error(field, message)
    }

    pub fn method_not_allowed(allow: String) -> Self {
        let mut problem = Self::new(Kind::MethodNotAllowed, format!("This resource answers to {allow}."));
        problem.more.allow = Some(allow);
        problem
    }

    /// A defect of gv, which is logged where it is found.
    pub fn internal() -> Self {
        Self::new(
            Kind::Internal,
            "Something went wrong inside gv: its log says what, under this answer's X-Request-Id.",
        )
    }

    /// Too many requests: the next one may come after `wait`.
    pub fn too_many_requests(wait: Duration) -> Self {
        let seconds = whole_seconds(wait);
        let detail = format!("There were too many attempts: try again in {seconds} s.");
        Self::new(Kind::TooManyRequests, detail).after(wait)
    }

    fn after(mut self, wait: Duration) -> Self {
        self.more.retry_after = Some(wait);
        self
    }

    /// Names a field too.
    pub fn with_error(mut self, field: impl Into<String>, message: impl fmt::Display) -> Self {
        let (field, message) = (field.into(), message.to_string());
        if self.detail.is_empty() {
            self.detail = format!("{field} {message}").into();
        }
        self.more.errors.push(FieldError { field, message });
        self
    }

    /// What to log: the cause that the client is not shown.
    pub fn cause(&self) -> Option<&StoreError> {
        self.more.cause.as_ref()
    }
}

impl From<StoreError> for Problem {
    fn from(cause: StoreError) -> Self {
        let mut problem = match cause.kind {
            StoreErrorKind::Unavailable => Self::new(
                Kind::Unavailable,
                "A part of gv cannot be reached at the moment: try again in a few seconds.",
            )
            .after(Duration::from_secs(5)),
            StoreErrorKind::Conflict => {
                Self::new(Kind::Conflict, "Another request changed the same thing: try again.")
            }
            // Nobody's request mends it, but its operator does: no time is named.
            StoreErrorKind::Locked => Self::new(
                Kind::Unavailable,
                "This is sealed by a key that this gv does not have: its operator must put the key back into \
                 secrets.keys (gv doctor says which).",
            ),
            StoreErrorKind::Corrupt | StoreErrorKind::Internal => Self::internal(),
        };
        problem.more.cause = Some(cause);
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.facts().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, word, title) = self.kind.facts();
        let mut response = HttpResponse::build(status);
        if let Some(wait) = self.more.retry_after {
            response.insert_header((header::RETRY_AFTER, whole_seconds(wait)));
        }
        if let Some(allow) = self.more.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            response.insert_header((header::ALLOW, allow));
        }
        if self.kind == Kind::Unauthenticated {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"gv\""));
        }
        // A part of the body may still be on its way; nobody will read it.
        if matches!(self.kind, Kind::TooLarge | Kind::TooSlow) {
            response.force_close();
        }
        // The content type is set before, since `json` keeps one that is there.
        response.content_type("application/problem+json").json(ProblemView {
            kind: format!("urn:gv:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            errors: &self.more.errors,
        })
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody;
    use std::collections::HashSet;

    const ALL: [Kind; 13] = [
        Kind::Malformed,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::TooSlow,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::UnsupportedMediaType,
        Kind::InvalidInput,
        Kind::TooManyRequests,
        Kind::Internal,
        Kind::Unavailable,
    ];

    fn shown(problem: &Problem) -> serde_json::Value {
        let bytes = problem.error_response().into_body().try_into_bytes().unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn every_kind_has_a_status_and_a_word_of_its_own() {
        let statuses: HashSet<_> = ALL.map(|kind| kind.facts().0).into();
        let words: HashSet<_> = ALL.map(|kind| kind.facts().1).into();
        assert_eq!((statuses.len(), words.len()), (ALL.len(), ALL.len()));
        for kind in ALL {
            let response = Problem::new(kind, "why").error_response();
            assert_eq!(response.status(), kind.facts().0);
            assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
        }
    }

    #[test]
    fn an_internal_cause_is_kept_for_the_log_and_never_shown() {
        for (kind, status) in [
            (StoreErrorKind::Unavailable, 503),
            (StoreErrorKind::Conflict, 409),
            (StoreErrorKind::Locked, 503),
            (StoreErrorKind::Corrupt, 500),
            (StoreErrorKind::Internal, 500),
        ] {
            let problem = Problem::from(StoreError::new(kind, "reading users", "password of root: hush"));
            let document = shown(&problem);
            assert_eq!(document["status"], status);
            assert!(!document.to_string().contains("hush") && !document.to_string().contains("users"));
            assert!(problem.cause().unwrap().to_string().contains("hush"));
        }
    }

    #[test]
    fn whoever_is_to_come_back_is_told_when() {
        let header = |problem: &Problem| problem.error_response().headers().get("retry-after").cloned();
        assert_eq!(header(&Problem::too_many_requests(Duration::from_millis(1_500))).unwrap(), "2");
        let down = StoreError::new(StoreErrorKind::Unavailable, "asking", "down");
        assert!(header(&down.into()).is_some());
        assert!(header(&Problem::not_found("page")).is_none());
    }

    #[test]
    fn a_refused_field_is_named() {
        let document = shown(&Problem::invalid("ref", "must not be empty"));
        assert_eq!(document["detail"], "ref must not be empty");
        assert_eq!(document["errors"][0]["field"], "ref");
        assert_eq!(document["type"], "urn:gv:problem:invalid-input");
        assert!(shown(&Problem::not_found("project")).get("errors").is_none());
    }
}
