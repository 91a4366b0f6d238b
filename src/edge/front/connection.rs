//! One connection: request, answer, request, until one side has enough.

use crate::edge::Edge;
use crate::edge::access_log::{self, Circumstances};
use crate::edge::front::head::{self, Head, MAX_FIELDS, MAX_HEAD};
use crate::edge::front::outgoing::Outgoing;
use crate::edge::front::waiting::{Ended, Waiting};
use crate::edge::front::writing::{send, write_head};
use crate::edge::https::Https;
use crate::edge::moment::Moments;
use crate::edge::pages::{self, Page};
use crate::edge::reply::{Manner, Reply};
use crate::edge::request::{Method, Request};
use crate::edge::tally::Tally;
use bytes::Bytes;
use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::ready;
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;

/// How long a client may take to send the head of a request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may lie idle.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to leave after its last answer, where it is waited for.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// What is still coming is read for so long after the last answer, so that the client gets it before
/// it hears that nobody reads any more.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;
/// What is read at once.
const READ: usize = 4096;

/// What the connections of one thread share.
pub struct Desk {
    pub edge: Arc<Edge>,
    pub stopping: Arc<AtomicBool>,
    pub tally: Tally,
    pub books: RefCell<Books>,
    pub https: Https,
}

/// What is written to for each answer.
pub struct Books {
    pub moments: Moments,
    pub log: Option<access_log::Lines>,
}

/// How it ended.
pub enum Rest<S> {
    Closed,
    /// What is left is for actix-web, with what was read already.
    Unusual(Bytes, S),
}

pub struct Connection<S> {
    stream: S,
    desk: Rc<Desk>,
    /// Its address, as the access log has it.
    client: String,
    /// Read, not answered.
    read: Vec<u8>,
    waiting: Waiting,
    /// When something was read last, or an answer was at its end.
    now: Instant,
    /// Room for heads of answers.
    head: Vec<u8>,
}

enum Next {
    Request,
    Close,
}

impl<S: Outgoing> Connection<S> {
    pub fn new(stream: S, desk: Rc<Desk>, client: Option<IpAddr>) -> Self {
        let client = client.map(|address| address.to_string()).unwrap_or_default();
        let waiting = Waiting::new(Arc::clone(&desk.stopping));
        let (read, head, now) = (Vec::new(), Vec::with_capacity(1024), Instant::now());
        Self { stream, desk, client, read, waiting, now, head }
    }

    pub async fn serve(mut self) -> Rest<S> {
        // When the head that is being read began.
        let mut began = self.now;
        loop {
            let read = std::mem::take(&mut self.read);
            let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
            let next = match head::read(&read, &mut room) {
                Head::Whole { request, target, len, closes } => {
                    let closes = closes || self.waiting.is_stopping();
                    let next = self.answer(&Request { target: &target, ..request }, closes).await;
                    self.keep_rest(read, len);
                    began = self.now;
                    next
                }
                Head::Partial => {
                    self.read = read;
                    let is_idle = self.read.is_empty();
                    let deadline = if is_idle { self.now + KEEP_ALIVE } else { began + HEAD_DEADLINE };
                    let next = self.more(deadline, is_idle).await;
                    self.now = Instant::now();
                    if is_idle {
                        began = self.now;
                    }
                    next
                }
                Head::Unusual => return Rest::Unusual(read.into(), self.stream),
                // What follows cannot be told from contents.
                Head::Malformed(page) => self.refuse(page).await,
            };
            match next {
                Ok(Next::Request) => {}
                Ok(Next::Close) => {
                    self.linger().await;
                    return Rest::Closed;
                }
                // Nobody is there any more.
                Err(_) => return Rest::Closed,
            }
        }
    }

    async fn answer(&mut self, request: &Request<'_>, closes: bool) -> io::Result<Next> {
        let began = self.now;
        let (reply, ended) = match self.desk.at_once(request, began) {
            // Looking at the clock again would be a good part of the work.
            Some(reply) => (reply, began),
            None => (Box::pin(self.desk.edge.answer(request)).await, Instant::now()),
        };
        let is_long = ended != began;
        self.waiting.has_waited();
        self.write(request, reply, (began, ended), closes).await?;
        if is_long || self.waiting.has_waited() {
            self.now = Instant::now();
        }
        Ok(if closes { Next::Close } else { Next::Request })
    }

