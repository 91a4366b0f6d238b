//! Holding a deployment: the one way in which a worker may write to its row.
//!
//! A [`Lease`] renews itself in the background, tells by its token when the work must stop (the
//! lease was lost, a person canceled, the worker shuts down), and writes the row's transitions by
//! compare-and-set. It is not the work itself: that is the worker's. Start with [`App::take`].

use crate::app::App;
use crate::domain::deployment::{Deployment, InvalidTransition, StateName};
use crate::domain::failure::FailureCode;
use crate::domain::id::DeploymentId;
use crate::ports::deployments::{Claim, Renewal};
use crate::ports::error::{StoreError, StoreErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The longest time between two looks at the row: how long a cancel may go unheard when its
/// notice was lost.
const LOOK: Duration = Duration::from_secs(1);
/// How often one call tries to be the first at a deployment.
const CLAIMS: u32 = 20;
/// The first pause after a failed call; each further one is twice as long, up to `LOOK`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub enum Taken {
    Lease(Lease),
    /// So many workers lost it that it is only to end as failed.
    Lost(Lease),
    /// Nothing waits that may be taken.
    NotOurs,
}

/// Why the work on a deployment must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interruption {
    /// The worker is told to end: the deployment is to be given back.
    ShuttingDown,
    /// A person wants it to stop.
    CancelRequested,
    /// The deployment is no longer ours: nothing may be written any more.
    Lost,
}

#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A deployment that this process holds. Dropped, it stops renewing; the row's lease then runs out
/// unless a transition gave it up before.
pub struct Lease {
    app: Arc<App>,
    deployment: Deployment,
    hold: Arc<Hold>,
    renewal: AbortHandle,
}

/// What the worker may say to a lease from outside of the work.
#[derive(Clone)]
pub struct LeaseControl(Arc<Hold>);

/// What the renewal and the work share.
struct Hold {
    stop: CancellationToken,
    nudge: Notify,
    /// Held during every write and renewal of the row, so that a renewal never meets the write
    /// that ends the lease and takes its own end for a loss.
    row: tokio::sync::Mutex<()>,
    state: Mutex<HoldState>,
    length: Duration,
}

struct HoldState {
    interruption: Option<Interruption>,
    /// From here on another worker may hold it.
    safe_until: Instant,
    /// A transition gave the lease up: there is nothing to renew.
    over: bool,
}

impl App {
    /// Takes the deployment that is next in line, if there is one that may be taken.
    pub async fn take_next(self: &Arc<Self>, worker: &str) -> Result<Taken, StoreError> {
        // Whoever is quicker than this one leaves it another.
        for _ in 0..CLAIMS {
            let looking = self.database.next_in_line(self.policy.account_builds).await?;
            let Some(id) = looking else { break };
            match self.take(id, worker).await? {
                Taken::NotOurs => {}
                taken => return Ok(taken),
            }
        }
        Ok(Taken::NotOurs)
    }

    /// Takes this deployment, which waits or whose lease ran out.
    async fn take(self: &Arc<Self>, id: DeploymentId, worker: &str) -> Result<Taken, StoreError> {
        // A tenth less than promised: another worker has it within one lease period, the time in
        // which it notices included.
        let length = self.policy.lease * 9 / 10;
        let asked_at = Instant::now();
        let most = self.policy.account_builds;
        let deployment = match self.database.claim(id, worker, length, self.clock.now(), most).await? {
            Claim::Taken(deployment) => *deployment,
            Claim::Held | Claim::AccountBusy | Claim::Over => return Ok(Taken::NotOurs),
            Claim::Locked => {
                tracing::error!(deployment = %id, "a deployment failed: secrets.keys lacks the key that sealed it");
                metrics::counter!(
                    "gv_deployments_finished_total",
                    "state" => StateName::Failed.word(), "code" => FailureCode::StorageFailed.word()
                )
                .increment(1);
                return Ok(Taken::NotOurs);
            }
        };
        let lost = deployment.losses >= self.policy.max_attempts;
        let lease = Lease::hold(self.clone(), deployment, length, asked_at);
        Ok(if lost { Taken::Lost(lease) } else { Taken::Lease(lease) })
    }
}

impl Lease {
    fn hold(app: Arc<App>, deployment: Deployment, length: Duration, since: Instant) -> Self {
        let hold = Arc::new(Hold {
            stop: CancellationToken::new(),
            nudge: Notify::new(),
            row: tokio::sync::Mutex::default(),
            state: Mutex::new(HoldState {
                interruption: None,
                safe_until: since + safe(length),
                over: false,
            }),
            length,
        });
        if deployment.cancel_requested {
            hold.interrupt(Interruption::CancelRequested);
        }
        let renewal = tokio::spawn(renew(app.clone(), hold.clone(), deployment.id, deployment.attempt));
        Self { app, deployment, hold, renewal: renewal.abort_handle() }
    }

