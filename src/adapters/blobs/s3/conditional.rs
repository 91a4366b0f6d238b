//! Storing only where nothing, or nothing else, is there.
//!
//! By `If-None-Match: *` and `If-Match`, which the storage decides in one step. When an answer is
//! lost and the next try is told that the condition fails, the reason may be the first try's own
//! success: the object is read back, and its bytes say who was there.
//!
//! Within a process writes of one object wait for each other, which spares the storage contenders:
//! SeaweedFS 4.48 lets them wait by whole seconds (50 at once took up to 9 s).
//!
//! Whether the storage knows such conditions is asked once a process, by two writes that must be
//! refused. Where it does not know one (Garage has no `If-Match`), gv reads, compares, writes and
//! reads back. That is sound within a process, but of two processes that
//! write the same object within the same few milliseconds both may be told that they did it, and an
//! older pointer may go over a newer one until the host moves again. Operators are warned, in the
//! log and at `/readyz`.
//!
//! Start with [`Conditional::put`].

use super::connection::{Connection, WRITE, WRITE_SILENCE, draining, sending};
use super::retry::Deadline;
use super::source::Source;
use super::transport::Request;
use super::trouble::Trouble;
use super::upload::unreadable;
use crate::ports::blobs::{Key, Tag};
use crate::ports::error::StoreError;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell};

/// The object that conditions are tried out on. It stays.
const PROBE: &str = "gv-probe";
/// Within [`WRITE`], and longer than the storage may wait for its own lock.
const SILENCE: Duration = Duration::from_secs(6);
/// Objects share this many turns.
const TURNS: usize = 64;
/// A tag that no object has.
const NO_TAG: &str = "00000000000000000000000000000000";

pub(super) struct Conditional {
    connection: Arc<Connection>,
    known: OnceCell<Known>,
    /// Each held by a write of one of the objects that share it.
    turns: [Mutex<()>; TURNS],
}

/// Which conditions the storage knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    absence: bool,
    tag: bool,
}

impl Known {
    fn guards(self, expected: Option<&Tag>) -> bool {
        if expected.is_some() { self.tag } else { self.absence }
    }
}

impl Conditional {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, known: OnceCell::new(), turns: std::array::from_fn(|_| Mutex::default()) }
    }

    /// What an operator should know, once it is known here.
    pub(super) fn caution(&self) -> Option<&'static str> {
        let known = self.known.get()?;
        (!known.absence || !known.tag).then_some(
            "it knows no conditional writes: processes that move one host at the same moment may undo each other",
        )
    }

    /// Stores an object where none is, or where it has this tag. `false`: it was otherwise.
    pub(super) async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        expected: Option<&Tag>,
    ) -> Result<bool, StoreError> {
        let stored = async {
            let known = *self.known.get_or_try_init(|| self.probe()).await?;
            let _turn = self.turn(key).lock().await;
            if known.guards(expected) {
                self.put_guarded(key, bytes, expected).await
            } else {
                self.put_unguarded(key, bytes, expected).await
            }
        };
        stored.await.map_err(|trouble| self.connection.error(trouble, format!("storing {key}")))
    }

    fn turn(&self, key: &Key) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        // The remainder is below their number.
        &self.turns[(hasher.finish() % TURNS as u64) as usize]
    }

    async fn put_guarded(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, Trouble> {
        let request = put_request(key.as_str(), bytes.clone(), expected).await?;
        let deadline = sending(bytes.len() as u64);
        let tried = self.connection.ask(&request, deadline).await;
        match tried.result {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.is_failed_condition() || (expected.is_some() && trouble.is_absence()) => {
                Ok(tried.tries > 1 && self.holds(key, &bytes, deadline).await?)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn put_unguarded(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, Trouble> {
        let deadline = sending(bytes.len() as u64);
        let head = Request::new(Method::HEAD, key.as_str(), WRITE_SILENCE);
        let present = match self.connection.ask(&head, deadline).await.result {
            Ok(answer) => Some(Tag(super::connection::tag(&answer.headers)?)),
            Err(trouble) if trouble.is_absence() => None,
            Err(trouble) => return Err(trouble),
        };
        if present.as_ref() != expected {
            return Ok(false);
        }
        let payload = Source::Bytes(bytes.clone())
            .payload(0..bytes.len() as u64)
            .await
            .map_err(|error| unreadable(&error))?;
        let silence = WRITE_SILENCE + draining(bytes.len() as u64);
        let put = Request::new(Method::PUT, key.as_str(), silence).with(payload);
        self.connection.ask(&put, deadline).await.result?;
        self.holds(key, &bytes, deadline).await
    }

    /// Whether these bytes are what is there.
    async fn holds(&self, key: &Key, bytes: &Bytes, deadline: Deadline) -> Result<bool, Trouble> {
        let request = Request::new(Method::GET, key.as_str(), WRITE_SILENCE);
        let connection = &self.connection;
        let most = bytes.len() as u64;
        let read = connection.retries.until(deadline, || async {
            let response = connection.transport.send(&request).await?;
            if super::transport::content_length(&response) != Some(most) {
                return Ok(None);
            }
            super::transport::read_whole(response, most, WRITE_SILENCE).await.map(Some)
        });
        match read.await.result {
            Ok(found) => Ok(found.as_ref() == Some(bytes)),
            Err(trouble) if trouble.is_absence() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    async fn probe(&self) -> Result<Known, Trouble> {
        // The first time ever it is stored; from then on it is there.
        let mut absence = self.is_refused(None).await?;
        if !absence {
            absence = self.is_refused(None).await?;
        }
        let tag = self.is_refused(Some(&Tag(NO_TAG.to_owned()))).await?;
        let known = Known { absence, tag };
        if known != (Known { absence: true, tag: true }) {
            tracing::warn!(
                ?known,
                bucket = self.connection.transport.address.bucket,
                "this storage knows no conditional writes: run one api and one worker, or use another storage \
                 (docs/storage.md)"
            );
        }
        Ok(known)
    }

    /// Whether a write to the probe under a condition that does not hold is refused for that.
    async fn is_refused(&self, expected: Option<&Tag>) -> Result<bool, Trouble> {
        let request =
            put_request(PROBE, Bytes::from_static(b"gv tries out conditional writes\n"), expected).await?;
        match self.connection.ask(&request, Deadline::after(WRITE)).await.result {
            Ok(_) => Ok(false),
            Err(trouble) if trouble.is_failed_condition() => Ok(true),
            // Not known, and said so.
            Err(trouble) if trouble.is_unknown_condition() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }
}

async fn put_request<'a>(
    name: &'a str,
    bytes: Bytes,
    expected: Option<&Tag>,
) -> Result<Request<'a>, Trouble> {
    let len = bytes.len() as u64;
    let payload = Source::Bytes(bytes).payload(0..len).await.map_err(|error| unreadable(&error))?;
    let mut request = Request::new(Method::PUT, name, SILENCE + draining(len)).with(payload);
    match expected {
        None => request.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*")),
        Some(Tag(tag)) => {
            let quoted = if tag.ends_with('"') { tag.clone() } else { format!("\"{tag}\"") };
            let value = HeaderValue::try_from(quoted);
            let value = value.map_err(|_| Trouble::Unusable("a tag that no storage gave".to_owned()))?;
            request.headers.insert(IF_MATCH, value)
        }
    };
    Ok(request)
}
