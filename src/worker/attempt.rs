//! Around one attempt at a deployment: its workspace and its log, what may interrupt it, and how it
//! ends. The work between is `worker::pipeline`'s. Start with [`attend`].

use crate::app::lease::{AdvanceError, Interruption, Lease, LeaseControl};
use crate::app::logs::{LogWriter, of_operator};
use crate::domain::deployment::{Deployment, StateName, StepName};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::DeploymentId;
use crate::domain::trace::TraceContext;
use crate::ports::traces::{Span, SpanKind};
use crate::worker::Worker;
use crate::worker::failure::{Halt, Step};
use crate::worker::pipeline::Pipeline;
use crate::worker::seats::Seat;
use crate::worker::workspace::Workspace;
use futures_util::FutureExt;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How long the log of a deployment that ends waits for a storage that cannot be reached, and how
/// long it waits when the worker ends.
const LOG_PATIENCE: Duration = Duration::from_secs(60);
const LOG_PATIENCE_AT_SHUTDOWN: Duration = Duration::from_secs(3);
/// How long one try to store it may take.
const LOG_TRY: Duration = Duration::from_secs(15);

/// From here on a wait is worth a line.
const LONG_WAIT_S: f64 = 2.0;

/// Whose row is to be looked at; `None`: everybody's.
pub type Nudge = Option<DeploymentId>;

/// Works on a deployment until it has ended or is not ours any more. Fails for no reason.
pub async fn attend(
    worker: &Worker,
    seat: &Seat,
    (mut lease, announced): (Lease, Option<TraceContext>),
    stop: &CancellationToken,
    nudges: broadcast::Receiver<Nudge>,
) {
    let _running = Running::begin();
    let deployment = lease.deployment().clone();
    let mut span = begin(worker, &deployment, announced);
    let log = worker.app.log_writer(&deployment);
    log.mask(of_operator(&worker.settings.build_env));
    tracing::info!(losses = deployment.losses, "a deployment is taken");
    note_wait(&deployment, &log);
    let watching = watch(lease.control(), deployment.id, stop, nudges);
    let working = async {
        let (done, workspace) = work(worker, seat, &mut lease, &log, &span).await;
        if let Err(halt) = &done {
            span.fail(why(lease.interruption(), halt));
        }
        end(worker, &mut lease, log, done).await;
        drop(span);
        workspace
    };
    let workspace = tokio::select! {
        workspace = working => workspace,
        never = watching => match never {},
    };
    // The row is written: from here on only this worker's disk is concerned.
    drop(lease);
    remove(workspace).await;
}

/// The attempt, as a part of the deployment's trace; and before the first one its wait.
fn begin(worker: &Worker, deployment: &Deployment, announced: Option<TraceContext>) -> Span {
    let tracer = &worker.app.tracer;
    let trace = deployment.options.trace.or(announced);
    if let (1, Some(started)) = (deployment.attempt, deployment.started_at) {
        let mut wait = tracer.go_on("queue", SpanKind::Internal, trace);
        wait.note("gv.deployment.id", deployment.id.to_string());
        wait.lasted(deployment.created_at, started);
    }
    let mut span = tracer.go_on("attempt", SpanKind::Consumer, trace);
    span.link(announced);
    span.note("messaging.operation.name", "take");
    span.note("messaging.operation.type", "process");
    span.note("gv.deployment.id", deployment.id.to_string());
    span.note("gv.attempt", deployment.attempt);
    span
}

/// Why an attempt came to nothing, in a stable word.
fn why(interruption: Option<Interruption>, halt: &Halt) -> &'static str {
    match (interruption, halt) {
        (Some(Interruption::Lost), _) | (None, Halt::Interrupted) => "lease_lost",
        (Some(Interruption::CancelRequested), _) => "canceled",
        (Some(Interruption::ShuttingDown), Halt::Interrupted) => "given_back",
        (_, Halt::Skipped(_)) => FailureCode::Skipped.word(),
        (_, Halt::Failed { failure, .. }) => failure.code.word(),
    }
}

/// Ends a deployment that too many workers lost.
pub async fn end_lost(worker: &Worker, mut lease: Lease) {
    let message = format!(
        "Every worker that took this deployment went silent, {} times: the build may need more memory than \
         a worker has. Deploy again, or make the build smaller.",
        lease.deployment().losses
    );
    let failure = Failure::new(FailureCode::WorkerLost, message);
    let log = worker.app.log_writer(lease.deployment());
    match fail(worker, &mut lease, &log, StepName::Clone, failure, None).await {
        Ok(true) => {}
        Ok(false) => lost(),
        Err(error) => tracing::error!(%error, "the end of a lost deployment could not be written"),
    }
}

