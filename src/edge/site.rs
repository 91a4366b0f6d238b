//! What every answer under a host depends on: whether what was seen of the host still holds. One
//! [`Site`] a host is shared by all that was made of it, so that a hot answer asks it alone, and a
//! move ends them all at once.

use crate::edge::layers::Layer;
use crate::edge::site_counters::SiteCounters;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// What moments are counted from: one fits into an atomic then.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

const NEVER: u64 = u64::MAX;

/// Until when a pointer is trusted, unless everything became doubtful meanwhile, which begins another
/// epoch.
#[derive(Clone, Copy)]
pub struct Freshness {
    pub until: Instant,
    /// When news is asked for while visitors are still answered from what is known.
    pub renew: Instant,
    pub epoch: u64,
}

impl Freshness {
    /// From now on, for so long.
    pub fn lasting(lifetime: Duration, epoch: u64) -> Self {
        let now = Instant::now();
        Self { until: now + lifetime, renew: now + lifetime * 3 / 4, epoch }
    }
}

/// Written under one lock; read without it. Of three values that change one after another a reader
/// may see some before and some after, which is as if its request had come a moment earlier.
pub struct Site {
    pub counters: SiteCounters,
    /// How often the host showed something else.
    moves: AtomicU64,
    /// In nanoseconds since [`BEGINNING`], as are the other moments.
    until: AtomicU64,
    /// [`NEVER`]: somebody asks already.
    renew: AtomicU64,
    /// When nobody could be asked. [`NEVER`]: that has not been so.
    failed: AtomicU64,
    epoch: AtomicU64,
    is_stale: AtomicBool,
    /// Nobody has seen yet what it shows.
    is_unseen: AtomicBool,
}

/// What a host showed at some time.
#[derive(Clone)]
pub struct Seen {
    pub site: Arc<Site>,
    moves: u64,
}

impl Site {
    /// Not yet to be trusted.
    pub fn new(counters: SiteCounters) -> Self {
        Self {
            counters,
            moves: AtomicU64::new(0),
            until: AtomicU64::new(0),
            renew: AtomicU64::new(NEVER),
            failed: AtomicU64::new(NEVER),
            epoch: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
            is_unseen: AtomicBool::new(false),
        }
    }

    /// The host shows something else from now on.
    pub fn moved(self: Arc<Self>) -> Seen {
        self.is_unseen.store(true, Ordering::Release);
        let moves = self.moves.fetch_add(1, Ordering::AcqRel) + 1;
        Seen { site: self, moves }
    }

    /// What the host shows is to be trusted so long; `layer` is memory, or stale.
    pub fn trust(&self, fresh: Freshness, layer: Layer) {
        self.is_stale.store(layer == Layer::Stale, Ordering::Release);
        self.epoch.store(fresh.epoch, Ordering::Release);
        self.renew.store(nanos(fresh.renew), Ordering::Release);
        self.until.store(nanos(fresh.until), Ordering::Release);
    }

    /// Nobody could be asked at this moment: it is tried again after a pause.
    pub fn failed(&self, now: Instant, pause: Duration) {
        self.failed.store(nanos(now), Ordering::Release);
        self.renew.store(nanos(now + pause), Ordering::Release);
    }

    /// Whether nobody could be asked, not longer ago than that.
    pub fn has_failed_within(&self, window: Duration, now: Instant) -> bool {
        let failed = self.failed.load(Ordering::Acquire);
        failed != NEVER && nanos(now).saturating_sub(failed) < window.as_nanos() as u64
    }

    /// Whether it is time to ask for news, and nobody does: the one who is told so has to.
    pub fn is_due(&self, now: Instant) -> bool {
        let renew = self.renew.load(Ordering::Acquire);
        nanos(now) >= renew
            && self.renew.compare_exchange(renew, NEVER, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether this is the first look at what the host shows: told once a move. No ready answer is of before
    /// it, so that only those ask who go the whole way.
    pub fn is_seen_first(&self) -> bool {
        self.is_unseen.load(Ordering::Acquire) && self.is_unseen.swap(false, Ordering::AcqRel)
    }

    /// Nobody will tell it of moves any more.
    pub fn forget(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
        self.until.store(0, Ordering::Release);
    }

    /// Until when what is known is trusted, or was.
    pub fn trusted_until(&self) -> Instant {
        *BEGINNING + Duration::from_nanos(self.until.load(Ordering::Acquire))
    }

    pub fn is_fresh(&self, now: Instant, epoch: u64) -> bool {
        nanos(now) < self.until.load(Ordering::Acquire) && self.epoch.load(Ordering::Acquire) == epoch
    }

    /// Memory, or stale.
    pub fn layer(&self) -> Layer {
        if self.is_stale.load(Ordering::Acquire) { Layer::Stale } else { Layer::Memory }
    }
}

impl Seen {
    /// Whether the host still shows it, to the knowledge of somebody who is to be trusted now: from
    /// memory, or stale.
    pub fn holds(&self, now: Instant, epoch: u64) -> Option<Layer> {
        let shows = self.site.moves.load(Ordering::Acquire) == self.moves;
        (shows && self.site.is_fresh(now, epoch)).then(|| self.site.layer())
    }
}

fn nanos(moment: Instant) -> u64 {
    moment.saturating_duration_since(*BEGINNING).as_nanos() as u64
}
