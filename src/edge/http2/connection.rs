//! One connection: many requests at a time, until one side has enough.

use crate::edge::front::connection::{CLOSE_DEADLINE, Desk, HEAD_DEADLINE, KEEP_ALIVE};
use crate::edge::front::head::MAX_HEAD;
use crate::edge::front::waiting::{Ended, Waiting};
use crate::edge::front::{Outgoing, Rewound};
use crate::edge::http2::gathered::{Release, gather};
use crate::edge::http2::stream::{Host, answer};
use crate::http2::{Asked, builder, poll_asked};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// While answers are under way, each has a deadline of its own.
const NO_DEADLINE: Duration = Duration::from_secs(86_400);

/// What a connection does next.
enum Next {
    Asked(Asked),
    /// The last answer under way came to its end.
    Idle,
    Closed,
}

/// Serves a connection that is to speak HTTP/2 to its end.
pub async fn serve<S: Outgoing>(stream: S, desk: Rc<Desk>, client: Option<IpAddr>) {
    let mut waiting = Waiting::new(Arc::clone(&desk.stopping));
    let (gathered, release) = gather(Rewound::new(Bytes::new(), stream));
    let mut handshake = pin!(builder(MAX_HEAD as u32).handshake::<_, Bytes>(gathered));
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
                let next = match poll_asked(&mut connection, answers.len(), context) {
                    // Its answer may be ready at once.
                    Poll::Ready(Some(asked)) => return Poll::Ready(Next::Asked(asked)),
                    Poll::Ready(None) => Poll::Ready(Next::Closed),
                    Poll::Pending => Poll::Pending,
                };
                let_go(&release, context).map_or(next, Poll::Ready)
            },
        );
        match next.await {
            Ok(Next::Asked((request, respond))) => {
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

/// What was gathered goes out. `Some`: it cannot.
fn let_go<S: Outgoing>(release: &Release<Rewound<S>>, context: &mut Context<'_>) -> Option<Next> {
    match release.poll(context) {
        Poll::Ready(Err(_)) => Some(Next::Closed),
        Poll::Ready(Ok(())) | Poll::Pending => None,
    }
}
