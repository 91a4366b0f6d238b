//! The sweeper: rings again for whatever waits and nobody holds, and publishes hosts whose
//! publishing was cut off. Runs in every api and worker, without a leader.

use crate::app::App;
use crate::app::deadline::{COURTESY, DATABASE, within};
use crate::ports::error::{StoreError, StoreErrorKind};
use rand::Rng;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A bell that only its own process hears says nothing to the others, who learn of waiting work by
/// sweeping: they ask again soon.
const QUIET_LOCAL: Duration = Duration::from_secs(3);
/// A shared queue keeps what it was told while all workers are busy: ringing again is for what it
/// lost. The more it holds beyond what waits, the rarer it becomes: see [`patience`].
const QUIET_SHARED: Duration = Duration::from_secs(15);
/// Announcements of one sweep: more than workers can take in a second, less than what would flood
/// them while ten thousand wait.
const RINGS: u32 = 100;
/// A move that is younger is most likely being published by whoever made it.
const UNPUBLISHED_AGE: Duration = Duration::from_secs(5);
const UNPUBLISHED: u32 = 100;

impl App {
    /// Sweeps about once a second, with jitter, until `stop`. Errors are logged once per outage.
    pub async fn sweep(&self, stop: CancellationToken) {
        // Side by side, since a stuck storage must not keep the bell from ringing.
        let sweeping = async { tokio::join!(self.ring_for_ever(), self.publish_for_ever()) };
        stop.run_until_cancelled(sweeping).await;
    }

    async fn ring_for_ever(&self) {
        let mut database = Outage::of("waiting deployments cannot be looked up");
        let mut queue = Outage::of("waiting deployments cannot be announced");
        loop {
            database.note(self.ring_again(&mut queue).await);
            tokio::time::sleep(pause()).await;
        }
    }

    async fn publish_for_ever(&self) {
        let mut database = Outage::of("unpublished hosts cannot be looked up");
        let mut storage = Outage::of("moved hosts cannot be published");
        loop {
            database.note(self.publish_again(&mut storage).await);
            tokio::time::sleep(pause()).await;
        }
    }

    async fn ring_again(&self, queue: &mut Outage) -> Result<(), StoreError> {
        let counting = self.database.backlog(self.policy.account_builds);
        let backlog = within(DATABASE, "counting what waits", counting).await?;
        metrics::gauge!("gv_deployments_waiting").set(backlog.waiting as f64);
        metrics::gauge!("gv_oldest_waiting_seconds").set(backlog.oldest_s as f64);
        let depth = within(COURTESY, "counting announcements", self.queue.depth()).await;
        // A queue that cannot tell may have lost everything.
        let held = depth.unwrap_or_default().unwrap_or_default();
        let quiet = quiet(self.queue.is_shared(), self.policy.lease) * patience(held, backlog.unheld);
        let taking = self.database.take_unannounced(quiet, RINGS);
        for id in within(DATABASE, "looking for what nobody holds", taking).await? {
            tracing::debug!(deployment = %id, "ringing again");
            let rung = within(COURTESY, "announcing a deployment", self.queue.announce(id, None)).await;
            let failed = rung.is_err();
            queue.note(rung);
            if failed {
                // The rest would only wait for the same queue; all come again after the quiet time.
                break;
            }
            metrics::counter!("gv_deployments_announced_again_total").increment(1);
        }
        Ok(())
    }

    async fn publish_again(&self, storage: &mut Outage) -> Result<(), StoreError> {
        let looking = self.database.unpublished(UNPUBLISHED_AGE, UNPUBLISHED);
        for record in within(DATABASE, "looking for unpublished hosts", looking).await? {
            let host = record.host.clone();
            let published = self.publish_host(record).await;
            if published.is_ok() {
                tracing::info!(%host, "published a host whose publishing had been cut off");
            }
            let away = published.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Unavailable);
            storage.note(published);
            if away {
                // The rest would only wait for the same storage; all come again.
                break;
            }
        }
        Ok(())
    }
}

/// A deployment whose lease has run out was announced before it was taken. Half a lease of quiet
/// is over by then, so that it is announced at the first sweep.
fn quiet(shared: bool, lease: Duration) -> Duration {
    let usual = if shared { QUIET_SHARED } else { QUIET_LOCAL };
    usual.min(lease / 2)
}

/// By how much longer a queue is left alone that holds an announcement for each deployment that waits,
/// or several: what was never announced, or is to be again, is rung for at once all the same.
fn patience(held: u64, waiting: u64) -> u32 {
    let times = held / waiting.max(1);
    4_u32.pow(times.min(4) as u32)
}

/// About a second; processes that were started together do not sweep together.
fn pause() -> Duration {
    Duration::from_millis(rand::rng().random_range(800..=1_200))
}

/// Says once that something does not work, and once that it does again.
struct Outage {
    what: &'static str,
    since: Option<Instant>,
}

impl Outage {
    fn of(what: &'static str) -> Self {
        Self { what, since: None }
    }

    fn note(&mut self, outcome: Result<(), StoreError>) {
        match (outcome, self.since) {
            (Err(error), None) => {
                tracing::warn!(%error, "{}: trying again every second", self.what);
                self.since = Some(Instant::now());
            }
            (Ok(()), Some(since)) => {
                tracing::info!(seconds = since.elapsed().as_secs(), "over: {}", self.what);
                self.since = None;
            }
            (Err(_), Some(_)) | (Ok(()), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::error::StoreErrorKind;

    #[test]
    fn a_run_out_lease_has_been_quiet_for_long_enough() {
        for lease in [1, 5, 30, 600].map(Duration::from_secs) {
            assert!(quiet(true, lease) < lease);
            assert!(quiet(false, lease) <= quiet(true, lease));
        }
        assert_eq!(quiet(false, Duration::from_secs(30)), QUIET_LOCAL);
    }

    #[test]
    fn a_queue_that_holds_what_waits_is_left_alone_for_longer_and_longer() {
        assert_eq!(patience(0, 0), 1);
        assert_eq!(patience(4, 5), 1, "it may have lost one");
        assert_eq!(patience(5, 5), 4);
        assert_eq!(patience(14, 5), 16);
        assert_eq!(patience(u64::MAX, 1), 256, "an hour at most");
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_success() {
        let failure = || Err(StoreError::new(StoreErrorKind::Unavailable, "asking", "no answer"));
        let mut outage = Outage::of("nothing works");
        outage.note(Ok(()));
        assert!(outage.since.is_none());
        outage.note(failure());
        let since = outage.since;
        outage.note(failure());
        assert!(since.is_some());
        assert_eq!(outage.since, since);
        outage.note(Ok(()));
        assert!(outage.since.is_none());
    }
}
