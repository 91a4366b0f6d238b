//! A TCP connection, by the shortest ways to the kernel: where answers are small, what the C library and
//! general buffers add to each call is felt.

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// TLS always writes lists of pieces. Nearly all have one piece, for which the kernel has a shorter way.
pub struct Wire(pub TcpStream);

impl Wire {
    /// Reads behind what is there already, as much as there is room for; 0: the other side has ended.
    pub fn poll_read_behind(&self, context: &mut Context<'_>, read: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let room = read.capacity() - read.len();
        self.poll_read_by(context, room, |stream| {
            Ok(recv(stream, spare_capacity(read), RecvFlags::empty())?.1)
        })
    }

    /// Reads by a call that does not wait, and has room for `room` bytes.
    fn poll_read_by(
        &self,
        context: &mut Context<'_>,
        room: usize,
        mut read: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            if let Some(count) = self.call(Interest::READABLE, room, &mut read)? {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Sends some bytes. `flags` beside the one that lets no signal come.
    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, bytes.len(), |stream| {
            Ok(send(stream, bytes, flags | SendFlags::NOSIGNAL)?)
        })
    }

    /// Writes some of `len` bytes by a call that does not wait. Nearly always it can be made at once.
    pub fn poll_write_by(
        &self,
        context: &mut Context<'_>,
        len: usize,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(count) = self.call(Interest::WRITABLE, len, &mut write)? {
                return Poll::Ready(Ok(count));
            }
            ready!(self.0.poll_write_ready(context))?;
        }
    }

    /// `None`: it would have had to wait. Less than was asked for means that the next call would: the runtime
    /// is told so, and need not find out by making it.
    fn call(
        &self,
        interest: Interest,
        asked: usize,
        mut call: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> io::Result<Option<usize>> {
        let mut count = None;
        let called = self.0.try_io(interest, || {
            let done = *count.insert(call(&self.0)?);
            if 0 < done && done < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match called {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Below TLS this is memory that was written to before.
        let read = self.poll_read_by(context, into.remaining(), |stream| {
            Ok(recv(stream, into.initialize_unfilled(), RecvFlags::empty())?.1)
        });
        into.advance(ready!(read)?);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(context, bytes, SendFlags::empty())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match pieces {
            [piece] => self.poll_send(context, piece, SendFlags::empty()),
            pieces => Pin::new(&mut self.0).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
