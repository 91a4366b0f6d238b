//! The API by HTTP/2, which TLS connections ask for at their handshake: the `h2` crate reads and writes
//! frames, and every answer is the one that HTTP/1.1 gets.
//!
//! actix-web could do this too, but bounds neither the requests of a connection nor how long it stays, and ends
//! none when the process is to stop. Here a connection is bounded as [`crate::http2`] has it. Start with
//! [`serve`]; [`stream`] is one request with its answer.

mod stream;

use crate::api::server::{CLOSE_DEADLINE, HEAD_DEADLINE, KEEP_ALIVE};
use crate::http2::{Asked, builder, poll_asked};
use crate::ports::clock::Clock;
use actix_http::Request;
use actix_service::Service;
use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Of the head of a request, in bytes.
const MAX_HEAD: u32 = 64 * 1024;

/// What the connections of one thread share.
pub struct Desk<A> {
    pub app: A,
    pub clock: Arc<dyn Clock>,
}

/// What a connection does next.
enum Next {
    Asked(Asked),
    /// An answer came to its end.
    Answered,
    Late,
    Stopping,
    Closed,
}

/// Serves a connection to its end; from `stop` on it takes nothing new.
pub async fn serve<S, A, B>(stream: S, desk: Rc<Desk<A>>, peer: Option<SocketAddr>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse>,
    B: MessageBody,
{
    let shaking = builder(MAX_HEAD).handshake::<_, Bytes>(stream);
    let Ok(Ok(mut connection)) = timeout(HEAD_DEADLINE, shaking).await else { return };
    let mut answers = FuturesUnordered::new();
    let mut patience = pin!(sleep(KEEP_ALIVE));
    let mut is_ending = false;
    loop {
        let under_way = answers.len();
        let next = tokio::select! {
            asked = poll_fn(|context| poll_asked(&mut connection, under_way, context)) => {
                asked.map_or(Next::Closed, Next::Asked)
            }
            Some(()) = answers.next(), if under_way > 0 => Next::Answered,
            // While answers are under way, each has a deadline of its own.
            () = &mut patience, if under_way == 0 => Next::Late,
            () = stop.cancelled(), if !is_ending => Next::Stopping,
        };
        match next {
            Next::Asked((request, respond)) => {
                answers.push(stream::answer(Rc::clone(&desk), *request, respond, peer));
            }
            Next::Answered => {
                let left = if is_ending { CLOSE_DEADLINE } else { KEEP_ALIVE };
                patience.as_mut().reset(Instant::now() + left);
            }
            Next::Late | Next::Stopping if !is_ending => {
                is_ending = true;
                patience.as_mut().reset(Instant::now() + CLOSE_DEADLINE);
                connection.graceful_shutdown();
            }
            Next::Late | Next::Stopping | Next::Closed => return,
        }
    }
}
