//! The API as the client commands see it: calls with JSON, errors as sentences, logs as a stream.

use super::ClientArgs;
use super::session::find_access;
use crate::cli::ConfigArgs;
use crate::domain::address::may_be_public;
use anyhow::Context;
use bytes::{Buf, BytesMut};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use rustls::CertificateError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;
use url::Url;

pub struct Connection {
    client: Client,
    root: Url,
    token: Option<String>,
}

/// What the API answered in place of what was asked for: a problem document (RFC 9457).
#[derive(Debug)]
pub struct Failure {
    pub status: StatusCode,
    text: String,
}

impl Failure {
    /// What the person typed was wrong, not the state of things.
    pub fn is_wrong_usage(&self) -> bool {
        matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<FieldProblem>,
}

#[derive(Deserialize)]
struct FieldProblem {
    field: String,
    message: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Deployment {
    pub id: String,
    pub project: String,
    pub state: String,
    pub target: String,
    pub url: String,
    pub created_at: String,
    pub error: Option<DeploymentError>,
    /// All else, for `--json` and `gv inspect`.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DeploymentError {
    pub code: String,
    pub message: String,
}

impl Deployment {
    pub fn is_ended(&self) -> bool {
        matches!(self.state.as_str(), "ready" | "failed" | "canceled")
    }

    /// There was nothing to build, and that is well.
    pub fn is_skipped(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.code == "skipped")
    }

    pub fn text(&self, key: &str) -> &str {
        self.rest.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct LogLine {
    pub seq: u64,
    pub stream: String,
    pub step: String,
    pub text: String,
}

/// A line of a log, or its end.
pub enum LogEvent {
    Line(LogLine, Value),
    End(Value),
}

impl Connection {
    /// To where, and as whom, the arguments and what is kept on this machine say.
    pub fn open(config: &ConfigArgs, args: &ClientArgs) -> anyhow::Result<Self> {
        let access = find_access(config, args)?;
        Self::to(&access.api, Some(access.token))
    }

    pub fn to(api: &str, token: Option<String>) -> anyhow::Result<Self> {
        let root = Url::parse(api).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let root =
            root.with_context(|| format!("{api} is no URL of an API, such as https://api.example.com"))?;
        let mut builder = Client::builder()
            .user_agent(concat!("gv/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none());
        if !may_be_public(&root) {
            // A token for this machine or this network is no proxy's business.
            builder = builder.no_proxy();
        }
        Ok(Self { client: builder.build()?, root, token })
    }

    pub fn root(&self) -> &Url {
        &self.root
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
        let mut request = self.request(Method::GET, path)?;
        if !query.is_empty() {
            let mut url = self.url(path)?;
            url.query_pairs_mut().extend_pairs(query);
            request = self.authorised(self.client.get(url));
        }
        read(self.send(request).await?).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
        key: Option<&str>,
    ) -> anyhow::Result<T> {
        let mut request = self
            .request(Method::POST, path)?
            .header("content-type", "application/json")
            .body(body.to_string());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        read(self.send(request).await?).await
    }

    pub async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> anyhow::Result<T> {
        let request = self.request(Method::PUT, path)?.header("content-type", "application/json");
        read(self.send(request.body(body.to_string())).await?).await
    }

    /// For calls that answer with nothing.
    pub async fn post_empty(&self, path: &[&str], body: &Value) -> anyhow::Result<()> {
        let request = self.request(Method::POST, path)?.header("content-type", "application/json");
        self.send(request.body(body.to_string())).await.map(drop)
    }

    pub async fn delete(&self, path: &[&str]) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path)?).await.map(drop)
    }

    pub async fn delete_with(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.authorised(self.client.delete(url))).await.map(drop)
    }

