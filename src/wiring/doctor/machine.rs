//! The machine: how builds are held, which programs they find, and whether an edge's memory fits.

use super::{Case, Findings, words};
use crate::config::Config;
use crate::ports::executor::Executor;
use crate::wiring::builds::executor;
use anyhow::Context as _;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// What an edge's own memory may take of a hundred: its connections and the system need some too.
const MOST_PERCENT: u64 = 75;
/// The programs that most sites are built with.
const PROGRAMS: [&str; 2] = ["node", "npm"];

/// In a folder of its own beside the workers', which may be at work.
pub(super) fn sandbox<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        match tried(&case.config).await {
            Ok(held) if !held.is_sandbox() => found.doubtful(
                "sandbox",
                "none (worker.sandbox = unsafe-none): whoever may deploy can read and do whatever the worker can",
                "set worker.sandbox to auto, unless every repository is your own",
            ),
            Ok(held) => found.well("sandbox", format!("builds are held by {}", held.mode())),
            Err(error) => found.broken(
                "sandbox",
                words(&error),
                "install bubblewrap where user namespaces are allowed, or use Linux 6.12 (Landlock): docs/sandbox.md",
            ),
        }
    }
    .boxed()
}

async fn tried(config: &Config) -> anyhow::Result<Arc<dyn Executor>> {
    let dir = &config.worker.dir;
    // On a fresh machine nothing is made that stays.
    let beside = if dir.is_dir() { dir.clone() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("doctor-").tempdir_in(&beside);
    let folder = folder.with_context(|| format!("worker.dir: {}", beside.display()))?;
    // As builds' users meet a worker's folder.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    executor(config, folder.path()).await
}

pub(super) fn programs<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let path = std::env::var("PATH").unwrap_or_default();
        let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !is_on(&path, program)).collect();
        if missing.is_empty() {
            found.well("programs", format!("{} are on PATH", PROGRAMS.join(" and ")));
        } else if case.config.worker.registry.is_some() {
            found.well("programs", "Node.js is not on PATH: builds have it from worker.registry".to_owned());
        } else {
            found.doubtful(
                "programs",
                format!("{} not on PATH: sites that need a build fail", missing.join(" and ")),
                "name a registry in worker.registry, or install Node.js where gv worker runs",
            );
        }
    }
    .boxed()
}

/// The paths are searched as the system does for a program without a `/`.
fn is_on(path: &str, program: &str) -> bool {
    use rustix::fs::{Access, access};
    path.split(':').filter(|folder| !folder.is_empty()).any(|folder| {
        let program = Path::new(folder).join(program);
        program.is_file() && access(&program, Access::EXEC_OK).is_ok()
    })
}

pub(super) fn memory<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let wanted = case.config.edge.memory_mb;
        let Some((bytes, whose)) = available() else {
            return found.skipped("memory", "this system does not tell how much it has");
        };
        judge(wanted, bytes >> 20, whose, found);
    }
    .boxed()
}

fn judge(wanted_mb: u64, there_mb: u64, whose: &str, found: &mut Findings) {
    let detail = format!("edge.memory_mb is {wanted_mb} of the {there_mb} MiB that {whose} has");
    if wanted_mb.saturating_mul(100) > there_mb.saturating_mul(MOST_PERCENT) {
        let fits = there_mb * MOST_PERCENT / 100;
        found.doubtful(
            "memory",
            detail,
            format!("set edge.memory_mb to {fits} or less, or give it more memory"),
        );
    } else {
        found.well("memory", detail);
    }
}

/// What this process may have at most, in bytes, and who says so.
fn available() -> Option<(u64, &'static str)> {
    let machine = machine_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|groups| group_limit(&groups));
    match group {
        Some(limit) if limit < machine => Some((limit, "the container")),
        _ => Some((machine, "the machine")),
    }
}

fn machine_memory(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least of the limits on the way to the root, by cgroup v2
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html>, `memory.max`). Within a container the root is
/// its own group.
fn group_limit(groups: &str) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
    let within = own.ancestors().take_while(|group| group.starts_with("/sys/fs/cgroup"));
    let limits = within.filter_map(|group| std::fs::read_to_string(group.join("memory.max")).ok());
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Verdict};
    use super::*;

    #[test]
    fn an_edge_that_would_take_more_than_three_quarters_is_doubtful() {
        for (wanted, verdict) in [(750, Verdict::Well), (751, Verdict::Doubtful), (4_096, Verdict::Doubtful)]
        {
            let mut found = Findings::default();
            judge(wanted, 1_000, "the machine", &mut found);
            let found: Vec<Finding> = found.into();
            assert_eq!(found[0].verdict, verdict, "{wanted}");
        }
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(machine_memory("MemTotal:       16303428 kB\nMemFree: 1 kB\n"), Some(16_303_428 * 1024));
        assert_eq!(machine_memory("MemFree: 1 kB\n"), None);
        assert!(available().is_some_and(|(bytes, _)| bytes > 1 << 20));
    }

    #[test]
    fn a_program_is_on_the_path_when_it_may_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        assert!(!is_on(&path, "tool"));
        std::fs::write(folder.path().join("tool"), "").unwrap();
        assert!(!is_on(&path, "tool"), "it is no program yet");
        use std::os::unix::fs::PermissionsExt;
        let may_run = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("tool"), may_run).unwrap();
        assert!(is_on(&format!("/nowhere:{path}"), "tool"));
    }
}
