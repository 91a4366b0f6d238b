//! The reading side: live lines while the deployment runs, the stored rest once it has ended, each
//! line once. Where the live stream fails or is silent, the log that is stored meanwhile.
//!
//! Start with `App::read_log`, then [`Phase`], the way that a reader goes.

use super::stored::{self, Found, StoredLog};
use crate::app::App;
use crate::app::deadline::{DATABASE, within};
use crate::domain::deployment::{Deployment, State, StepName};
use crate::domain::log::{LogLine, LogStream};
use crate::ports::error::StoreError;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BATCH: usize = 500;
/// How often the row is looked at while nothing new comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The least time between two looks: a closed stream answers every wait at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// For one reading of live lines.
const LIVE: Duration = Duration::from_secs(5);
/// For finding what is stored so far: live lines may be coming meanwhile.
const SO_FAR: Duration = Duration::from_secs(5);
/// How long a live stream that can be read may say nothing before storage is asked whether it knows
/// more: at first, and at most.
const SILENCES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(16));

/// What a follower is told.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEvent {
    Line(LogLine),
    /// The deployment has ended, as this; nothing follows.
    End(Box<Deployment>),
}

impl App {
    /// The lines after number `after`. With `follow`, goes on until the deployment has ended and
    /// then gives [`LogEvent::End`]; without it, ends with the last line there is. The deployment
    /// must be one that the reader may see. An error ends the stream; a follower who comes back
    /// with the last number that he saw misses nothing. While live lines cannot be reached, they
    /// come from storage as far as they are there; while the database cannot, a follower just waits.
    pub fn read_log(
        self: &Arc<Self>,
        deployment: Deployment,
        after: u64,
        follow: bool,
    ) -> BoxStream<'static, Result<LogEvent, StoreError>> {
        let reader = Reader {
            app: Arc::clone(self),
            deployment,
            after,
            follow,
            phase: Phase::Begin,
            ready: VecDeque::new(),
            looked: Instant::now(),
            woken: false,
            pause: SHORTEST_PAUSE,
            storage: StorageLooks::new(),
            told: String::new(),
        };
        let next = |mut reader: Reader| async move {
            let event = reader.next().await.transpose()?;
            if event.is_err() {
                reader.phase = Phase::Over;
            }
            Some((event, reader))
        };
        futures_util::stream::unfold(reader, next).boxed()
    }
}

/// Where the next lines come from.
enum Phase {
    Begin,
    /// The live stream of a deployment that has not ended, as far as is known.
    Live,
    /// What is stored of it so far.
    SoFar(Box<StoredLog>),
    /// The object of one that has ended.
    Stored(Box<StoredLog>),
    /// What the live stream still holds beyond the object, when storing it had failed. Whether
    /// there was an object at all decides whether a failure matters.
    Remains {
        stored: bool,
    },
    End,
    Over,
}

struct Reader {
    app: Arc<App>,
    /// As it was when last looked at.
    deployment: Deployment,
    /// The last number that was given out.
    after: u64,
    follow: bool,
    phase: Phase,
    ready: VecDeque<LogLine>,
    looked: Instant,
    /// The last wait ended before its time.
    woken: bool,
    pause: Duration,
    storage: StorageLooks,
    /// Why it waits, as it was last told.
    told: String,
}

/// When to look into storage for lines that the live stream does not give.
struct StorageLooks {
    last: Option<Instant>,
    /// After the last, while the live stream cannot be read; since the last line or look, while it
    /// says nothing.
    pause: Duration,
    silent_since: Instant,
    silence: Duration,
}

impl StorageLooks {
    fn new() -> Self {
        Self { last: None, pause: Duration::ZERO, silent_since: Instant::now(), silence: SILENCES.0 }
    }

    fn heard(&mut self) {
        (self.silent_since, self.silence) = (Instant::now(), SILENCES.0);
    }

    fn is_due(&self, failing: bool) -> bool {
        let rested = self.last.is_none_or(|last| last.elapsed() >= self.pause);
        rested && (failing || self.silent_since.elapsed() >= self.silence)
    }

    /// Looked at an object of this length (0: there is none).
    fn looked(&mut self, length: usize) {
        let now = Instant::now();
        (self.last, self.pause) = (Some(now), stored::pace(length));
        (self.silent_since, self.silence) = (now, (self.silence * 2).min(SILENCES.1));
    }
}

