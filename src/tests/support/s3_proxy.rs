//! A proxy before an S3 server that knows where requests begin and end: it counts them, answers
//! some of them with 503, and cuts bodies half-way.
//!
//! Heads are passed on as they are, since `Host` is signed. In front of it stands a [`FaultProxy`],
//! so that it can also be away, silent or slow. Start with [`S3Proxy::start`], then
//! [`S3Proxy::misbehave`] and [`S3Proxy::count`]. Everything ends when it is dropped.

use super::fault_proxy::FaultProxy;
use rand::Rng;
use rand::rngs::StdRng;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A head that is longer is none.
const HEAD_BYTES: usize = 64 * 1024;
/// Of a body on its way, at once.
const PIECE_BYTES: usize = 64 * 1024;

pub struct S3Proxy {
    /// Where clients connect.
    pub door: FaultProxy,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

/// Which share of requests goes wrong, from 0 to 1, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Misbehaviour {
    /// Answered with 503, as S3 does when it is asked too often.
    pub busy: f64,
    /// Of those with a body: cut when half of it has arrived.
    pub cut_uploads: f64,
    /// Cut when half of the answer's body was sent.
    pub cut_downloads: f64,
    /// Only where the path has this part.
    pub only: &'static str,
}

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    /// Of its body, as far as the head says.
    pub bytes: u64,
    /// It was not answered as the server would.
    pub spoiled: bool,
}

struct Shared {
    target: String,
    state: Mutex<State>,
}

struct State {
    misbehaviour: Misbehaviour,
    chance: StdRng,
    seen: Vec<Seen>,
}

/// What is done with one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    Pass,
    Busy,
    CutUpload,
    CutDownload,
}

impl S3Proxy {
    /// `target` is `host:port`; `chance` decides which requests go wrong.
    pub async fn start(target: impl Into<String>, chance: StdRng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = FaultProxy::start(listener.local_addr().unwrap().to_string());
        let state = State { misbehaviour: Misbehaviour::default(), chance, seen: Vec::new() };
        let shared = Arc::new(Shared { target: target.into(), state: Mutex::new(state) });
        let serving = tokio::spawn(accept(listener, shared.clone()));
        Self { door, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.shared.state.lock().unwrap().misbehaviour = misbehaviour;
    }

    /// Every request so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    pub fn forget(&self) {
        self.shared.state.lock().unwrap().seen.clear();
    }

    /// How many requests of this method there were whose path has this part.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }
}

