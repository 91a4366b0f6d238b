//! Storing objects over what was there: small ones by one request, large ones in parts.
//!
//! Nothing is visible before all of it is there: a `PUT` counts when its last byte has come and its
//! digests fit, an upload in parts when it is completed. One that fails is aborted; the parts of a
//! process that is killed lie in the bucket, unseen, until its lifecycle rule removes them
//! (docs/storage.md).
//!
//! Start with [`Connection::put`].

use super::connection::{Connection, WRITE, WRITE_SILENCE, sending};
use super::retry::Deadline;
use super::source::Source;
use super::transport::{Request, content_length};
use super::trouble::{Refusal, Trouble, element};
use crate::ports::blobs::{Body, Key};
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use s3::serde_types::{CompleteMultipartUploadData, Part};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Larger objects go in parts.
const WHOLE_BYTES: u64 = 16 * 1024 * 1024;
/// S3 wants at least 5 MiB a part, and takes 10,000 parts.
const PART_BYTES: u64 = 8 * 1024 * 1024;
const MAX_PARTS: u64 = 10_000;
/// Parts of one object that are under way at once, and objects of one batch.
const PARTS_WIDTH: usize = 4;
const BATCH_WIDTH: usize = 24;
/// Putting parts together takes large servers a while.
const COMPLETING: Duration = Duration::from_secs(40);
const COMPLETING_SILENCE: Duration = Duration::from_secs(20);

impl Connection {
    pub(super) async fn put(self: &Arc<Self>, key: &Key, body: Body) -> Result<(), StoreError> {
        let len = body.len();
        self.put_beside(key, body, len).await
    }

    /// The line carries `all` bytes at the same time.
    async fn put_beside(self: &Arc<Self>, key: &Key, body: Body, all: u64) -> Result<(), StoreError> {
        let doing = || format!("storing {key}");
        let source = Source::open(body).await;
        let source = source.map_err(|error| StoreError::new(StoreErrorKind::Internal, doing(), error))?;
        let stored = if source.len() <= WHOLE_BYTES {
            self.put_whole(key, &source, all).await
        } else {
            self.put_in_parts(key, &source, all).await
        };
        stored.map_err(|trouble| self.error(trouble, doing()))
    }

    pub(super) async fn put_all(self: &Arc<Self>, objects: Vec<(Key, Body)>) -> Result<(), StoreError> {
        let all = objects.iter().map(|(_, body)| body.len()).sum();
        let puts =
            objects.into_iter().map(|(key, body)| async move { self.put_beside(&key, body, all).await });
        stream::iter(puts).buffer_unordered(BATCH_WIDTH).try_collect().await
    }

    async fn put_whole(&self, key: &Key, source: &Source, all: u64) -> Result<(), Trouble> {
        let _room = self.room(source.len()).await?;
        let payload = source.payload(0..source.len()).await.map_err(|error| unreadable(&error))?;
        let request = Request::new(Method::PUT, key.as_str(), self.upload_silence()).with(payload);
        self.ask(&request, sending(all)).await.result.map(|_| ())
    }

    async fn put_in_parts(self: &Arc<Self>, key: &Key, source: &Source, all: u64) -> Result<(), Trouble> {
        let upload = Upload::begin(self, key).await?;
        let parts = parts(source.len());
        let sends = parts.into_iter().zip(1..).map(|(range, number)| upload.send(source, range, number, all));
        let mut sent: Vec<Part> = stream::iter(sends).buffer_unordered(PARTS_WIDTH).try_collect().await?;
        sent.sort_by_key(|part| part.part_number);
        upload.complete(sent, source.len()).await
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = Request::new(Method::DELETE, key.as_str(), WRITE_SILENCE);
        match self.ask(&request, Deadline::after(WRITE)).await.result {
            Err(trouble) if !trouble.is_absence() => Err(self.error(trouble, format!("deleting {key}"))),
            _ => Ok(()),
        }
    }
}

pub(super) fn unreadable(error: &std::io::Error) -> Trouble {
    Trouble::Unusable(format!("its bytes cannot be read: {error}"))
}

fn parts(len: u64) -> Vec<Range<u64>> {
    let size = PART_BYTES.max(len.div_ceil(MAX_PARTS));
    (0..len.div_ceil(size)).map(|n| n * size..len.min((n + 1) * size)).collect()
}

