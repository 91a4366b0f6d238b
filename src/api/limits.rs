//! How often a stranger may knock: counted in the cache, so that it holds across api processes.
//!
//! While a shared cache is out, each process counts for itself (see `Cache::count`): the limit is
//! then that of one process times their number. Being unable to count at all lets everybody in: it
//! must not lock people out.

use crate::api::Api;
use crate::api::error::Problem;
use crate::domain::account::Email;
use crate::domain::digest::Digest;
use actix_web::HttpRequest;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);

/// Counts a request from its client's address to a route (a word), and refuses it when there were
/// too many.
pub async fn count_address(api: &Api, route: &str, request: &HttpRequest) -> Result<(), Problem> {
    let forwarded = request.headers().get_all("x-forwarded-for");
    let forwarded: Vec<&str> = forwarded.filter_map(|value| value.to_str().ok()).collect();
    let peer = request.peer_addr().map(|address| address.ip());
    let client = peer.map(|peer| client(peer, &forwarded.join(","), &api.settings.trusted_proxies));
    // Without an address (a Unix socket) all share one count.
    let who = client.map_or_else(|| "unknown".to_owned(), |address| network(address).to_string());
    count(api, &format!("attempts:{route}:{who}")).await
}

/// Counts an attempt to sign in to an account, whoever tries. The address is hashed: it may be
/// long, and a cache is no place for it.
pub async fn count_email(api: &Api, email: &Email) -> Result<(), Problem> {
    count(api, &format!("attempts:email:{}", Digest::of(email.as_str().as_bytes()))).await
}

async fn count(api: &Api, key: &str) -> Result<(), Problem> {
    match api.app.cache.count(key, WINDOW).await {
        Ok(count) if count.events > u64::from(api.settings.attempts_per_min) => {
            metrics::counter!("gv_api_rate_limited_total").increment(1);
            Err(Problem::too_many_requests(count.remaining.max(Duration::from_secs(1))))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "attempts are not counted");
            Ok(())
        }
    }
}

/// Whom a connection from `peer` speaks for: each proxy adds the address that it was called from at
/// the end, so that from there backwards every entry is true up to the first one that no proxy of
/// ours has written.
fn client(peer: IpAddr, forwarded: &str, trusted: &[IpNet]) -> IpAddr {
    let ours = |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer;
    for entry in forwarded.rsplit(',') {
        let Some(address) = Some(entry).filter(|_| ours(client)).and_then(address) else { break };
        client = address;
    }
    client
}

/// Some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    entry.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

/// An IPv6 customer has 2^64 addresses: they count as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_of_ours_is_believed_whom_it_speaks_for() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let of = |peer: &str, forwarded: &str| client(peer.parse().unwrap(), forwarded, &trusted).to_string();
        assert_eq!(of("203.0.113.9", "192.0.2.1"), "203.0.113.9", "a stranger says what he likes");
        assert_eq!(of("10.0.0.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:10.0.0.1", "192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(of("fd00::1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(of("10.0.0.1", "198.51.100.7, 192.0.2.1, 10.9.9.9"), "192.0.2.1", "the first is a lie");
        assert_eq!(of("10.0.0.1", "10.2.2.2, 10.1.1.1"), "10.2.2.2");
        for nothing in ["", "unknown", "192.0.2.1, unknown", "a, b, c"] {
            assert_eq!(of("10.0.0.1", nothing), "10.0.0.1", "{nothing}");
        }
        assert_eq!(client("10.0.0.1".parse().unwrap(), "192.0.2.1", &[]).to_string(), "10.0.0.1");
    }

    #[test]
    fn the_addresses_of_one_ipv6_customer_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
