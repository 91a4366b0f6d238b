//! Certificates that edges get by themselves: on the first TLS hello of a host that gv knows, renewed
//! in time, shared by all edges through object storage.
//!
//! A hello waits, within bounds, while [`issuance`] gets what it needs; strangers' names never lead to
//! an order. [`record`] is what storage keeps of a name, under a lease while one process asks the
//! authority; [`challenge`] is what the authority finds at any edge meanwhile; [`renewal`] goes on for
//! ever. Start with [`Certificates::ready`].

mod challenge;
mod held;
mod issuance;
mod ledger;
mod parsed;
mod proofs;
mod record;
mod renewal;
mod store;

pub use challenge::{ACME_TLS, CHALLENGE_FOLDER, token_in};

use crate::domain::certificate::{CertificateName, is_certifiable};
use crate::domain::host::Hostname;
use crate::domain::sealing::SecretKeys;
use crate::edge::EdgePorts;
use crate::edge::flights::{Flight, Flights};
use crate::edge::pointers::Pointers;
use crate::ports::authority::{CertificateAuthority, Way};
use crate::ports::dns_records::DnsRecords;
use challenge::Challenges;
use held::Held;
use issuance::Issuance;
use metrics::{Unit, describe_counter, describe_gauge};
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How long a hello waits for its certificate.
const PATIENCE: Duration = Duration::from_secs(30);
/// Hellos that wait at the same time.
const MAX_WAITING: usize = 1_000;
const ORDERS: &str = "gv_certificate_orders_total";
const REFUSED: &str = "gv_tls_refused_total";
const HELD: &str = "gv_certificates_held";
const OVERDUE: &str = "gv_certificates_overdue";
const EXPIRE: &str = "gv_certificate_expiry_seconds";

/// Whom certificates are got from, and what is needed for it.
#[derive(Clone)]
pub struct CertificatePorts {
    pub authority: Arc<dyn CertificateAuthority>,
    /// The operator's zone, where the authority is to look into it.
    pub dns: Option<Arc<dyn DnsRecords>>,
    /// Private keys are sealed by them.
    pub secrets: Arc<SecretKeys>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// Sites are one label below it. With DNS they share one certificate.
    pub domain: Hostname,
    pub on_demand: OnDemand,
    /// How hosts are proved: the first, and after a failure the next.
    pub ways: Vec<Way>,
    /// Of all edges together.
    pub orders_per_hour: usize,
    /// How long the zone's servers take to hear of a change.
    pub dns_wait: Duration,
}

/// Which hosts get certificates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDemand {
    /// Those that are not below the domain.
    Custom,
    All,
    None,
}

pub struct Certificates {
    issuance: Arc<Issuance>,
    challenges: Challenges,
    flights: Flights<CertificateName, bool>,
    waiting: Semaphore,
    has_dns: bool,
}

/// Why a hello gets no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// gv has no site of this name, or gets no certificate for it.
    Unknown,
    /// None could be got.
    Failed,
    /// Too many wait already.
    Busy,
}

impl Certificates {
    /// Orders run on `runtime`, so that no visitor who leaves ends one.
    pub fn new(
        edge: &EdgePorts,
        ports: CertificatePorts,
        settings: CertificateSettings,
        runtime: Handle,
    ) -> Self {
        describe_metrics();
        let store = Store::new(Arc::clone(&edge.blobs), ports.secrets, ports.authority.directory());
        let has_dns = ports.dns.is_some();
        let issuance = Issuance {
            store,
            authority: ports.authority,
            dns: ports.dns,
            settings,
            held: Held::new(),
            clock: Arc::clone(&edge.clock),
        };
        Self {
            issuance: Arc::new(issuance),
            challenges: Challenges::new(),
            flights: Flights::new(runtime),
            waiting: Semaphore::new(MAX_WAITING),
            has_dns,
        }
    }

    /// The certificate of a host, if memory has it.
    pub fn held(&self, host: &Hostname) -> Option<Arc<CertifiedKey>> {
        let now = self.issuance.clock.now();
        self.names(host).find_map(|name| self.issuance.held.get(&name, now))
    }

