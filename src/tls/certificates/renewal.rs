//! Renewing what is held, before it ends. One process renews a name; the others find what it got when
//! they look for the same.
//!
//! What no process holds is renewed by nobody: its next client asks for it.

use crate::domain::certificate::CertificateName;
use crate::tls::Hosts;
use crate::tls::certificates::{Certificates, EXPIRE, HELD, OVERDUE};
use futures_util::StreamExt as _;
use std::time::Duration;

/// How often it is looked at what is due, at most and at least.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);
/// For so long a certificate that has ended is tried for and told as overdue: nobody is shown it.
const LAMENTED: Duration = Duration::from_secs(7 * 86_400);
/// How many are renewed at the same time.
const WIDTH: usize = 4;

impl Certificates {
    /// For ever. A process does it once, for `hosts` and, where it shows them, those of the API.
    pub async fn renew(&self, hosts: &Hosts) {
        loop {
            let due = self.due(hosts);
            let renewing = |name: CertificateName| async move {
                if !self.is_wanted(hosts, &name).await {
                    tracing::info!(%name, "its host is gone: the certificate is not renewed");
                    self.issuance.held.remove(&name);
                } else if let Some(flight) = self.fly(&name) {
                    flight.landed().await;
                }
            };
            futures_util::stream::iter(due).for_each_concurrent(WIDTH, renewing).await;
            self.tell(hosts);
            tokio::time::sleep(OFTEN).await;
            // What came meanwhile may be due before what was there.
            let _ = tokio::time::timeout(self.until_next(hosts), self.issuance.held.came()).await;
        }
    }

    /// Those whose time has come, and the wildcard where there is none yet.
    fn due(&self, hosts: &Hosts) -> Vec<CertificateName> {
        let now = self.issuance.clock.now();
        let (given_up, held): (Vec<_>, Vec<_>) =
            self.issuance.held.all().into_iter().partition(|(_, held)| held.not_after + LAMENTED <= now);
        // Whoever still comes for one asks for another.
        given_up.iter().for_each(|(name, _)| self.issuance.held.remove(name));
        let due = held.into_iter().filter(|(_, held)| held.renew_at <= now).map(|(name, _)| name);
        let wildcard = self.kept(hosts).filter(|name| self.issuance.held.get(name, now).is_none());
        let all = due.chain(wildcard);
        all.filter(|name| self.issuance.held.paused_for(name).is_none()).collect()
    }

    /// The wildcard, where one of these hosts can show it: that one is got before anybody asks.
    fn kept(&self, hosts: &Hosts) -> Option<CertificateName> {
        let is_shown = match hosts {
            Hosts::Api => self.issuance.settings.api_hosts.iter().any(|host| self.shared(host).is_some()),
            Hosts::Sites(_) => true,
        };
        self.wildcard().filter(|_| is_shown)
    }

    /// Where nobody can say whether a host is still there, it is.
    async fn is_wanted(&self, hosts: &Hosts, name: &CertificateName) -> bool {
        match (name, hosts) {
            (CertificateName::Wildcard(_), _) => Some(name) == self.wildcard().as_ref(),
            (CertificateName::Host(host), _) if self.is_of_api(host) && self.issuance.settings.shows_api => {
                true
            }
            (CertificateName::Host(_), Hosts::Api) => false,
            (CertificateName::Host(host), Hosts::Sites(sites)) => sites.has(host).await.unwrap_or(true),
        }
    }

    fn until_next(&self, hosts: &Hosts) -> Duration {
        let now = self.issuance.clock.now();
        let held = self.issuance.held.all().into_iter();
        let left = held.map(|(name, held)| {
            let due = Duration::try_from(held.renew_at - now).unwrap_or_default();
            due.max(self.issuance.held.paused_for(&name).unwrap_or_default())
        });
        let missing = self.kept(hosts).filter(|name| self.issuance.held.get(name, now).is_none());
        let missing = missing.and_then(|name| self.issuance.held.paused_for(&name));
        left.chain(missing).min().unwrap_or(SELDOM).min(SELDOM)
    }

    /// Tells the metrics how it stands. A wildcard that could not be got yet is overdue too.
    fn tell(&self, hosts: &Hosts) {
        let (now, held) = (self.issuance.clock.now(), self.issuance.held.all());
        metrics::gauge!(HELD).set(held.len() as f64);
        let due = held.iter().filter(|(_, held)| held.renew_at <= now).map(|(name, _)| name.clone());
        let missing = self.kept(hosts).filter(|name| self.issuance.held.get(name, now).is_none());
        let overdue = due.chain(missing).filter(|name| self.issuance.held.paused_for(name).is_some());
        metrics::gauge!(OVERDUE).set(overdue.count() as f64);
        if let Some(first) = held.iter().map(|(_, held)| held.not_after).min() {
            metrics::gauge!(EXPIRE).set((first - now).as_seconds_f64());
        }
    }
}

/// Renews, where there is anything to renew, for ever.
pub async fn renewing(certificates: Option<&Certificates>, hosts: &Hosts) {
    match certificates {
        Some(certificates) => certificates.renew(hosts).await,
        None => std::future::pending().await,
    }
}
