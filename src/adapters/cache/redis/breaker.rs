//! A circuit breaker: when to leave a server alone that keeps failing, so that not every caller
//! waits for it in vain. It reads no clock; the time is an argument.
//!
//! Start with [`Breaker::admit`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row after which the server is left alone.
const FAILURES: u32 = 5;
/// How long at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Lets calls through while they work. After several failures in a row it lets nothing through for
/// a while, then one call to try with, whose failure doubles the while.
pub(super) struct Breaker {
    state: Mutex<State>,
}

enum State {
    Closed {
        failures: u32,
    },
    /// Nothing passes before `until`; then one call does, and the next one `pause` later.
    Open {
        until: Instant,
        pause: Duration,
    },
}

/// A call that was let through. What came of it is to be reported, but need not be: a caller may
/// have given up.
#[derive(Debug)]
pub(super) struct Pass {
    is_trial: bool,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// `None`: not now.
    pub(super) fn admit(&self, now: Instant) -> Option<Pass> {
        match &mut *self.state() {
            State::Closed { .. } => Some(Pass { is_trial: false }),
            State::Open { until, .. } if now < *until => None,
            State::Open { until, pause } => {
                *until = now + *pause;
                Some(Pass { is_trial: true })
            }
        }
    }

    /// `true`: with this the server is back.
    pub(super) fn succeeded(&self) -> bool {
        let before = std::mem::replace(&mut *self.state(), State::Closed { failures: 0 });
        matches!(before, State::Open { .. })
    }

    /// `true`: with this the server is left alone.
    pub(super) fn failed(&self, pass: &Pass, now: Instant) -> bool {
        let mut state = self.state();
        match &mut *state {
            State::Closed { failures } if *failures + 1 < FAILURES => {
                *failures += 1;
                false
            }
            State::Closed { .. } => {
                *state = State::Open { until: now + PAUSES.0, pause: PAUSES.0 };
                true
            }
            State::Open { until, pause } => {
                // Calls that were under way when it opened say nothing new.
                if pass.is_trial {
                    *pause = (*pause * 2).min(PAUSES.1);
                    *until = now + *pause;
                }
                false
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker that opened at this moment.
    fn opened() -> (Breaker, Instant) {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for n in 1..=FAILURES {
            let pass = breaker.admit(now).unwrap();
            assert_eq!(breaker.failed(&pass, now), n == FAILURES);
        }
        (breaker, now)
    }

    #[test]
    fn failures_in_a_row_open_it_and_others_do_not() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for n in 0..100 {
            let pass = breaker.admit(now).expect("it works now and then");
            match n % FAILURES {
                0 => assert!(!breaker.succeeded(), "it was never away"),
                _ => assert!(!breaker.failed(&pass, now)),
            }
        }
        let (breaker, now) = opened();
        assert!(breaker.admit(now).is_none());
    }

    #[test]
    fn after_a_while_one_call_tries_and_its_success_lets_all_through() {
        let (breaker, now) = opened();
        assert!(breaker.admit(now + PAUSES.0 - Duration::from_millis(1)).is_none());
        let later = now + PAUSES.0;
        assert!(breaker.admit(later).is_some());
        assert!(breaker.admit(later).is_none(), "one is enough to find out");
        assert!(breaker.succeeded());
        assert!(breaker.admit(later).is_some() && breaker.admit(later).is_some());
    }

    #[test]
    fn each_trial_that_fails_doubles_the_while_up_to_the_longest() {
        let (breaker, mut now) = opened();
        let mut pause = PAUSES.0;
        for _ in 0..10 {
            now += pause;
            let trial = breaker.admit(now).expect("its time has come");
            assert!(!breaker.failed(&trial, now));
            pause = (pause * 2).min(PAUSES.1);
            assert!(breaker.admit(now + pause - Duration::from_millis(1)).is_none());
        }
        assert_eq!(pause, PAUSES.1);
    }

    #[test]
    fn a_trial_that_is_given_up_is_followed_by_another() {
        let (breaker, now) = opened();
        assert!(breaker.admit(now + PAUSES.0).is_some(), "and nothing is reported");
        assert!(breaker.admit(now + PAUSES.0).is_none());
        assert!(breaker.admit(now + 2 * PAUSES.0).is_some());
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_prolong_the_while() {
        let breaker = Breaker::new();
        let now = Instant::now();
        let passes: Vec<_> = (0..100).map(|_| breaker.admit(now).unwrap()).collect();
        for pass in passes {
            breaker.failed(&pass, now + Duration::from_millis(75));
        }
        assert!(breaker.admit(now + Duration::from_millis(75) + PAUSES.0).is_some());
    }
}