    /// Sees to it that memory has the certificate of a host, which may take as long as a visitor waits.
    pub async fn ready(&self, pointers: &Pointers, host: &Hostname) -> Result<(), Refused> {
        if self.held(host).is_some() {
            return Ok(());
        }
        let readied = self.get_ready(pointers, host).await;
        if let Err(refused) = &readied {
            let reason = match refused {
                Refused::Unknown => "unknown",
                Refused::Failed => "failed",
                Refused::Busy => "busy",
            };
            metrics::counter!(REFUSED, "reason" => reason).increment(1);
        }
        readied
    }

    async fn get_ready(&self, pointers: &Pointers, host: &Hostname) -> Result<(), Refused> {
        if self.names(host).next().is_none() || !is_known(pointers, host).await? {
            return Err(Refused::Unknown);
        }
        let _turn = self.waiting.try_acquire().map_err(|_| Refused::Busy)?;
        let getting = async {
            for name in self.names(host) {
                if let Some(flight) = self.fly(&name)
                    && flight.landed().await == Some(true)
                {
                    return Ok(());
                }
            }
            Err(Refused::Failed)
        };
        tokio::time::timeout(PATIENCE, getting).await.unwrap_or(Err(Refused::Failed))
    }

    /// Gets a certificate, together with whoever else wants it now. `None`: nobody is to be asked for a
    /// while.
    fn fly(&self, name: &CertificateName) -> Option<Flight<bool>> {
        if self.issuance.held.paused_for(name).is_some() {
            return None;
        }
        Some(self.flights.join(name, || {
            let (issuance, name) = (Arc::clone(&self.issuance), name.clone());
            async move { issuance.get(&name).await }
        }))
    }

    /// What a host may show, the best first.
    fn names(&self, host: &Hostname) -> impl Iterator<Item = CertificateName> + use<> {
        let settings = &self.issuance.settings;
        let is_ours = host.is_under(&settings.domain);
        let shared = self.wildcard().filter(|_| is_ours || *host == settings.domain);
        let is_on_demand = match settings.on_demand {
            OnDemand::All => true,
            OnDemand::Custom => !is_ours,
            OnDemand::None => false,
        };
        let own = (is_on_demand && is_certifiable(host)).then(|| CertificateName::Host(host.clone()));
        shared.into_iter().chain(own)
    }

    fn wildcard(&self) -> Option<CertificateName> {
        self.has_dns.then(|| CertificateName::Wildcard(self.issuance.settings.domain.clone()))
    }

    /// The document that an authority is to find at a known host under this token.
    pub async fn document(&self, host: &Hostname, token: &str) -> Option<String> {
        if !self.names(host).any(|name| matches!(name, CertificateName::Host(_))) {
            return None;
        }
        self.challenges.document(&self.issuance.store, host, token).await
    }

    /// What an authority is to meet in a handshake with a host.
    pub async fn proof(&self, pointers: &Pointers, host: &Hostname) -> Option<Arc<ServerConfig>> {
        let _turn = self.waiting.try_acquire().ok()?;
        match is_known(pointers, host).await {
            Ok(true) => self.challenges.handshake(&self.issuance.store, host).await,
            _ => None,
        }
    }
}

/// Whether gv has a site of this name.
async fn is_known(pointers: &Pointers, host: &Hostname) -> Result<bool, Refused> {
    let sighting = pointers.find(host).await.map_err(|_| Refused::Failed)?;
    Ok(sighting.pointer.is_some_and(|pointer| pointer.target.is_some()))
}

fn describe_metrics() {
    describe_counter!(ORDERS, "Certificates that were ordered, by how it ended.");
    describe_counter!(REFUSED, "TLS hellos that got no certificate, by why.");
    describe_gauge!(HELD, "Certificates in memory that the edge got itself.");
    describe_gauge!(OVERDUE, "Certificates that should have been got or renewed by now, and could not be.");
    describe_gauge!(EXPIRE, Unit::Seconds, "Time until the first of these ends.");
}
