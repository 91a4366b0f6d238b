//! Requests and bytes of each site, for the operator's metrics: a series a production host for the
//! first so many sites that are asked for, one for all previews and one for the others, so that the
//! number of series stays bounded whatever strangers ask for.

use crate::domain::host::{HostKind, Hostname};
use metrics::{Counter, Unit, describe_counter};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const REQUESTS: &str = "gv_edge_site_requests_total";
const BYTES: &str = "gv_edge_site_bytes_total";

pub struct SiteCounters {
    pub requests: Counter,
    pub bytes: Counter,
}

impl SiteCounters {
    fn new(host: String) -> Arc<Self> {
        let requests = metrics::counter!(REQUESTS, "host" => host.clone());
        Arc::new(Self { requests, bytes: metrics::counter!(BYTES, "host" => host) })
    }
}

pub struct Sites {
    own: Mutex<HashMap<Hostname, Arc<SiteCounters>>>,
    previews: Arc<SiteCounters>,
    others: Arc<SiteCounters>,
    max: usize,
}

impl Sites {
    /// `max`: of hosts that have series of their own.
    pub fn new(max: usize) -> Self {
        describe_counter!(REQUESTS, "Answers of a site, by its production host.");
        describe_counter!(BYTES, Unit::Bytes, "Bodies of a site's answers, by its production host.");
        let named = |name: &str| SiteCounters::new(name.to_owned());
        Self { own: Mutex::default(), previews: named("(previews)"), others: named("(others)"), max }
    }

    pub fn of(&self, host: &Hostname, kind: HostKind) -> Arc<SiteCounters> {
        if kind != HostKind::Production {
            return Arc::clone(&self.previews);
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = own.get(host) {
            return Arc::clone(counters);
        }
        if own.len() >= self.max {
            return Arc::clone(&self.others);
        }
        let counters = SiteCounters::new(host.to_string());
        own.insert(host.clone(), Arc::clone(&counters));
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
        let (one, two) = (of("a.example", HostKind::Production), of("b.example", HostKind::Production));
        assert!(!Arc::ptr_eq(&one, &two));
        assert!(Arc::ptr_eq(&of("c.example", HostKind::Production), &sites.others));
        assert!(Arc::ptr_eq(&of("a.example", HostKind::Production), &one));
        assert!(Arc::ptr_eq(&of("x.example", HostKind::Branch), &sites.previews));
    }
}
