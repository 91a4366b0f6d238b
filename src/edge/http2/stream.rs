//! One request of a connection, and its answer: from the same pipeline as by HTTP/1.1, written as the
//! client has room for it.

use crate::edge::access_log::Circumstances;
use crate::edge::front::connection::Desk;
use crate::edge::front::writing::Patience;
use crate::edge::http2::head::{self, bring_into_form};
use crate::edge::http2::{MAX_BUFFERED, MAX_LOADS};
use crate::edge::reply::{FileBody, Manner, Reply};
use crate::edge::request::Request;
use bytes::Bytes;
use futures_util::StreamExt as _;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;
use http::request::Parts;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What the requests of one connection share.
pub struct Host {
    desk: Rc<Desk>,
    /// The client's address, as the access log has it.
    client: String,
    /// Room for what asks more than memory.
    loads: Semaphore,
}

/// The client is gone, or has given this request up.
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

impl Host {
    pub fn new(desk: Rc<Desk>, client: Option<IpAddr>) -> Self {
        let client = client.map(|address| address.to_string()).unwrap_or_default();
        Self { desk, client, loads: Semaphore::new(MAX_LOADS) }
    }

    /// The answer, and the room that it takes while it streams from below. `None`: nobody waits for it
    /// any more.
    async fn answer<'h>(
        &'h self,
        request: &Request<'_>,
        respond: &mut SendResponse<Bytes>,
    ) -> Option<(Reply, Option<SemaphorePermit<'h>>)> {
        let loading = async {
            let room = self.loads.acquire().await.ok()?;
            let reply = self.desk.edge.answer(request).await;
            let streams = matches!(reply.body, FileBody::Stream(..));
            Some((reply, streams.then_some(room)))
        };
        tokio::select! {
            biased;
            _ = poll_fn(|context| respond.poll_reset(context)) => None,
            loaded = loading => loaded,
        }
    }
}

/// Answers a request. Dropped, it ends the request.
pub async fn answer(host: Rc<Host>, mut head: Parts, mut respond: SendResponse<Bytes>) {
    let began = Instant::now();
    let refusal = bring_into_form(&mut head).err();
    let fields = head::fields(&head);
    let request = head::request(&head, &fields);
    let at_once = match refusal {
        Some(page) => Some(Manner::default().page(page)),
        None => host.desk.at_once(&request, began),
    };
    let (reply, _room) = match at_once {
        Some(reply) => (reply, None),
        None => match Box::pin(host.answer(&request, &mut respond)).await {
            Some(answered) => answered,
            None => return,
        },
    };
    let circumstances = Circumstances { client: &host.client, began, ended: Instant::now() };
    let mut response = Response::new(());
    let hsts = host.desk.https.hsts(&reply);
    host.desk.note(&request, &reply, &circumstances, |date| {
        response = head::response(&reply, [date, hsts]);
    });
    // Whoever is gone does not miss the rest.
    let _ = Box::pin(send(respond, response, reply)).await;
}

async fn send(mut respond: SendResponse<Bytes>, head: Response<()>, reply: Reply) -> Result<(), Gone> {
    let (len, is_head) = (reply.len(), reply.manner.is_head);
    let body = match reply.body {
        FileBody::OfReady => FileBody::Held(reply.lines.body().cloned().unwrap_or_default()),
        other => other,
    };
    let is_empty = is_head || len == 0 || matches!(body, FileBody::Empty | FileBody::Length(_));
    let mut outgoing = Outgoing(respond.send_response(head, is_empty)?);
    match body {
        _ if is_empty => Ok(()),
        FileBody::Held(bytes) => outgoing.write(bytes, true).await,
        FileBody::Pages(pages, mut range) => {
            let mut patience = Patience::of(len);
            while !range.is_empty() {
                let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let mut piece = vec![0; outgoing.room(left, &patience).await?];
                let Ok(read @ 1..) = pages.read(range.start, &mut piece) else {
                    return outgoing.reset(Reason::INTERNAL_ERROR);
                };
                piece.truncate(read);
                range.start += read as u64;
                outgoing.0.send_data(piece.into(), range.is_empty())?;
                patience.begin();
            }
            Ok(())
        }
        FileBody::Stream(_, mut pieces) => {
            let mut left = len;
            while left > 0 {
                let piece = tokio::select! {
                    biased;
                    _ = poll_fn(|context| outgoing.0.poll_reset(context)) => return Err(Gone),
                    piece = pieces.next() => piece,
                };
                let Some(Ok(piece)) = piece else { return outgoing.reset(Reason::INTERNAL_ERROR) };
                left = left.saturating_sub(piece.len() as u64);
                outgoing.write(piece, left == 0).await?;
            }
            Ok(())
        }
        FileBody::Empty | FileBody::OfReady | FileBody::Length(_) => Ok(()),
    }
}

/// The way of a body to the client.
struct Outgoing(SendStream<Bytes>);

impl Outgoing {
    async fn write(&mut self, mut bytes: Bytes, is_last: bool) -> Result<(), Gone> {
        let mut patience = Patience::of(bytes.len() as u64);
        while !bytes.is_empty() {
            let room = self.room(bytes.len(), &patience).await?;
            let piece = bytes.split_to(room);
            self.0.send_data(piece, is_last && bytes.is_empty())?;
            patience.begin();
        }
        Ok(())
    }

    /// Waits until the client has room for some bytes, of those that are left, which are not none.
    async fn room(&mut self, left: usize, patience: &Patience) -> Result<usize, Gone> {
        let wanted = left.min(MAX_BUFFERED);
        self.0.reserve_capacity(wanted);
        let room = poll_fn(|context| {
            loop {
                match self.0.capacity() {
                    0 => match std::task::ready!(self.0.poll_capacity(context)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                    },
                    room => return Poll::Ready(Ok(room.min(wanted))),
                }
            }
        });
        match tokio::time::timeout_at(patience.deadline().into(), room).await {
            Ok(room) => room,
            Err(_) => self.reset(Reason::CANCEL).map(|()| 0),
        }
    }

    /// Ends the answer before its end.
    fn reset(&mut self, reason: Reason) -> Result<(), Gone> {
        self.0.send_reset(reason);
        Err(Gone)
    }
}
