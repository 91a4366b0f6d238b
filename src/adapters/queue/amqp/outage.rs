//! A connection that is away: said once, counted, and tried again after longer and longer pauses.

use super::link::Fault;
use rand::Rng;
use std::time::{Duration, Instant};

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// What was connected for as long was of use. What was not may be lost again and again.
const STABLE: Duration = Duration::from_secs(5);

pub(super) struct Outage {
    /// `publishing` or `consuming`.
    connection: &'static str,
    since: Option<Instant>,
    connected: Option<Instant>,
    pause: Duration,
}

impl Outage {
    pub(super) fn of(connection: &'static str) -> Self {
        Self { connection, since: None, connected: None, pause: PAUSES.0 }
    }

    /// Whether what was lost had been of use: it is worth another try at once.
    pub(super) fn begins(&mut self, fault: &Fault) -> bool {
        metrics::gauge!("gv_queue_connected", "connection" => self.connection).set(0.0);
        let was_stable = self.connected.take().is_some_and(|since| since.elapsed() >= STABLE);
        if was_stable {
            self.pause = PAUSES.0;
        }
        if self.since.is_none() {
            tracing::warn!(error = %fault, "RabbitMQ is away for {}: trying again", self.connection);
            self.since = Some(Instant::now());
        } else {
            tracing::debug!(error = %fault, "RabbitMQ is still away for {}", self.connection);
        }
        was_stable
    }

    pub(super) fn ends(&mut self) {
        metrics::gauge!("gv_queue_connected", "connection" => self.connection).set(1.0);
        metrics::counter!("gv_queue_connects_total", "connection" => self.connection).increment(1);
        self.connected = Some(Instant::now());
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(seconds, "over: RabbitMQ is away for {}", self.connection);
        }
    }

    /// Before the next try. Processes that lost the same broker do not come back all at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.pause = (self.pause * 2).min(PAUSES.1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_stay_jittered() {
        let mut outage = Outage::of("testing");
        let mut usual = PAUSES.0;
        for _ in 0..20 {
            outage.begins(&Fault::new("no answer"));
            let pause = outage.pause();
            assert!(pause >= usual / 2 && pause <= usual, "{pause:?} for {usual:?}");
            usual = (usual * 2).min(PAUSES.1);
        }
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_connection() {
        let mut outage = Outage::of("testing");
        outage.begins(&Fault::new("no answer"));
        let since = outage.since;
        outage.begins(&Fault::new("no answer"));
        assert!(since.is_some());
        assert_eq!(outage.since, since);
        outage.ends();
        assert!(outage.since.is_none());
        // A broker that hangs up at once is not asked faster and faster.
        let pause = outage.pause;
        outage.begins(&Fault::new("hung up"));
        assert_eq!(outage.pause, pause);
    }
}
