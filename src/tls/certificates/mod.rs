//! Certificates that edges and apis get by themselves: on the first TLS hello of a host that gv knows,
//! renewed in time, shared by all of them through object storage.
//!
//! A hello waits, within bounds, while [`issuance`] gets what it needs; strangers' names never lead to
//! an order. [`record`] is what storage keeps of a name, under a lease while one process asks the
//! authority; [`challenge`] is what the authority finds at any of them meanwhile; [`renewal`] goes on for
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
pub use renewal::renewing;

use crate::domain::certificate::{CertificateName, is_certifiable};
use crate::domain::host::Hostname;
use crate::domain::sealing::SecretKeys;
use crate::flights::{Flight, Flights};
use crate::ports::authority::{CertificateAuthority, Way};
use crate::ports::blobs::Blobs;
use crate::ports::clock::Clock;
use crate::ports::dns_records::DnsRecords;
use crate::tls::{Hosts, Unsaid};
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
    /// Where all processes share them.
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// Sites are one label below it. With DNS they share one certificate.
    pub domain: Hostname,
    /// Where the API answers, whichever process shows it.
    pub api_hosts: Vec<Hostname>,
    /// Whether this process does: then their certificates are renewed by it.
    pub shows_api: bool,
    pub on_demand: OnDemand,
    /// How hosts are proved: the first, and after a failure the next.
    pub ways: Vec<Way>,
    /// Of all processes together.
    pub orders_per_hour: usize,
    /// How long the zone's servers take to hear of a change.
    pub dns_wait: Duration,
}

/// Which sites' hosts get certificates of their own.
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
    /// gv has nothing to show under this name, or gets no certificate for it.
    Unknown,
    /// None could be got.
    Failed,
    /// Too many wait already.
    Busy,
}

impl Certificates {
    /// Orders run on `runtime`, so that no visitor who leaves ends one.
    pub fn new(ports: CertificatePorts, settings: CertificateSettings, runtime: Handle) -> Self {
        describe_metrics();
        let store = Store::new(ports.blobs, ports.secrets, ports.authority.directory());
        let has_dns = ports.dns.is_some();
        let issuance = Issuance {
            store,
            authority: ports.authority,
            dns: ports.dns,
            settings,
            held: Held::new(),
            clock: ports.clock,
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
    pub fn held(&self, hosts: &Hosts, host: &Hostname) -> Option<Arc<CertifiedKey>> {
        let now = self.issuance.clock.now();
        self.names(hosts, host).find_map(|name| self.issuance.held.get(&name, now))
    }

    /// Sees to it that memory has the certificate of a host, which may take as long as a client waits.
    pub async fn ready(&self, hosts: &Hosts, host: &Hostname) -> Result<(), Refused> {
        if self.held(hosts, host).is_some() {
            return Ok(());
        }
        let readied = self.get_ready(hosts, host).await;
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

    async fn get_ready(&self, hosts: &Hosts, host: &Hostname) -> Result<(), Refused> {
        if self.names(hosts, host).next().is_none() || !self.is_known(hosts, host).await? {
            return Err(Refused::Unknown);
        }
        let _turn = self.waiting.try_acquire().map_err(|_| Refused::Busy)?;
        let getting = async {
            for name in self.names(hosts, host) {
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
    fn names(&self, hosts: &Hosts, host: &Hostname) -> impl Iterator<Item = CertificateName> + use<> {
        let names = match hosts {
            Hosts::Api => self.names_of_api(host),
            Hosts::Sites(_) => self.names_of_site(host),
        };
        names.into_iter().flatten()
    }

    fn names_of_site(&self, host: &Hostname) -> [Option<CertificateName>; 2] {
        let settings = &self.issuance.settings;
        let is_on_demand = match settings.on_demand {
            OnDemand::All => true,
            OnDemand::Custom => !host.is_under(&settings.domain),
            OnDemand::None => false,
        };
        [self.shared(host), own(host).filter(|_| is_on_demand)]
    }

    /// Where the wildcard is for it too, it needs none of its own.
    fn names_of_api(&self, host: &Hostname) -> [Option<CertificateName>; 2] {
        [self.shared(host).or_else(|| own(host)).filter(|_| self.is_of_api(host)), None]
    }

    /// Whether the API answers under this name.
    pub fn is_of_api(&self, host: &Hostname) -> bool {
        self.issuance.settings.api_hosts.contains(host)
    }

    fn shared(&self, host: &Hostname) -> Option<CertificateName> {
        let domain = &self.issuance.settings.domain;
        self.wildcard().filter(|_| host.is_under(domain) || host == domain)
    }

    fn wildcard(&self) -> Option<CertificateName> {
        self.has_dns.then(|| CertificateName::Wildcard(self.issuance.settings.domain.clone()))
    }

    /// The document that an authority is to find under this token, at a host that shows a site or is the
    /// API's.
    pub async fn document(&self, host: &Hostname, token: &str) -> Option<String> {
        let mut names = self.names_of_site(host).into_iter().flatten();
        let has_own = names.any(|name| matches!(name, CertificateName::Host(_)));
        if !has_own && !self.is_of_api(host) {
            return None;
        }
        self.challenges.document(&self.issuance.store, host, token).await
    }

    /// What an authority is to meet in a handshake with a host. Every listener has it for the API's hosts
    /// too: where a load balancer leads their port is the operator's to say.
    pub async fn proof(&self, hosts: &Hosts, host: &Hostname) -> Option<Arc<ServerConfig>> {
        let _turn = self.waiting.try_acquire().ok()?;
        let is_known = self.is_of_api(host) || self.is_known(hosts, host).await == Ok(true);
        if is_known { self.challenges.handshake(&self.issuance.store, host).await } else { None }
    }

    /// Whether gv has anything to show under this name.
    async fn is_known(&self, hosts: &Hosts, host: &Hostname) -> Result<bool, Refused> {
        match hosts {
            Hosts::Api => Ok(self.is_of_api(host)),
            Hosts::Sites(sites) => sites.has(host).await.map_err(|Unsaid| Refused::Failed),
        }
    }
}

/// A certificate for this host alone, where an authority could give one.
fn own(host: &Hostname) -> Option<CertificateName> {
    is_certifiable(host).then(|| CertificateName::Host(host.clone()))
}

fn describe_metrics() {
    describe_counter!(ORDERS, "Certificates that were ordered, by how it ended.");
    describe_counter!(REFUSED, "TLS hellos that got no certificate, by why.");
    describe_gauge!(HELD, "Certificates in memory that gv got itself.");
    describe_gauge!(OVERDUE, "Certificates that should have been got or renewed by now, and could not be.");
    describe_gauge!(EXPIRE, Unit::Seconds, "Time until the first of these ends.");
}