impl Shared {
    fn plan(&self, request: &Head) -> Plan {
        let mut state = self.state.lock().unwrap();
        let (method, target) = request.method_and_target();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Misbehaviour { busy, cut_uploads, cut_downloads, only } = state.misbehaviour;
        let mut falls = |share: f64| share > 0.0 && path.contains(only) && state.chance.random_bool(share);
        let plan = if falls(busy) {
            Plan::Busy
        } else if request.body != Framing::Length(0) && falls(cut_uploads) {
            Plan::CutUpload
        } else if falls(cut_downloads) {
            Plan::CutDownload
        } else {
            Plan::Pass
        };
        let bytes = if let Framing::Length(bytes) = request.body { bytes } else { 0 };
        let spoiled = plan != Plan::Pass;
        state.seen.push(Seen {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            bytes,
            spoiled,
        });
        plan
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new(); // ends its connections with itself
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let shared = shared.clone();
                open.spawn(async move {
                    let mut client = client;
                    if serve(&mut client, &shared).await.is_err() {
                        let _ = client.set_zero_linger(); // cut, not ended
                    }
                });
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

/// One connection: request after request, over one connection to the server.
async fn serve(client: &mut TcpStream, shared: &Shared) -> Result<()> {
    let mut server = TcpStream::connect(&shared.target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, mut to_client), (from_server, mut to_server)) = (client.split(), server.split());
    let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    loop {
        let request = tokio::select! {
            head = Head::read(&mut from_client, None) => head?,
            // Between two requests a server says nothing but that it closes.
            _ = from_server.fill_buf() => return Ok(()),
        };
        let Some(request) = request else { return Ok(()) };
        let plan = shared.plan(&request);
        if plan == Plan::Busy {
            // Whoever waits to be told to go on sends no body.
            if !request.expects_continue {
                relay(&mut from_client, &mut tokio::io::sink(), request.body, false).await?;
            }
            to_client.write_all(busy(&request).as_bytes()).await?;
            if request.expects_continue {
                return Ok(());
            }
            continue;
        }
        to_server.write_all(&request.bytes).await?;
        let half = plan == Plan::CutUpload;
        let sending = relay(&mut from_client, &mut to_server, request.body, half);
        let answering = answer(&mut from_server, &mut to_client, &request, plan == Plan::CutDownload);
        let (mut sending, mut answering) = (std::pin::pin!(sending), std::pin::pin!(answering));
        let mut sent = false;
        let goes_on = loop {
            tokio::select! {
                biased;
                done = &mut sending, if !sent => {
                    done?;
                    sent = true;
                }
                goes_on = &mut answering => break goes_on?,
            }
        };
        // Answered before everything was sent: what is left of the body is no request.
        if !goes_on || !sent {
            return Ok(());
        }
    }
}

/// Passes the answer on, those that only say to continue too. Whether another request may follow.
async fn answer(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    request: &Head,
    half: bool,
) -> Result<bool> {
    loop {
        let head = Head::read(from, Some(request)).await?.ok_or(ErrorKind::UnexpectedEof)?;
        to.write_all(&head.bytes).await?;
        if head.status().starts_with('1') {
            continue;
        }
        relay(from, to, head.body, half).await?;
        return Ok(!head.closes && head.body != Framing::UntilClose);
    }
}

fn busy(request: &Head) -> String {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>\
                <Message>Please reduce your request rate.</Message></Error>";
    let shown = if request.is_head() { "" } else { body };
    format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{shown}",
        body.len()
    )
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The head of a request or an answer, as it came.
struct Head {
    bytes: Vec<u8>,
    body: Framing,
    expects_continue: bool,
    closes: bool,
}

impl Head {
    /// `None`: nothing came any more. `answers`: it is the answer to that.
    async fn read(from: &mut (impl AsyncBufRead + Unpin), answers: Option<&Self>) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let count = from.take(HEAD_BYTES as u64).read_until(b'\n', &mut bytes).await?;
            match (count, bytes.len()) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(ErrorKind::UnexpectedEof.into()),
                (_, HEAD_BYTES..) => return Err(ErrorKind::InvalidData.into()),
                _ => {}
            }
        }
        let mut head = Self { bytes, body: Framing::Length(0), expects_continue: false, closes: false };
        let length = head.field("content-length").map(|length| length.parse().map_err(Error::other));
        let chunked = head.field("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked"));
        head.expects_continue = head.field("expect").is_some();
        head.closes = head.field("connection").is_some_and(|connection| connection == "close");
        let has_no_body = |request: &Self| {
            request.is_head() || ["1", "204", "304"].iter().any(|s| head.status().starts_with(s))
        };
        head.body = match answers {
            Some(request) if has_no_body(request) => Framing::Length(0),
            _ if chunked => Framing::Chunked,
            Some(_) => length.transpose()?.map_or(Framing::UntilClose, Framing::Length),
            None => length.transpose()?.map_or(Framing::Length(0), Framing::Length),
        };
        Ok(Some(head))
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<String> {
        let mut fields = self.text().lines().skip(1).filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_ascii_lowercase())
    }

    /// Of an answer.
    fn status(&self) -> &str {
        self.text().split(' ').nth(1).unwrap_or_default()
    }

    fn method_and_target(&self) -> (&str, &str) {
        let mut words = self.text().split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    fn is_head(&self) -> bool {
        self.method_and_target().0 == "HEAD"
    }
}

/// Passes a body on, or half of it, after which it is an error.
async fn relay(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    body: Framing,
    half: bool,
) -> Result<()> {
    match body {
        Framing::Length(length) => {
            relay_bytes(from, to, if half { length / 2 } else { length }).await?;
        }
        Framing::Chunked => loop {
            let mut line = Vec::new();
            from.read_until(b'\n', &mut line).await?;
            let size = str::from_utf8(&line).unwrap_or_default().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16).map_err(Error::other)?;
            to.write_all(&line).await?;
            if half {
                relay_bytes(from, to, size / 2).await?;
                break;
            }
            if size == 0 {
                return relay_trailer(from, to).await;
            }
            relay_bytes(from, to, size + 2).await?;
        },
        Framing::UntilClose => {
            tokio::io::copy_buf(from, to).await?;
        }
    }
    to.flush().await?;
    if half { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
}

async fn relay_trailer(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<()> {
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&line).await?;
        if line == b"\r\n" {
            return Ok(());
        }
    }
}

async fn relay_bytes(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut left: u64,
) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let wanted = left.min(PIECE_BYTES as u64) as usize;
        let count = from.read(&mut piece[..wanted]).await?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&piece[..count]).await?;
        left -= count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