    async fn write(
        &mut self,
        request: &Request<'_>,
        reply: Reply,
        (began, ended): (Instant, Instant),
        closes: bool,
    ) -> io::Result<()> {
        self.head.clear();
        let hsts = self.desk.https.hsts(&reply);
        self.desk.note(request, &reply, &Circumstances { client: &self.client, began, ended }, |date| {
            write_head(&mut self.head, &reply, [date, hsts], closes);
        });
        send(&mut self.stream, &mut self.waiting, &mut self.head, reply).await
    }

    /// What is behind an answered head. A buffer that had to grow is given back.
    fn keep_rest(&mut self, mut read: Vec<u8>, len: usize) {
        read.drain(..len);
        let has_grown = read.capacity() > READ;
        self.read = if has_grown && read.is_empty() { Vec::new() } else { read };
    }

    /// Reads until there may be a whole head: it ends with a line.
    async fn more(&mut self, deadline: Instant, is_idle: bool) -> io::Result<Next> {
        loop {
            let before = self.read.len();
            self.read.reserve(READ);
            let (stream, read) = (&mut self.stream, &mut self.read);
            let reading =
                self.waiting.until(|| deadline, is_idle, |context| stream.poll_read_behind(context, read));
            match reading.await {
                Ok(Ok(0)) => return Ok(Next::Close),
                Ok(Ok(_)) if !self.read[before..].contains(&b'\n') && self.read.len() < MAX_HEAD => {
                    if is_idle {
                        // The head has begun: from here on it has its own deadline.
                        return Ok(Next::Request);
                    }
                }
                Ok(Ok(_)) => return Ok(Next::Request),
                Ok(Err(error)) => return Err(error),
                Err(Ended::Stopping) => return Ok(Next::Close),
                Err(Ended::Late) if is_idle => return Ok(Next::Close),
                Err(Ended::Late) => return self.refuse(pages::TOO_SLOW).await,
            }
        }
    }

    /// Answers what is no request, once and for all.
    async fn refuse(&mut self, page: Page) -> io::Result<Next> {
        let method = Method::Other;
        let request = Request { method, method_name: "-", target: "-", authority: None, fields: &[] };
        let now = Instant::now();
        self.write(&request, Manner::default().page(page), (now, now), true).await?;
        Ok(Next::Close)
    }

    async fn linger(&mut self) {
        let deadline = Instant::now() + LINGER;
        let stream = &mut self.stream;
        let closing =
            self.waiting.until(|| deadline, false, |context| Pin::new(&mut *stream).poll_shutdown(context));
        if !matches!(closing.await, Ok(Ok(()))) {
            return;
        }
        let mut left = LINGER_BYTES;
        let mut piece = [0; READ];
        while left > 0 {
            let stream = &mut self.stream;
            let reading = self.waiting.until(
                || deadline,
                false,
                |context| {
                    let mut into = ReadBuf::new(&mut piece);
                    ready!(Pin::new(&mut *stream).poll_read(context, &mut into))?;
                    std::task::Poll::Ready(io::Result::Ok(into.filled().len()))
                },
            );
            match reading.await {
                Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
                _ => return,
            }
        }
    }
}

impl Desk {
    /// What is answered without waiting; `None`: go the whole way.
    pub fn at_once(&self, request: &Request<'_>, now: Instant) -> Option<Reply> {
        self.https.sends_on(request).or_else(|| self.edge.at_once(request, now))
    }

    /// Counts an answer and notes it down; `with_date` is given the line of the date.
    pub fn note(
        &self,
        request: &Request<'_>,
        reply: &Reply,
        circumstances: &Circumstances<'_>,
        with_date: impl FnOnce(&[u8]),
    ) {
        self.tally.count(reply);
        let books = &mut *self.books.borrow_mut();
        with_date(books.moments.date_line(circumstances.ended));
        if let Some(log) = &mut books.log {
            log.write(&mut books.moments, request, reply, circumstances);
        }
    }
}
