//! A bucket as the rest of this folder uses it: requests that are tried again, within the time that
//! their callers have, and room for what is being uploaded.
//!
//! Start with [`Connection::ask`].

use super::retry::{Deadline, Retries, Tried};
use super::transport::{Request, Transport, read_whole};
use super::trouble::Trouble;
use crate::ports::error::StoreError;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ETAG, HeaderMap};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// For a read to begin: edges wait 4 s for one, and then ask once more.
pub(super) const READ: Duration = Duration::from_millis(3_700);
/// Of that, how long one request may be silent.
pub(super) const READ_SILENCE: Duration = Duration::from_millis(2_500);
/// For a write besides its bytes: publishing a pointer has 10 s.
pub(super) const WRITE: Duration = Duration::from_secs(8);
pub(super) const WRITE_SILENCE: Duration = Duration::from_secs(4);
/// The least that a line carries away, in bytes a second: what workers reckon with is less.
const LEAST_UP: u64 = 128 * 1024;
const LEAST_DOWN: u64 = 1024 * 1024;
/// Uploads share the line: what of them is under way at once drains at this rate at least, in bytes
/// a second, before a server counts as silent. More than so many bytes are not waited for.
const SLOW_LINE: u64 = 256 * 1024;
const UNDER_WAY: u64 = 8 * 1024 * 1024;
/// Of an answer to anything but a read of an object, in bytes.
const MAX_DOCUMENT: u64 = 1024 * 1024;
/// What a process holds of bodies under way, in KiB.
const ROOM_KIB: u32 = 64 * 1024;

pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) retries: Retries,
    room: Semaphore,
}

/// A whole answer.
pub(super) struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub(super) fn document(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Connection {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, retries: Retries::new(), room: Semaphore::new(ROOM_KIB as usize) }
    }

    /// The answer to a request for anything but an object's bytes.
    pub(super) async fn ask(&self, request: &Request<'_>, deadline: Deadline) -> Tried<Answer> {
        self.retries.until(deadline, || self.ask_once(request)).await
    }

    pub(super) async fn ask_once(&self, request: &Request<'_>) -> Result<Answer, Trouble> {
        let response = self.transport.send(request).await?;
        let headers = response.headers().clone();
        let body = match request.method {
            Method::HEAD => Bytes::new(),
            // Read to its end, so that the connection can be used again.
            _ => read_whole(response, MAX_DOCUMENT, request.silence).await?,
        };
        Ok(Answer { headers, body })
    }

    /// Waits for room for a body of so many bytes. Larger ones than all the room take all of it.
    pub(super) async fn room(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Trouble> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, ROOM_KIB);
        self.room.acquire_many(kib).await.map_err(|closed| Trouble::Unusable(closed.to_string()))
    }

    /// How long the storage may be silent to an upload beside all others.
    pub(super) fn upload_silence(&self) -> Duration {
        let taken = u64::from(ROOM_KIB).saturating_sub(self.room.available_permits() as u64) * 1024;
        WRITE_SILENCE + draining(taken)
    }

    pub(super) fn error(&self, trouble: Trouble, doing: impl Into<String>) -> StoreError {
        trouble.into_error(doing, &self.transport.address.bucket)
    }
}

pub(super) fn draining(bytes: u64) -> Duration {
    Duration::from_millis(bytes.min(UNDER_WAY) * 1000 / SLOW_LINE)
}

/// For the upload of so many bytes.
pub(super) fn sending(bytes: u64) -> Deadline {
    Deadline::after(WRITE + Duration::from_secs(bytes / LEAST_UP))
}

/// For the whole of an object of so many bytes.
pub(super) fn receiving(bytes: u64) -> Deadline {
    Deadline::after(READ).and(Duration::from_millis(bytes.saturating_mul(1000) / LEAST_DOWN))
}

/// The tag of what an answer is about, as it stands in its header.
pub(super) fn tag(headers: &HeaderMap) -> Result<String, Trouble> {
    let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok());
    tag.map(str::to_owned).ok_or_else(|| Trouble::Unusable("the storage's answer has no ETag".to_owned()))
}
