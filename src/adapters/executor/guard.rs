//! The guard of one build: the hidden subcommand `gv guard`.
//!
//! It starts the command, reaps what the command's descendants leave orphaned (it is their
//! subreaper), and kills every one of them when the command ends, when they use too much together
//! (`usage`), or when the worker is gone. It reads no configuration: time limits and records are the
//! worker's.
//!
//! A guard that is killed itself takes the command with it (the command's parent-death signal), and
//! the worker kills what else is in the command's session. A daemon with a session of its own gets
//! away from that, and a build that is not held runs as the same user as its guard, so it can bring
//! this about: a sandbox closes that.

use super::bubblewrap::PROXY;
use super::orders::{self, Command, Hold, Order, Report};
use super::tree::{self, Identity};
use super::usage::{self, Watch};
use super::{cgroup, forwarder, launch};
use crate::ports::executor::Limit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::process::{getpid, pidfd_open, set_child_subreaper, setsid, wait};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// How long orphans may lie dead before they are reaped, and how long a build may use too much.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// The same where the kernel cannot wake us when the command ends.
const BLIND_LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Of a launcher, in bytes.
const LONGEST_WORDS: u64 = 64 * 1024;
/// Between two rounds of killing: the dying need a moment to be dead.
const ROUND: Duration = Duration::from_millis(1);

/// Guards one build to its end. To be called before anything else in the process: it must be the
/// only thread, and its stdin is the worker's socket.
pub fn main() -> ExitCode {
    let order = stdin_socket().and_then(|socket| Ok((order(&socket)?, socket)));
    match order {
        Ok((Order::Guard(command), worker)) => report(&worker, guard(command, &worker)),
        Ok((Order::Launch { command, guard }, socket)) => launch::become_command(command, guard, &socket),
        Ok((Order::Init(command), outside)) => report(&outside, init(command, &outside)),
        Err(error) => {
            let hint = "gv guard is started by a worker for each build; it is of no use by hand";
            let _ = writeln!(io::stderr(), "{hint} ({error})");
            ExitCode::from(2)
        }
    }
}

/// From the file in memory whose descriptor an argument names, else from the socket.
fn order(socket: &UnixStream) -> io::Result<Order> {
    match std::env::args().nth(2).and_then(|number| number.parse::<u32>().ok()) {
        Some(number) => Ok(serde_json::from_slice(&std::fs::read(format!("/proc/self/fd/{number}"))?)?),
        None => orders::receive(socket),
    }
}

/// A copy of stdin that the programs we start do not inherit.
fn stdin_socket() -> io::Result<UnixStream> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}

fn report(listener: &UnixStream, ended: Result<Report, String>) -> ExitCode {
    let report = ended.unwrap_or_else(|error| {
        kill_all();
        Report::Failed(error)
    });
    // Nobody listens when the worker is dead: the killing was all that was left to do.
    let _ = orders::send(listener, &report);
    ExitCode::SUCCESS
}

/// Returns once nothing that descends from this process is alive.
fn guard(command: Command, worker: &UnixStream) -> Result<Report, String> {
    let me = getpid();
    // In `ps` and for those who kill by name.
    let _ = rustix::thread::set_name(c"gv-guard");
    // Out of the worker's group: what is sent to that (Ctrl-C, kill -9 -group) must not stop us.
    setsid().map_err(|error| format!("no session for its guard: {error}"))?;
    std::env::set_current_dir("/").map_err(|error| format!("no folder for its guard: {error}"))?;
    set_child_subreaper(Some(me)).map_err(|error| format!("its guard is no subreaper: {error}"))?;

    let (socket, pid) = start_launcher().map_err(|error| format!("no launcher: {error}"))?;
    let leader = Identity::of(pid.as_raw_pid()).ok_or("/proc does not show it: is it mounted?")?;
    // The worker learns of the leader before the command exists.
    orders::send(worker, &Report::Started(leader)).map_err(|error| error.to_string())?;
    let is_wrapped = matches!(command.hold, Hold::Bubblewrap(_));
    let mut watched = Watch::begin(&command);
    let (group, most) = (command.group.clone(), command.limits.processes);
    orders::send(&socket, &Order::Launch { command, guard: me.as_raw_pid() })
        .map_err(|error| format!("its launcher died: {error}"))?;

    let ended = watch(worker, pid, most, |dead| watched.exceeded(dead));
    if is_wrapped {
        // The kernel ends a namespace in one stroke when its first process dies, and that dies with
        // bubblewrap.
        leader.signal(Signal::KILL);
    }
    let group = group.as_ref().map(Path::new);
    if let Some(group) = group {
        cgroup::kill(group);
    }
    let reaped = kill_all();
    // Nobody listens when the worker is dead.
    let _ = orders::send(worker, &Report::Used(watched.in_the_end()));
    if let Watched::Exceeded(limit) = ended {
        return Ok(Report::Exceeded(limit));
    }
    // The kernel may have ended it between two looks.
    if let Some(limit) = group.and_then(cgroup::exceeded) {
        return Ok(Report::Exceeded(limit));
    }
    let status = reaped.find(pid).or(ended.status()).ok_or("its end went unnoticed")?;
    match last_words(&socket) {
        Some(said @ (Report::Code(_) | Report::Signal(_) | Report::Exceeded(_))) if is_wrapped => Ok(said),
        Some(said @ (Report::Missing(_) | Report::Failed(_))) => Ok(said),
        _ if is_wrapped => Ok(wrapped(status)),
        _ => Ok(end(status)),
    }
}

