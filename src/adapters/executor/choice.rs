//! Which hold a worker has for builds: found out at its start by really holding a command with it.
//!
//! Nothing is concluded from versions or settings of the system. A mode is taken when a command ran
//! in it, wrote to its workspace, and could not read the file beside it. Start with [`choose`].

use super::egress::Egress;
use super::process::{Place, ProcessExecutor};
use crate::domain::address::AllowedHost;
use crate::domain::id::DeploymentId;
use crate::ports::executor::{Executor, Exit, Job, JobLimits, OutputLine};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best that works here, and none where nothing does.
    Auto,
    Bubblewrap,
    Landlock,
    /// Builds are not held: they can read and do whatever the worker can.
    Nothing,
}

/// What executors are made of.
#[derive(Clone)]
pub struct Means {
    pub place: Place,
    /// The folder of workspaces, in which a mode is tried.
    pub dir: PathBuf,
    /// What builds may contact although its address is not public.
    pub egress_allow: Vec<AllowedHost>,
}

const MIB: u64 = 1024 * 1024;
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const PATIENCE: Duration = Duration::from_secs(20);

/// The error is a sentence for the operator: why none works, and what to do.
pub async fn choose(wanted: Wanted, means: &Means) -> Result<ProcessExecutor, String> {
    let dir = &means.dir;
    std::fs::create_dir_all(dir)
        .map_err(|error| format!("worker.dir: {} cannot be made: {error}", dir.display()))?;
    let modes: &[Wanted] = match wanted {
        Wanted::Auto => &[Wanted::Bubblewrap, Wanted::Landlock],
        Wanted::Bubblewrap => &[Wanted::Bubblewrap],
        Wanted::Landlock => &[Wanted::Landlock],
        Wanted::Nothing => return Ok(ProcessExecutor::unsafe_none(means.place.clone())),
    };
    let mut reasons = Vec::new();
    for mode in modes {
        let (word, made) = match mode {
            Wanted::Bubblewrap => ("bubblewrap", bubblewrap(means)),
            _ => ("landlock", Ok(landlock(means))),
        };
        let tried = match made {
            Ok(executor) => probe(&executor, dir).await.map(|()| executor),
            Err(reason) => Err(reason),
        };
        match tried {
            Ok(executor) => return Ok(executor),
            Err(reason) => reasons.push(format!("{word}: {reason}")),
        }
    }
    Err(format!(
        "builds cannot be held on this machine, so none is run. {}. Install bubblewrap where unprivileged user \
         namespaces are allowed, or use a kernel with Landlock (Linux 6.12); docs/sandbox.md says how. Only where \
         every repository is your own: worker.sandbox = \"unsafe-none\" runs builds without a sandbox",
        reasons.join("; ")
    ))
}

fn bubblewrap(means: &Means) -> Result<ProcessExecutor, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program =
        std::env::split_paths(&path).map(|folder| folder.join("bwrap")).find(|program| program.is_file());
    let program = program.ok_or("bwrap is not installed")?;
    let egress = Egress::by_socket(means.dir.join("egress"), means.egress_allow.clone());
    Ok(ProcessExecutor::bubblewrap(means.place.clone(), &program, Some(egress)))
}

fn landlock(means: &Means) -> ProcessExecutor {
    ProcessExecutor::landlock(means.place.clone(), Some(Egress::by_port(means.egress_allow.clone())))
}

/// Runs a command that is to have its folder and nothing beside it.
async fn probe(executor: &ProcessExecutor, dir: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("it cannot be tried in {}: {error}", dir.display());
    let folder = tempfile::Builder::new().prefix("probe-").tempdir_in(dir).map_err(failed)?;
    let (workspace, beside) = (folder.path().join("workspace"), folder.path().join("beside"));
    std::fs::create_dir(&workspace).map_err(failed)?;
    std::fs::write(&beside, "secret").map_err(failed)?;
    // As a build meets it: a folder above that it may pass, a file that it could read by its mode.
    for (path, mode) in [(folder.path(), 0o755), (&beside, 0o644)] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    let script = "echo held >file || exit 2; if cat \"$1\" 2>/dev/null; then exit 3; fi; exit 0";
    let command = ["sh", "-c", script, "sh"].map(str::to_owned).into_iter();
    let job = Job {
        deployment: DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng()),
        seat: 0,
        dir: workspace.clone(),
        workspace: workspace.clone(),
        tools: Vec::new(),
        caches: Vec::new(),
        command: command.chain([beside.display().to_string()]).collect(),
        env: vec![("PATH".to_owned(), PATH.to_owned())],
        limits: JobLimits {
            time: PATIENCE,
            memory_bytes: 512 * MIB,
            processes: 64,
            cpu: PATIENCE,
            disk_bytes: MIB,
            disk_files: 100,
            process_bytes: 512 * MIB,
            user_processes: 1_000_000,
            file_bytes: MIB,
            open_files: 1024,
        },
    };
    let (output, mut lines) = mpsc::channel::<OutputLine>(16);
    let said = async {
        let mut said = Vec::new();
        while let Some(line) = lines.recv().await {
            said.push(line.text);
        }
        said.join(" ")
    };
    let (ended, said) = tokio::join!(executor.run(job, output, CancellationToken::new()), said);
    match ended {
        Ok(Exit::Code(0)) if workspace.join("file").exists() => Ok(()),
        Ok(Exit::Code(3)) => Err("it holds nothing: a command read what it must not see".to_owned()),
        Ok(exit) => Err(format!("a command in it ended with {exit:?} {said}").trim_end().to_owned()),
        Err(error) if said.is_empty() => Err(error.to_string()),
        Err(error) => Err(format!("{error} ({said})")),
    }
}
