//! The guard of one build: the hidden subcommand `gv guard`.
//!
//! It starts the command, reaps what the command's descendants leave orphaned (it is their
//! subreaper), and kills every one of them when the command ends or the worker is gone. It decides
//! nothing and reads no configuration: time limits and records are the worker's.
//!
//! A guard that is killed itself takes the command with it (the command's parent-death signal), and
//! the worker kills what else is in the command's session. A daemon with a session of its own gets
//! away from that, and a build runs as the same user as its guard, so it can bring this about: only
//! a sandbox closes that.

use super::launch;
use super::orders::{self, Command, Order, Report};
use super::tree::{self, Identity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};
use rustix::process::{getpid, pidfd_open, set_child_subreaper, setsid, wait};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// How long orphans may lie dead before they are reaped.
const REAP_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// The same where the kernel cannot wake us when the command ends.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Between two rounds of killing: the dying need a moment to be dead.
const ROUND: Duration = Duration::from_millis(1);

/// Guards one build to its end. To be called before anything else in the process: it must be the
/// only thread, and its stdin is the worker's socket.
pub fn main() -> ExitCode {
    let order = stdin_socket().and_then(|socket| Ok((orders::receive::<Order>(&socket)?, socket)));
    match order {
        Ok((Order::Guard(command), worker)) => guard(command, &worker),
        Ok((Order::Launch { command, guard }, socket)) => launch::become_command(&command, guard, &socket),
        Err(error) => {
            let hint = "gv guard is started by a worker for each build; it is of no use by hand";
            let _ = writeln!(io::stderr(), "{hint} ({error})");
            ExitCode::from(2)
        }
    }
}

/// A copy of stdin that the programs we start do not inherit.
fn stdin_socket() -> io::Result<UnixStream> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}

fn guard(command: Command, worker: &UnixStream) -> ExitCode {
    let report = run(command, worker).unwrap_or_else(|error| {
        kill_all();
        Report::Failed(error)
    });
    // Nobody listens when the worker is dead: the killing was all that was left to do.
    let _ = orders::send(worker, &report);
    ExitCode::SUCCESS
}

/// Returns once nothing that descends from this process is alive.
fn run(command: Command, worker: &UnixStream) -> Result<Report, String> {
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
    orders::send(&socket, &Order::Launch { command, guard: me.as_raw_pid() })
        .map_err(|error| format!("its launcher died: {error}"))?;

    let ended = watch(worker, pid);
    let status = kill_all().find(pid).or(ended).ok_or("its end went unnoticed")?;
    Ok(refusal(&socket).unwrap_or_else(|| report(status)))
}

/// This same binary once more, waiting for its order.
fn start_launcher() -> io::Result<(UnixStream, Pid)> {
    let (ours, theirs) = UnixStream::pair()?;
    // The kernel's own link to what we run: it works when the file was replaced since.
    let child = std::process::Command::new("/proc/self/exe")
        .arg0("gv")
        .args(std::env::args_os().skip(1))
        .env_clear()
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.map(|pid| (ours, pid)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Waits until the command ends, and gives its status, or until the worker closes its end.
fn watch(worker: &UnixStream, leader: Pid) -> Option<WaitStatus> {
    let process = pidfd_open(leader, PidfdFlags::empty()).ok();
    loop {
        let mut sources = vec![PollFd::new(worker, PollFlags::IN)];
        sources.extend(process.as_ref().map(|process| PollFd::new(process, PollFlags::IN)));
        let pause = if process.is_some() { REAP_EVERY } else { LOOK_EVERY };
        // The worker sends one line and no more, so whatever comes is its end of the socket closing.
        let is_worker_gone = match poll(&mut sources, Some(&pause)) {
            Ok(_) => !sources[0].revents().is_empty(),
            // Blind to the worker, it is safer to stop.
            Err(error) => error != Errno::INTR,
        };
        let ended = reap().find(leader);
        if ended.is_some() || is_worker_gone {
            return ended;
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

/// What the launcher said, if it did not become the command. It is dead, so this does not wait.
fn refusal(mut launcher: &UnixStream) -> Option<Report> {
    let mut said = Vec::new();
    launcher.read_to_end(&mut said).ok()?;
    serde_json::from_slice(&said).ok()
}

fn report(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Code(code),
        (None, Some(signal)) => Report::Signal(signal),
        (None, None) => Report::Failed("its end is of no known kind".to_owned()),
    }
}
