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

/// What was read so far.
enum Asked {
    Partial,
    /// Answered from memory: the head is written down, to be sent with the body. `len` bytes were asked.
    Answered {
        reply: Reply,
        len: usize,
        closes: bool,
    },
    /// Memory alone does not answer it.
    Whole,
    Unusual,
    Malformed(Page),
}

/// Futures of what is rare are boxed: thousands of connections lie idle, and a hot one is quicker the less
/// memory it is.
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
            let next = match self.look() {
                Asked::Partial => {
                    let is_idle = self.read.is_empty();
                    let deadline = if is_idle { self.now + KEEP_ALIVE } else { began + HEAD_DEADLINE };
                    let next = self.more(deadline, is_idle).await;
                    self.now = Instant::now();
                    if is_idle {
                        began = self.now;
                    }
                    next
                }
                Asked::Answered { reply, len, closes } => {
                    let next = self.send(reply, closes).await;
                    self.pass(len);
                    began = self.now;
                    next
                }
                Asked::Whole => {
                    let next = Box::pin(self.go_whole_way()).await;
                    began = self.now;
                    next
                }
                Asked::Unusual => return Rest::Unusual(self.read.into(), self.stream),
                // What follows cannot be told from contents.
                Asked::Malformed(page) => Box::pin(self.refuse(page)).await,
            };
            match next {
                Ok(Next::Request) => {}
                Ok(Next::Close) => {
                    Box::pin(self.linger()).await;
                    return Rest::Closed;
                }
                // Nobody is there any more.
                Err(_) => return Rest::Closed,
            }
        }
    }

    /// Reads what there is as a request, and answers it if memory can.
    fn look(&mut self) -> Asked {
        let read = std::mem::take(&mut self.read);
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let asked = match head::read(&read, &mut room) {
            Head::Whole { request, target, len, closes } => {
                let closes = closes || self.waiting.is_stopping();
                let request = Request { target: &target, ..request };
                match self.desk.at_once(&request, self.now) {
                    Some(reply) => {
                        // Looking at the clock again would be a good part of the work.
                        self.write_down(&request, &reply, (self.now, self.now), closes);
                        Asked::Answered { reply, len, closes }
                    }
                    None => Asked::Whole,
                }
            }
            Head::Partial => Asked::Partial,
            Head::Unusual => Asked::Unusual,
            Head::Malformed(page) => Asked::Malformed(page),
        };
        self.read = read;
        asked
    }

    /// Answers the request that was read, from wherever its answer is. Its head is read again, here where it is
    /// kept over waits: what memory answers needs no room for that.
    async fn go_whole_way(&mut self) -> io::Result<Next> {
        let (read, began) = (std::mem::take(&mut self.read), self.now);
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let Head::Whole { request, target, len, closes } = head::read(&read, &mut room) else {
            // It was one when it was looked at.
            return Ok(Next::Close);
        };
        let closes = closes || self.waiting.is_stopping();
        let request = Request { target: &target, ..request };
        let reply = self.desk.edge.answer(&request).await;
        self.write_down(&request, &reply, (began, Instant::now()), closes);
        let next = self.send(reply, closes).await;
        self.now = Instant::now();
        self.read = read;
        self.pass(len);
        next
    }

    /// Notes an answer down, and writes its head to where it is sent from.
    fn write_down(
        &mut self,
        request: &Request<'_>,
        reply: &Reply,
        (began, ended): (Instant, Instant),
        closes: bool,
    ) {
        self.head.clear();
        let hsts = self.desk.https.hsts(reply);
        self.desk.note(request, reply, &Circumstances { client: &self.client, began, ended }, |date| {
            write_head(&mut self.head, reply, [date, hsts], closes);
        });
    }

    /// Sends an answer whose head is written down.
    async fn send(&mut self, reply: Reply, closes: bool) -> io::Result<Next> {
        self.waiting.has_waited();
        send(&mut self.stream, &mut self.waiting, &mut self.head, reply).await?;
        if self.waiting.has_waited() {
            self.now = Instant::now();
        }
        Ok(if closes { Next::Close } else { Next::Request })
    }

    /// Goes on behind an answered head. A buffer that had to grow is given back.
    fn pass(&mut self, len: usize) {
        self.read.drain(..len);
        if self.read.is_empty() && self.read.capacity() > READ {
            self.read = Vec::new();
        }
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
                Err(Ended::Late) => return Box::pin(self.refuse(pages::TOO_SLOW)).await,
            }
        }
    }

    /// Answers what is no request, once and for all.
    async fn refuse(&mut self, page: Page) -> io::Result<Next> {
        let method = Method::Other;
        let request = Request { method, method_name: "-", target: "-", authority: None, fields: &[] };
        let (reply, now) = (Manner::default().page(page), Instant::now());
        self.write_down(&request, &reply, (now, now), true);
        self.send(reply, true).await
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
