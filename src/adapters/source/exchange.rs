//! The wire as gix sees it: requests whose answers are read as streams, on a blocking thread.
//!
//! Not here: what a request may do, which is [`Wire`]'s. Start with [`GixHttp`].

use super::wire::Wire;
use bytes::Bytes;
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;
use url::Url;

/// gix's way to the wire.
pub(super) struct GixHttp(pub(super) Rc<Wire>);

impl Http for GixHttp {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Headers, Body>> {
        let url = self.0.target(url, base_url).map_err(gix::Error::from_error)?;
        let answer = self
            .0
            .send(&Method::GET, url, &header_map(headers), &[])
            .and_then(|answer| self.0.check_advertisement(&answer).map(|()| answer))
            .map_err(gix::Error::from_error)?;
        let exchange = Exchange::new(self.0.clone(), Stage::Open { answer: Box::new(answer), begun: false });
        Ok(GetResponse { headers: Headers::new(&exchange), body: Body::new(&exchange) })
    }

    /// The body is written after this returns and ends when the first byte of the answer is asked
    /// for: the request goes out then.
    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Headers, Body, PostBody>> {
        let url = self.0.target(url, base_url).map_err(gix::Error::from_error)?;
        let stage = Stage::Waiting { url, headers: header_map(headers), body: Vec::new() };
        let exchange = Exchange::new(self.0.clone(), stage);
        Ok(PostResponse {
            headers: Headers::new(&exchange),
            body: Body::new(&exchange),
            post_body: PostBody(exchange),
        })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }
}

/// gix gives headers as lines; its own name for itself is replaced by ours.
fn header_map(lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let parse = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
    };
    let headers = lines.into_iter().filter_map(|line| parse(line.as_ref()));
    headers.filter(|(name, _)| *name != reqwest::header::USER_AGENT).collect()
}

/// One request and its answer, shared by the three handles that gix holds on it.
struct Exchange {
    wire: Rc<Wire>,
    stage: RefCell<Stage>,
}

enum Stage {
    Waiting { url: Url, headers: HeaderMap, body: Vec<u8> },
    Open { answer: Box<Response>, begun: bool },
    Ended,
}

impl Exchange {
    fn new(wire: Rc<Wire>, stage: Stage) -> Rc<Self> {
        Rc::new(Self { wire, stage: RefCell::new(stage) })
    }

    fn send_waiting(&self, stage: &mut Stage) -> io::Result<()> {
        if let Stage::Waiting { url, headers, body } = std::mem::replace(stage, Stage::Ended) {
            let answer = Box::new(self.wire.send(&Method::POST, url, &headers, &body)?);
            *stage = Stage::Open { answer, begun: false };
        }
        Ok(())
    }

    fn headers(&self) -> io::Result<Vec<u8>> {
        let stage = &mut *self.stage.borrow_mut();
        if matches!(stage, Stage::Waiting { .. }) {
            self.send_waiting(stage)?;
        }
        let Stage::Open { answer, .. } = stage else { return Ok(Vec::new()) };
        let lines = answer
            .headers()
            .iter()
            .flat_map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        Ok(lines.collect())
    }

    /// The next bytes of the answer; none at its end.
    fn next_chunk(&self) -> io::Result<Bytes> {
        let stage = &mut *self.stage.borrow_mut();
        if matches!(stage, Stage::Waiting { .. }) {
            self.send_waiting(stage)?;
        }
        let Stage::Open { answer, begun } = stage else { return Ok(Bytes::new()) };
        let chunk = self.wire.receive(answer)?;
        if !std::mem::replace(begun, true) {
            self.wire.note_refusal(&chunk);
        }
        if chunk.is_empty() {
            *stage = Stage::Ended;
        }
        Ok(chunk)
    }
}

pub(super) struct Headers {
    exchange: Rc<Exchange>,
    lines: Option<io::Cursor<Vec<u8>>>,
}

impl Headers {
    fn new(exchange: &Rc<Exchange>) -> Self {
        Self { exchange: exchange.clone(), lines: None }
    }

    fn lines(&mut self) -> io::Result<&mut io::Cursor<Vec<u8>>> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => io::Cursor::new(self.exchange.headers()?),
        };
        Ok(self.lines.insert(lines))
    }
}

impl Read for Headers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.lines()?.read(into)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.lines()?.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(count);
        }
    }
}

pub(super) struct Body {
    exchange: Rc<Exchange>,
    chunk: Bytes,
}

impl Body {
    fn new(exchange: &Rc<Exchange>) -> Self {
        Self { exchange: exchange.clone(), chunk: Bytes::new() }
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.chunk = self.exchange.next_chunk()?;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        self.chunk = self.chunk.split_off(count.min(self.chunk.len()));
    }
}

pub(super) struct PostBody(Rc<Exchange>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.stage.borrow_mut() {
            Stage::Waiting { body, .. } => body.extend_from_slice(bytes),
            Stage::Open { .. } | Stage::Ended => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
