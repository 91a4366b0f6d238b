//! One connection: many requests at a time, until one side has enough.

use crate::edge::front::connection::{Desk, HEAD_DEADLINE, KEEP_ALIVE};
use crate::edge::front::head::MAX_HEAD;
use crate::edge::front::waiting::{Ended, Waiting};
use crate::edge::front::{Outgoing, Rewound};
use crate::edge::http2::gathered::{Gathered, Release, gather};
use crate::edge::http2::stream::{Host, answer};
use crate::edge::http2::{MAX_BUFFERED, MAX_STREAMS};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;

/// How long a client may take to leave after its last answer, once it was asked to.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// While answers are under way, each has a deadline of its own.
const NO_DEADLINE: Duration = Duration::from_secs(86_400);

/// What a connection does next.
enum Next {
    Asked(Box<Request<RecvStream>>, SendResponse<Bytes>),
    /// The last answer under way came to its end.
    Idle,
    Closed,
}

/// Serves a connection that is to speak HTTP/2 to its end.
pub async fn serve<S: AsyncRead + Outgoing>(stream: S, desk: Rc<Desk>, client: Option<IpAddr>) {
    let mut waiting = Waiting::new(Arc::clone(&desk.stopping));
    let (gathered, release) = gather(Rewound::new(Bytes::new(), stream));
    let mut handshake = pin!(builder().handshake::<_, Bytes>(gathered));
    let shaking = poll_fn(|context| {
        let shaken = handshake.as_mut().poll(context).map(Result::ok);
        let_go(&release, context).map_or(shaken, |_| Poll::Ready(None))
    });
    let Ok(Some(mut connection)) = tokio::time::timeout(HEAD_DEADLINE, shaking).await else { return };
    let host = Rc::new(Host::new(desk, client));
    let mut answers = FuturesUnordered::new();
    let (mut idle_since, mut is_ending) = (Instant::now(), false);
    loop {
        let patience = match (answers.is_empty(), is_ending) {
            (false, _) => NO_DEADLINE,
            (true, false) => KEEP_ALIVE,
            (true, true) => CLOSE_DEADLINE,
        };
        let next = waiting.until(
            || idle_since + patience,
            !is_ending,
            |context| {
                let was_busy = !answers.is_empty();
                while let Poll::Ready(Some(())) = answers.poll_next_unpin(context) {}
                if was_busy && answers.is_empty() {
                    return Poll::Ready(Next::Idle);
                }
                let next = poll_connection(&mut connection, context, answers.len() < MAX_STREAMS);
                if let Poll::Ready(Next::Asked(..)) = next {
                    // Its answer may be ready at once.
                    return next;
                }
                let_go(&release, context).map_or(next, Poll::Ready)
            },
        );
        match next.await {
            Ok(Next::Asked(request, respond)) => {
                // Nobody reads contents: what comes of one is thrown away.
                let (head, _) = request.into_parts();
                answers.push(answer(Rc::clone(&host), head, respond));
            }
            Ok(Next::Idle) => idle_since = Instant::now(),
            Ok(Next::Closed) => return,
            Err(_) if is_ending => return,
            Err(Ended::Late | Ended::Stopping) => {
                is_ending = true;
                idle_since = Instant::now();
                connection.graceful_shutdown();
            }
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS as u32)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buffer_size(MAX_BUFFERED);
    builder
}

/// With no room for another request the connection goes on all the same: clients give up requests, take
/// answers, and leave.
fn poll_connection<S: AsyncRead + Outgoing>(
    connection: &mut Connection<Gathered<Rewound<S>>, Bytes>,
    context: &mut Context<'_>,
    has_room: bool,
) -> Poll<Next> {
    if !has_room {
        return connection.poll_closed(context).map(|_| Next::Closed);
    }
    connection.poll_accept(context).map(|asked| match asked {
        Some(Ok((request, respond))) => Next::Asked(Box::new(request), respond),
        // h2 has told the client what was wrong.
        Some(Err(_)) | None => Next::Closed,
    })
}

/// What was gathered goes out. `Some`: it cannot.
fn let_go<S: AsyncRead + Outgoing>(release: &Release<Rewound<S>>, context: &mut Context<'_>) -> Option<Next> {
    match release.poll(context) {
        Poll::Ready(Err(_)) => Some(Next::Closed),
        Poll::Ready(Ok(())) | Poll::Pending => None,
    }
}