    /// The log after number `after`; with `follow` until the deployment has ended.
    pub async fn log(&self, id: &str, after: u64, follow: bool) -> anyhow::Result<Log> {
        let mut url = self.url(&["deployments", id, "logs"])?;
        url.query_pairs_mut()
            .append_pair("after", &after.to_string())
            .append_pair("follow", &follow.to_string());
        let request = self.authorised(self.client.get(url)).header("accept", "application/x-ndjson");
        Ok(Log { response: self.send(request).await?, held: BytesMut::new() })
    }

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.root.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{} cannot be an API's root", self.root))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        Ok(url)
    }

    fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        Ok(self.authorised(self.client.request(method, self.url(path)?)))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Why a request got no answer, and what to do about it.
    fn unsent(&self, error: reqwest::Error) -> anyhow::Error {
        let root = &self.root;
        let told = match refused_certificate(&error) {
            Some(CertificateError::UnknownIssuer) => Some(format!(
                "cannot trust {root}: its certificate is of an authority that this machine does not know. Name a PEM \
                 file with that authority's own certificate in SSL_CERT_FILE, or add it to the system's"
            )),
            Some(_) => Some(format!(
                "cannot trust {root}: its certificate must be for the name in the URL, and hold at this time"
            )),
            None if error.is_connect() => Some(format!("cannot reach {root}: is gv running there?")),
            None => None,
        };
        let error = anyhow::Error::new(error);
        match told {
            Some(told) => error.context(told),
            None => error,
        }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| self.unsent(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        Err(failure(status, &bytes).into())
    }
}

/// What is wrong with the certificate that the server showed, where that is why it was not spoken to.
fn refused_certificate<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(why);
        }
        // One of the system is passed over by its own source.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let text = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if !problem.errors.is_empty() => {
            let lines = problem.errors.iter().map(|error| format!("{} {}", error.field, error.message));
            lines.collect::<Vec<_>>().join("; ")
        }
        Ok(problem) => problem.detail.or(problem.title).unwrap_or_else(|| status.to_string()),
        Err(_) => format!("the server answered {status}"),
    };
    let hint = if status == StatusCode::UNAUTHORIZED { ": run gv login" } else { "" };
    Failure { status, text: format!("{text}{hint}") }
}

async fn read<T: DeserializeOwned>(response: Response) -> anyhow::Result<T> {
    let bytes = response.bytes().await?;
    serde_json::from_slice(&bytes)
        .context("the server's answer was not understood: are client and server of one version?")
}

/// A log as it comes in.
pub struct Log {
    response: Response,
    held: BytesMut,
}

impl Log {
    /// `None`: the stream is over; with `follow` that is a break when no [`LogEvent::End`] came.
    pub async fn next(&mut self) -> anyhow::Result<Option<LogEvent>> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end);
                self.held.advance(1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return parse(&line).map(Some);
            }
            match self.response.chunk().await? {
                Some(chunk) => self.held.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn parse(line: &[u8]) -> anyhow::Result<LogEvent> {
    let value: Value = serde_json::from_slice(line).context("the log is not readable")?;
    if value.get("event").and_then(Value::as_str) == Some("end") {
        return Ok(LogEvent::End(value));
    }
    let line = LogLine::deserialize(&value).context("the log is not readable")?;
    Ok(LogEvent::Line(line, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_by_its_fields_else_by_its_detail() {
        let fields =
            br#"{"title":"Invalid","errors":[{"field":"repo_url","message":"must begin with https://"}]}"#;
        assert_eq!(
            failure(StatusCode::UNPROCESSABLE_ENTITY, fields).to_string(),
            "repo_url must begin with https://"
        );
        let detail = br#"{"title":"Not found","detail":"no such deployment"}"#;
        assert_eq!(failure(StatusCode::NOT_FOUND, detail).to_string(), "no such deployment");
        assert!(failure(StatusCode::BAD_GATEWAY, b"<html>").to_string().contains("502"));
    }

    #[test]
    fn segments_cannot_leave_their_place_in_the_path() {
        // Other tests of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connection = Connection::to("https://gv.example/base/", None).unwrap();
        let url = connection.url(&["deployments", "../../x?y"]).unwrap();
        assert_eq!(url.path(), "/base/api/v1/deployments/..%2F..%2Fx%3Fy");
    }
}
