//! Requests and bytes of each site, for the operator's metrics: a series a production host for the
//! first so many sites that are asked for, one for all previews and one for the others, so that the
//! number of series stays bounded whatever strangers ask for.

use crate::domain::host::{HostKind, Hostname};
use metrics::{Counter, Unit, describe_counter};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const REQUESTS: &str = "gv_edge_site_requests_total";
const BYTES: &str = "gv_edge_site_bytes_total";

/// Handles, which all copies share.
#[derive(Clone)]
pub struct SiteCounters {
    pub requests: Counter,
    pub bytes: Counter,
    #[cfg(test)]
    name: Box<str>,
}

impl SiteCounters {
    fn new(host: &str) -> Self {
        Self {
            requests: metrics::counter!(REQUESTS, "host" => host.to_owned()),
            bytes: metrics::counter!(BYTES, "host" => host.to_owned()),
            #[cfg(test)]
            name: host.into(),
        }
    }
}

pub struct Sites {
    own: Mutex<HashMap<Hostname, SiteCounters>>,
    previews: SiteCounters,
    others: SiteCounters,
    max: usize,
}

impl Sites {
    /// `max`: of hosts that have series of their own.
    pub fn new(max: usize) -> Self {
        describe_counter!(REQUESTS, "Answers of a site, by its production host.");
        describe_counter!(BYTES, Unit::Bytes, "Bodies of a site's answers, by its production host.");
        let (previews, others) = (SiteCounters::new("(previews)"), SiteCounters::new("(others)"));
        Self { own: Mutex::default(), previews, others, max }
    }

    pub fn of(&self, host: &Hostname, kind: HostKind) -> SiteCounters {
        if kind != HostKind::Production {
            return self.previews.clone();
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = own.get(host) {
            return counters.clone();
        }
        if own.len() >= self.max {
            return self.others.clone();
        }
        let counters = SiteCounters::new(host.as_str());
        own.insert(host.clone(), counters.clone());
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_hosts_have_series_of_their_own() {
        let sites = Sites::new(2);
        let of = |name: &str, kind| sites.of(&Hostname::parse(name).unwrap(), kind);
        let names = ["a.example", "b.example", "c.example", "a.example"];
        let of_production = names.map(|name| of(name, HostKind::Production).name);
        assert_eq!(
            of_production.each_ref().map(|name| &**name),
            ["a.example", "b.example", "(others)", "a.example"]
        );
        assert_eq!(&*of("x.example", HostKind::Branch).name, "(previews)");
    }
}
