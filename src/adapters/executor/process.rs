//! The executor that runs builds as processes of this machine, each under its guard and held by what
//! it was made with.
//!
//! The worker's side of `adapters::executor`: it starts the guard, keeps its record, hands out the
//! output, and says when time is up. A job is looked after by a task of its own, so that it ends
//! properly even when nobody waits for it any more.

use super::cgroup::Groups;
use super::egress::{Door, Egress};
use super::forwarder;
use super::lines::Lines;
use super::orders::{self, Bubblewrap, Command, Hold, Order, Report, Usage};
use super::records::{self, Record, RecordFile};
use super::tree::Identity;
use crate::domain::log::LogStream;
use crate::ports::executor::{Executor, ExecutorError, Exit, Job, OutputLine};
use async_trait::async_trait;
use rustix::process::Signal;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// How long a guard may take to kill its tree before the worker does it.
const GUARD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a receiver may take to fetch the last lines of a command that was stopped.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Of any job, in place of a limit so high that the clock has no such time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const READ_BYTES: usize = 16 * 1024;

/// How the guard is started: a program and arguments that end in `guard::main`.
#[derive(Clone, Debug)]
pub struct GuardProgram {
    /// Absolute.
    pub path: PathBuf,
    pub args: Vec<String>,
}

impl GuardProgram {
    /// The running binary, with its hidden subcommand. The kernel's link to it goes on working
    /// when an upgrade replaces the file.
    pub fn this_binary() -> Self {
        Self { path: PathBuf::from("/proc/self/exe"), args: vec!["guard".to_owned()] }
    }
}

/// What every executor of a worker needs to know.
#[derive(Clone, Debug)]
pub struct Place {
    pub guard: GuardProgram,
    /// A folder of this worker alone; it is made when it is needed.
    pub records: PathBuf,
    /// What builds may read beside the system and their tools.
    pub readable: Vec<PathBuf>,
    /// Whom builds of the first seat run as; those of each other seat are the user so much further. `None`: all
    /// are the worker's own user, the only one that they can have where it is not root.
    pub first_user: Option<u32>,
    /// How many seats there are.
    pub seats: u16,
    /// `None`: builds run in the worker's own control group.
    pub groups: Option<Groups>,
}

pub struct ProcessExecutor {
    place: Place,
    hold: Hold,
    /// The way out of held builds; it ends with the executor.
    egress: Option<Egress>,
}

impl ProcessExecutor {
    /// Builds can read and do whatever the worker can. Also, they run as its user, root too.
    pub fn unsafe_none(place: Place) -> Self {
        Self { place: Place { first_user: None, ..place }, hold: Hold::Nothing, egress: None }
    }

    /// `program` is bubblewrap's. Without `egress` builds have no network at all.
    pub fn bubblewrap(place: Place, program: &Path, egress: Option<Egress>) -> Self {
        let forbids_namespaces = super::bubblewrap::forbids_namespaces(program.as_os_str());
        let hold = Hold::Bubblewrap(Bubblewrap { program: program.into(), forbids_namespaces, proxy: None });
        Self { place, hold, egress }
    }

    /// Without `egress` builds have no network at all.
    pub fn landlock(place: Place, egress: Option<Egress>) -> Self {
        Self { place, hold: Hold::Landlock { proxy_port: None }, egress }
    }
}

#[async_trait]
impl Executor for ProcessExecutor {
    fn mode(&self) -> &'static str {
        match self.hold {
            Hold::Nothing => "unsafe-none",
            Hold::Bubblewrap(_) | Hold::Namespaces => "bubblewrap",
            Hold::Landlock { .. } => "landlock",
        }
    }

    fn is_sandbox(&self) -> bool {
        !matches!(self.hold, Hold::Nothing)
    }

    async fn run(
        &self,
        job: Job,
        output: mpsc::Sender<OutputLine>,
        stop: CancellationToken,
    ) -> Result<Exit, ExecutorError> {
        // Stops with the caller's token, and when the caller drops this future.
        let stop = stop.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let place = self.place.clone();
        let mut hold = self.hold.clone();
        let mut job = job;
        let door =
            self.egress.as_ref().map(Egress::open).transpose().map_err(failed("no way to its proxy"))?;
        if let Some(door) = &door {
            lead_through(door, &mut hold, &mut job.env);
        }
        let task = async move {
            let ended = run(place, hold, job, output, stop).await;
            drop(door);
            ended
        };
        let ended = tokio::spawn(task.in_current_span()).await;
        ended.unwrap_or_else(|error| Err(ExecutorError::Failed(error.to_string())))
    }

    async fn clear_leftovers(&self) -> Result<(), ExecutorError> {
        let records = self.place.records.clone();
        let cleared = tokio::task::spawn_blocking(move || records::clear_leftovers(&records)).await;
        cleared.map_err(|error| error.to_string()).flatten().map_err(ExecutorError::Failed)
    }
}

