//! A connection that is away: said once, and tried again after longer and longer pauses.
//!
//! Not here: when a caller goes on without it (see `cache::redis::breaker`). Start with
//! [`Outage::of`].

use rand::Rng;
use std::fmt;
use std::time::{Duration, Instant};

/// What was connected for as long was of use. What was not may be lost again and again.
const STABLE: Duration = Duration::from_secs(5);

pub(super) struct Outage {
    what: String,
    pauses: (Duration, Duration),
    pause: Duration,
    since: Option<Instant>,
    connected: Option<Instant>,
}

impl Outage {
    /// `what` completes "is away: trying again"; `pauses` are the first and the longest one between
    /// two tries.
    pub(super) fn of(what: impl Into<String>, pauses: (Duration, Duration)) -> Self {
        Self { what: what.into(), pauses, pause: pauses.0, since: None, connected: None }
    }

    /// Whether what was lost had been of use: it is worth another try at once.
    pub(super) fn begins(&mut self, fault: &impl fmt::Display) -> bool {
        let was_stable = self.connected.take().is_some_and(|since| since.elapsed() >= STABLE);
        if was_stable {
            self.pause = self.pauses.0;
        }
        if self.since.is_none() {
            tracing::warn!(error = %fault, "{} is away: trying again", self.what);
            self.since = Some(Instant::now());
        } else {
            tracing::debug!(error = %fault, "{} is still away", self.what);
        }
        was_stable
    }

    pub(super) fn ends(&mut self) {
        self.connected = Some(Instant::now());
        if let Some(since) = self.since.take() {
            tracing::info!(seconds = since.elapsed().as_secs(), "over: {} is away", self.what);
        }
    }

    /// Before the next try. Processes that lost the same server do not come back all at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.pause = (self.pause * 2).min(self.pauses.1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

    #[test]
    fn pauses_grow_to_a_bound_and_stay_jittered() {
        let mut outage = Outage::of("a test", PAUSES);
        let mut usual = PAUSES.0;
        for _ in 0..20 {
            outage.begins(&"no answer");
            let pause = outage.pause();
            assert!(pause >= usual / 2 && pause <= usual, "{pause:?} for {usual:?}");
            usual = (usual * 2).min(PAUSES.1);
        }
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_connection() {
        let mut outage = Outage::of("a test", PAUSES);
        outage.begins(&"no answer");
        let since = outage.since;
        outage.begins(&"no answer");
        assert!(since.is_some());
        assert_eq!(outage.since, since);
        outage.ends();
        assert!(outage.since.is_none());
        // A broker that hangs up at once is not asked faster and faster.
        let pause = outage.pause;
        outage.begins(&"hung up");
        assert_eq!(outage.pause, pause);
    }
}
