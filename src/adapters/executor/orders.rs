//! What worker, guard and launcher say to each other: one line of JSON each, over a Unix socket.
//!
//! The socket is the listener's stdin; only the first process of a namespace reads its order from a
//! file in memory, whose descriptor it is told. Nothing of a job is ever in argv, where every process of
//! the machine could read it.

use crate::ports::executor::{Job, JobLimits, Limit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The first message that a freshly started `gv guard` reads: what it is to be.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    Guard(Command),
    Launch {
        command: Command,
        /// The process id of the guard: a launcher with another parent was orphaned.
        guard: i32,
    },
    /// The first process of a namespace of its own.
    Init(Command),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    // Paths need not be UTF-8.
    pub(super) workspace: OsString,
    pub(super) dir: OsString,
    /// Folders that it may read, and those that it may write to beside the workspace.
    pub(super) readable: Vec<OsString>,
    pub(super) caches: Vec<OsString>,
    pub(super) hold: Hold,
    /// The user that it runs as, where the worker is root.
    pub(super) account: Option<u32>,
    /// The control group that it runs in.
    pub(super) group: Option<OsString>,
    pub(super) limits: Limits,
}

/// What keeps a command from what is not its own.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Hold {
    Nothing,
    Bubblewrap(Bubblewrap),
    Landlock {
        /// The only one that may be connected to.
        proxy_port: Option<u16>,
    },
    /// It is within bubblewrap's namespaces already.
    Namespaces,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bubblewrap {
    pub(super) program: OsString,
    /// Older ones cannot forbid namespaces within the sandbox; the filter of system calls does so
    /// in any case.
    pub(super) forbids_namespaces: bool,
    /// The proxy's Unix socket.
    pub(super) proxy: Option<OsString>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) processes: u64,
    pub(super) cpu: Duration,
    pub(super) disk_bytes: u64,
    pub(super) disk_files: u64,
    pub(super) process_bytes: u64,
    pub(super) user_processes: u64,
    pub(super) file_bytes: u64,
    pub(super) open_files: u64,
}

impl From<JobLimits> for Limits {
    fn from(limits: JobLimits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            cpu: limits.cpu,
            disk_bytes: limits.disk_bytes,
            disk_files: limits.disk_files,
            process_bytes: limits.process_bytes,
            user_processes: limits.user_processes,
            file_bytes: limits.file_bytes,
            open_files: limits.open_files,
        }
    }
}

impl Command {
    /// `None` when the job names no program.
    pub(super) fn of(job: &Job, hold: Hold, account: Option<u32>) -> Option<Self> {
        let (program, args) = job.command.split_first()?;
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.clone().into_os_string()).collect();
        Some(Self {
            program: program.clone(),
            args: args.to_vec(),
            env: job.env.clone(),
            workspace: job.workspace.clone().into_os_string(),
            dir: job.dir.clone().into_os_string(),
            readable: paths(&job.tools),
            caches: paths(&job.caches),
            hold,
            account,
            group: None,
            limits: job.limits.into(),
        })
    }

    /// Every folder that it may write to.
    pub(super) fn writable(&self) -> impl Iterator<Item = &OsString> {
        std::iter::once(&self.workspace).chain(&self.caches)
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Usage {
    /// The most at the same time, of which what processes share counts for each.
    pub(super) memory_bytes: u64,
    pub(super) cpu: Duration,
}

/// What the guard tells the worker, and a launcher that could not become its command the guard.
/// A build can reach what speaks from inside of its namespaces, so of that only the end is believed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The launcher exists and has not yet got its order: whatever runs later descends from it.
    Started(super::tree::Identity),
    /// The command ended, and all that it left running is dead.
    Code(i32),
    Signal(i32),
    /// What all its processes used, when all are dead; an end follows.
    Used(Usage),
    /// It was ended for what it used.
    Exceeded(Limit),
    /// Nothing ran: there is no such program.
    Missing(String),
    /// Nothing ran, for this reason.
    Failed(String),
}

/// One message as the line that [`receive`] reads.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

pub(super) fn send(mut to: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&line(message)?)
}

/// Reads the one line that the peer sends: what came after it would be lost.
pub(super) fn receive<T: DeserializeOwned>(from: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(from).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
