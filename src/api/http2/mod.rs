//! The API by HTTP/2, which TLS connections ask for at their handshake: the `h2` crate reads and writes
//! frames, and every answer is the one that HTTP/1.1 gets.
//!
//! actix-web could do this too, but bounds neither the requests of a connection nor how long it stays, and ends
//! none when the process is to stop. Here one connection has at most [`MAX_STREAMS`] requests at a time, of
//! which [`MAX_BUFFERED`] bytes each wait to be written. Start with [`serve`]; [`stream`] is one request with its
//! answer.

mod stream;

use crate::api::server::{CLOSE_DEADLINE, HEAD_DEADLINE, KEEP_ALIVE};
use crate::ports::clock::Clock;
use actix_http::Request;
use actix_service::Service;
use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Requests of one connection at a time (RFC 9113, 6.5.2 asks for no fewer).
const MAX_STREAMS: usize = 100;
/// Of one answer, handed over to be written when the client and the network take it.
const MAX_BUFFERED: usize = 32 * 1024;
/// Of the head of a request, in bytes.
const MAX_HEAD: u32 = 64 * 1024;

/// What the connections of one thread share.
pub struct Desk<A> {
    pub app: A,
    pub clock: Arc<dyn Clock>,
}

/// What a connection does next.
enum Next {
    Asked(Box<http::Request<RecvStream>>, SendResponse<Bytes>),
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
    let shaking = builder().handshake::<_, Bytes>(stream);
    let Ok(Ok(mut connection)) = timeout(HEAD_DEADLINE, shaking).await else { return };
    let mut answers = FuturesUnordered::new();
    let mut patience = pin!(sleep(KEEP_ALIVE));
    let mut is_ending = false;
    loop {
        let under_way = answers.len();
        let next = tokio::select! {
            next = accept(&mut connection, under_way < MAX_STREAMS) => next,
            Some(()) = answers.next(), if under_way > 0 => Next::Answered,
            // While answers are under way, each has a deadline of its own.
            () = &mut patience, if under_way == 0 => Next::Late,
            () = stop.cancelled(), if !is_ending => Next::Stopping,
        };
        match next {
            Next::Asked(request, respond) => {
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

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS as u32)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(MAX_BUFFERED);
    builder
}

/// With no room for another request the connection goes on all the same: clients give up requests, take
/// answers, and leave.
async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S, Bytes>,
    has_room: bool,
) -> Next {
    poll_fn(|context| {
        if !has_room {
            return connection.poll_closed(context).map(|_| Next::Closed);
        }
        connection.poll_accept(context).map(|asked| match asked {
            Some(Ok((request, respond))) => Next::Asked(Box::new(request), respond),
            // h2 has told the client what was wrong.
            Some(Err(_)) | None => Next::Closed,
        })
    })
    .await
}
