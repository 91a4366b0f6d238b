//! Reading: whole objects, streams of them, whether they are there, and whether the storage is.
//!
//! An answer that ends early is never taken for an object: what was announced is counted. Whether
//! the bytes are those that were published is for whoever knows their digest: edges do, from the
//! manifest, and compare every whole file, so that nothing is digested twice here.

use super::connection::{Connection, READ, READ_SILENCE, receiving, tag};
use super::retry::Deadline;
use super::transport::{Request, content_length, next_piece, read_whole};
use super::trouble::Trouble;
use crate::ports::blobs::{Key, Object, Opened, Tag};
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::ops::Range;
use std::time::Duration;

/// How long a stream may stand still: an edge waits 30 s.
const STREAM_SILENCE: Duration = Duration::from_secs(20);
/// Objects that are looked for at once, and how long each may take: workers give all of them a
/// minute. Asking for each by itself is quicker than it sounds (2,500 in 1.4 to 3.5 s beside a
/// SeaweedFS on two busy cores, unoptimised), and takes the same however many objects an account has,
/// whose list would have to be read to its end.
const LOOKING_WIDTH: usize = 32;
const LOOKING: Duration = Duration::from_secs(10);
const LOOKING_FOR_ALL: Duration = Duration::from_secs(50);
/// An object that never is: asking for it says whether bucket, keys and region are right, with S3's
/// own words, which a `HEAD` of the bucket would lack.
const NOTHING: &str = "gv-nothing";

impl Connection {
    pub(super) async fn get(&self, key: &Key, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        let request = Request::new(Method::GET, key.as_str(), READ_SILENCE);
        let deadline = receiving(max_bytes);
        let tried = self.retries.until(deadline, || async {
            let response = deadline.answered(self.transport.send(&request)).await?;
            let tag = Tag(tag(response.headers())?);
            Ok(Object { bytes: read_whole(response, max_bytes, READ_SILENCE).await?, tag })
        });
        match tried.await.result {
            Ok(object) => Ok(Some(object)),
            Err(trouble) if trouble.is_absence() => Ok(None),
            Err(trouble) => Err(self.error(trouble, format!("reading {key}"))),
        }
    }

    pub(super) async fn open(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Option<Opened>, StoreError> {
        let opened = match &range {
            // S3 has no name for a range of nothing.
            Some(range) if range.start >= range.end => self.open_nothing(key, range.start).await,
            _ => match self.open_some(key, range.clone()).await {
                Err(trouble) if trouble.is_unsatisfiable_range() => {
                    self.open_nothing(key, range.map_or(0, |range| range.start)).await
                }
                opened => opened,
            },
        };
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(trouble) if trouble.is_absence() => Ok(None),
            Err(trouble) => Err(self.error(trouble, format!("reading {key}"))),
        }
    }

    async fn open_some(&self, key: &Key, range: Option<Range<u64>>) -> Result<Opened, Trouble> {
        let mut request = Request::new(Method::GET, key.as_str(), READ_SILENCE);
        if let Some(range) = &range {
            request.headers.insert(RANGE, range_header(range)?);
        }
        let deadline = Deadline::after(READ);
        let tried = self.retries.until(deadline, || async {
            let mut response = self.transport.send(&request).await?;
            let (total, given) = extent(&response, range.as_ref())?;
            // With its first bytes: an answer that goes no further is asked for again.
            let first = next_piece(&mut response, READ_SILENCE).await?;
            Ok((total, given, first, response))
        });
        let (total, given, first, response) = tried.await.result?;
        let rest = Rest { response, left: given.end - given.start, doing: format!("reading {key}") };
        Ok(Opened { total, range: given, stream: rest.stream(first) })
    }

    /// An empty range; its start is clipped to the object.
    async fn open_nothing(&self, key: &Key, start: u64) -> Result<Opened, Trouble> {
        let request = Request::new(Method::HEAD, key.as_str(), READ_SILENCE);
        let deadline = Deadline::after(READ);
        let total = self.retries.until(deadline, || async {
            let response = self.transport.send(&request).await?;
            content_length(&response).ok_or_else(no_length)
        });
        let total = total.await.result?;
        let start = start.min(total);
        Ok(Opened { total, range: start..start, stream: stream::empty().boxed() })
    }

