//! One process of this binary: how it is started, what it says about itself, how it ends.
//!
//! Start with [`Process::start`]. A process stays in the group of its test, so that a test runner
//! which ends the test ends it too; what a worker runs is ended by its guard.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a test's gv differs from the defaults.
#[derive(Clone, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    pub fn set(mut self, variable: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.0.push((variable.to_owned(), value));
        self
    }

    /// The other's values go over these.
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Git servers on loopback that may be cloned from.
    pub fn allow(self, address: &str) -> Self {
        self.set("GV_SOURCE__ALLOW", address)
    }
}

/// A running gv. Killed when dropped.
pub struct Process {
    child: Child,
    /// What it said when it could serve.
    ready: Value,
    log: PathBuf,
}

impl Process {
    /// Starts a role and waits until it can serve. Standard error is appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let errors = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut process = Self { child, ready: Value::Null, log: log.to_owned() };
        let ready = serde_json::from_str(&line);
        process.ready = ready.unwrap_or_else(|_| panic!("not ready: {line:?}\n{}", process.log()));
        assert_eq!(process.ready["event"], "ready");
        process
    }

    /// Where one of its listeners is: `api`, `edge` or `ops`.
    pub fn url(&self, listener: &str) -> String {
        self.ready[listener].as_str().unwrap().to_owned()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for an end that has been asked for.
    pub fn wait_for_end(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "gv does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The binary, in an environment of its own and away from the checkout's configuration.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gv"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Processes whose command line has this argument.
pub fn processes_with(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|arg| arg == argument.as_bytes())).count()
}
