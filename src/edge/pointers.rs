//! Which deployment a host shows: the third step of a request.
//!
//! A pointer is trusted for a short lifetime, moved at once by a notice, and never goes back to a
//! lower version. When nobody can be asked for news, the old one goes on being served. Hosts that
//! nobody knows are remembered too, since strangers ask for them. What answers need of all this is
//! in `edge::site`.

use crate::domain::host::{Hostname, Pointer};
use crate::edge::layers::{Failure, Layer, Layers, broken, failed, in_time};
use crate::edge::propagation::{News, Propagation};
use crate::edge::site::{Freshness, Seen, Site};
use crate::edge::site_counters::Sites;
use crate::flights::Flights;
use crate::ports::blobs::Key;
use crate::ports::notices::{Heard, Notice, Notices, Subscription};
use quick_cache::sync::Cache as Memory;
use quick_cache::{DefaultHashBuilder, Lifecycle, UnitWeighter, Weighter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout_at};

/// Hosts held at once: beyond, the least used are forgotten.
const MAX_KNOWN: u64 = 200_000;
/// Strangers can invent hosts without end; these are remembered.
const MAX_UNKNOWN: u64 = 20_000;
/// What room is made for at first.
const FEW: usize = 1_000;
/// How long a visitor waits for news of a host that is held.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long after a failure nobody asks again about a host that is held.
const RETRY: Duration = Duration::from_secs(1);
/// For how long after a failure the next one is to be expected: news then waits for no visitor.
const OUTAGE: Duration = Duration::from_secs(10);

pub struct Pointers {
    held: Arc<Held>,
    layers: Layers,
    ttl: Duration,
    flights: Flights<Hostname, Result<Sighting, Failure>>,
}

/// What is known of a host, and by whom.
#[derive(Clone)]
pub struct Sighting {
    /// `None`: no such host.
    pub pointer: Option<Arc<Pointer>>,
    pub layer: Layer,
    /// What tells later whether this still holds. `None`: no such host.
    pub seen: Option<Seen>,
}

impl Pointers {
    pub fn new(
        layers: Layers,
        ttl: Duration,
        (sites, propagation): (Sites, Propagation),
        runtime: Handle,
    ) -> Self {
        Self { held: Arc::new(Held::new(sites, propagation)), layers, ttl, flights: Flights::new(runtime) }
    }

    /// Whether what was seen of a host still holds, without asking anybody; if so, whether it is stale.
    /// Before its lifetime ends, news is asked for behind the visitor's back.
    pub fn trusts(&self, host: &str, seen: &Seen, now: Instant) -> Option<Layer> {
        let layer = seen.holds(now, self.held.epoch.load(Ordering::Acquire))?;
        if seen.site.is_due(now)
            && let Ok(host) = Hostname::parse(host)
        {
            self.flights.join(&host, || self.look(host.clone(), true));
        }
        Some(layer)
    }

    pub async fn find(&self, host: &Hostname) -> Result<Sighting, Failure> {
        if let Some(fresh) = self.held.fresh(host) {
            return Ok(fresh);
        }
        let stale = self.held.known.get(host);
        let flight = self.flights.join(host, || self.look(host.clone(), false));
        let Some(stale) = stale else {
            return flight.landed().await.unwrap_or(Err(Failure::Unavailable));
        };
        // Where nobody could be asked a moment ago, one is asked behind the visitor's back.
        let failed = stale.seen.site.has_failed_within(OUTAGE, Instant::now());
        let patience = if failed { Duration::ZERO } else { PATIENCE };
        match timeout_at((flight.since + patience).into(), flight.landed()).await {
            Ok(Some(Ok(sighting))) => Ok(sighting),
            // A notice may have come while it was waited for.
            _ => {
                let newest = self.held.known.get(host).unwrap_or(stale);
                Ok(Sighting { layer: Layer::Stale, ..newest.sighting() })
            }
        }
    }

    /// Follows the notices for ever; without them pointers live by their lifetime alone.
    pub async fn follow(&self, notices: &dyn Notices) {
        let mut subscription = self.subscribe(notices).await;
        self.held.doubt_all();
        loop {
            match subscription.next().await {
                Heard::Notice(Notice::HostMoved { pointer }) => {
                    self.held.take(pointer, self.held.fresh_for(self.ttl), News::Notice);
                }
                Heard::Notice(_) => {}
                Heard::Gap => self.held.doubt_all(),
            }
        }
    }

    async fn subscribe(&self, notices: &dyn Notices) -> Box<dyn Subscription> {
        let mut reported = false;
        loop {
            match notices.subscribe().await {
                Ok(subscription) => return subscription,
                Err(error) if !reported => {
                    reported = true;
                    tracing::warn!(%error, "cannot hear of moved hosts: they move when their lifetime ends");
                }
                Err(_) => {}
            }
            sleep(RETRY).await;
        }
    }

