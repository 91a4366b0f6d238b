//! A lease that is held, and the proofs that are shown under it: in its record, where every process finds
//! them, or in the operator's DNS.

use crate::domain::certificate::CertificateName;
use crate::ports::authority::{Proof, Proofs};
use crate::ports::blobs::Tag;
use crate::ports::dns_records::DnsRecords;
use crate::ports::error::StoreError;
use crate::tls::certificates::challenge::FORGOTTEN;
use crate::tls::certificates::record::{Record, Shown};
use crate::tls::certificates::store::Store;
use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::Mutex;

/// A record with our lease in it.
pub struct Leased {
    pub name: CertificateName,
    pub record: Record,
    pub tag: Option<Tag>,
}

impl Leased {
    /// Writes the record as it is here. `false`: another process has taken it over.
    pub async fn write(&mut self, store: &Store) -> Result<bool, StoreError> {
        if !store.write(&self.name, &self.record, self.tag.as_ref()).await? {
            return Ok(false);
        }
        let now = store.read(&self.name).await?;
        self.tag = now.tag;
        Ok(now.record == self.record)
    }

    /// Ends the lease as if it had not been.
    pub async fn release(mut self, store: &Store) -> Result<(), StoreError> {
        self.record.lease = None;
        self.write(store).await.map(|_| ())
    }

    pub fn proofs<'a>(
        self,
        store: &'a Store,
        dns: Option<&'a dyn DnsRecords>,
        dns_wait: Duration,
    ) -> LeaseProofs<'a> {
        LeaseProofs { leased: Mutex::new(self), store, dns, dns_wait, in_dns: Mutex::default() }
    }
}

pub struct LeaseProofs<'a> {
    leased: Mutex<Leased>,
    store: &'a Store,
    dns: Option<&'a dyn DnsRecords>,
    dns_wait: Duration,
    in_dns: Mutex<Vec<Proof>>,
}

impl LeaseProofs<'_> {
    /// The lease again. What an order that broke off left in DNS is removed first.
    pub async fn end(self) -> Leased {
        let left = self.in_dns.lock().await.clone();
        for proof in &left {
            self.hide(proof).await;
        }
        self.leased.into_inner()
    }

    fn dns(&self) -> Result<&dyn DnsRecords, String> {
        self.dns.ok_or_else(|| "acme.dns_provider is empty".to_owned())
    }
}

#[async_trait]
impl Proofs for LeaseProofs<'_> {
    async fn show(&self, proof: &Proof) -> Result<(), String> {
        let Some(shown) = Shown::of(proof) else {
            let (name, value) = proof.record();
            self.in_dns.lock().await.push(proof.clone());
            self.dns()?.add(&name, &value).await.map_err(|error| error.to_string())?;
            // Secondary servers of the zone hear of it a little later.
            tokio::time::sleep(self.dns_wait).await;
            return Ok(());
        };
        let mut leased = self.leased.lock().await;
        if let Some(lease) = &mut leased.record.lease {
            lease.proof = Some(shown);
        }
        match leased.write(self.store).await {
            Ok(true) => {}
            Ok(false) => return Err("another process has taken over".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        // Those that looked a moment ago look again from then on.
        tokio::time::sleep(FORGOTTEN).await;
        Ok(())
    }

    async fn hide(&self, proof: &Proof) {
        if Shown::of(proof).is_some() {
            // It ends with the lease, whose end is written next.
            return;
        }
        self.in_dns.lock().await.retain(|left| left != proof);
        let (name, value) = proof.record();
        let removed = match self.dns() {
            Ok(dns) => dns.remove(&name, &value).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        if let Err(error) = removed {
            tracing::warn!(name, error, "a proof is left in DNS");
        }
    }
}
