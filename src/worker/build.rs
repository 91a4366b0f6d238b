//! Running a plan's commands by the executor, their output into the log, their end into a reason.
//!
//! Start with [`Build::run`].

use crate::app::logs::LogWriter;
use crate::domain::deployment::StepName;
use crate::domain::failure::FailureCode;
use crate::domain::id::DeploymentId;
use crate::domain::log::LogStream;
use crate::ports::executor::{Executor, Exit, Job, JobLimits, Limit, OutputLine};
use crate::worker::diagnosis::{Diagnosis, Tail};
use crate::worker::failure::{Halt, Step};
use crate::worker::plan::{Command, CommandKind};
use crate::worker::skip::NOTHING_TO_DO;
use crate::worker::upload::amount;
use crate::worker::workspace::Workspace;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How much later than a build's processes a worker may hear that all are to stop.
const SIGNAL_FOR_ALL: Duration = Duration::from_millis(500);

pub struct Build<'a> {
    pub executor: &'a dyn Executor,
    pub deployment: DeploymentId,
    pub seat: u16,
    pub workspace: &'a Workspace,
    /// What the commands may read beside the workspace.
    pub tools: Vec<PathBuf>,
    pub env: Vec<(String, String)>,
    /// `time` is what is left for all commands together, of `timeout`.
    pub limits: JobLimits,
    pub timeout: Duration,
    pub log: &'a LogWriter,
    pub stop: &'a CancellationToken,
    /// Folders outside the workspace that the commands may write to.
    pub caches: Vec<PathBuf>,
}

struct Ran {
    exit: Exit,
    log_full: bool,
    /// Whether it said the word of its fallback.
    said: bool,
    /// What it said last.
    tail: Tail,
}

