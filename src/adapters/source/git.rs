//! Fetches sources with gix: starts the work on a thread that may block, tells how far it is, and
//! ends it in time.
//!
//! Not here: the fetch itself, which is [`clone`](super::clone)'s. Start with [`GitSource::new`].

use super::clone::{CheckedOut, Job};
use super::faults::disk_error;
use super::guard::Guard;
use super::progress::Counters;
use super::wire::Clients;
use crate::domain::address::AllowedHost;
use crate::ports::source::{FetchRequest, Fetched, Source, SourceError};
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Between two lines of progress at least.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);
/// How long a thread that was told to end is waited for, so that it has tidied up by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// Git over http and https, by gix.
pub struct GitSource {
    clients: Clients,
    guard: Arc<Guard>,
}

impl GitSource {
    /// `allow`: the hosts that may be contacted although their addresses are not public, and that
    /// a token may be sent to over plain http. The process needs a default rustls provider by now.
    ///
    /// # Errors
    /// `Internal` when the system's certificates cannot be read.
    pub fn new(allow: Vec<AllowedHost>) -> Result<Self, SourceError> {
        let clients = Clients::new()
            .map_err(|error| SourceError::Internal(format!("the HTTP client cannot start: {error}")))?;
        Ok(Self { clients, guard: Arc::new(Guard::new(allow)) })
    }
}

#[async_trait]
impl Source for GitSource {
    async fn fetch(&self, request: FetchRequest, stop: CancellationToken) -> Result<Fetched, SourceError> {
        let halt = Halt { token: CancellationToken::new(), interrupt: Arc::new(AtomicBool::new(false)) };
        let counters = Arc::new(Counters::default());
        let into = request.into.clone();
        let mut watch = Watch { counters: counters.clone(), request: request.clone(), said: String::new() };
        let job = Job {
            received_limit: request.limits.bytes,
            request,
            clients: self.clients.clone(),
            guard: self.guard.clone(),
            runtime: tokio::runtime::Handle::current(),
            halt: halt.token.clone(),
            interrupt: halt.interrupt.clone(),
            counters,
        };
        let mut work = tokio::task::spawn_blocking(move || job.run());
        let ended = watch.until_ended(&mut work, &stop).await;
        // Also when this future is dropped half-way: `halt` goes with it, and that is the signal.
        drop(halt);
        match ended {
            Ok(Ok(checked_out)) => {
                watch.say_end();
                publish(checked_out, &into)
            }
            Ok(Err(error)) => Err(error),
            Err(reason) => {
                // A thread that does not end is left to itself: it knows only its own folder.
                let _ = tokio::time::timeout(PATIENCE, work).await;
                Err(reason)
            }
        }
    }
}

/// Tells the working thread to end, at the latest when nobody waits for it any more.
struct Halt {
    token: CancellationToken,
    interrupt: Arc<AtomicBool>,
}

impl Drop for Halt {
    fn drop(&mut self) {
        self.interrupt.store(true, Relaxed);
        self.token.cancel();
    }
}

/// Watches the work and tells what it sees.
struct Watch {
    counters: Arc<Counters>,
    request: FetchRequest,
    said: String,
}

type Outcome = Result<CheckedOut, SourceError>;

impl Watch {
    /// The work's own outcome, or why it was not waited for.
    async fn until_ended(
        &mut self,
        work: &mut JoinHandle<Outcome>,
        stop: &CancellationToken,
    ) -> Result<Outcome, SourceError> {
        let limit = self.request.limits.time;
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        let mut ticks = tokio::time::interval(PROGRESS_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(SourceError::Stopped),
                () = &mut deadline => return Err(SourceError::TimedOut(limit)),
                ended = &mut *work => {
                    return ended.map_err(|_| SourceError::Internal("the fetch broke down".to_owned()));
                }
                _ = ticks.tick() => self.say(self.counters.words()),
            }
        }
    }

    fn say(&mut self, words: String) {
        if !words.is_empty() && words != self.said {
            (self.request.progress)(&words);
            self.said = words;
        }
    }

    /// However quick it was, the log has what came. What it became is the caller's to tell.
    fn say_end(&mut self) {
        self.say(self.counters.received());
    }
}

/// Moves what was checked out to where it was asked for.
fn publish(checked_out: CheckedOut, into: &Path) -> Result<Fetched, SourceError> {
    let CheckedOut { folder, tree, fetched } = checked_out;
    std::fs::rename(tree, into).map_err(|error| disk_error(&error))?;
    drop(folder);
    Ok(fetched)
}
