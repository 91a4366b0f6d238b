//! How long a connection is waited for. Most waits are short or none, so the deadline is a plain
//! moment that is made when there is something to wait for, and one timer a connection looks at it now
//! and then instead of being set for each request.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// How often the timer looks: what a deadline or a stop is late by at most.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The deadline went by.
    Late,
    /// The edge stops, and nothing is under way.
    Stopping,
}

pub struct Waiting {
    timer: Pin<Box<Sleep>>,
    /// Who hears of the timer. Telling it again would cost more than finding out that it knows.
    told: Option<Waker>,
    stopping: Arc<AtomicBool>,
    has_waited: bool,
}

impl Waiting {
    pub fn new(stopping: Arc<AtomicBool>) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(LOOK)), told: None, stopping, has_waited: false }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether anything was waited for since this was asked last.
    pub fn has_waited(&mut self) -> bool {
        std::mem::take(&mut self.has_waited)
    }

    /// Waits for `ready`, until the moment that `deadline` makes when there is need of one; with
    /// `is_idle`, until the edge stops too.
    pub async fn until<T>(
        &mut self,
        deadline: impl Fn() -> Instant,
        is_idle: bool,
        mut ready: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Ended> {
        let mut until = None;
        poll_fn(|context| {
            if let Poll::Ready(value) = ready(context) {
                return Poll::Ready(Ok(value));
            }
            self.has_waited = true;
            let until = *until.get_or_insert_with(&deadline);
            loop {
                if is_idle && self.is_stopping() {
                    return Poll::Ready(Err(Ended::Stopping));
                }
                let hears = self.told.as_ref().is_some_and(|told| told.will_wake(context.waker()));
                if hears && !self.timer.is_elapsed() {
                    return Poll::Pending;
                }
                // Past its share of the thread a task is told that nothing is ready, and a timer that was never
                // looked at is not made: then nobody would be told of it.
                if pin!(unconstrained(self.timer.as_mut())).poll(context).is_pending() {
                    self.told = Some(context.waker().clone());
                    return Poll::Pending;
                }
                let now = Instant::now();
                if now >= until {
                    return Poll::Ready(Err(Ended::Late));
                }
                self.told = None;
                self.timer.as_mut().reset((now + LOOK).into());
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    #[tokio::test]
    async fn a_deadline_is_kept_by_a_task_that_has_had_its_share_when_it_begins_to_wait() {
        let waiting = async {
            let mut waiting = Waiting::new(Arc::default());
            let deadline = Instant::now() + LOOK / 2;
            let spend = |context: &mut Context<'_>| {
                while has_budget_remaining() {
                    let _ = pin!(consume_budget()).poll(context);
                }
                Poll::<()>::Pending
            };
            waiting.until(|| deadline, false, spend).await
        };
        let ended = tokio::time::timeout(LOOK * 10, tokio::spawn(waiting)).await;
        assert_eq!(ended.expect("it ends").unwrap(), Err(Ended::Late));
    }
}