    /// The row as it was last read or written here.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Fires when the work must stop; [`Lease::interruption`] then says why.
    pub fn stop(&self) -> &CancellationToken {
        &self.hold.stop
    }

    pub fn interruption(&self) -> Option<Interruption> {
        let state = self.hold.state();
        // The deadline counts even where the renewal task has not yet come to say so.
        if !state.over && Instant::now() >= state.safe_until {
            return Some(Interruption::Lost);
        }
        state.interruption
    }

    pub fn control(&self) -> LeaseControl {
        LeaseControl(self.hold.clone())
    }

    /// Writes a transition, waiting out a database that cannot be reached for as long as the lease
    /// holds. `false`: the deployment is no longer ours, and nothing was written.
    pub async fn advance(
        &mut self,
        transition: impl FnOnce(Deployment) -> Result<Deployment, InvalidTransition>,
    ) -> Result<bool, AdvanceError> {
        let next = transition(self.deployment.clone())?;
        let mut pause = FIRST_PAUSE;
        let mut uncertain = false;
        while self.interruption() != Some(Interruption::Lost) {
            match self.write(&next, uncertain).await {
                Ok(Some(now)) => {
                    self.deployment = now;
                    return Ok(true);
                }
                Ok(None) => self.hold.lose(),
                Err(error) if error.kind != StoreErrorKind::Unavailable => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, "a transition could not be written yet");
                    // Perhaps it was written and only the answer was lost.
                    uncertain = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LOOK);
                }
            }
        }
        self.hold.lose();
        Ok(false)
    }

    /// `None`: somebody else wrote.
    async fn write(&self, next: &Deployment, uncertain: bool) -> Result<Option<Deployment>, StoreError> {
        let _gate = self.hold.row.lock().await;
        let mut written = timely(&self.hold, self.app.database.advance(next.clone())).await?;
        if written.is_none() && uncertain {
            let account = self.deployment.account;
            let row = timely(&self.hold, self.app.database.find_deployment(account, next.id)).await?;
            let ours = |row: &Deployment| {
                row.attempt == next.attempt
                    && row.state.name() == next.state.name()
                    && row.revision > next.revision
            };
            written = row.filter(ours);
        }
        if written.is_some() && !is_held(next) {
            self.hold.state().over = true;
        }
        Ok(written)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl LeaseControl {
    /// Looks at the row now.
    pub fn nudge(&self) {
        self.0.nudge.notify_one();
    }

    /// The worker ends: the work is to be given back.
    pub fn shut_down(&self) {
        self.0.interrupt(Interruption::ShuttingDown);
    }
}

impl Hold {
    fn state(&self) -> MutexGuard<'_, HoldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The graver reason stays: what was lost cannot be canceled.
    fn interrupt(&self, why: Interruption) {
        let mut state = self.state();
        state.interruption = state.interruption.max(Some(why));
        drop(state);
        self.stop.cancel();
    }

    fn lose(&self) {
        self.interrupt(Interruption::Lost);
    }
}

/// The part of a lease in which nobody else can hold it, even if its last renewal took a while and
/// this process sleeps for a moment between looking and writing.
fn safe(length: Duration) -> Duration {
    length * 9 / 10
}

fn is_held(deployment: &Deployment) -> bool {
    StateName::HELD.contains(&deployment.state.name())
}

/// Gives a call to the database as long as the lease is safe, and not longer than a few seconds.
async fn timely<T>(hold: &Hold, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let deadline = hold.state().safe_until.min(Instant::now() + Duration::from_secs(10));
    tokio::time::timeout_at(deadline, call).await.unwrap_or_else(|late| {
        Err(StoreError::new(StoreErrorKind::Unavailable, "waiting for the database", late))
    })
}

async fn renew(app: Arc<App>, hold: Arc<Hold>, id: DeploymentId, attempt: u32) {
    let period = (hold.length / 3).min(LOOK);
    let mut pause = period;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = hold.nudge.notified() => {}
        }
        let _gate = hold.row.lock().await;
        {
            let state = hold.state();
            if state.over || state.interruption == Some(Interruption::Lost) {
                return;
            }
        }
        let asked_at = Instant::now();
        match timely(&hold, app.database.renew(id, attempt, hold.length)).await {
            Ok(Renewal::Held { cancel_requested }) => {
                hold.state().safe_until = asked_at + safe(hold.length);
                if cancel_requested {
                    hold.interrupt(Interruption::CancelRequested);
                }
                pause = period;
            }
            Ok(Renewal::Lost) => return hold.lose(),
            Err(error) => {
                tracing::debug!(deployment = %id, %error, "a lease could not be renewed yet");
                pause = FIRST_PAUSE.min(period);
            }
        }
        if Instant::now() >= hold.state().safe_until {
            return hold.lose();
        }
    }
}
