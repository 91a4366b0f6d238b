//! The worker: takes deployments that wait, one lease each, and brings them to their end.
//!
//! It speaks to the queue (what waits), the database (the lease), the git host, the executor, blobs
//! and the cache; no visitor speaks to it. Start with [`Worker::run`], then [`attempt`], then
//! [`pipeline`], whose steps are the other files.

mod archive;
mod attempt;
mod build;
mod caches;
mod codings;
mod collect;
mod commands;
mod declared;
mod diagnosis;
mod encode;
mod environment;
mod failure;
pub mod inside;
mod node;
mod output;
mod package;
mod pipeline;
mod plan;
mod presets;
mod reuse;
pub mod rules;
mod seats;
mod settings;
mod skip;
mod system;
mod timer;
mod toolchain;
mod upload;
mod workspace;

pub use settings::WorkerSettings;
pub use toolchain::Machine;

use crate::app::App;
use crate::app::lease::{Lease, Taken};
use crate::ports::error::StoreError;
use crate::ports::executor::Executor;
use crate::ports::notices::{Heard, Notice};
use crate::ports::queue::{Announcement, Announcements};
use crate::ports::source::Source;
use crate::ports::tools::Tools;
use anyhow::Context;
use attempt::Nudge;
use seats::{Seat, Seats};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// How long the end of a worker waits for its deployments to be given back. Stopping a build and
/// writing two rows is a matter of a second; the rest is for a slow disk.
const DRAIN: Duration = Duration::from_secs(30);
/// The first and the longest pause before a call that failed is made again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

pub struct Worker {
    pub app: Arc<App>,
    pub source: Arc<dyn Source>,
    pub executor: Arc<dyn Executor>,
    /// `None`: builds run on what the machine has.
    pub tools: Option<Arc<dyn Tools>>,
    pub machine: Machine,
    pub settings: WorkerSettings,
}

impl Worker {
    /// Works until `stop`, then gives back what it holds. Survives the loss of everything that it
    /// speaks to; an error is one of its own machine, such as a folder that it may not write to.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let _dir = self.hold_dir()?;
        self.clear_away().await?;
        let worker = Arc::new(self);
        let (nudges, _) = broadcast::channel(64);
        let _listening = AbortOnDropHandle::new(tokio::spawn(hear(worker.app.clone(), nudges.clone())));
        let Some(()) = worker.abandon_earlier(&stop).await else { return Ok(()) };
        let Some(mut announcements) = worker.listen(&stop).await else { return Ok(()) };
        let most = worker.settings.concurrency.max(1);
        let (seats, mut free) = (Seats::new(most), None);
        let mut running = JoinSet::new();
        tracing::info!(concurrency = most, executor = worker.executor.mode(), "the worker takes deployments");
        loop {
            free = free.or_else(|| seats.take());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = running.join_next(), if !running.is_empty() => report(ended),
                announcement = announcements.next(), if free.is_some() => {
                    let Some(seat) = free.take() else { continue };
                    running.spawn(handle(worker.clone(), seat, announcement, stop.clone(), nudges.subscribe()));
                }
            }
        }
        drop(announcements);
        drain(running).await;
        Ok(())
    }

    /// Keeps other workers out of the folder for as long as the file is held: they would take its
    /// workspaces for leftovers.
    fn hold_dir(&self) -> anyhow::Result<std::fs::File> {
        let dir = &self.settings.dir;
        let cannot = || format!("worker.dir: {} cannot be made", dir.display());
        std::fs::create_dir_all(dir).with_context(cannot)?;
        let lock =
            std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
        let lock = lock.with_context(cannot)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            anyhow::anyhow!("worker.dir: another worker uses {}: give each one its own", dir.display())
        })?;
        Ok(lock)
    }

    /// Ends what an earlier life of this worker left: processes first, then their folders.
    async fn clear_away(&self) -> anyhow::Result<()> {
        if let Err(error) = self.executor.clear_leftovers().await {
            tracing::warn!(%error, "processes of an earlier life of this worker could not be ended");
        }
        let dir = self.settings.dir.clone();
        match tokio::task::spawn_blocking(move || workspace::remove_leftovers(&dir)).await? {
            Ok(0) => {}
            Ok(workspaces) => {
                tracing::info!(workspaces, "what an earlier life of this worker left is removed");
            }
            Err(error) => {
                tracing::warn!(%error, "what an earlier life of this worker left could not be removed");
            }
        }
        Ok(())
    }

    /// Lets go of what an earlier life held, so that nobody has to wait for its leases to run out.
    async fn abandon_earlier(&self, stop: &CancellationToken) -> Option<()> {
        let name = &self.settings.name;
        let abandoned = until(stop, "leases of an earlier life", || self.app.database.abandon(name)).await?;
        if abandoned > 0 {
            tracing::info!(abandoned, "deployments of an earlier life of this worker wait again");
        }
        Some(())
    }

    async fn listen(&self, stop: &CancellationToken) -> Option<Box<dyn Announcements>> {
        let prefetch = self.settings.concurrency.max(1);
        until(stop, "the queue", || self.app.queue.listen(prefetch)).await
    }
}