impl Reader {
    /// `None`: nothing follows.
    async fn next(&mut self) -> Result<Option<LogEvent>, StoreError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.after = line.seq;
                return Ok(Some(LogEvent::Line(line)));
            }
            match &mut self.phase {
                Phase::Begin if self.deployment.state.is_ended() => self.open_stored().await?,
                Phase::Begin => self.phase = Phase::Live,
                Phase::Live => self.read_live().await?,
                Phase::SoFar(log) => match log.read(self.after, BATCH) {
                    Ok(lines) if !lines.is_empty() => {
                        self.storage.heard();
                        self.ready = lines.into();
                    }
                    // One that cannot be read is written over, in the end at the latest.
                    Ok(_) | Err(_) if self.follow => self.phase = Phase::Live,
                    Ok(_) => self.phase = Phase::End,
                    Err(error) => return Err(error),
                },
                Phase::Stored(log) => {
                    self.ready = log.read(self.after, BATCH)?.into();
                    if self.ready.is_empty() {
                        self.phase = Phase::Remains { stored: true };
                    }
                }
                Phase::Remains { stored } => {
                    let stored = *stored;
                    self.ready = match self.live_lines().await {
                        Ok(lines) => lines.into(),
                        // Nobody ever worked on one without an attempt: it has no log.
                        Err(_) if stored || self.deployment.attempt == 0 => VecDeque::new(),
                        Err(error) => return Err(error),
                    };
                    if self.ready.is_empty() {
                        self.phase = Phase::End;
                    }
                }
                Phase::End => {
                    self.phase = Phase::Over;
                    if self.follow {
                        return Ok(Some(LogEvent::End(Box::new(self.deployment.clone()))));
                    }
                }
                Phase::Over => return Ok(None),
            }
        }
    }

    async fn open_stored(&mut self) -> Result<(), StoreError> {
        self.phase = match self.app.find_stored_log(self.deployment.id).await? {
            Some(Found { log, .. }) => Phase::Stored(Box::new(log)),
            None => Phase::Remains { stored: false },
        };
        Ok(())
    }

    /// Turns to what is stored so far. Where that cannot be read either, a follower waits; who does
    /// not follow has come to the end, unless there was a problem with the live stream too.
    async fn open_so_far(&mut self, problem: Option<StoreError>) -> Result<(), StoreError> {
        let finding = self.app.find_stored_log(self.deployment.id);
        let found = within(SO_FAR, "reading a log so far", finding).await;
        self.storage.looked(found.as_ref().ok().and_then(Option::as_ref).map_or(0, |found| found.length));
        match (found, problem) {
            (Ok(Some(found)), _) => self.phase = Phase::SoFar(Box::new(found.log)),
            (Err(_), Some(problem)) => return Err(problem),
            (Ok(None) | Err(_), _) if !self.follow => self.phase = Phase::End,
            (Ok(None), _) => {}
            (Err(error), None) => {
                tracing::debug!(deployment = %self.deployment.id, %error, "a log so far could not be read");
            }
        }
        Ok(())
    }

    async fn live_lines(&self) -> Result<Vec<LogLine>, StoreError> {
        let reading = self.app.live_logs.read(self.deployment.id, self.after, BATCH);
        within(LIVE, "reading live lines", reading).await
    }

    async fn read_live(&mut self) -> Result<(), StoreError> {
        let live = self.live_lines().await;
        if let Ok(lines) = &live
            && !lines.is_empty()
        {
            self.storage.heard();
            self.woken = false;
            self.pause = SHORTEST_PAUSE;
            self.ready = live?.into();
            return Ok(());
        }
        if !self.follow {
            return self.open_so_far(live.err()).await;
        }
        if self.storage.is_due(live.is_err()) {
            self.open_so_far(None).await?;
            if matches!(self.phase, Phase::SoFar(_)) {
                return Ok(());
            }
        }
        if self.woken {
            // Woken and nothing there: the stream was closed, so the row is about to say more.
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LOOK_EVERY);
        }
        if self.woken || self.looked.elapsed() >= LOOK_EVERY {
            self.look().await?;
        }
        if matches!(self.phase, Phase::Live) && self.ready.is_empty() {
            self.wait().await;
        }
        Ok(())
    }

    /// Looks whether the deployment has ended. One that is gone ends as it was last seen.
    async fn look(&mut self) -> Result<(), StoreError> {
        self.looked = Instant::now();
        let Deployment { account, id, .. } = self.deployment;
        let finding = self.app.database.find_deployment(account, id);
        match within(DATABASE, "looking at a deployment", finding).await {
            Ok(Some(deployment)) => {
                self.deployment = deployment;
                if self.deployment.state.is_ended() {
                    self.open_stored().await?;
                } else if self.deployment.state == State::Queued {
                    self.tell_place().await;
                }
            }
            Ok(None) => self.phase = Phase::End,
            Err(error) => {
                tracing::debug!(deployment = %id, %error, "a follower could not look at its deployment");
            }
        }
        Ok(())
    }

    /// Tells a follower why it still waits, whenever that has changed. It is no line of the log: its number is
    /// that of the line before, so that whoever comes back with it misses nothing.
    async fn tell_place(&mut self) {
        let id = [self.deployment.id];
        let places = within(DATABASE, "looking at a place in line", self.app.database.places(&id)).await;
        let Ok(Some(place)) = places.map(|places| places.first().copied()) else { return };
        let most = self.app.policy.account_builds;
        let text = if place.account_running >= u64::from(most) {
            let running = match place.account_running {
                1 => "1 deployment of this account is".to_owned(),
                many => format!("{many} deployments of this account are"),
            };
            format!("Waiting: {running} already building (limit {most}); position {}.", place.position)
        } else {
            format!("Waiting for a worker: position {}.", place.position)
        };
        if text == self.told {
            return;
        }
        self.told.clone_from(&text);
        self.ready.push_back(LogLine {
            seq: self.after,
            time: self.app.clock.now(),
            stream: LogStream::System,
            step: StepName::Queue,
            text,
        });
    }

    async fn wait(&mut self) {
        let begun = Instant::now();
        let waiting = self.app.live_logs.wait(self.deployment.id, self.after, LOOK_EVERY);
        if within(LOOK_EVERY * 2, "waiting for live lines", waiting).await.is_err() {
            tokio::time::sleep(LOOK_EVERY.saturating_sub(begun.elapsed())).await;
        }
        self.woken = begun.elapsed() < LOOK_EVERY / 2;
    }
}
