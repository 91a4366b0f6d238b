//! What api and edge share of HTTP/2: what one connection can take, and how a body goes out as the client has
//! room for it ([`outgoing`]). Frames are the `h2` crate's; whom a connection belongs to, how long it may
//! stay and what it is answered is each role's own.
//!
//! A connection has at most [`MAX_STREAMS`] requests at a time, of which [`MAX_BUFFERED`] bytes each wait to be
//! written. What h2 bounds by itself is told in `docs/routing.md`. Start with [`builder`].

pub mod outgoing;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// Requests of one connection at a time (RFC 9113, 6.5.2 asks for no fewer).
const MAX_STREAMS: usize = 100;
/// Of one answer, handed over to be written when the client and the network take it.
const MAX_BUFFERED: usize = 32 * 1024;
/// What belongs to a connection of HTTP/1.1 alone (RFC 9113, 8.2.2).
pub const OF_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// A request, and the way to its answer.
pub type Asked = (Box<Request<RecvStream>>, SendResponse<Bytes>);

/// Of a connection within the bounds; `max_head` is that of a request's head, in bytes.
pub fn builder(max_head: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS as u32)
        .max_header_list_size(max_head)
        .max_send_buffer_size(MAX_BUFFERED);
    builder
}

/// The next request beside those `under_way`. With no room for another the connection goes on all the same:
/// clients give up requests, take answers, and leave. `None`: it is closed.
pub fn poll_asked<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S, Bytes>,
    under_way: usize,
    context: &mut Context<'_>,
) -> Poll<Option<Asked>> {
    if under_way >= MAX_STREAMS {
        return connection.poll_closed(context).map(|_| None);
    }
    connection.poll_accept(context).map(|asked| match asked {
        Some(Ok((request, respond))) => Some((Box::new(request), respond)),
        // h2 has told the client what was wrong.
        Some(Err(_)) | None => None,
    })
}
