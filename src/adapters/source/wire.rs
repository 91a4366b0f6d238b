//! Carries requests over http and https, one hop at a time.
//!
//! gix's own HTTP clients follow redirects without asking anybody about a literal address, send a
//! token wherever the URL ends up, and cannot be interrupted while a server is silent. This one
//! asks the [`Guard`] before each hop, shows the token to its own origin alone, counts what it
//! receives, and gives up the moment the fetch is halted. Start with [`Wire::send`].

use super::guard::{Admission, Guard, PublicOnly, Refused};
use super::progress::Counters;
use crate::domain::secret::Secret;
use crate::ports::source::SourceError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response};
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;

const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Git sends a sign of life every 5 s while it prepares a pack (uploadpack.keepAlive).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("git/gv-", env!("CARGO_PKG_VERSION"));
/// What GitLab demands for OAuth tokens and every other forge takes: they look at the token alone.
const TOKEN_USER: &str = "oauth2";
/// What git asks first, below the repository's URL.
const ADVERTISEMENT: &str = "info/refs?service=git-upload-pack";

/// The two clients that all fetches share, so that connections and certificates are reused.
#[derive(Clone)]
pub(super) struct Clients {
    public_only: Client,
    allowed: Client,
}

impl Clients {
    pub(super) fn new() -> reqwest::Result<Self> {
        let client = || {
            Client::builder()
                // A proxy would be the one that connects, to addresses that nobody checked.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(SILENCE_TIMEOUT)
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(8)
        };
        Ok(Self { public_only: client().dns_resolver(PublicOnly).build()?, allowed: client().build()? })
    }
}

/// All that one fetch's requests have in common.
pub(super) struct Wire {
    pub(super) clients: Clients,
    pub(super) guard: Arc<Guard>,
    pub(super) runtime: Handle,
    pub(super) halt: CancellationToken,
    pub(super) counters: Arc<Counters>,
    pub(super) url: Url,
    pub(super) token: Option<Secret>,
    pub(super) limit_bytes: u64,
    /// Where the first request was redirected to: the rest goes there directly.
    pub(super) redirected: RefCell<Option<String>>,
    /// The first failure, as the port names it: gix only passes on that there was one.
    pub(super) fault: Cell<Option<SourceError>>,
    /// What the server said instead of answering. gix loses it in some versions of the protocol.
    pub(super) refusal: RefCell<Option<String>>,
}

impl Wire {
    fn fail(&self, error: SourceError) -> io::Error {
        let text = error.to_string();
        let first = self.fault.take().unwrap_or(error);
        self.fault.set(Some(first));
        io::Error::other(text)
    }

