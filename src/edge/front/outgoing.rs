//! Connections that requests are read from and answers written to: what each kind does best.

use crate::edge::held::Pages;
use crate::tls::files::HTTP_2;
use crate::tls::wire::Wire;
use rustix::net::SendFlags;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

/// What is read of pages at once, to be encrypted.
const PIECE: usize = 64 * 1024;

pub trait Outgoing: AsyncRead + AsyncWrite + Unpin {
    /// Whether a small body is best copied behind its head. Where the connection makes a copy of its own,
    /// to encrypt it, one is enough.
    const JOINS: bool;

    /// Whether the client asked for HTTP/2 when the connection was made.
    fn speaks_http2(&self) -> bool {
        false
    }

    /// Reads behind what is there already, as much as there is room for; 0: the other side has ended.
    fn poll_read_behind(&mut self, context: &mut Context<'_>, read: &mut Vec<u8>) -> Poll<io::Result<usize>>;

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

impl Outgoing for Wire {
    const JOINS: bool = true;

    fn poll_read_behind(&mut self, context: &mut Context<'_>, read: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        Self::poll_read_behind(self, context, read)
    }

    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(context, bytes, SendFlags::MORE)
    }

    fn poll_write_pages(
        &mut self,
        context: &mut Context<'_>,
        pages: &Pages,
        range: &Range<u64>,
    ) -> Poll<io::Result<usize>> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.poll_write_by(context, len, |stream| {
            let mut from = range.start;
            Ok(rustix::fs::sendfile(stream, pages.file(), Some(&mut from), len)?)
        })
    }
}

impl Outgoing for TlsStream<Wire> {
    const JOINS: bool = false;

    fn speaks_http2(&self) -> bool {
        self.get_ref().1.alpn_protocol() == Some(HTTP_2)
    }

    fn poll_read_behind(&mut self, context: &mut Context<'_>, read: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(self), context, read)
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
