//! The names of sites: whether any name below the domain leads anywhere. That it leads here cannot be
//! told from here, and is not claimed.

use super::configuration::is_local;
use super::{Case, Findings, Role};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Resolvers try several servers, each for some seconds.
const LIMIT: Duration = Duration::from_secs(8);

pub(super) fn examine<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let domain = &case.config.domain;
        if is_local(domain) {
            return found.skipped("domain", format!("browsers resolve *.{domain} to their own machine by themselves"));
        }
        // One that nobody can have made a record for.
        let any = format!("gv-doctor-{:08x}.{domain}", rand::random::<u32>());
        let (wildcard, api) = join(resolve(&any), resolve(&format!("api.{domain}"))).await;
        if case.concerns(Role::Edge) {
            match wildcard {
                Ok(addresses) => found.well("domain", format!("*.{domain} leads to {addresses}")),
                Err(error) => found.broken(
                    "domain",
                    format!("*.{domain} does not resolve: {error}"),
                    format!("make a DNS record *.{domain} that leads to the load balancer of your edges, or correct domain"),
                ),
            }
        }
        if case.concerns(Role::Api) {
            match api {
                Ok(addresses) => found.well("api address", format!("api.{domain} leads to {addresses}")),
                Err(error) => found.doubtful(
                    "api address",
                    format!("api.{domain} does not resolve: {error}"),
                    format!("make a DNS record api.{domain} that leads to your apis, unless people reach them elsewhere"),
                ),
            }
        }
    }
    .boxed()
}

async fn resolve(name: &str) -> Result<String, String> {
    let looking = tokio::net::lookup_host((name, 0));
    let found =
        timeout(LIMIT, looking).await.map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))?;
    let mut addresses: Vec<IpAddr> =
        found.map_err(|error| error.to_string())?.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if texts.is_empty() { Err("no address".to_owned()) } else { Ok(texts.join(", ")) }
}