/// An upload in parts that has begun. Dropped before its end, for whatever reason, it is aborted.
struct Upload {
    connection: Arc<Connection>,
    key: Key,
    id: String,
    over: bool,
}

impl Upload {
    /// Where an answer is lost, an upload without parts stays behind.
    async fn begin(connection: &Arc<Connection>, key: &Key) -> Result<Self, Trouble> {
        let mut request = Request::new(Method::POST, key.as_str(), WRITE_SILENCE);
        request.query.push(("uploads", "".into()));
        let answer = connection.ask(&request, Deadline::after(WRITE)).await.result?;
        let document = answer.document();
        let id = element(&document, "UploadId").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Trouble::Unusable("the storage's answer has no UploadId".to_owned()))?;
        Ok(Self { connection: Arc::clone(connection), key: key.clone(), id: id.to_owned(), over: false })
    }

    async fn send(&self, source: &Source, range: Range<u64>, number: u32, all: u64) -> Result<Part, Trouble> {
        let _room = self.connection.room(range.end - range.start).await?;
        let payload = source.payload(range).await.map_err(|error| unreadable(&error))?;
        let silence = self.connection.upload_silence();
        let mut request = Request::new(Method::PUT, self.key.as_str(), silence).with(payload);
        request.query.push(("partNumber", number.to_string().into()));
        request.query.push(("uploadId", self.id.as_str().into()));
        let answer = self.connection.ask(&request, sending(all)).await.result?;
        Ok(Part { part_number: number, etag: super::connection::tag(&answer.headers)? })
    }

    async fn complete(mut self, parts: Vec<Part>, len: u64) -> Result<(), Trouble> {
        let count = parts.len();
        let document = CompleteMultipartUploadData { parts }.to_string();
        let payload = super::signature::Payload::of(Bytes::from(document));
        let mut request = Request::new(Method::POST, self.key.as_str(), COMPLETING_SILENCE).with(payload);
        request.query.push(("uploadId", self.id.as_str().into()));
        let connection = Arc::clone(&self.connection);
        let tried = connection.retries.until(Deadline::after(COMPLETING), || async {
            let answer = connection.ask_once(&request).await?;
            // Amazon begins its answer before it knows how it ends.
            match answer.document() {
                error if error.contains("<Error>") => Err(Trouble::Refused(Refusal::read(500, &error))),
                _ => Ok(()),
            }
        });
        let tried = tried.await;
        let completed = match tried.result {
            // An earlier try may have done it, and its answer been lost.
            Err(trouble) if trouble.is_unknown_upload() && tried.tries > 1 => {
                if self.is_there(len, count).await? {
                    Ok(())
                } else {
                    Err(Trouble::Lost("it was given up".into()))
                }
            }
            result => result,
        };
        self.over = completed.is_ok();
        completed
    }

    /// Whether the object is one of so many bytes in so many parts, which its tag ends with.
    async fn is_there(&self, len: u64, parts: usize) -> Result<bool, Trouble> {
        let request = Request::new(Method::HEAD, self.key.as_str(), WRITE_SILENCE);
        let connection = &self.connection;
        let tried = connection.retries.until(Deadline::after(WRITE), || async {
            let response = connection.transport.send(&request).await?;
            let tag = super::connection::tag(response.headers())?;
            Ok(content_length(&response) == Some(len)
                && tag.trim_end_matches('"').ends_with(&format!("-{parts}")))
        });
        tried.await.result
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Without a runtime the process is going down, and the lifecycle rule has to do it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, key, id) =
            (Arc::clone(&self.connection), self.key.clone(), std::mem::take(&mut self.id));
        runtime.spawn(async move {
            let mut request = Request::new(Method::DELETE, key.as_str(), WRITE_SILENCE);
            request.query.push(("uploadId", id.into()));
            if let Err(trouble) = connection.ask(&request, Deadline::after(WRITE)).await.result
                && !trouble.is_absence()
            {
                tracing::warn!(?trouble, %key, "parts of an upload that failed stay in the bucket");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_object_and_are_no_more_than_s3_takes() {
        for len in [WHOLE_BYTES + 1, 3 * PART_BYTES, 1 << 30, 5 << 40] {
            let parts = parts(len);
            assert!(parts.len() as u64 <= MAX_PARTS);
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, len));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
