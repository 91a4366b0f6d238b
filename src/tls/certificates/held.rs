//! What a process has of certificates in memory: those that it shows, and the names that it asks nobody
//! about for a while. Both are bounded; what is forgotten is read again.

use crate::domain::certificate::CertificateName;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache as Memory;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::sync::Notify;

const MAX_CERTIFICATES: u64 = 20_000;
const MAX_PAUSED: u64 = 20_000;
/// What room is made for at first.
const FEW: usize = 100;

pub struct Held {
    certificates: Memory<CertificateName, HeldCertificate>,
    paused: Memory<CertificateName, Instant>,
    came: Notify,
}

#[derive(Clone)]
pub struct HeldCertificate {
    pub key: Arc<CertifiedKey>,
    pub not_after: OffsetDateTime,
    pub renew_at: OffsetDateTime,
}

impl Held {
    pub fn new() -> Self {
        Self {
            certificates: Memory::with_weighter(FEW, MAX_CERTIFICATES, UnitWeighter),
            paused: Memory::with_weighter(FEW, MAX_PAUSED, UnitWeighter),
            came: Notify::new(),
        }
    }

    /// One that can be shown at this moment.
    pub fn get(&self, name: &CertificateName, now: OffsetDateTime) -> Option<Arc<CertifiedKey>> {
        self.certificates.get(name).filter(|held| now < held.not_after).map(|held| held.key)
    }

    pub fn put(&self, name: &CertificateName, held: HeldCertificate) {
        self.certificates.insert(name.clone(), held);
        self.paused.remove(name);
        self.came.notify_one();
    }

    /// Until one came since this was asked last.
    pub async fn came(&self) {
        self.came.notified().await;
    }

    pub fn remove(&self, name: &CertificateName) {
        self.certificates.remove(name);
    }

    /// Nobody is to be asked about this name for so long.
    pub fn pause(&self, name: &CertificateName, pause: Duration) {
        self.paused.insert(name.clone(), Instant::now() + pause);
    }

    /// For how long nobody is to be asked.
    pub fn paused_for(&self, name: &CertificateName) -> Option<Duration> {
        let until = self.paused.get(name)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// All that are held.
    pub fn all(&self) -> Vec<(CertificateName, HeldCertificate)> {
        self.certificates.iter().collect()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}