    /// Asks the cache, then storage. Begins with the memory, unless it `renews` what is there: a load or
    /// a notice may just have filled it.
    fn look(
        &self,
        host: Hostname,
        renews: bool,
    ) -> impl Future<Output = Result<Sighting, Failure>> + Send + 'static {
        let (held, layers, ttl) = (Arc::clone(&self.held), self.layers.clone(), self.ttl);
        async move {
            if let Some(fresh) = held.fresh(&host).filter(|_| !renews) {
                return Ok(fresh);
            }
            // What is read now is as old as this moment, whenever it arrives.
            let fresh = held.fresh_for(ttl);
            let known = held.known.get(&host).map_or(i64::MIN, |known| known.pointer.version);
            let cached = in_time(layers.cache.pointer(&host)).await.flatten();
            // A cache that is behind missed a move: it has no news.
            if let Some(pointer) = cached.filter(|cached| cached.host == host && cached.version >= known) {
                return Ok(Sighting {
                    layer: Layer::Cache,
                    ..held.take(pointer, fresh, News::Look).sighting()
                });
            }
            let key = Key::host(&host);
            let stored = match layers.read(&key, Pointer::MAX_BYTES).await {
                Ok(None) => {
                    let known = held.take_absence(&host, fresh);
                    return Ok(known.map_or(Sighting::NOTHING, |known| Sighting {
                        layer: Layer::Storage,
                        ..known.sighting()
                    }));
                }
                Ok(Some(bytes)) => serde_json::from_slice::<Pointer>(&bytes)
                    .map_err(|error| broken(&format!("{key}: {error}")))
                    .and_then(|found| match found.host == host {
                        true => Ok(found),
                        false => Err(broken(&format!("{key} belongs to {}", found.host))),
                    }),
                Err(error) => Err(failed(&error)),
            };
            let pointer = stored.inspect_err(|_| held.bear_with(&host))?;
            let newest = held.take(pointer, fresh, News::Look);
            // What is known by now, for as long as it would have been had it been read at once.
            let left = fresh.until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                layers.keep_pointer(Pointer::clone(&newest.pointer), left);
            }
            Ok(Sighting { layer: Layer::Storage, ..newest.sighting() })
        }
    }
}

/// The memory. Written under one lock, so that of two pointers the higher version stays; read
/// without it.
struct Held {
    known: Memory<Hostname, Known, ByPast, DefaultHashBuilder, Forgetting>,
    unknown: Memory<Hostname, Freshness>,
    writing: Mutex<()>,
    /// Counts the moments when everything became doubtful.
    epoch: AtomicU64,
    sites: Sites,
    propagation: Propagation,
}

#[derive(Clone)]
struct Known {
    pointer: Arc<Pointer>,
    seen: Seen,
}

/// A host with a past takes the room of several.
#[derive(Clone)]
struct ByPast;

impl Weighter<Hostname, Known> for ByPast {
    fn weight(&self, _: &Hostname, known: &Known) -> u64 {
        1 + known.pointer.earlier.len() as u64 / 3
    }
}

/// A host that makes room hears no news any more: nothing that was made of it may be trusted.
#[derive(Clone)]
struct Forgetting;

impl Lifecycle<Hostname, Known> for Forgetting {
    type RequestState = ();

    fn begin_request(&self) {}

    fn before_evict(&self, (): &mut (), _: &Hostname, known: &mut Known) {
        known.seen.site.forget();
    }
}

impl Known {
    fn sighting(self) -> Sighting {
        let layer = self.seen.site.layer();
        Sighting { pointer: Some(self.pointer), layer, seen: Some(self.seen) }
    }
}

impl Sighting {
    const NOTHING: Self = Self { pointer: None, layer: Layer::Storage, seen: None };
}

impl Held {
    fn new(sites: Sites, propagation: Propagation) -> Self {
        Self {
            sites,
            propagation,
            known: Memory::with(FEW, MAX_KNOWN, ByPast, DefaultHashBuilder::default(), Forgetting),
            unknown: Memory::with_weighter(FEW, MAX_UNKNOWN, UnitWeighter),
            writing: Mutex::new(()),
            epoch: AtomicU64::new(0),
        }
    }

    fn fresh_for(&self, lifetime: Duration) -> Freshness {
        Freshness::lasting(lifetime, self.epoch.load(Ordering::Acquire))
    }

    fn is_fresh(&self, fresh: Freshness, now: Instant) -> bool {
        fresh.epoch == self.epoch.load(Ordering::Acquire) && now < fresh.until
    }

    fn fresh(&self, host: &Hostname) -> Option<Sighting> {
        let now = Instant::now();
        if let Some(known) = self.known.get(host) {
            let epoch = self.epoch.load(Ordering::Acquire);
            return known.seen.site.is_fresh(now, epoch).then(|| known.sighting());
        }
        let fresh = self.unknown.get(host)?;
        self.is_fresh(fresh, now).then_some(Sighting { layer: Layer::Memory, ..Sighting::NOTHING })
    }