/// Shows a command the way out that is its own.
fn lead_through(door: &Door, hold: &mut Hold, env: &mut Vec<(String, String)>) {
    match hold {
        Hold::Bubblewrap(bubblewrap) => {
            bubblewrap.proxy = door.socket().map(|socket| socket.as_os_str().to_owned());
        }
        Hold::Landlock { proxy_port } => *proxy_port = door.port(),
        Hold::Nothing | Hold::Namespaces => {}
    }
    let proxy = format!("http://127.0.0.1:{}", door.port().unwrap_or(forwarder::PORT));
    let local = "localhost,127.0.0.1,::1";
    // Yarn from 2 on hears its own names alone.
    let names =
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"];
    let named = names.map(|name| (name, proxy.as_str()));
    let others = [("NO_PROXY", local), ("no_proxy", local), ("NODE_USE_ENV_PROXY", "1")];
    // Last, and so over what a person set.
    env.extend(named.into_iter().chain(others).map(|(name, value)| (name.to_owned(), value.to_owned())));
}

async fn run(
    place: Place,
    hold: Hold,
    mut job: Job,
    output: mpsc::Sender<OutputLine>,
    stop: CancellationToken,
) -> Result<Exit, ExecutorError> {
    job.tools.extend(place.readable);
    let user = place.first_user.map(|first| first.saturating_add(job.seat.into()));
    if user.is_none() {
        job.limits.user_processes = job.limits.user_processes.saturating_mul(place.seats.into());
    }
    let Some(mut command) = Command::of(&job, hold, user) else {
        return Err(ExecutorError::Failed("it names no program".to_owned()));
    };
    let group = place
        .groups
        .as_ref()
        .map(|groups| groups.make(&job))
        .transpose()
        .map_err(failed("its control group"))?;
    command.group = group.as_ref().map(|group| group.path.clone().into_os_string());
    let order = orders::line(&Order::Guard(command)).map_err(failed("its order"))?;
    if stop.is_cancelled() {
        return Ok(Exit::Stopped);
    }
    let (mut running, stdout, stderr) = Running::start(&place.guard, &place.records, &job)?;
    let mut pump = AbortOnDropHandle::new(tokio::spawn(pump(stdout, stderr, output)));
    let until = Until { deadline: Instant::now() + job.limits.time.min(LONGEST), stop };

    let ended = running.end(&order, &until).await;
    blocking(move || drop(group)).await?;
    let patience = async {
        // All writers are dead, so the pipes end; but whoever reads the lines may take his time.
        // Without a guard's word for it a daemon may hold a pipe open, and gets no time.
        if running.has_reported {
            until.reached().await;
        }
        sleep(DRAIN_PATIENCE).await;
    };
    let is_drained = tokio::select! {
        _ = &mut pump => true,
        () = patience => false,
    };
    if !is_drained {
        tracing::debug!("the last lines of a command were not fetched");
    }
    ended
}

/// When a job is to be stopped.
struct Until {
    deadline: Instant,
    stop: CancellationToken,
}

impl Until {
    async fn reached(&self) -> Exit {
        tokio::select! {
            () = self.stop.cancelled() => Exit::Stopped,
            () = sleep_until(self.deadline) => Exit::TimedOut,
        }
    }
}

/// A job whose guard is alive.
struct Running {
    child: Child,
    guard: Identity,
    reports: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    /// Dropped, it closes the guard's way to us: the guard's sign to kill. The kernel drops it for
    /// a worker that dies.
    lifeline: Option<OwnedWriteHalf>,
    file: RecordFile,
    /// The guard said how it ended, which it does when all are dead.
    has_reported: bool,
}

