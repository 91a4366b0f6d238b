//! Getting one certificate: from storage, where another process got it, else from the authority, which
//! one process asks at a time.
//!
//! Start with [`Issuance::get`].

use crate::domain::certificate::CertificateName;
use crate::domain::secret::Secret;
use crate::ports::authority::{CertificateAuthority, Issued, OrderError, OrderErrorKind, Proofs, Way};
use crate::ports::clock::Clock;
use crate::ports::dns_records::DnsRecords;
use crate::ports::error::StoreError;
use crate::tls::certificates::held::{Held, HeldCertificate};
use crate::tls::certificates::parsed::{Parsed, parse};
use crate::tls::certificates::proofs::Leased;
use crate::tls::certificates::record::{Lease, Record, Standing};
use crate::tls::certificates::store::{Found, Store};
use crate::tls::certificates::{CertificateSettings, ORDERS};
use rand::Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// How long one order may take, proofs by DNS apart.
const ORDER: Duration = Duration::from_secs(90);
/// The same with proofs by DNS, each of which may take as long as a hook.
const DNS_ORDER: Duration = Duration::from_secs(600);
/// What a lease lasts beyond an order, for writing down how it ended.
const WRITING: Duration = Duration::from_secs(30);
/// How often a process looks whether another one has got what it waits for.
const LOOK: Duration = Duration::from_millis(500);
/// How long nobody asks again after storage failed, and about a certificate that another process renews.
const SOON: Duration = Duration::from_secs(5);
/// An operator who removes a record is noticed after so long.
const LONGEST_MEMORY: Duration = Duration::from_secs(300);
/// How long nothing is ordered of an authority that was asked too often and does not say for how long.
const RATE_LIMITED: Duration = Duration::from_secs(3_600);

pub struct Issuance {
    pub store: Store,
    pub authority: Arc<dyn CertificateAuthority>,
    pub dns: Option<Arc<dyn DnsRecords>>,
    pub settings: CertificateSettings,
    pub held: Held,
    pub clock: Arc<dyn Clock>,
}

impl Issuance {
    /// Sees to it that a certificate for this name is held which need not be renewed yet, as far as that
    /// can be. Whether one is held then that can be shown.
    pub async fn get(&self, name: &CertificateName) -> bool {
        let outcome = self.get_or_say_why(name).await;
        outcome.unwrap_or_else(|error| {
            tracing::warn!(%name, %error, "storage does not say whether there is a certificate");
            self.held.pause(name, SOON);
            self.held.get(name, self.clock.now()).is_some()
        })
    }

    async fn get_or_say_why(&self, name: &CertificateName) -> Result<bool, StoreError> {
        let begun = Instant::now();
        loop {
            let found = self.store.read(name).await?;
            let now = self.clock.now();
            let due = self.take(name, &found.record).filter(|due| now < due.not_after);
            if due.as_ref().is_some_and(|due| now < due.renew_at) {
                return Ok(true);
            }
            match found.record.standing(now, self.lease_of(name)) {
                Standing::Free => {}
                Standing::Leased if due.is_some() || begun.elapsed() > self.lease_of(name) => {
                    self.held.pause(name, SOON);
                    return Ok(due.is_some());
                }
                Standing::Leased => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Standing::PausedUntil(until) => {
                    self.pause(name, until - now);
                    return Ok(due.is_some());
                }
            }
            if let Some(leased) = self.lease(name, found, now).await? {
                self.order(name, leased).await?;
                return Ok(self.held.get(name, self.clock.now()).is_some());
            }
        }
    }

    /// Holds what a record has, if it can be read.
    fn take(&self, name: &CertificateName, record: &Record) -> Option<HeldCertificate> {
        let kept = record.certificate.as_ref()?;
        let parsed = self.store.open(name, &kept.key).map_err(anyhow::Error::from);
        match parsed.and_then(|key| parse(&kept.chain, key.expose())) {
            Ok((key, parsed)) => {
                let held = HeldCertificate { key, not_after: parsed.not_after, renew_at: kept.renew_at };
                self.held.put(name, held.clone());
                Some(held)
            }
            Err(error) => {
                tracing::warn!(%name, error = format!("{error:#}"), "a kept certificate is of no use: another is got");
                None
            }
        }
    }

    fn lease_of(&self, name: &CertificateName) -> Duration {
        self.patience(name) + WRITING
    }

    fn patience(&self, name: &CertificateName) -> Duration {
        match name {
            CertificateName::Host(_) => ORDER,
            CertificateName::Wildcard(_) => DNS_ORDER,
        }
    }

    /// `None`: another process was there first.
    async fn lease(
        &self,
        name: &CertificateName,
        found: Found,
        now: OffsetDateTime,
    ) -> Result<Option<Leased>, StoreError> {
        let Found { mut record, tag } = found;
        let owner = format!("{:032x}", rand::rng().random::<u128>());
        record.lease = Some(Lease { owner, until: now + self.lease_of(name), proof: None });
        let mut leased = Leased { name: name.clone(), record, tag };
        Ok(leased.write(&self.store).await?.then_some(leased))
    }