    /// Holds a pointer, or the newer one that is held, which it returns.
    fn take(&self, pointer: Pointer, fresh: Freshness, by: News) -> Known {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let host = pointer.host.clone();
        let absence = self.unknown.remove(&host).map(|(_, fresh)| fresh.until);
        let known = self.known.peek(&host);
        if let Some(known) = known.as_ref().filter(|known| known.pointer.version >= pointer.version) {
            known.seen.site.trust(fresh, Layer::Memory);
            return known.clone();
        }
        let trusted_until = known.as_ref().map(|known| known.seen.site.trusted_until()).or(absence);
        if let Some(until) = trusted_until {
            let untrusted = Instant::now().saturating_duration_since(until);
            self.propagation.note(pointer.published_at, untrusted, by);
        }
        // Its counters are those of its kind.
        let site = match known {
            Some(known) if known.pointer.kind == pointer.kind => known.seen.site,
            before => {
                if let Some(other) = before {
                    other.seen.site.forget();
                }
                Arc::new(Site::new(self.sites.of(&host, pointer.kind)))
            }
        };
        let seen = site.moved();
        let newest = Known { pointer: Arc::new(pointer), seen };
        self.known.insert(host, newest.clone());
        newest.seen.site.trust(fresh, Layer::Memory);
        newest
    }

    /// Holds that storage has nothing for a host. A pointer that was seen stays all the same:
    /// hosts that lost their site have a pointer that says so.
    fn take_absence(&self, host: &Hostname, fresh: Freshness) -> Option<Known> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.peek(host);
        match &known {
            Some(known) => known.seen.site.trust(fresh, known.seen.site.layer()),
            None => self.unknown.insert(host.clone(), fresh),
        }
        known
    }

    /// Goes on with what is held of a host, if anything: for as long as it would have been trusted, and
    /// for a while beyond that.
    fn bear_with(&self, host: &Hostname) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = self.known.peek(host) else { return };
        let (site, now) = (&known.seen.site, Instant::now());
        if !site.is_fresh(now, self.epoch.load(Ordering::Acquire)) {
            site.trust(self.fresh_for(RETRY), Layer::Stale);
        }
        site.failed(now, RETRY / 2);
    }

    fn doubt_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::HostKind;
    use crate::ports::clock::Clock;
    use time::OffsetDateTime;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH
        }
    }

    fn held() -> Held {
        Held::new(Sites::new(10), Propagation::new(Arc::new(Still)))
    }

    fn pointer(version: i64) -> Pointer {
        Pointer {
            version,
            host: Hostname::parse("a.example").unwrap(),
            kind: HostKind::Production,
            target: None,
            earlier: Vec::new(),
            trace: None,
            published_at: None,
        }
    }

    fn version(held: &Held) -> Option<i64> {
        held.fresh(&pointer(0).host).and_then(|seen| seen.pointer).map(|pointer| pointer.version)
    }

    #[test]
    fn a_pointer_never_goes_back_to_a_lower_version() {
        let held = held();
        let hour = Duration::from_secs(3600);
        held.take(pointer(5), held.fresh_for(Duration::ZERO), News::Look);
        assert_eq!(version(&held), None, "its lifetime is over");
        assert_eq!(held.take(pointer(4), held.fresh_for(hour), News::Look).pointer.version, 5);
        assert_eq!(version(&held), Some(5));
        assert_eq!(held.take_absence(&pointer(0).host, held.fresh_for(hour)).unwrap().pointer.version, 5);
        assert_eq!(held.take(pointer(6), held.fresh_for(hour), News::Look).pointer.version, 6);
    }

    #[test]
    fn a_notice_ends_an_absence_and_a_gap_ends_all_trust() {
        let held = held();
        let hour = Duration::from_secs(3600);
        let host = pointer(0).host;
        assert!(held.take_absence(&host, held.fresh_for(hour)).is_none());
        assert!(held.fresh(&host).is_some_and(|seen| seen.pointer.is_none()));
        let begun_before = held.fresh_for(hour);
        held.take(pointer(1), held.fresh_for(hour), News::Look);
        assert_eq!(version(&held), Some(1));
        held.doubt_all();
        assert!(held.fresh(&host).is_none());
        held.take(pointer(2), begun_before, News::Look);
        assert!(held.fresh(&host).is_none(), "what was asked before the gap is doubtful too");
    }

    #[test]
    fn after_a_failure_the_old_pointer_serves_as_stale() {
        let held = held();
        let host = pointer(0).host;
        held.bear_with(&host);
        assert!(held.fresh(&host).is_none(), "nothing is held");
        held.take(pointer(1), held.fresh_for(Duration::ZERO), News::Look);
        held.bear_with(&host);
        assert_eq!(held.fresh(&host).unwrap().layer, Layer::Stale);
    }
}