/// Counts one build as running for as long as it is held.
struct Running(metrics::Gauge);

impl Running {
    fn begin() -> Self {
        let gauge = metrics::gauge!("gv_builds_running");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// How long it waited, when this is the first time that it was taken.
fn note_wait(deployment: &Deployment, log: &LogWriter) {
    if let (1, Some(started)) = (deployment.attempt, deployment.started_at) {
        let waited = (started - deployment.created_at).as_seconds_f64().max(0.0);
        metrics::histogram!("gv_deployment_step_seconds", "step" => "queue").record(waited);
        if waited >= LONG_WAIT_S {
            log.say(StepName::Queue, format!("Waited {waited:.0} s for its turn."));
        }
    }
}

/// Passes on to the lease what this process hears. Never ends by itself.
async fn watch(
    control: LeaseControl,
    id: DeploymentId,
    stop: &CancellationToken,
    mut nudges: broadcast::Receiver<Nudge>,
) -> Infallible {
    let mut told = false;
    loop {
        tokio::select! {
            () = stop.cancelled(), if !told => {
                told = true;
                control.shut_down();
            }
            heard = nudges.recv() => match heard {
                Ok(Some(other)) if other != id => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => control.nudge(),
                // The lease looks by itself as well.
                Err(broadcast::error::RecvError::Closed) => {
                    stop.cancelled().await;
                    control.shut_down();
                    std::future::pending::<()>().await;
                }
            },
        }
    }
}

async fn work(
    worker: &Worker,
    seat: &Seat,
    lease: &mut Lease,
    log: &LogWriter,
    span: &Span,
) -> (Step<()>, Option<Workspace>) {
    let (dir, deployment) = (worker.settings.dir.clone(), lease.deployment().clone());
    let created = tokio::task::spawn_blocking(move || Workspace::create(&dir, &deployment)).await;
    let workspace = match created.map_err(std::io::Error::other).flatten() {
        Ok(workspace) => workspace,
        Err(error) => return (Err(Halt::internal(error)), None),
    };
    let mut pipeline = Pipeline { worker, seat, lease, log, workspace: &workspace, span };
    // A defect that one repository brings to light must not take the other builds down.
    let done = AssertUnwindSafe(pipeline.run()).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Halt::internal(anyhow::anyhow!("a step panicked: {text}")))
    });
    (done, Some(workspace))
}

/// Brings an attempt to its end in the log and in the row.
async fn end(worker: &Worker, lease: &mut Lease, log: LogWriter, done: Step<()>) {
    let halt = match done {
        Ok(()) => return count(StateName::Ready, None),
        Err(halt) => halt,
    };
    let step = step_of(lease.deployment());
    let ended = match (lease.interruption(), halt) {
        // An interruption without a reason is a write that was refused: not ours any more, either.
        (Some(Interruption::Lost), _) | (None, Halt::Interrupted) => return lost(),
        (Some(Interruption::CancelRequested), _) => cancel(worker, lease, &log, step).await,
        (Some(Interruption::ShuttingDown), Halt::Interrupted) => give_back(worker, lease, log, step).await,
        (_, Halt::Skipped(why)) => skip(worker, lease, &log, step, why).await,
        (_, Halt::Failed { failure, cause }) => fail(worker, lease, &log, step, failure, cause).await,
    };
    match ended {
        Ok(true) => {}
        Ok(false) => lost(),
        // Its lease runs out, and another attempt is made.
        Err(error) => tracing::error!(%error, "the end of a deployment could not be written"),
    }
}

fn lost() {
    metrics::counter!("gv_lease_losses_total").increment(1);
    tracing::warn!("the lease was lost: another worker goes on");
}

async fn cancel(
    worker: &Worker,
    lease: &mut Lease,
    log: &LogWriter,
    step: StepName,
) -> Result<bool, AdvanceError> {
    log.say(step, "Canceled.");
    finish_log(log, lease).await;
    let now = worker.app.clock.now();
    let ended = ended(lease.advance(|deployment| deployment.cancel(now)).await, StateName::Canceled, None);
    tracing::info!("a deployment was canceled");
    ended
}

