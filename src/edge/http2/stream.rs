//! One request of a connection, and its answer: from the same pipeline as by HTTP/1.1, written as the
//! client has room for it.

use crate::edge::access_log::Circumstances;
use crate::edge::front::connection::Desk;
use crate::edge::front::writing::Patience;
use crate::edge::http2::MAX_LOADS;
use crate::edge::http2::head::{self, bring_into_form};
use crate::edge::reply::{FileBody, Manner, Reply};
use crate::edge::request::Request;
use crate::http2::outgoing::{Gone, Outgoing, unless_given_up};
use bytes::Bytes;
use futures_util::StreamExt as _;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use http::request::Parts;
use std::net::IpAddr;
use std::rc::Rc;
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
        unless_given_up(respond, loading).await.ok().flatten()
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

async fn send(mut respond: SendResponse<Bytes>, head: Response<()>, mut reply: Reply) -> Result<(), Gone> {
    let (len, is_head) = (reply.len(), reply.manner.is_head);
    let body = reply.take_body();
    let is_empty = is_head || len == 0 || matches!(body, FileBody::Empty | FileBody::Length(_));
    let mut outgoing = Outgoing(respond.send_response(head, is_empty)?);
    match body {
        _ if is_empty => Ok(()),
        FileBody::Held(bytes) => write(&mut outgoing, bytes, true).await,
        FileBody::Pages(pages, mut range) => {
            let mut patience = Patience::of(len);
            while !range.is_empty() {
                let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let mut piece = vec![0; outgoing.room(left, patience.deadline().into()).await?];
                let Ok(read @ 1..) = pages.read(range.start, &mut piece) else {
                    return Err(outgoing.cut_off(Reason::INTERNAL_ERROR));
                };
                piece.truncate(read);
                range.start += read as u64;
                outgoing.send(piece.into(), range.is_empty())?;
                patience.begin();
            }
            Ok(())
        }
        FileBody::Stream(_, mut pieces) => {
            let mut left = len;
            while left > 0 {
                let Some(Ok(piece)) = outgoing.unless_given_up(pieces.next()).await? else {
                    return Err(outgoing.cut_off(Reason::INTERNAL_ERROR));
                };
                left = left.saturating_sub(piece.len() as u64);
                write(&mut outgoing, piece, left == 0).await?;
            }
            Ok(())
        }
        FileBody::Empty | FileBody::OfReady | FileBody::Length(_) => Ok(()),
    }
}

async fn write(outgoing: &mut Outgoing, mut bytes: Bytes, is_last: bool) -> Result<(), Gone> {
    let mut patience = Patience::of(bytes.len() as u64);
    while !bytes.is_empty() {
        let room = outgoing.room(bytes.len(), patience.deadline().into()).await?;
        let piece = bytes.split_to(room);
        outgoing.send(piece, is_last && bytes.is_empty())?;
        patience.begin();
    }
    Ok(())
}