impl Build<'_> {
    /// Runs the commands one after the other, all within the time limit.
    pub async fn run(&self, commands: &[&Command]) -> Step<()> {
        let started = Instant::now();
        for &command in commands {
            let word = command.fallback.as_ref().map(|(word, _)| *word);
            let ran = self.command(&command.line, command, word, started).await?;
            match (&command.fallback, ran.exit) {
                (Some((_, line)), Exit::Code(code)) if code != 0 && ran.said => {
                    self.say(format!(
                        "Warning: the lockfile does not fit package.json; running {line} instead."
                    ));
                    let ran = self.command(line, command, None, started).await?;
                    self.judge(line, command.kind, &ran).await?;
                }
                _ => self.judge(&command.line, command.kind, &ran).await?,
            }
        }
        Ok(())
    }

    /// Installs where packages of an earlier build lie. `false`: they do not do.
    pub async fn again(&self, command: &Command) -> Step<bool> {
        let Some(line) = &command.again else { return Ok(false) };
        let ran = self.command(line, command, None, Instant::now()).await?;
        if !ran.log_full && matches!(ran.exit, Exit::Code(1..) | Exit::Signal(_)) {
            return Ok(false);
        }
        self.judge(line, command.kind, &ran).await?;
        Ok(true)
    }

    /// Runs a command that says whether there is anything to build: 0 means that there is not, as Vercel and
    /// Netlify have it.
    pub async fn has_nothing_to_build(&self, command: &Command) -> Step<bool> {
        let ran = self.command(&command.line, command, None, Instant::now()).await?;
        match ran.exit {
            Exit::Code(0) => Ok(true),
            Exit::Stopped => Err(Halt::Interrupted),
            Exit::TimedOut => Err(self.timed_out()),
            Exit::Exceeded(limit) => Err(self.exceeded(&command.line, "ignore", limit)),
            Exit::Code(_) | Exit::Signal(_) => {
                if asks_git(&command.line) {
                    self.say(
                        "Warning: this command asks Git, and a build has no Git history: so it always builds. watch in \
                         gv.toml says which files count.",
                    );
                }
                Ok(false)
            }
        }
    }

    fn say(&self, text: impl AsRef<str>) {
        self.log.say(StepName::Build, text);
    }

    async fn command(
        &self,
        line: &str,
        command: &Command,
        word: Option<&str>,
        started: Instant,
    ) -> Step<Ran> {
        match command.folder.as_str() {
            "." => self.say(format!("$ {line}")),
            folder => self.say(format!("{folder} $ {line}")),
        }
        let time = self.limits.time.saturating_sub(started.elapsed());
        if time < Duration::from_millis(1) {
            return Err(self.timed_out());
        }
        let began = Instant::now();
        let job = Job {
            deployment: self.deployment,
            seat: self.seat,
            workspace: self.workspace.root().to_owned(),
            tools: self.tools.clone(),
            caches: self.caches.clone(),
            dir: self.workspace.source().join(&command.folder),
            // The person's own command line, in the shell of the person's own build.
            command: ["sh", "-c", line].map(str::to_owned).into(),
            env: self.env.clone(),
            limits: JobLimits { time, ..self.limits },
        };
        let stop = self.stop.child_token();
        let (output, lines) = mpsc::channel(256);
        let (exit, (log_full, said, tail)) =
            tokio::join!(self.executor.run(job, output, stop.clone()), self.pump(lines, word, &stop));
        let exit = exit?;
        if exit == Exit::Code(0) {
            self.say(format!("Done in {:.1} s.", began.elapsed().as_secs_f64()));
        }
        Ok(Ran { exit, log_full, said, tail })
    }

    /// Copies output into the log until the command ends; stops the command when the log is full.
    /// Also tells whether `word` was said, and what came last.
    async fn pump(
        &self,
        mut lines: mpsc::Receiver<OutputLine>,
        word: Option<&str>,
        stop: &CancellationToken,
    ) -> (bool, bool, Tail) {
        let (mut full, mut said, mut tail) = (false, false, Tail::default());
        while let Some(OutputLine { stream, text }) = lines.recv().await {
            said |= word.is_some_and(|word| text.contains(word));
            if !full && self.log.line(StepName::Build, stream_of(stream), &text).is_err() {
                full = true;
                stop.cancel();
            }
            tail.push(text);
        }
        (full, said, tail)
    }

    async fn judge(&self, line: &str, kind: CommandKind, ran: &Ran) -> Step<()> {
        if ran.log_full {
            return Err(Halt::failed(
                FailureCode::LogExceeded,
                format!("`{line}` printed more than a log may hold: make it print less."),
            ));
        }
        let (code, name) = match kind {
            CommandKind::Install => (FailureCode::InstallFailed, "install"),
            CommandKind::Build => (FailureCode::BuildFailed, "build"),
        };
        let ended = match ran.exit {
            Exit::Code(0) => return Ok(()),
            Exit::Stopped => return Err(Halt::Interrupted),
            Exit::TimedOut => return Err(self.timed_out()),
            Exit::Exceeded(limit) => return Err(self.exceeded(line, name, limit)),
            Exit::Code(NOTHING_TO_DO) => {
                return Err(Halt::Skipped(format!(
                    "`{line}` ended with exit code {NOTHING_TO_DO}: there is nothing to deploy."
                )));
            }
            Exit::Code(exit) => format!("ended with exit code {exit}"),
            Exit::Signal(signal) => format!("was ended by signal {signal}"),
        };
        // Whoever stops a service may send the signal to every process of it, and a build's may be
        // quicker to go than this worker to hear of it: then the build is not to blame.
        let by_signal = matches!(ran.exit, Exit::Signal(_) | Exit::Code(129..=143));
        if by_signal && tokio::time::timeout(SIGNAL_FOR_ALL, self.stop.cancelled()).await.is_ok() {
            return Err(Halt::Interrupted);
        }
        // 128 + SIGXFSZ: the limit on each file that it writes.
        if matches!(ran.exit, Exit::Code(153) | Exit::Signal(25)) {
            let limit = amount(self.limits.file_bytes);
            return Err(Halt::failed(
                FailureCode::LimitExceeded,
                format!(
                    "The {name} command `{line}` was ended because it wrote a file of more than {limit}."
                ),
            ));
        }
        let known = Diagnosis::of(kind, &self.log.masked(&ran.tail.text()));
        if let Some(Diagnosis { name: cause, code: own, message }) = known {
            tracing::debug!(cause, "why a build failed is known");
            let code = own.unwrap_or(code);
            return Err(Halt::failed(code, format!("The {name} command `{line}` {ended}. {message}")));
        }
        let advice = match ran.exit {
            // 128 + SIGKILL, as shells report it.
            Exit::Code(137) | Exit::Signal(9) => {
                "It most likely used more memory than a build may have: make it use less."
            }
            // 128 + SIGABRT: what Node.js does at the end of its heap.
            Exit::Code(134) | Exit::Signal(6) => {
                "It gave up by itself, as Node.js does when its memory is full: see the last lines of the log."
            }
            Exit::Code(127) => {
                "A command in it was not found: is it among the project's dependencies, or a program that this \
                 worker lacks?"
            }
            Exit::Code(126) => "A file in it is not executable.",
            _ => "The last lines of the log say why.",
        };
        Err(Halt::failed(code, format!("The {name} command `{line}` {ended}. {advice}")))
    }

    fn exceeded(&self, line: &str, name: &str, limit: Limit) -> Halt {
        let limits = &self.limits;
        let (code, used, key) = match limit {
            Limit::Memory => (
                FailureCode::MemoryExceeded,
                format!("its processes used more than {} of memory together", amount(limits.memory_bytes)),
                "limits.build_memory_mb",
            ),
            Limit::Processes => (
                FailureCode::ProcessesExceeded,
                format!("it had more than {} processes at the same time", limits.processes),
                "limits.build_processes",
            ),
            Limit::Cpu => (
                FailureCode::CpuExceeded,
                format!("it used more than {} s of processor time", limits.cpu.as_secs()),
                "limits.build_cpu_s",
            ),
            Limit::DiskBytes => (
                FailureCode::WorkspaceExceeded,
                format!("its files took more than {} of the disk", amount(limits.disk_bytes)),
                "limits.workspace_mb",
            ),
            Limit::DiskFiles => (
                FailureCode::WorkspaceExceeded,
                format!("it had more than {} files, or folders nested without end", limits.disk_files),
                "limits.workspace_files",
            ),
        };
        Halt::failed(
            code,
            format!(
                "The {name} command `{line}` was ended because {used}: make it use less, or ask the operator for \
                 more ({key})."
            ),
        )
    }

    fn timed_out(&self) -> Halt {
        Halt::failed(
            FailureCode::BuildTimeout,
            format!(
                "Install and build together took longer than {} s: look for what waits or runs for ever (a watch \
                 mode, a question), or ask the operator for more time (worker.build_timeout_s).",
                self.timeout.as_secs()
            ),
        )
    }
}

fn asks_git(line: &str) -> bool {
    line.split(|c: char| c.is_whitespace() || ";&|()`".contains(c)).any(|word| word == "git")
}

/// What a command prints is never taken for gv's own words.
fn stream_of(stream: LogStream) -> LogStream {
    if stream == LogStream::System { LogStream::Stdout } else { stream }
}
