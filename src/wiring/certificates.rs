//! Whom edges and apis get certificates from, and how, by the configuration.

use crate::adapters::acme::{AcmeAuthority, AcmeSettings};
use crate::adapters::clock::SystemClock;
use crate::adapters::dns::exec::ExecHook;
use crate::adapters::dns::rfc2136::{Algorithm, Rfc2136, Rfc2136Settings};
use crate::config::Config;
use crate::config::acme::{self as keys, Acme, Challenge, Dns};
use crate::domain::host::Hostname;
use crate::domain::sealing::SecretKeys;
use crate::ports::authority::Way;
use crate::ports::blobs::Blobs;
use crate::ports::dns_records::DnsRecords;
use crate::tls::certificates::{CertificatePorts, CertificateSettings, Certificates, OnDemand};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Which listeners of a process show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub edge: bool,
    pub api: bool,
}

/// One for the whole process, since its roles share what memory has. `None`: it gets none by itself.
pub fn certificates(
    config: &Config,
    blobs: &Arc<dyn Blobs>,
    secrets: &Arc<SecretKeys>,
    shown: Shown,
) -> anyhow::Result<Option<Arc<Certificates>>> {
    let Some(acme) = &config.acme else { return Ok(None) };
    // Who only answers an authority reads no private key.
    anyhow::ensure!(
        !secrets.is_empty() || shown == Shown { edge: false, api: false },
        "secrets.keys: is empty; with acme.enabled every gv edge has the same keys as every gv api and gv worker, \
         since private keys are sealed by them (gv secrets keygen)"
    );
    let authority = AcmeAuthority::connect(AcmeSettings {
        directory: acme.directory.clone(),
        email: acme.email.clone(),
        root_ca: acme.root_ca.clone(),
        external_account: acme.external_account.clone(),
    })?;
    let ports = CertificatePorts {
        authority: Arc::new(authority),
        dns: acme.dns.as_ref().map(dns).transpose()?.flatten(),
        secrets: Arc::clone(secrets),
        blobs: Arc::clone(blobs),
        clock: Arc::new(SystemClock),
    };
    let settings = settings(config, acme, shown);
    Ok(Some(Arc::new(Certificates::new(ports, settings, Handle::current()))))
}

fn dns(dns: &Dns) -> anyhow::Result<Option<Arc<dyn DnsRecords>>> {
    Ok(match dns {
        Dns::Exec(command) => ExecHook::new(command).map(|hook| Arc::new(hook) as Arc<dyn DnsRecords>),
        Dns::Rfc2136(zone) => {
            let settings = Rfc2136Settings {
                server: zone.server.clone(),
                zone: zone.zone.to_string(),
                key_name: zone.key_name.clone(),
                key: zone.key.clone(),
                algorithm: match zone.algorithm {
                    keys::Algorithm::HmacSha256 => Algorithm::HmacSha256,
                    keys::Algorithm::HmacSha384 => Algorithm::HmacSha384,
                    keys::Algorithm::HmacSha512 => Algorithm::HmacSha512,
                },
            };
            Some(Arc::new(Rfc2136::new(&settings, Arc::new(SystemClock))?))
        }
    })
}

fn settings(config: &Config, acme: &Acme, shown: Shown) -> CertificateSettings {
    CertificateSettings {
        domain: config.domain.clone(),
        api_hosts: api_hosts(config),
        shows_api: shown.api,
        on_demand: match acme.on_demand {
            keys::OnDemand::Custom => OnDemand::Custom,
            keys::OnDemand::All => OnDemand::All,
            keys::OnDemand::None => OnDemand::None,
        },
        ways: ways(acme),
        orders_per_hour: acme.orders_per_hour,
        dns_wait: Duration::from_secs(acme.dns_wait_s),
    }
}

/// None are the API's where it has no TLS: something else has their certificates.
fn api_hosts(config: &Config) -> Vec<Hostname> {
    if config.api.tls.is_some() { config.api.hosts.clone() } else { Vec::new() }
}

fn ways(acme: &Acme) -> Vec<Way> {
    let way = |challenge: &Challenge| match challenge {
        Challenge::Http01 => Way::Http,
        Challenge::TlsAlpn01 => Way::TlsAlpn,
    };
    acme.challenges.iter().map(way).collect()
}
