//! An executor, a workspace, and ways to ask what became of a command.
//!
//! Whether something survived is asked of `/proc`: a build's processes are those that work in its
//! workspace.

use crate::support::sandbox::{Mode, executor};
use gv::domain::id::DeploymentId;
use gv::domain::log::LogStream;
use gv::ports::executor::{Executor, ExecutorError, Exit, Job, JobLimits, OutputLine};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Nothing here takes that long, except what would otherwise hang for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// An executor and a workspace for it.
pub struct Bench {
    pub executor: Arc<dyn Executor>,
    pub folder: TempDir,
}

pub type Ended = Result<Exit, ExecutorError>;

impl Bench {
    pub fn new(make: impl FnOnce(&Path) -> Arc<dyn Executor>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("workspace")).unwrap();
        Self { executor: make(folder.path()), folder }
    }

    /// Without a network.
    pub fn of(mode: Mode) -> Self {
        Self::new(|folder| Arc::new(executor(mode, folder, None)))
    }

    /// With the worker's proxy, which leads to `allowed` besides.
    pub fn online(mode: Mode, allowed: &[String]) -> Self {
        Self::new(|folder| Arc::new(executor(mode, folder, Some(allowed))))
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace").canonicalize().unwrap()
    }

    pub fn job(&self, command: &[&str]) -> Job {
        Job {
            deployment: DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng()),
            seat: 0,
            workspace: self.workspace(),
            tools: Vec::new(),
            caches: Vec::new(),
            dir: self.workspace(),
            command: command.iter().map(ToString::to_string).collect(),
            env: vec![("PATH".to_owned(), PATH.to_owned())],
            limits: JobLimits {
                time: PATIENCE,
                memory_bytes: 1 << 30,
                processes: 4096,
                cpu: PATIENCE * 4,
                disk_bytes: 1 << 30,
                disk_files: 100_000,
                process_bytes: 1 << 30,
                user_processes: 4096,
                file_bytes: 1 << 30,
                open_files: 1024,
            },
        }
    }

    pub fn script(&self, script: &str) -> Job {
        self.job(&["sh", "-c", script])
    }

    pub async fn run(&self, job: Job) -> (Ended, Vec<OutputLine>) {
        self.run_until(job, CancellationToken::new()).await
    }

    pub async fn run_until(&self, job: Job, stop: CancellationToken) -> (Ended, Vec<OutputLine>) {
        let (output, mut lines) = mpsc::channel(16);
        let collect = async {
            let mut all = Vec::new();
            while let Some(line) = lines.recv().await {
                all.push(line);
            }
            all
        };
        let both = async { tokio::join!(self.executor.run(job, output, stop), collect) };
        tokio::time::timeout(PATIENCE * 2, both).await.expect("the command hangs")
    }

    /// Runs a script that is to succeed, and gives what it printed.
    pub async fn print(&self, job: Job) -> Vec<String> {
        let (exit, lines) = self.run(job).await;
        assert_eq!(exit.unwrap(), Exit::Code(0), "{lines:?}");
        lines.into_iter().map(|line| line.text).collect()
    }

    /// Stops the job once it has made the file `ready` in its workspace.
    pub async fn stop_when_ready(&self, job: Job) -> Ended {
        let stop = CancellationToken::new();
        let cancel = async {
            self.wait_until(|bench| bench.workspace().join("ready").exists()).await;
            stop.cancel();
        };
        tokio::join!(self.run_until(job, stop.clone()), cancel).0.0
    }

    pub async fn wait_until(&self, is_so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it never came to be");
    }

    /// The processes that work in the workspace.
    pub fn alive(&self) -> Vec<String> {
        let workspace = self.workspace();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ours = processes.filter(|entry| {
            fs::read_link(entry.path().join("cwd")).is_ok_and(|dir| dir.starts_with(&workspace))
        });
        ours.map(|entry| fs::read_to_string(entry.path().join("stat")).unwrap_or_default()).collect()
    }

    pub fn assert_all_dead(&self) {
        assert_eq!(self.alive(), Vec::<String>::new());
    }
}

pub fn texts(lines: &[OutputLine], stream: LogStream) -> Vec<&str> {
    lines.iter().filter(|line| line.stream == stream).map(|line| line.text.as_str()).collect()
}

/// Leaves daemons of each kind behind: in the background, deaf to signals, in a session of its
/// own, and twice removed from its parent. Each writes a line to prove that it ran.
pub const DAEMONS: &str = "
    sleep 600 &
    (trap '' HUP INT TERM; echo deaf >>daemons; exec sleep 600) &
    nohup setsid sh -c 'echo session >>daemons; sleep 600 & wait' >/dev/null 2>&1 &
    (setsid sh -c '(echo twice >>daemons; exec sleep 600) & exit' &)
    (setsid setsid sh -c 'echo holder >>daemons; exec sleep 600' &)
    while [ \"$(wc -l <daemons 2>/dev/null || echo 0)\" -lt 4 ]; do sleep 0.01; done
";
