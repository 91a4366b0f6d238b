//! One request and its answer: signed, sent over a pooled connection, and watched.
//!
//! rust-s3 signs; the requests are sent by gv's own HTTP client. rust-s3's request layer takes
//! bodies and answers whole, gives a stream without its headers (so without length, range and tag),
//! copies its bucket many times a request and knows one time limit for all of it. What is wanted
//! here is a limit on *silence*: an upload over a slow line may take minutes as long as it moves,
//! and a server that says nothing is left after seconds.
//!
//! Start with [`Transport::send`].

use super::address::Address;
use super::signature::{CONTENT_MD5, Payload, Signer};
use super::trouble::{Refusal, Trouble};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, DATE, HeaderMap};
use reqwest::{Body, Client, Method, Response};
use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::{Instant, sleep_until, timeout};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers close idle connections after some time of their own, often 30 s or more.
const IDLE: Duration = Duration::from_secs(20);
const IDLE_CONNECTIONS: usize = 64;
/// Bodies are handed to the connection in pieces of so many bytes, to see them go.
const PIECE: usize = 64 * 1024;
/// Of an error's document, in bytes: beyond, it is none.
const MAX_ERROR_BYTES: u64 = 64 * 1024;

/// What is asked of the storage.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub method: Method,
    /// Of the object, without the prefix; `None`: the bucket.
    pub name: Option<&'a str>,
    pub query: Vec<(&'static str, Cow<'a, str>)>,
    pub headers: HeaderMap,
    pub payload: Payload,
    /// How long nothing may be heard before the storage counts as dead.
    pub silence: Duration,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, name: &'a str, silence: Duration) -> Self {
        Self {
            method,
            name: Some(name),
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::default(),
            silence,
        }
    }

    pub(super) fn with(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

pub(super) struct Transport {
    pub(super) address: Address,
    signer: Signer,
    client: Client,
    /// By the last answer that told its time; [`UNKNOWN`] before.
    clock_ahead_s: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

impl Transport {
    /// A TLS provider must be installed.
    pub(super) fn new(address: Address, signer: Signer) -> reqwest::Result<Self> {
        let client = Client::builder()
            // Each transfer has a connection to itself: one that stalls holds up no other.
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("gv/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()?;
        Ok(Self { address, signer, client, clock_ahead_s: AtomicI64::new(UNKNOWN) })
    }

    /// The answer's head, with a status of success; its body is still to be read.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, Trouble> {
        let answer = self.send_once(request).await;
        metrics::counter!(
            "gv_s3_requests_total",
            "method" => method_word(&request.method),
            "outcome" => answer.as_ref().map_or_else(Trouble::outcome, |_| "ok")
        )
        .increment(1);
        answer
    }

    async fn send_once(&self, request: &Request<'_>) -> Result<Response, Trouble> {
        let url = self.address.url(request.name, &request.query);
        let mut headers = request.headers.clone();
        let payload = &request.payload;
        if let Some(md5) = payload.md5_header() {
            headers.insert(CONTENT_MD5, md5);
        }
        let now = self.signer.now();
        let signed = self.signer.sign(request.method.as_str(), &url, &mut headers, payload, now);
        signed.map_err(|error| Trouble::Unusable(format!("a request cannot be signed: {error}")))?;
        let sent = Arc::new(Progress::default());
        let mut building = self.client.request(request.method.clone(), url).headers(headers);
        if matches!(request.method, Method::PUT | Method::POST) {
            building =
                building.header(CONTENT_LENGTH, payload.bytes.len()).body(body(&payload.bytes, sent.clone()));
        }
        let limit = request.silence;
        let response = tokio::select! {
            response = building.send() => response.map_err(Trouble::lost)?,
            () = sent.stalled(limit) => {
                return Err(Trouble::Lost(format!("nothing was heard for {:.1} s", limit.as_secs_f64())));
            }
        };
        if let Some(theirs) = date(&response) {
            let ahead = theirs - s3::utils::now_utc();
            self.clock_ahead_s.store(ahead.whole_seconds(), Ordering::Relaxed);
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response, now, request.silence).await)
    }

    /// How far the storage's clock is ahead of this machine's, to a second.
    pub(super) fn clock_ahead_s(&self) -> Option<i64> {
        Some(self.clock_ahead_s.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)
    }

    async fn refusal(&self, response: Response, signed: OffsetDateTime, silence: Duration) -> Trouble {
        let status = response.status().as_u16();
        let theirs = date(&response);
        // An error whose document does not arrive is still that error.
        let document = read_whole(response, MAX_ERROR_BYTES, silence).await.unwrap_or_default();
        let refused = Trouble::Refused(Refusal::read(status, &String::from_utf8_lossy(&document)));
        match theirs {
            Some(theirs) if refused.is_clock_skew() && self.signer.correct_clock(signed, theirs) => {
                tracing::warn!(
                    "this machine's clock differs from the storage's, whose is used for its requests"
                );
                Trouble::Lost("the clocks differed".to_owned())
            }
            _ => refused,
        }
    }
}

/// The whole body of an answer, of at most `max_bytes`. Each piece must come within `silence`.
pub(super) async fn read_whole(
    mut response: Response,
    max_bytes: u64,
    silence: Duration,
) -> Result<Bytes, Trouble> {
    let announced = content_length(&response);
    if announced.is_some_and(|len| len > max_bytes) {
        let len = announced.unwrap_or_default();
        return Err(Trouble::Unusable(format!(
            "it has {len} bytes, and at most {max_bytes} are read at once"
        )));
    }
    let mut whole = BytesMut::new();
    while let Some(piece) = next_piece(&mut response, silence).await? {
        if (whole.len() + piece.len()) as u64 > max_bytes {
            return Err(Trouble::Unusable(format!(
                "it has more than the {max_bytes} bytes that are read at once"
            )));
        }
        if whole.is_empty() {
            // The announced length is bounded by what the caller allows.
            whole.reserve(usize::try_from(announced.unwrap_or_default()).unwrap_or_default());
        }
        whole.extend_from_slice(&piece);
    }
    match announced {
        Some(len) if len != whole.len() as u64 => {
            Err(Trouble::Lost(format!("it ended after {} of {len} bytes", whole.len())))
        }
        _ => Ok(whole.freeze()),
    }
}

/// The next bytes of an answer; `None` at its end.
pub(super) async fn next_piece(response: &mut Response, silence: Duration) -> Result<Option<Bytes>, Trouble> {
    match timeout(silence, response.chunk()).await {
        Ok(piece) => piece.map_err(Trouble::lost),
        Err(_) => Err(Trouble::Lost(format!("it stalled for {:.1} s", silence.as_secs_f64()))),
    }
}

/// When the answer was made, by whoever made it.
fn date(response: &Response) -> Option<OffsetDateTime> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    OffsetDateTime::parse(date, &Rfc2822).ok()
}

/// Of a HEAD's answer too, whose body is empty.
pub(super) fn content_length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn body(bytes: &Bytes, sent: Arc<Progress>) -> Body {
    if bytes.len() <= PIECE {
        return bytes.clone().into();
    }
    Body::wrap_stream(stream::unfold(bytes.clone(), move |mut rest| {
        sent.note();
        let next = (!rest.is_empty()).then(|| rest.split_to(rest.len().min(PIECE)));
        std::future::ready(next.map(|piece| (Ok::<_, std::convert::Infallible>(piece), rest)))
    }))
}

/// When something was last seen to move.
struct Progress(Mutex<Instant>);

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Progress {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns once nothing has moved for so long.
    async fn stalled(&self, limit: Duration) {
        loop {
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if since.elapsed() >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }
}

fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
