//! gv as the first process of a container, where nobody else does what an init does: the role runs as
//! a child, which is told what the container is told, and whatever else dies here is reaped.
//!
//! Without it, what a build leaves orphaned would lie dead until the container ends, each a place in the
//! process table. Start with [`run`].

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use tokio::signal::unix::{Signal as Incoming, SignalKind, signal};

/// What is passed on.
const FORWARDED: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2];

/// Whether this process is the first of its container, or of a machine.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs this same command as a child and ends with it, in its way: 128 and the number of the signal where
/// one ended it.
pub fn run() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Listened to before there is anything to hear.
        let mut deaths = signal(SignalKind::child())?;
        let signals = FORWARDED.map(|one| Ok::<_, std::io::Error>((one, signal(kind(one))?)));
        let child = start().context("starting gv below its init")?;
        for forwarding in signals {
            let (which, incoming) = forwarding?;
            tokio::spawn(forward(which, incoming, child));
        }
        loop {
            if let Some(status) = reap(child)? {
                return Ok(exit_code(status));
            }
            deaths.recv().await;
        }
    })
}

fn kind(signal: Signal) -> SignalKind {
    SignalKind::from_raw(signal.as_raw())
}

fn start() -> anyhow::Result<Pid> {
    // In a group of its own: what a terminal sends to ours comes by us, and once.
    let child = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).process_group(0).spawn()?;
    // Never waited for by this handle: `reap` does that for all.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.context("it has no process id")
}

async fn forward(which: Signal, mut incoming: Incoming, child: Pid) {
    while incoming.recv().await.is_some() {
        if let Err(error) = kill_process(child, which) {
            tracing::debug!(%error, "a signal was not passed on");
        }
    }
}

/// Reaps whatever is dead. The child's end, once it has come.
fn reap(child: Pid) -> anyhow::Result<Option<WaitStatus>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error).context("waiting for processes"),
        }
    }
}

fn exit_code(status: WaitStatus) -> ExitCode {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signalled).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
