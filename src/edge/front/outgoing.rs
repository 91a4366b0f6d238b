//! Connections that answers are written to: what each kind does best with pages of memory.

use crate::edge::held::Pages;
use crate::tls::files::HTTP_2;
use crate::tls::wire::Wire;
use rustix::net::{SendFlags, send};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What is read of pages at once, to be encrypted.
const PIECE: usize = 64 * 1024;

pub trait Outgoing: AsyncWrite + Unpin {
    /// Whether a small body is best copied behind its head. Where the connection makes a copy of its own,
    /// to encrypt it, one is enough.
    const JOINS: bool;

    /// Whether the client asked for HTTP/2 when the connection was made.
    fn speaks_http2(&self) -> bool {
        false
    }

    /// Writes some of what more will follow at once.
    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes some bytes of a range, which is not empty.
    fn poll_write_pages(
        &mut self,
        context: &mut Context<'_>,
        pages: &Pages,
        range: &Range<u64>,
    ) -> Poll<io::Result<usize>>;
}

impl Outgoing for TcpStream {
    const JOINS: bool = true;

    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        unless_blocked(self, context, |stream| {
            Ok(send(stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
        })
    }

    fn poll_write_pages(
        &mut self,
        context: &mut Context<'_>,
        pages: &Pages,
        range: &Range<u64>,
    ) -> Poll<io::Result<usize>> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        unless_blocked(self, context, |stream| {
            let mut from = range.start;
            Ok(rustix::fs::sendfile(stream, pages.file(), Some(&mut from), len)?)
        })
    }
}

fn unless_blocked(
    stream: &TcpStream,
    context: &mut Context<'_>,
    write: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(context))?;
        match stream.try_io(Interest::WRITABLE, || write(stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

impl Outgoing for TlsStream<Wire> {
    const JOINS: bool = false;

    fn speaks_http2(&self) -> bool {
        self.get_ref().1.alpn_protocol() == Some(HTTP_2)
    }

    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(context, bytes)
    }

    fn poll_write_pages(
        &mut self,
        context: &mut Context<'_>,
        pages: &Pages,
        range: &Range<u64>,
    ) -> Poll<io::Result<usize>> {
        let mut piece = vec![0; usize::try_from(range.end - range.start).map_or(PIECE, |len| len.min(PIECE))];
        let read = pages.read(range.start, &mut piece)?;
        Pin::new(self).poll_write(context, &piece[..read])
    }
}