impl Running {
    /// Starts the guard, which waits for its order. Nothing runs that is not on record.
    fn start(
        program: &GuardProgram,
        records: &Path,
        job: &Job,
    ) -> Result<(Self, ChildStdout, ChildStderr), ExecutorError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed("no socket"))?;
        ours.set_nonblocking(true).map_err(failed("no socket"))?;
        let ours = UnixStream::from_std(ours).map_err(failed("no socket"))?;
        let mut child = tokio::process::Command::new(&program.path)
            .args(&program.args)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                ExecutorError::Failed(format!("its guard {}: {error}", program.path.display()))
            })?;
        let (Some(stdout), Some(stderr), Some(record)) = (
            child.stdout.take(),
            child.stderr.take(),
            child.id().and_then(|pid| Record::new(pid, &job.workspace)),
        ) else {
            return Err(ExecutorError::Failed("its guard is not in /proc: is that mounted?".to_owned()));
        };
        let guard = record.guard;
        let file = RecordFile::new(records, &job.deployment.to_string(), record);
        // Without its order the guard ends as soon as its socket closes.
        file.write().map_err(failed("its record cannot be written"))?;
        let (reports, lifeline) = ours.into_split();
        let reports = BufReader::new(reports).lines();
        let lifeline = Some(lifeline);
        Ok((Self { child, guard, reports, lifeline, file, has_reported: false }, stdout, stderr))
    }

    /// Sees the job through. When it returns everything is dead and the record gone.
    async fn end(&mut self, order: &[u8], until: &Until) -> Result<Exit, ExecutorError> {
        let (report, cut_short) = tokio::select! {
            report = self.converse(order) => (report, None),
            exit = until.reached() => (None, Some(exit)),
        };
        if cut_short.is_some() {
            self.stop().await?;
        }
        self.has_reported = report.is_some();
        self.lifeline = None;
        // With a report, or without a guard, this takes no time.
        let _ = self.child.wait().await;
        let leader = self.file.record.leader;
        if report.is_none() {
            self.clear_session(leader).await?;
        }
        self.file.remove();
        match (report, cut_short) {
            (_, Some(exit)) => Ok(exit),
            (Some(Report::Code(code)), _) => Ok(Exit::Code(code)),
            (Some(Report::Signal(signal)), _) => Ok(Exit::Signal(signal)),
            (Some(Report::Exceeded(limit)), _) => Ok(Exit::Exceeded(limit)),
            (Some(Report::Missing(program)), _) => Err(ExecutorError::ProgramMissing(program)),
            (Some(Report::Failed(reason)), _) => Err(ExecutorError::Failed(reason)),
            (None | Some(Report::Started(_) | Report::Used(_)), None) if leader.is_none() => {
                Err(ExecutorError::Failed("its guard ended before it did anything".to_owned()))
            }
            // It was killed with its guard, and by the same hand: out of memory, or its own doing.
            (None | Some(Report::Started(_) | Report::Used(_)), None) => {
                Ok(Exit::Signal(Signal::KILL.as_raw()))
            }
        }
    }

    /// Gives the order and listens to the end. `None`: the guard died without a last word.
    async fn converse(&mut self, order: &[u8]) -> Option<Report> {
        if let Some(lifeline) = &mut self.lifeline {
            // A guard that is gone shows in what it does not say.
            let _ = lifeline.write_all(order).await;
        }
        while let Some(report) = self.next_report().await {
            match report {
                Report::Started(leader) => self.note(leader),
                Report::Used(usage) => tell(usage),
                end => return Some(end),
            }
        }
        None
    }

    async fn next_report(&mut self) -> Option<Report> {
        let line = self.reports.next_line().await.ok().flatten()?;
        serde_json::from_str(&line).ok()
    }

    fn note(&mut self, leader: Identity) {
        self.file.record.leader = Some(leader);
        if let Err(error) = self.file.write() {
            // The guard is on record, and it does the killing.
            tracing::warn!(%error, "the record of a running build is not complete");
        }
    }

    /// Has everything killed: by the guard, or where it does not, over its head.
    async fn stop(&mut self) -> Result<(), ExecutorError> {
        self.lifeline = None;
        // A build may have stopped its guard.
        self.guard.signal(Signal::CONT);
        let last_words = async {
            while let Some(report) = self.next_report().await {
                match report {
                    Report::Started(leader) => self.note(leader),
                    Report::Used(usage) => tell(usage),
                    _ => {}
                }
            }
        };
        if timeout(GUARD_PATIENCE, last_words).await.is_ok() {
            return Ok(());
        }
        let guard = self.guard;
        tracing::warn!(guard = guard.pid, "the guard of a build does not stop it, so the worker does");
        // Each turn waits some seconds. There is no bound, as nothing may run on.
        while let Err(left) = blocking(move || records::kill_with_guard(guard)).await? {
            tracing::warn!(process = left.pid, "a build cannot be killed yet");
        }
        Ok(())
    }

    /// After a guard that gave no report: its command died with it, but not what that started.
    async fn clear_session(&self, leader: Option<Identity>) -> Result<(), ExecutorError> {
        let Some(leader) = leader else { return Ok(()) };
        loop {
            match blocking(move || records::kill_session(leader, None)).await? {
                Ok(()) => return Ok(()),
                Err(left) => tracing::warn!(process = left.pid, "a build cannot be killed yet"),
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ExecutorError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ExecutorError::Failed(error.to_string()))
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> ExecutorError {
    move |error| ExecutorError::Failed(format!("{what}: {error}"))
}

fn tell(usage: Usage) {
    metrics::histogram!("gv_build_memory_bytes").record(usage.memory_bytes as f64);
    metrics::histogram!("gv_build_cpu_seconds").record(usage.cpu.as_secs_f64());
}

/// Reads both streams until they end. One loop for both, so that a full channel holds up the two
/// alike, and then the command: nothing piles up here.
async fn pump(mut stdout: ChildStdout, mut stderr: ChildStderr, output: mpsc::Sender<OutputLine>) {
    let mut out = (Lines::new(LogStream::Stdout), vec![0; READ_BYTES], true);
    let mut err = (Lines::new(LogStream::Stderr), vec![0; READ_BYTES], true);
    while out.2 || err.2 {
        let (read, from) = tokio::select! {
            read = stdout.read(&mut out.1), if out.2 => (read, &mut out),
            read = stderr.read(&mut err.1), if err.2 => (read, &mut err),
        };
        let (lines, buffer, is_open) = from;
        let lines = match read {
            Ok(length) if length > 0 && output.is_closed() => continue,
            Ok(length) if length > 0 => lines.push(&buffer[..length]),
            _ => {
                *is_open = false;
                lines.finish()
            }
        };
        for line in lines {
            if output.send(line).await.is_err() {
                break;
            }
        }
    }
}
