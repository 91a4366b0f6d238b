//! Runs a stranger's commands where they can hurt nobody.
//!
//! `adapters::executor` runs them on the worker's own machine, held by a sandbox. A second adapter
//! fits behind the same trait: a Kubernetes Job for each build. Its `run` would make a Job without a
//! service account's token, with the pod security standard "restricted", `limits` as the container's
//! resources and `activeDeadlineSeconds`, workspace, tools and caches as volumes under the same
//! paths, and a NetworkPolicy that leads to the egress proxy alone; it would follow the pod's log
//! into `output`, and delete the Job before it returns. `clear_leftovers` would delete the Jobs that
//! bear this worker's name.

use crate::domain::id::DeploymentId;
use crate::domain::log::LogStream;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[async_trait]
pub trait Executor: Send + Sync {
    /// How builds are held, in a word for logs and `/readyz`: `bubblewrap`, `landlock`,
    /// `unsafe-none`.
    fn mode(&self) -> &'static str;

    /// Whether strangers' commands are held at all: they cannot read the worker's files, write
    /// outside their folders, or contact what is not public.
    fn is_sandbox(&self) -> bool;

    /// Runs one command to its end. When this returns, for whatever reason, no process that the
    /// command started is alive, daemons included. Output goes to `output` line by line; a
    /// receiver that is slow slows the command down, and one that is gone loses the output.
    async fn run(
        &self,
        job: Job,
        output: mpsc::Sender<OutputLine>,
        stop: CancellationToken,
    ) -> Result<Exit, ExecutorError>;

    /// Kills what commands of an earlier life of this worker left running, when it was killed
    /// itself. To be called before the first `run`.
    async fn clear_leftovers(&self) -> Result<(), ExecutorError>;
}

#[derive(Clone, Debug)]
pub struct Job {
    pub deployment: DeploymentId,
    /// Jobs that may run at the same time have different ones, those of one deployment the same. An executor
    /// that can gives each seat a user of its own, since the kernel lets nobody near another user's processes.
    pub seat: u16,
    /// The deployment's own folder: all that the command may write to, beside `caches`.
    pub workspace: PathBuf,
    /// Folders outside the workspace that the command may read and run programs from: tools that
    /// the worker brings. They have the same paths for the command.
    pub tools: Vec<PathBuf>,
    /// Folders outside the workspace that the command may write to, too: the project's caches.
    pub caches: Vec<PathBuf>,
    /// Where the command starts: absolute, inside the workspace.
    pub dir: PathBuf,
    /// Program and arguments. A program without `/` is looked up in the PATH of `env`.
    pub command: Vec<String>,
    /// The whole environment, but for the variables that name the executor's way out, where it has
    /// one (`HTTPS_PROXY` and its kin): nothing is inherited.
    pub env: Vec<(String, String)>,
    pub limits: JobLimits,
}

#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    pub time: Duration,
    /// Of all processes together. What goes past it ends the command, as with the next four.
    pub memory_bytes: u64,
    /// At the same time.
    pub processes: u64,
    /// Of all processors and processes together.
    pub cpu: Duration,
    /// What workspace and caches may take on the disk.
    pub disk_bytes: u64,
    pub disk_files: u64,
    /// Of each process's private data: the process is refused more.
    pub process_bytes: u64,
    /// Of the user that the build runs as, threads included: forking fails there. It is the
    /// net below `processes`, which is looked at now and then, and so should be larger. Where all
    /// seats have one user, it may have as much for each.
    pub user_processes: u64,
    /// Of each file that is written.
    pub file_bytes: u64,
    pub open_files: u64,
}

/// What a command used too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    Memory,
    Processes,
    Cpu,
    DiskBytes,
    DiskFiles,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLine {
    pub stream: LogStream,
    /// Without line break; longer lines come in pieces of `LogLine::MAX_TEXT` bytes; what is no
    /// UTF-8 is replaced.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    TimedOut,
    /// It was ended for that.
    Exceeded(Limit),
    /// `stop` was cancelled.
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("{0} is not installed on this worker")]
    ProgramMissing(String),
    #[error("the command could not be started: {0}")]
    Failed(String),
}
