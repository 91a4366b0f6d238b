//! A connection whose answers are written together. h2 hands over frame by frame and has each flushed; small
//! ones are gathered here and go out when it has nothing more for now. A record of TLS and a system call for
//! each would be most of the work.
//!
//! Start with [`gather`]: h2 has the one half, and whoever polls it lets go by the other.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many bytes go out without waiting for more: four records of TLS.
const FULL: usize = 64 * 1024;
/// A piece of so many bytes is worth a record of its own.
const LARGE: usize = 16 * 1024;

/// What h2 reads and writes.
pub struct Gathered<S>(Rc<RefCell<Shared<S>>>);

/// Lets go what was gathered.
pub struct Release<S>(Rc<RefCell<Shared<S>>>);

struct Shared<S> {
    stream: S,
    /// Has no room of its own while it is empty: most connections lie idle.
    gathered: Vec<u8>,
    /// Of it, what was written already.
    written: usize,
}

pub fn gather<S>(stream: S) -> (Gathered<S>, Release<S>) {
    let shared = Rc::new(RefCell::new(Shared { stream, gathered: Vec::new(), written: 0 }));
    (Gathered(Rc::clone(&shared)), Release(shared))
}

impl<S: AsyncWrite + Unpin> Release<S> {
    /// Ready when all of it has been written.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        if shared.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        shared.poll_let_go(context)
    }
}

impl<S: AsyncWrite + Unpin> Shared<S> {
    fn poll_let_go(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let left = &self.gathered[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        (self.gathered, self.written) = (Vec::new(), 0);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// What is large is not copied: that costs more than it saves.
    fn poll_write(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        if (len >= LARGE || self.gathered.len() + len > FULL) && !self.gathered.is_empty() {
            ready!(self.poll_let_go(context))?;
        }
        if len >= LARGE {
            return Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(FULL);
        }
        pieces.iter().for_each(|piece| self.gathered.extend_from_slice(piece));
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    /// What was gathered stays: [`Release`] lets it go.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        if shared.gathered.is_empty() {
            return Pin::new(&mut shared.stream).poll_flush(context);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.0.borrow_mut();
        ready!(shared.poll_let_go(context))?;
        Pin::new(&mut shared.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    /// What has arrived so far.
    async fn arrived(client: &mut DuplexStream) -> usize {
        let mut all = vec![0; 2 * FULL];
        tokio::select! {
            biased;
            read = client.read(&mut all) => read.unwrap(),
            () = std::future::ready(()) => 0,
        }
    }

    #[tokio::test]
    async fn small_pieces_go_out_together_when_they_are_let_go() {
        let (mut client, stream) = duplex(FULL);
        let (mut gathered, release) = gather(stream);
        for _ in 0..3 {
            gathered.write_all(&[7; 1000]).await.unwrap();
            gathered.flush().await.unwrap();
        }
        assert_eq!(arrived(&mut client).await, 0);
        poll_fn(|context| release.poll(context)).await.unwrap();
        assert_eq!(arrived(&mut client).await, 3000);
    }

    #[tokio::test]
    async fn no_more_than_a_full_buffer_is_held_for_a_client_that_takes_nothing() {
        let (mut client, stream) = duplex(1);
        let (mut gathered, release) = gather(stream);
        let mut taken = 0;
        let stuck = poll_fn(|context| {
            while Pin::new(&mut gathered).poll_write(context, &[7; 1000]).is_ready() {
                taken += 1000;
            }
            Poll::Ready(())
        });
        stuck.await;
        assert!((FULL - 1000..=FULL).contains(&taken), "{taken} bytes were taken");
        let reading = async {
            let mut all = vec![0; taken];
            client.read_exact(&mut all).await.unwrap();
        };
        let (released, ()) = tokio::join!(poll_fn(|context| release.poll(context)), reading);
        released.unwrap();
    }

    #[tokio::test]
    async fn large_pieces_go_out_at_once_behind_what_was_gathered_and_the_end_leaves_nothing_behind() {
        let (mut client, stream) = duplex(2 * FULL);
        let (mut gathered, _release) = gather(stream);
        gathered.write_all(b"first").await.unwrap();
        gathered.write_all(&[7; LARGE]).await.unwrap();
        assert_eq!(arrived(&mut client).await, 5 + LARGE);
        gathered.write_all(b"last").await.unwrap();
        gathered.shutdown().await.unwrap();
        assert_eq!(arrived(&mut client).await, 4);
    }
}