/// One announcement: it says that something waits, not what is to be taken. Then whatever else is next in line,
/// as long as there is anything: whoever has just ended a deployment is free for the next, and an account that had
/// as many as it may has room for another.
async fn handle(
    worker: Arc<Worker>,
    seat: Seat,
    announcement: Announcement,
    stop: CancellationToken,
    nudges: broadcast::Receiver<Nudge>,
) {
    // It may lead to another deployment than the one it was rung for, whose trace is its own.
    let announced = (announcement.deployment, announcement.trace);
    let mut announcement = Some(announcement);
    let mut settle = || announcement.take().map(Announcement::done);
    while !stop.is_cancelled() {
        // From before the lease is taken, so that nothing said of it is missed.
        let heard = nudges.resubscribe();
        match worker.app.take_next(&worker.settings.name).await {
            Ok(Taken::Lease(lease)) => {
                settle();
                let span = span_of(&worker, &lease);
                let (id, trace) = announced;
                let trace = trace.filter(|_| id == lease.deployment().id);
                attempt::attend(&worker, &seat, (lease, trace), &stop, heard).instrument(span).await;
            }
            Ok(Taken::Lost(lease)) => {
                settle();
                let span = span_of(&worker, &lease);
                attempt::end_lost(&worker, lease).instrument(span).await;
            }
            Ok(Taken::NotOurs) => {
                settle();
                return;
            }
            // Unsettled, the announcement comes again.
            Err(error) => return tracing::warn!(%error, "the next deployment could not be taken yet"),
        }
    }
}

fn span_of(worker: &Worker, lease: &Lease) -> tracing::Span {
    let (id, trace) = (lease.deployment().id, lease.deployment().options.trace);
    let trace_id = trace.map(|trace| format!("{:032x}", trace.trace));
    tracing::info_span!("deployment", deployment = %id, worker = %worker.settings.name, trace_id)
}

/// Hears what concerns leases, once for all of them, and goes on after every error.
async fn hear(app: Arc<App>, nudges: broadcast::Sender<Nudge>) {
    let never = CancellationToken::new();
    let Some(mut notices) = until(&never, "notices", || app.notices.subscribe()).await else { return };
    loop {
        let nudge = match notices.next().await {
            Heard::Notice(Notice::CancelRequested { deployment }) => Some(deployment),
            Heard::Notice(_) => continue,
            Heard::Gap => None,
        };
        // Nobody listens while nothing is built.
        let _ = nudges.send(nudge);
    }
}

/// Calls until it works; `None`: `stop` came first.
async fn until<T, F>(stop: &CancellationToken, what: &str, mut call: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSES.0;
    loop {
        let error = match stop.run_until_cancelled(call()).await? {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if pause == PAUSES.0 {
            tracing::warn!(%error, "the worker waits for {what}");
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn drain(mut running: JoinSet<()>) {
    let all = async {
        while let Some(ended) = running.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(
            deployments = running.len(),
            "deployments could not be given back: their leases run out"
        );
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        // Its lease was dropped with it: it runs out, and the deployment is taken again.
        tracing::error!(%error, "the task of a deployment broke off");
    }
}
