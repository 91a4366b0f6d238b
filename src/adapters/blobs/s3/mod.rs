//! Objects in a bucket of any S3: Amazon's, Cloudflare R2, Garage, Ceph, SeaweedFS.
//!
//! rust-s3 has the signatures and documents of S3; how requests are sent, and why not by rust-s3
//! too, is said in [`transport`]. Which rights a bucket must give and what each product is like is
//! in docs/storage.md.
//!
//! - Every request has a limit on silence, every operation a deadline that is shorter than its
//!   caller's ([`connection`]), and what may pass is tried again within a budget ([`retry`]).
//! - Uploads are checked by the storage against the digests that are sent along ([`signature`]), go
//!   in parts when they are large ([`upload`]) and hold a bounded share of memory.
//! - What is replaced is replaced by compare-and-swap ([`conditional`]).
//! - Links that are signed in advance are not made: nobody but gv speaks to the bucket.
//!
//! `gv_s3_requests_total{method, outcome}`, `gv_s3_retries_total{after}` and
//! `gv_s3_retries_denied_total` count what `super::metered` cannot see. Start with
//! [`S3Blobs::connect`].

mod address;
mod conditional;
mod connection;
mod credentials;
mod read;
mod retry;
mod signature;
mod source;
mod transport;
mod trouble;
mod upload;

use crate::domain::secret::Secret;
use crate::ports::blobs::{Blobs, Body, Key, Object, Opened, Tag};
use crate::ports::error::{StoreError, StoreErrorKind};
use address::Address;
use async_trait::async_trait;
use bytes::Bytes;
use conditional::Conditional;
use connection::Connection;
use credentials::Credentials;
use metrics::describe_counter;
use signature::Signer;
use std::ops::Range;
use std::sync::Arc;
use transport::Transport;

/// What is wrong in a configuration stays wrong.
const INVALID: StoreErrorKind = StoreErrorKind::Internal;

pub struct S3Blobs {
    connection: Arc<Connection>,
    conditional: Conditional,
}

impl S3Blobs {
    /// Reads `s3://BUCKET[/PREFIX]?endpoint=URL&region=R&path_style=true`; what is left out is said in
    /// `address`. Without keys those of the `AWS_*` variables count. Waits for nobody: whether the
    /// bucket is there, [`ping`](Blobs::ping) says. A TLS provider must be installed.
    ///
    /// [`StoreErrorKind::Internal`] where the URL or the keys cannot be right.
    pub fn connect(
        url: &str,
        access_key: Option<&Secret>,
        secret_key: Option<&Secret>,
    ) -> Result<Self, StoreError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let address = Address::parse(url, variable)?;
        let credentials = Credentials::choose(access_key, secret_key, variable)?;
        let signer = Signer::new(address.region.clone(), credentials);
        let transport = Transport::new(address, signer)
            .map_err(|error| StoreError::new(INVALID, "preparing the client of the S3 storage", error))?;
        describe_counter!("gv_s3_requests_total", "Requests to the S3 storage, by method and outcome.");
        describe_counter!("gv_s3_retries_total", "Requests that were sent again, by what came before.");
        describe_counter!("gv_s3_retries_denied_total", "Retries that the budget did not allow.");
        let connection = Arc::new(Connection::new(transport));
        Ok(Self { conditional: Conditional::new(Arc::clone(&connection)), connection })
    }
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError> {
        self.connection.put(key, body).await
    }

    async fn put_all(&self, objects: Vec<(Key, Body)>) -> Result<(), StoreError> {
        self.connection.put_all(objects).await
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<bool, StoreError> {
        self.conditional.put(key, bytes, None).await
    }

    async fn replace(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, StoreError> {
        self.conditional.put(key, bytes, expected).await
    }

    async fn get(&self, key: &Key, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        self.connection.get(key, max_bytes).await
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Opened>, StoreError> {
        self.connection.open(key, range).await
    }

    async fn missing(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        self.connection.missing(keys).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.connection.delete(key).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.connection.ping().await
    }

    fn caution(&self) -> Option<&'static str> {
        self.conditional.caution()
    }

    fn clock_ahead_s(&self) -> Option<i64> {
        self.connection.transport.clock_ahead_s()
    }

    fn is_shared(&self) -> bool {
        true
    }
}