    async fn order(&self, name: &CertificateName, leased: Leased) -> Result<(), StoreError> {
        let now = self.clock.now();
        match self.store.admit(now, self.settings.orders_per_hour).await {
            Ok(Ok(())) => {}
            Ok(Err(until)) => {
                metrics::counter!(ORDERS, "outcome" => "held_back").increment(1);
                tracing::warn!(%name, %until, "too many certificates were ordered lately: this one has to wait");
                self.pause(name, until - now);
                return leased.release(&self.store).await;
            }
            Err(error) => {
                leased.release(&self.store).await?;
                return Err(error);
            }
        }
        let way = self.way(name, &leased.record);
        let proofs = leased.proofs(&self.store, self.dns.as_deref(), self.settings.dns_wait);
        let asking = self.ask(name, way, &proofs);
        let issued = match tokio::time::timeout(self.patience(name), asking).await {
            Ok(issued) => issued,
            Err(_) => Err(OrderError {
                kind: OrderErrorKind::Unavailable,
                message: format!("no certificate within {} s", self.patience(name).as_secs()),
                retry_after: None,
            }),
        };
        let leased = proofs.end().await;
        match issued.and_then(|issued| self.checked(name, issued)) {
            Ok((chain, sealed, parsed)) => {
                metrics::counter!(ORDERS, "outcome" => "issued").increment(1);
                tracing::info!(%name, until = %parsed.not_after, way = way.name(), "a certificate was got");
                self.end(name, leased, |record, chance| record.succeed(chain, sealed, &parsed, chance)).await
            }
            Err(error) => self.failed(name, leased, way, &error).await,
        }
    }

    /// The ways are taken in turn, so that one which is blocked does not keep a host from the others.
    fn way(&self, name: &CertificateName, record: &Record) -> Way {
        if matches!(name, CertificateName::Wildcard(_)) {
            return Way::Dns;
        }
        let failures = record.failures.as_ref().map_or(0, |failures| failures.count as usize);
        let ways = &self.settings.ways;
        ways.get(failures % ways.len().max(1)).copied().unwrap_or(Way::TlsAlpn)
    }

    async fn ask(&self, name: &CertificateName, way: Way, proofs: &dyn Proofs) -> Result<Issued, OrderError> {
        let account = self.account().await?;
        let names = name.identifiers();
        match self.authority.order(&account, &names, way, proofs).await {
            Err(error) if error.kind == OrderErrorKind::NoAccount => {
                tracing::warn!(%error, "the certificate authority does not know our account: another is made");
                self.store.forget_account().await?;
                let account = self.account().await?;
                self.authority.order(&account, &names, way, proofs).await
            }
            answer => answer,
        }
    }

    async fn account(&self) -> Result<Secret, OrderError> {
        if let Some(account) = self.store.account().await? {
            return Ok(account);
        }
        let account = self.authority.register().await?;
        // Of two processes that make one at the same time, each may use its own once.
        self.store.keep_account(&account).await?;
        tracing::info!(
            directory = self.authority.directory(),
            "an account was made with the certificate authority"
        );
        Ok(account)
    }

    fn checked(
        &self,
        name: &CertificateName,
        issued: Issued,
    ) -> Result<(String, String, Parsed), OrderError> {
        let (_, parsed) = parse(&issued.chain, issued.key.expose()).map_err(|error| OrderError {
            kind: OrderErrorKind::Unavailable,
            message: format!("what the authority gave is of no use: {error:#}"),
            retry_after: None,
        })?;
        let sealed = self.store.seal(name, &issued.key)?;
        Ok((issued.chain, sealed, parsed))
    }

    async fn failed(
        &self,
        name: &CertificateName,
        leased: Leased,
        way: Way,
        error: &OrderError,
    ) -> Result<(), StoreError> {
        let outcome = match error.kind {
            OrderErrorKind::Refused => "refused",
            OrderErrorKind::RateLimited => "rate_limited",
            OrderErrorKind::NoAccount => "no_account",
            OrderErrorKind::Unavailable => "unavailable",
        };
        metrics::counter!(ORDERS, "outcome" => outcome).increment(1);
        let now = self.clock.now();
        let mut at_least = error.retry_after.unwrap_or_default();
        if error.kind == OrderErrorKind::RateLimited {
            at_least = error.retry_after.unwrap_or(RATE_LIMITED);
            if let Err(error) = self.store.block(now + at_least).await {
                tracing::warn!(%error, "other processes do not hear that the authority wants to be left alone");
            }
        }
        let mut until = now;
        let reason = format!("{}: {error}", way.name());
        let ended = self
            .end(name, leased, |record, chance| until = record.fail(&reason, now, at_least, chance))
            .await;
        tracing::warn!(%name, reason, again = %until, "no certificate was got");
        self.pause(name, until - now);
        ended
    }

    /// Writes down how it ended, and holds what came of it.
    async fn end(
        &self,
        name: &CertificateName,
        mut leased: Leased,
        change: impl FnOnce(&mut Record, f64),
    ) -> Result<(), StoreError> {
        change(&mut leased.record, rand::rng().random());
        // It is shown from now on, whatever becomes of the others' copy.
        self.take(name, &leased.record);
        if !leased.write(&self.store).await? {
            tracing::warn!(%name, "another process took over what this one was too slow for");
        }
        Ok(())
    }

    fn pause(&self, name: &CertificateName, left: time::Duration) {
        self.held.pause(name, left.unsigned_abs().min(LONGEST_MEMORY));
    }
}
