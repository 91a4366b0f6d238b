//! Trying again: with pauses that grow and are drawn by lot, until a moment that was set
//! beforehand, and within a budget that all of a process's requests share.
//!
//! The budget keeps retries from multiplying the load of a storage that is in trouble: each costs
//! a token, each success earns half of one, so that of three requests one may be a retry for as
//! long as it likes, and in an outage retries cease. A trickle keeps a quiet process able to retry.
//!
//! Start with [`Retries::until`].

use super::trouble::Trouble;
use rand::Rng as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

const TOKENS: f64 = 100.0;
const EARNED: f64 = 0.5;
const TRICKLE_PER_SECOND: f64 = 1.0;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Retries {
    budget: Mutex<Budget>,
}

/// Until when there is patience.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// For an answer to begin, however often it is asked for.
    pub answer_by: Instant,
    /// For all of it.
    pub end_by: Instant,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        let at = Instant::now() + time;
        Self { answer_by: at, end_by: at }
    }

    /// With time for a body besides, once the answer has begun.
    pub(super) fn and(self, time: Duration) -> Self {
        Self { end_by: self.answer_by + time, ..self }
    }

    /// What `asked` gives, if it comes before an answer must have begun.
    pub(super) async fn answered<T>(
        self,
        asked: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        timeout_at(self.answer_by, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> Trouble {
    Trouble::Lost("there was no answer in time".to_owned())
}

/// What came of it, after how many tries.
pub(super) struct Tried<T> {
    pub result: Result<T, Trouble>,
    pub tries: u32,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self { budget: Mutex::new(Budget { tokens: TOKENS, as_of: Instant::now() }) }
    }

    /// Tries until there is an answer that stays the same, or the deadline
    /// has come.
    pub(super) async fn until<T, F>(&self, deadline: Deadline, mut attempt: impl FnMut() -> F) -> Tried<T>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let result = timeout_at(deadline.end_by, attempt()).await.unwrap_or_else(|_| Err(late()));
            let trouble = match result {
                Err(trouble) if trouble.is_passing() => trouble,
                result => {
                    self.budget(|budget| budget.earn());
                    return Tried { result, tries };
                }
            };
            let pause = pause(tries);
            let now = Instant::now();
            if now + pause >= deadline.answer_by {
                return Tried { result: Err(trouble), tries };
            }
            if !self.budget(|budget| budget.spend(now)) {
                metrics::counter!("gv_s3_retries_denied_total").increment(1);
                return Tried { result: Err(trouble), tries };
            }
            metrics::counter!("gv_s3_retries_total", "after" => trouble.outcome()).increment(1);
            tracing::debug!(?trouble, tries, "a request to storage is tried again");
            sleep(pause).await;
        }
    }

    fn budget<T>(&self, change: impl FnOnce(&mut Budget) -> T) -> T {
        change(&mut self.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// "Full jitter": anything up to a bound that doubles.
fn pause(tries: u32) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << tries.clamp(1, 10)).min(LONGEST_PAUSE);
    most.mul_f64(rand::rng().random_range(0.0..1.0))
}

struct Budget {
    tokens: f64,
    as_of: Instant,
}

impl Budget {
    fn earn(&mut self) {
        self.tokens = (self.tokens + EARNED).min(TOKENS);
    }

    fn spend(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.tokens = (self.tokens + since * TRICKLE_PER_SECOND).min(TOKENS);
        self.as_of = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn lost<T>() -> Result<T, Trouble> {
        Err(Trouble::Lost("a fault".to_owned()))
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_until_it_has_passed() {
        let (retries, calls) = (Retries::new(), AtomicU32::new(0));
        let deadline = Deadline::after(Duration::from_secs(60));
        let attempt = || async { if calls.fetch_add(1, Ordering::SeqCst) < 4 { lost() } else { Ok(7) } };
        let tried = retries.until(deadline, attempt).await;
        assert_eq!((tried.result.unwrap(), tried.tries), (7, 5));
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        let deadline = Deadline::after(Duration::from_secs(60));
        let never = || async { Err::<(), _>(Trouble::Unusable(String::new())) };
        assert_eq!(Retries::new().until(deadline, never).await.tries, 1);
    }

    #[tokio::test]
    async fn the_deadline_holds_for_failing_and_for_silent_attempts() {
        let retries = Retries::new();
        let deadline = Deadline::after(Duration::from_millis(400));
        let tried = retries.until(deadline, || async { lost::<()>() }).await;
        assert!(tried.result.is_err() && tried.tries > 2 && Instant::now() <= deadline.end_by);
        let tried = retries.until(deadline, std::future::pending::<Result<(), _>>).await;
        assert!(tried.result.is_err());
        assert!(Instant::now() <= deadline.end_by + Duration::from_millis(300));
    }

    #[test]
    fn in_an_outage_retries_cease_and_in_a_partial_one_they_go_on() {
        let (begun, mut retried) = (Instant::now(), 0);
        let mut outage = Budget { tokens: TOKENS, as_of: begun };
        for n in 0..1000 {
            // A hundred operations a second, of which none succeeds.
            retried += u32::from(outage.spend(begun + Duration::from_millis(10 * n)));
        }
        assert!((100..=111).contains(&retried), "{retried} of 1000");
        let mut partial = Budget { tokens: TOKENS, as_of: begun };
        for n in 0..10_000 {
            let failed = n % 10 < 3;
            assert!(!failed || partial.spend(begun), "the budget ends at {n}");
            if !failed {
                partial.earn();
            }
        }
    }
}
