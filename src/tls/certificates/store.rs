//! Certificates, accounts and the ledger in object storage, where all processes share them. Private keys
//! and accounts lie there sealed.

use crate::domain::certificate::{AuthorityId, CertificateName};
use crate::domain::sealing::{Place, SealError, SecretKeys};
use crate::domain::secret::Secret;
use crate::ports::blobs::{Blobs, Body, Key, Tag};
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::tls::certificates::ledger::Ledger;
use crate::tls::certificates::record::Record;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of an object: a chain has some thousand bytes.
const MAX_BYTES: u64 = 256 << 10;
/// How often the ledger is written to when others write to it too.
const ROUNDS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

pub struct Store {
    blobs: Arc<dyn Blobs>,
    secrets: Arc<SecretKeys>,
    authority: AuthorityId,
}

/// What is kept of a name, and the tag that it may be replaced by.
pub struct Found {
    pub record: Record,
    pub tag: Option<Tag>,
}

impl Store {
    pub fn new(blobs: Arc<dyn Blobs>, secrets: Arc<SecretKeys>, directory: &str) -> Self {
        Self { blobs, secrets, authority: AuthorityId::of(directory) }
    }

    /// What is none of this name's, or cannot be read, counts as nothing, and is written over.
    pub async fn read(&self, name: &CertificateName) -> Result<Found, StoreError> {
        let (bytes, tag) = self.get(&Key::certificate(&self.authority, name)).await?.unzip();
        let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let record = record.filter(|record| record.name == name.to_string());
        Ok(Found { record: record.unwrap_or_else(|| Record::new(name)), tag })
    }

    /// `false`: somebody else was there first.
    pub async fn write(
        &self,
        name: &CertificateName,
        record: &Record,
        expected: Option<&Tag>,
    ) -> Result<bool, StoreError> {
        self.replace(&Key::certificate(&self.authority, name), record, expected).await
    }

    pub fn seal(&self, name: &CertificateName, key: &Secret) -> Result<String, StoreError> {
        let place = Place::certificate(&self.authority, name);
        self.secrets.seal(key.expose(), &place, &mut rand::rng()).map_err(|error| unsealed(name, error))
    }

    pub fn open(&self, name: &CertificateName, sealed: &str) -> Result<Secret, StoreError> {
        let place = Place::certificate(&self.authority, name);
        self.secrets.open(sealed, &place).map_err(|error| unsealed(name, error))
    }

    /// Our account, where there is one that can be opened.
    pub async fn account(&self) -> Result<Option<Secret>, StoreError> {
        let Some((bytes, _)) = self.get(&Key::account(&self.authority)).await? else { return Ok(None) };
        let sealed = String::from_utf8_lossy(&bytes);
        match self.secrets.open(sealed.trim(), &Place::authority(&self.authority)) {
            Ok(account) => Ok(Some(account)),
            Err(error) => {
                tracing::warn!(%error, "the account with the certificate authority does not open: another is made");
                Ok(None)
            }
        }
    }

    /// Keeps an account, over one that does not open any more.
    pub async fn keep_account(&self, account: &Secret) -> Result<(), StoreError> {
        let place = Place::authority(&self.authority);
        let sealed = self.secrets.seal(account.expose(), &place, &mut rand::rng());
        let sealed = sealed.map_err(|error| unsealed(&"the account", error))?;
        let key = Key::account(&self.authority);
        within(&key, self.blobs.put(&key, Body::Bytes(sealed.into()))).await
    }

    pub async fn forget_account(&self) -> Result<(), StoreError> {
        let key = Key::account(&self.authority);
        within(&key, self.blobs.delete(&key)).await
    }

    /// Notes an order down, if there may be one; else until when there may be none.
    pub async fn admit(
        &self,
        now: OffsetDateTime,
        per_hour: usize,
    ) -> Result<Result<(), OffsetDateTime>, StoreError> {
        self.amend_ledger(|ledger| ledger.admit(now, per_hour)).await
    }

    /// Nothing is ordered before that.
    pub async fn block(&self, until: OffsetDateTime) -> Result<(), StoreError> {
        self.amend_ledger(|ledger| ledger.block(until)).await
    }

    async fn amend_ledger<T>(&self, amend: impl Fn(&mut Ledger) -> T) -> Result<T, StoreError> {
        let key = Key::orders(&self.authority);
        for round in 0..ROUNDS {
            let (bytes, tag) = self.get(&key).await?.unzip();
            let before: Ledger =
                bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            let mut after = before.clone();
            let outcome = amend(&mut after);
            if after == before || self.replace(&key, &after, tag.as_ref()).await? {
                return Ok(outcome);
            }
            tokio::time::sleep(PAUSE * (round + 1)).await;
        }
        let doing = format!("replacing {key}");
        Err(StoreError::new(StoreErrorKind::Unavailable, doing, "others replace it all the time"))
    }

    async fn get(&self, key: &Key) -> Result<Option<(bytes::Bytes, Tag)>, StoreError> {
        let object = within(key, self.blobs.get(key, MAX_BYTES)).await?;
        Ok(object.map(|object| (object.bytes, object.tag)))
    }

    async fn replace(
        &self,
        key: &Key,
        value: &impl serde::Serialize,
        expected: Option<&Tag>,
    ) -> Result<bool, StoreError> {
        let bytes = serde_json::to_vec(value);
        let bytes = bytes
            .map_err(|error| StoreError::new(StoreErrorKind::Internal, format!("writing {key}"), error))?;
        within(key, self.blobs.replace(key, bytes.into(), expected)).await
    }
}

fn unsealed(what: &dyn std::fmt::Display, error: SealError) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, format!("sealing or opening the key of {what}"), error)
}

async fn within<T>(key: &Key, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|elapsed| {
        Err(StoreError::new(StoreErrorKind::Unavailable, format!("asking for {key}"), elapsed))
    })
}
