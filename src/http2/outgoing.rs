//! The body of an answer on its way to the client, which says how much of it there is room for. What is to be
//! sent, and how patient a role is with whoever takes nothing, is not decided here.

use crate::http2::MAX_BUFFERED;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use std::future::poll_fn;
use std::task::{Poll, ready};
use tokio::time::{Instant, timeout_at};

/// The client is gone, or has given this request up.
pub struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// What is made for an answer, unless the client gives the request up before.
pub async fn unless_given_up<T>(
    respond: &mut SendResponse<Bytes>,
    making: impl Future<Output = T>,
) -> Result<T, Gone> {
    tokio::select! {
        biased;
        _ = poll_fn(|context| respond.poll_reset(context)) => Err(Gone),
        made = making => Ok(made),
    }
}

/// The way of a body to the client.
pub struct Outgoing(pub SendStream<Bytes>);

impl Outgoing {
    /// The same while the body is on its way.
    pub async fn unless_given_up<T>(&mut self, making: impl Future<Output = T>) -> Result<T, Gone> {
        tokio::select! {
            biased;
            _ = poll_fn(|context| self.0.poll_reset(context)) => Err(Gone),
            made = making => Ok(made),
        }
    }

    /// Waits until the client has room for some bytes, of those that are left, which are not none. Whoever has
    /// none at the deadline is given up.
    pub async fn room(&mut self, left: usize, deadline: Instant) -> Result<usize, Gone> {
        let wanted = left.min(MAX_BUFFERED);
        self.0.reserve_capacity(wanted);
        let room = poll_fn(|context| {
            loop {
                match self.0.capacity() {
                    0 => match ready!(self.0.poll_capacity(context)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                    },
                    room => return Poll::Ready(Ok(room.min(wanted))),
                }
            }
        });
        match timeout_at(deadline, room).await {
            Ok(room) => room,
            Err(_) => Err(self.cut_off(Reason::CANCEL)),
        }
    }

    /// No more than there was [`room`](Self::room) for.
    pub fn send(&mut self, piece: Bytes, is_last: bool) -> Result<(), Gone> {
        Ok(self.0.send_data(piece, is_last)?)
    }

    /// Ends the answer before its end.
    pub fn cut_off(&mut self, reason: Reason) -> Gone {
        self.0.send_reset(reason);
        Gone
    }
}
