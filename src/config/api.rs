//! The keys of the api.

use super::reader::Reader;
use super::tls::{self, Tls};
use crate::domain::host::Hostname;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug)]
pub struct Api {
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    /// Where clients find TLS; `None`: derived from `domain` and the port that it really listens on.
    pub public_port: Option<u16>,
    /// Nothing is answered without TLS.
    pub https_redirect: bool,
    /// For how long browsers are told to stay with TLS, in seconds; 0: they are not.
    pub hsts_max_age_s: u64,
    /// The names that it is reached by: those that it gets certificates for.
    pub hosts: Vec<Hostname>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

pub(super) fn read(from: &mut Reader<'_>, domain: Option<&Hostname>) -> Option<Api> {
    let listen = from.parsed("api.listen", "an address such as 127.0.0.1:8080");
    let tls = tls::read(from, "api");
    let public_port = from.number("api.public_port", 0..=65_535);
    Some(Api {
        public_port: Some(public_port).filter(|port| *port != 0),
        https_redirect: tls::https_redirect(from, "api", tls.is_some()),
        hsts_max_age_s: tls::hsts_max_age_s(from, "api", tls.is_some()),
        hosts: hosts(from, domain),
        trusted_proxies: trusted_proxies(from),
        tls,
        listen: listen?,
    })
}

/// Neither of the two that stand for nothing can be a site's: `api` is no project's name, and sites are below
/// the domain.
fn hosts(from: &mut Reader<'_>, domain: Option<&Hostname>) -> Vec<Hostname> {
    let items = from.list("api.hosts");
    if items.is_empty() {
        let named = domain.and_then(|domain| Hostname::parse(&format!("api.{domain}")).ok());
        return named.into_iter().chain(domain.cloned()).collect();
    }
    let parsed =
        items.iter().map(|item| Hostname::parse(item).map_err(|invalid| format!("{item:?} {invalid}")));
    parsed.collect::<Result<_, _>>().unwrap_or_else(|problem| {
        from.problem("api.hosts", problem);
        Vec::new()
    })
}

fn trusted_proxies(from: &mut Reader<'_>) -> Vec<IpNet> {
    let items = from.list("api.trusted_proxies");
    let parsed = items.iter().map(|item| {
        let network = item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| format!("{item:?} is neither an address nor a network such as 10.0.0.0/8"))
    });
    let parsed: Result<Vec<_>, String> = parsed.collect();
    parsed.unwrap_or_else(|problem| {
        from.problem("api.trusted_proxies", problem);
        Vec::new()
    })
}