    /// The words with which the server refused, if it did.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.borrow().clone()
    }

    /// Looks for an `ERR` packet (gitprotocol-common) at the beginning of an answer.
    pub(super) fn note_refusal(&self, start: &[u8]) {
        if let Some(text) = start.get(4..).and_then(|packet| packet.strip_prefix(b"ERR ")) {
            let text = String::from_utf8_lossy(text);
            let line = text.lines().next().unwrap_or_default();
            *self.refusal.borrow_mut() = Some(line.chars().filter(|c| !c.is_control()).take(200).collect());
        }
    }

    /// Waits for `work`, unless the fetch is halted before. Runs on a thread that may block.
    fn wait<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        self.runtime
            .block_on(self.halt.run_until_cancelled(work))
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))
    }

    /// Sends one request and gives its successful answer. Only `GET` follows redirects: git does
    /// not send a body twice.
    pub(super) fn send(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        body: &[u8],
    ) -> io::Result<Response> {
        let mut url = url;
        let mut headers = headers.clone();
        for _ in 0..=MAX_REDIRECTS {
            let host = url.host_str().unwrap_or_default().to_owned();
            let client = match self.guard.admits(&url) {
                Some(Admission::Allowed) => &self.clients.allowed,
                Some(Admission::PublicOnly) => &self.clients.public_only,
                None => return Err(self.fail(SourceError::AddressRefused(host))),
            };
            let mut request = client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(token) = self.token_for(&url)?.filter(|_| !headers.contains_key(AUTHORIZATION)) {
                request = request.header(AUTHORIZATION, token);
            }
            if !body.is_empty() {
                request = request.body(body.to_vec());
            }
            let answer =
                self.wait(request.send())?.map_err(|error| self.fail(connection_error(&host, &error)))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            if !status.is_redirection() || *method != Method::GET {
                return Err(self.fail(status_error(status)));
            }
            let to = self.redirection(&url, &answer)?;
            if to.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
            }
            url = to;
        }
        Err(self
            .fail(SourceError::Unreachable(format!("the server redirects more than {MAX_REDIRECTS} times"))))
    }

    /// The token goes to the origin (scheme, host and port) that it was given for, and in clear
    /// text only to a host that the operator vouches for.
    fn token_for(&self, url: &Url) -> io::Result<Option<HeaderValue>> {
        let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) else { return Ok(None) };
        if url.origin() != self.url.origin() {
            return Ok(None);
        }
        if url.scheme() != "https" && self.guard.admits(url) != Some(Admission::Allowed) {
            return Err(self.fail(SourceError::TokenOverHttp));
        }
        let credentials = STANDARD.encode(format!("{TOKEN_USER}:{}", token.expose()));
        let mut value = HeaderValue::try_from(format!("Basic {credentials}")).map_err(io::Error::other)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn redirection(&self, from: &Url, answer: &Response) -> io::Result<Url> {
        let invalid = |text: &str| self.fail(SourceError::Invalid(text.to_owned()));
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let to = location.and_then(|location| from.join(location).ok());
        let mut to = to.ok_or_else(|| invalid("the server redirects to nowhere"))?;
        match (from.scheme(), to.scheme()) {
            (_, "https") | ("http", "http") => {}
            ("https", "http") => return Err(invalid("the server redirects from https to plain http")),
            _ => return Err(invalid("the server redirects to a URL that is neither http nor https")),
        }
        // Credentials in a URL would become a header. Both calls fail only without a host.
        if to.set_username("").is_err() || to.set_password(None).is_err() {
            return Err(invalid("the server redirects to nowhere"));
        }
        Ok(to)
    }

    pub(super) fn receive(&self, answer: &mut Response) -> io::Result<Bytes> {
        let host = answer.url().host_str().unwrap_or_default().to_owned();
        let chunk = self.wait(answer.chunk())?.map_err(|error| self.fail(connection_error(&host, &error)))?;
        let chunk = chunk.unwrap_or_default();
        let before = self.counters.received_bytes.fetch_add(chunk.len() as u64, Relaxed);
        if before.saturating_add(chunk.len() as u64) > self.limit_bytes {
            return Err(
                self.fail(SourceError::TooLarge { what: "bytes to receive", limit: self.limit_bytes })
            );
        }
        Ok(chunk)
    }

    /// `base` and what follows it, or the same below where the first request was redirected to.
    pub(super) fn target(&self, url: &str, base: &str) -> io::Result<Url> {
        let tail = url.strip_prefix(base).unwrap_or_default();
        let redirected = self.redirected.borrow();
        let target = redirected.as_ref().map_or_else(|| url.to_owned(), |base| format!("{base}{tail}"));
        Url::parse(&target).map_err(io::Error::other)
    }

    /// Takes an answer to the first request only if a Git server gave it.
    pub(super) fn check_advertisement(&self, answer: &Response) -> io::Result<()> {
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let text = answer.url().as_str();
        match text.strip_suffix(ADVERTISEMENT) {
            Some(base) if content_type == Some("application/x-git-upload-pack-advertisement") => {
                *self.redirected.borrow_mut() = Some(base.trim_end_matches('/').to_owned());
                Ok(())
            }
            // A page for people, a login form, a file listing.
            _ => Err(self.fail(SourceError::NotFound)),
        }
    }
}

fn status_error(status: reqwest::StatusCode) -> SourceError {
    match status.as_u16() {
        401 | 403 | 404 | 410 => SourceError::NotFound,
        code => SourceError::Unreachable(format!("the Git server answered with HTTP status {code}")),
    }
}

fn connection_error(host: &str, error: &reqwest::Error) -> SourceError {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
        if let Some(Refused(host)) = cause.downcast_ref() {
            return SourceError::AddressRefused(host.clone());
        }
    }
    SourceError::Unreachable(if error.is_timeout() {
        format!("{host} does not answer")
    } else if error.is_connect() {
        format!("cannot connect to {host}: {cause}")
    } else {
        format!("{host} broke off: {cause}")
    })
}