/// The first process of a namespace: what descends from it dies with it, and the end of what it
/// starts is told as it was, which bubblewrap would not do.
fn init(command: Command, outside: &UnixStream) -> Result<Report, String> {
    let _ = rustix::thread::set_name(c"gv-init");
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    if Path::new(PROXY).exists() {
        forwarder::start(Path::new(PROXY)).map_err(failed("no way to its proxy"))?;
    }
    // The build runs as the same user: it is not to speak in our place.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| format!("init is open: {error}"))?;
    let most = command.limits.processes;
    let (socket, pid) = start_launcher().map_err(failed("no launcher"))?;
    orders::send(&socket, &Order::Launch { command, guard: getpid().as_raw_pid() })
        .map_err(failed("its launcher died"))?;
    // It reaps what the guard outside would count.
    let ended = watch(outside, pid, most, |dead| usage::crowd(dead, most));
    let reaped = kill_all();
    if let Watched::Exceeded(limit) = ended {
        return Ok(Report::Exceeded(limit));
    }
    let status = reaped.find(pid).or(ended.status()).ok_or("its end went unnoticed")?;
    Ok(last_words(&socket).unwrap_or_else(|| end(status)))
}

/// This same binary once more, waiting for its order.
fn start_launcher() -> io::Result<(UnixStream, Pid)> {
    let (ours, theirs) = UnixStream::pair()?;
    // The kernel's own link to what we run: it works when the file was replaced since.
    let child = std::process::Command::new("/proc/self/exe")
        .arg0("gv")
        .args(std::env::args_os().skip(1).take(1))
        .env_clear()
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.map(|pid| (ours, pid)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Why a command is watched no longer.
enum Watched {
    Ended(WaitStatus),
    Exceeded(Limit),
    /// Whoever gave the order is gone.
    Alone,
}

impl Watched {
    fn status(&self) -> Option<WaitStatus> {
        match self {
            Self::Ended(status) => Some(*status),
            Self::Exceeded(_) | Self::Alone => None,
        }
    }
}

/// Waits until the command ends or uses too much, or until the worker closes its end. `exceeded` is told how
/// many processes lay dead until this look.
fn watch(
    worker: &UnixStream,
    leader: Pid,
    most_processes: u64,
    mut exceeded: impl FnMut(usize) -> Option<Limit>,
) -> Watched {
    let process = pidfd_open(leader, PidfdFlags::empty()).ok();
    loop {
        let mut sources = vec![PollFd::new(worker, PollFlags::IN)];
        sources.extend(process.as_ref().map(|process| PollFd::new(process, PollFlags::IN)));
        let pause = if process.is_some() { LOOK_EVERY } else { BLIND_LOOK_EVERY };
        // The worker sends one line and no more, so whatever comes is its end of the socket closing.
        let is_worker_gone = match poll(&mut sources, Some(&pause)) {
            Ok(_) => !sources[0].revents().is_empty(),
            // Blind to the worker, it is safer to stop.
            Err(error) => error != Errno::INTR,
        };
        let reaped = reap();
        if let Some(status) = reaped.find(leader) {
            let crowd = usage::crowd(reaped.statuses.len(), most_processes);
            return crowd.map_or(Watched::Ended(status), Watched::Exceeded);
        }
        if is_worker_gone {
            return Watched::Alone;
        }
        if let Some(limit) = exceeded(reaped.statuses.len()) {
            return Watched::Exceeded(limit);
        }
    }
}

struct Reaped {
    statuses: Vec<(Pid, WaitStatus)>,
    is_childless: bool,
}

impl Reaped {
    fn find(&self, pid: Pid) -> Option<WaitStatus> {
        self.statuses.iter().find(|(reaped, _)| *reaped == pid).map(|(_, status)| *status)
    }
}

fn reap() -> Reaped {
    let mut reaped = Reaped { statuses: Vec::new(), is_childless: false };
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(status)) => reaped.statuses.push(status),
            Ok(None) => return reaped,
            Err(Errno::INTR) => {}
            Err(_) => {
                reaped.is_childless = true;
                return reaped;
            }
        }
    }
}

/// Kills until no child is left. As everything that loses its parent becomes our child, nothing
/// that descends from us is alive then. There is no bound: what hangs in the kernel is waited for.
fn kill_all() -> Reaped {
    let mut all = reap();
    while !all.is_childless {
        tree::kill_descendants(getpid().as_raw_pid());
        thread::sleep(ROUND);
        let round = reap();
        all.statuses.extend(round.statuses);
        all.is_childless = round.is_childless;
    }
    all
}

/// What the launcher said if it did not become the command, and what came out of a namespace. All
/// who could speak are dead, so this does not wait.
fn last_words(launcher: &UnixStream) -> Option<Report> {
    let mut said = Vec::new();
    launcher.take(LONGEST_WORDS).read_to_end(&mut said).ok()?;
    serde_json::from_slice(&said).ok()
}

fn end(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Code(code),
        (None, Some(signal)) => Report::Signal(signal),
        (None, None) => Report::Failed("its end is of no known kind".to_owned()),
    }
}

/// Bubblewrap's own end, when nothing was said inside.
fn wrapped(status: WaitStatus) -> Report {
    const BY_SIGNAL: i32 = 128;
    match end(status) {
        // The first process of the namespace was killed, and with it all others.
        Report::Code(code) if code > BY_SIGNAL => Report::Signal(code - BY_SIGNAL),
        Report::Code(code) => {
            Report::Failed(format!("bubblewrap ended with exit code {code} before the command began"))
        }
        other => other,
    }
}