async fn skip(
    worker: &Worker,
    lease: &mut Lease,
    log: &LogWriter,
    step: StepName,
    why: String,
) -> Result<bool, AdvanceError> {
    log.say(step, format!("Skipped: {why}"));
    finish_log(log, lease).await;
    let now = worker.app.clock.now();
    let reason = Failure::new(FailureCode::Skipped, why);
    tracing::info!(reason = %reason.message, "a deployment was skipped");
    let code = Some(FailureCode::Skipped);
    ended(lease.advance(|deployment| deployment.call_off(now, reason)).await, StateName::Canceled, code)
}

async fn give_back(
    worker: &Worker,
    lease: &mut Lease,
    log: LogWriter,
    step: StepName,
) -> Result<bool, AdvanceError> {
    log.say(step, "This worker is shutting down: the deployment starts over on the next one.");
    // Before everything else the lease is to be given back; a silent storage does not hold it.
    if tokio::time::timeout(LOG_PATIENCE_AT_SHUTDOWN, log.pause()).await.is_err() {
        tracing::warn!("the log of a deployment that is given back could not be stored in time");
    }
    let given = lease.advance(Deployment::give_back).await?;
    if given {
        tracing::info!("a deployment is given back");
        // Only quicker than the sweeper, which finds it as well.
        let Deployment { id, options, .. } = lease.deployment();
        let announcing = worker.app.queue.announce(*id, options.trace);
        let announced = tokio::time::timeout(Duration::from_secs(2), announcing).await;
        if !matches!(announced, Ok(Ok(()))) {
            tracing::debug!("a deployment that was given back waits for the sweeper");
        }
    }
    Ok(given)
}

async fn fail(
    worker: &Worker,
    lease: &mut Lease,
    log: &LogWriter,
    step: StepName,
    mut failure: Failure,
    cause: Option<anyhow::Error>,
) -> Result<bool, AdvanceError> {
    // Where this worker keeps its folders is nobody's business.
    let dir = worker.settings.dir.display().to_string();
    if failure.message.contains(&dir) {
        failure.message = failure.message.replace(&dir, "").into();
    }
    match &cause {
        Some(cause) => {
            tracing::error!(code = failure.code.word(), cause = format!("{cause:#}"), "a deployment failed");
        }
        None => tracing::info!(code = failure.code.word(), reason = %failure.message, "a deployment failed"),
    }
    log.say(step, format!("Failed: {}", failure.message));
    finish_log(log, lease).await;
    let (now, code) = (worker.app.clock.now(), failure.code);
    ended(lease.advance(|deployment| deployment.fail(now, failure)).await, StateName::Failed, Some(code))
}

fn ended(
    written: Result<bool, AdvanceError>,
    state: StateName,
    code: Option<FailureCode>,
) -> Result<bool, AdvanceError> {
    if let Ok(true) = written {
        count(state, code);
    }
    written
}

fn count(state: StateName, code: Option<FailureCode>) {
    let code = code.map_or("", FailureCode::word);
    metrics::counter!("gv_deployments_finished_total", "state" => state.word(), "code" => code).increment(1);
}

/// Stores the log of a deployment that is about to end. A deployment ends even where its log
/// cannot be stored: then it keeps what the live log still has.
pub async fn finish_log(log: &LogWriter, lease: &Lease) {
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let patience = match lease.interruption() {
            Some(Interruption::Lost) => return,
            Some(Interruption::ShuttingDown) => LOG_PATIENCE_AT_SHUTDOWN,
            Some(Interruption::CancelRequested) | None => LOG_PATIENCE,
        };
        // Now and then the reason to hurry is looked at again.
        let limit = patience.saturating_sub(began.elapsed()).min(LOG_TRY);
        let error = match tokio::time::timeout(limit, log.clone().finish()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        if began.elapsed() + pause > patience {
            tracing::error!(error, "the log of a deployment could not be stored");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn remove(workspace: Option<Workspace>) {
    let Some(workspace) = workspace else { return };
    let removed = tokio::task::spawn_blocking(move || workspace.remove()).await;
    if let Err(error) = removed.map_err(std::io::Error::other).flatten() {
        tracing::warn!(%error, "a workspace could not be removed: the next start of this worker tries again");
    }
}

/// The step that a line about the present state belongs to.
fn step_of(deployment: &Deployment) -> StepName {
    deployment.steps.last().map_or(StepName::Clone, |step| step.name)
}
