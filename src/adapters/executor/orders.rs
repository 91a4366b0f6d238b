//! What worker, guard and launcher say to each other: one line of JSON each, over a Unix socket.
//!
//! The socket is the listener's stdin. Nothing of a job is ever in argv, where every process of
//! the machine could read it.

use crate::ports::executor::{Job, JobLimits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// The first line that a freshly started `gv guard` reads: what it is to be.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    Guard(Command),
    Launch {
        command: Command,
        /// The process id of the guard: a launcher with another parent was orphaned.
        guard: i32,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    // Paths need not be UTF-8.
    pub(super) workspace: OsString,
    pub(super) dir: OsString,
    pub(super) limits: Limits,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) processes: u64,
    pub(super) file_bytes: u64,
    pub(super) open_files: u64,
}

impl From<JobLimits> for Limits {
    fn from(limits: JobLimits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            file_bytes: limits.file_bytes,
            open_files: limits.open_files,
        }
    }
}

impl Command {
    /// `None` when the job names no program.
    pub(super) fn of(job: &Job) -> Option<Self> {
        let (program, args) = job.command.split_first()?;
        Some(Self {
            program: program.clone(),
            args: args.to_vec(),
            env: job.env.clone(),
            workspace: job.workspace.clone().into_os_string(),
            dir: job.dir.clone().into_os_string(),
            limits: job.limits.into(),
        })
    }
}

/// What the guard tells the worker, and a launcher that could not become its command the guard.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The launcher exists and has not yet got its order: whatever runs later descends from it.
    Started(super::tree::Identity),
    /// The command ended, and all that it left running is dead.
    Code(i32),
    Signal(i32),
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