    pub(super) async fn missing(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        let doing = format!("looking for {} objects", keys.len());
        let looks = keys.iter().cloned().map(|key| self.is_missing(key));
        let all = async {
            let mut missing = Vec::new();
            let mut looks = stream::iter(looks).buffer_unordered(LOOKING_WIDTH);
            while let Some(look) = looks.next().await {
                missing.extend(look?);
            }
            Ok(missing)
        };
        let found = Deadline::after(LOOKING_FOR_ALL).answered(all).await;
        found.map_err(|trouble| self.error(trouble, doing))
    }

    async fn is_missing(&self, key: Key) -> Result<Option<Key>, Trouble> {
        let request = Request::new(Method::HEAD, key.as_str(), READ_SILENCE);
        match self.ask(&request, Deadline::after(LOOKING)).await.result {
            Ok(_) => Ok(None),
            Err(trouble) if trouble.is_absence() => Ok(Some(key)),
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let request = Request::new(Method::GET, NOTHING, READ_SILENCE);
        match self.ask(&request, Deadline::after(READ)).await.result {
            Err(trouble) if !trouble.is_absence() => {
                Err(self.error(trouble, format!("asking the bucket {}", self.transport.address.bucket)))
            }
            _ => Ok(()),
        }
    }
}

/// A range that is not empty. Its end is left out where a server's numbers may not reach so far.
fn range_header(range: &Range<u64>) -> Result<HeaderValue, Trouble> {
    let text = match i64::try_from(range.end) {
        Ok(end) => format!("bytes={}-{}", range.start, end - 1),
        Err(_) => format!("bytes={}-", range.start),
    };
    HeaderValue::try_from(text).map_err(|error| Trouble::Unusable(error.to_string()))
}

/// How long the object is, and which part of it comes.
fn extent(response: &Response, asked: Option<&Range<u64>>) -> Result<(u64, Range<u64>), Trouble> {
    let len = content_length(response).ok_or_else(no_length)?;
    let Some(asked) = asked else { return Ok((len, 0..len)) };
    let said = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let given = match response.status() {
        StatusCode::PARTIAL_CONTENT => said.and_then(parse_content_range),
        // All of it, which is an answer to a range that holds all of it.
        _ => Some((len, 0..len)),
    };
    match given {
        Some((total, given))
            if given == (asked.start..asked.end.min(total)) && given.end - given.start == len =>
        {
            Ok((total, given))
        }
        _ => Err(Trouble::Unusable(format!("the storage answers the range {asked:?} with {said:?}"))),
    }
}

/// `bytes 0-9/100`.
fn parse_content_range(text: &str) -> Option<(u64, Range<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((total.parse().ok()?, first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?))
}

fn no_length() -> Trouble {
    Trouble::Unusable("the storage's answer does not say how long it is".to_owned())
}

/// What is still to come of an answer.
struct Rest {
    response: Response,
    /// In bytes.
    left: u64,
    doing: String,
}

impl Rest {
    fn stream(mut self, first: Option<Bytes>) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let first = first.unwrap_or_default();
        self.left = self.left.saturating_sub(first.len() as u64);
        let rest = stream::try_unfold(self, |mut rest| async {
            match next_piece(&mut rest.response, STREAM_SILENCE).await {
                Ok(Some(piece)) => {
                    rest.left = rest.left.saturating_sub(piece.len() as u64);
                    Ok(Some((piece, rest)))
                }
                Ok(None) if rest.left == 0 => Ok(None),
                Ok(None) => Err(cut(rest.doing, format!("it ended {} bytes early", rest.left))),
                Err(Trouble::Lost(what) | Trouble::Unusable(what)) => Err(cut(rest.doing, what)),
                Err(Trouble::Refused(refusal)) => Err(cut(rest.doing, refusal.message)),
            }
        });
        if first.is_empty() { rest.boxed() } else { stream::iter([Ok(first)]).chain(rest).boxed() }
    }
}

fn cut(doing: String, what: String) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, doing, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_and_read() {
        assert_eq!(range_header(&(0..10)).unwrap(), "bytes=0-9");
        assert_eq!(range_header(&(5..u64::MAX)).unwrap(), "bytes=5-");
        assert_eq!(parse_content_range("bytes 2-4/10"), Some((10, 2..5)));
        for wrong in ["bytes */10", "bytes 2-4/*", "2-4/10", "bytes 2/10", "bytes 0-18446744073709551615/1"] {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }
}
