//! Writes an answer: its head from lines that are ready, then its body, together in one call where
//! the connection takes them.

use crate::edge::front::outgoing::Outgoing;
use crate::edge::front::waiting::Waiting;
use crate::edge::held::Pages;
use crate::edge::ready::SMALL_BODY;
use crate::edge::reply::{FileBody, Manner, Reply, cache_status};
use actix_web::http::StatusCode;
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A client that takes nothing for so long is gone.
pub const STALL: Duration = Duration::from_secs(60);
/// Bytes a second: whoever takes less of a held body keeps it from making room for others.
const LEAST_RATE: u64 = 4096;

/// How long a client may take for a body that is held for it.
pub struct Patience {
    at_most: Duration,
    /// `None`: no part of it was left over yet. All of it at once is the rule, and then no clock is
    /// asked.
    last: Option<Instant>,
}

impl Patience {
    pub fn of(bytes: u64) -> Self {
        Self { at_most: STALL + Duration::from_secs(bytes / LEAST_RATE), last: None }
    }

    pub fn begin(&mut self) {
        self.last.get_or_insert_with(|| Instant::now() + self.at_most);
    }

    pub fn deadline(&self) -> Instant {
        let now = Instant::now();
        (now + STALL).min(self.last.unwrap_or(now + self.at_most))
    }
}

/// Writes the head of an answer into `head`, which is empty. `more` are whole lines.
pub fn write_head(head: &mut Vec<u8>, reply: &Reply, more: [&[u8]; 2], closes: bool) {
    match reply.status {
        200 => head.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        304 => head.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n"),
        404 => head.extend_from_slice(b"HTTP/1.1 404 Not Found\r\n"),
        other => {
            let reason = StatusCode::from_u16(other).ok().and_then(|status| status.canonical_reason());
            head.extend_from_slice(format!("HTTP/1.1 {other} {}\r\n", reason.unwrap_or("-")).as_bytes());
        }
    }
    head.extend_from_slice(reply.lines.as_bytes());
    if let Some(layer) = reply.manner.layer {
        head.extend_from_slice(cache_status(layer));
    }
    for line in more {
        head.extend_from_slice(line);
    }
    if closes {
        head.extend_from_slice(b"Connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
}

/// Sends a head and the body of its answer behind it. An error leaves the answer cut off: the
/// connection is of no use any more.
pub async fn send<S: Outgoing>(
    stream: &mut S,
    waiting: &mut Waiting,
    head: &mut Vec<u8>,
    reply: Reply,
) -> io::Result<()> {
    let Reply { body, lines, manner: Manner { is_head, .. }, .. } = reply;
    match body {
        FileBody::OfReady => {
            let body = lines.body();
            if S::JOINS {
                head.extend_from_slice(body.map_or(&[], |bytes| bytes));
                write_all(stream, waiting, head, Bytes::new()).await?;
            } else {
                write_all(stream, waiting, head, body.cloned().unwrap_or_default()).await?;
            }
        }
        FileBody::Held(bytes) if !is_head => {
            if bytes.len() <= SMALL_BODY && S::JOINS {
                head.extend_from_slice(&bytes);
                write_all(stream, waiting, head, Bytes::new()).await?;
            } else {
                write_all(stream, waiting, head, bytes).await?;
            }
        }
        FileBody::Pages(pages, range) if !is_head => {
            write_pages(stream, waiting, head, &pages, range).await?;
        }
        FileBody::Stream(_, mut pieces) if !is_head => {
            let mut first: &[u8] = head;
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(io::Error::other)?;
                write_all(stream, waiting, first, piece).await?;
                first = &[];
            }
            write_all(stream, waiting, first, Bytes::new()).await?;
        }
        _ => write_all(stream, waiting, head, Bytes::new()).await?,
    }
    let flushed = waiting
        .until(|| Instant::now() + STALL, false, |context| Pin::new(&mut *stream).poll_flush(context))
        .await;
    flushed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// One step of writing, of at least a byte.
async fn step(
    waiting: &mut Waiting,
    patience: &Patience,
    write: impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>>,
) -> io::Result<usize> {
    match waiting.until(|| patience.deadline(), false, write).await {
        Ok(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn write_all(
    stream: &mut impl Outgoing,
    waiting: &mut Waiting,
    mut head: &[u8],
    mut body: Bytes,
) -> io::Result<()> {
    let mut patience = Patience::of(body.len() as u64);
    while !head.is_empty() || !body.is_empty() {
        let write = |context: &mut Context<'_>| {
            let stream = Pin::new(&mut *stream);
            match (head.is_empty(), body.is_empty()) {
                (true, _) => stream.poll_write(context, &body),
                (false, true) => stream.poll_write(context, head),
                (false, false) => {
                    stream.poll_write_vectored(context, &[IoSlice::new(head), IoSlice::new(&body)])
                }
            }
        };
        let written = step(waiting, &patience, write).await?;
        let of_head = written.min(head.len());
        head = &head[of_head..];
        body.advance(written - of_head);
        if !body.is_empty() {
            patience.begin();
        }
    }
    Ok(())
}

async fn write_pages(
    stream: &mut impl Outgoing,
    waiting: &mut Waiting,
    mut head: &[u8],
    pages: &Pages,
    mut range: Range<u64>,
) -> io::Result<()> {
    let mut patience = Patience::of(range.end - range.start);
    while !head.is_empty() {
        let written = step(waiting, &patience, |context| stream.poll_write_more(context, head)).await?;
        head = &head[written..];
    }
    while !range.is_empty() {
        let write = |context: &mut Context<'_>| stream.poll_write_pages(context, pages, &range);
        range.start += step(waiting, &patience, write).await? as u64;
        patience.begin();
    }
    Ok(())
}
