//! How often a stranger may knock: counted in the cache, so that it holds across api processes.
//!
//! While a shared cache is out, each process counts for itself (see `Cache::count`): the limit is
//! then that of one process times their number. Being unable to count at all lets everybody in: it
//! must not lock people out.

use crate::api::Api;
use crate::api::error::Problem;
use crate::domain::account::Email;
use crate::domain::digest::Digest;
use std::net::IpAddr;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);

/// Counts a request of this address to a route (a word), and refuses it when there were too many.
pub async fn count_address(api: &Api, route: &str, peer: Option<IpAddr>) -> Result<(), Problem> {
    // Without an address (a Unix socket) all share one count.
    let who = peer.map_or_else(|| "unknown".to_owned(), |address| network(address).to_string());
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
    fn the_addresses_of_one_ipv6_customer_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
