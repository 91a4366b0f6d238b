//! A control group of the kernel's (cgroup v2) for each build, below one that was given to gv: there the kernel
//! itself counts memory and processes, and ends all of a build in one stroke.
//!
//! It is a net below what the guard does anyhow, and without a group builds run as well. Names of files are
//! those of <https://docs.kernel.org/admin-guide/cgroup-v2.html>. The worker starts with [`Groups::open`]; a
//! launcher enters ([`enter`]), a guard asks ([`exceeded`]) and kills ([`kill`]).

use crate::ports::executor::{Job, JobLimits, Limit};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const PREFIX: &str = "gv-build-";
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// What was killed is in its group until it is dead.
const DYING: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The group that belongs to this worker alone.
#[derive(Clone, Debug)]
pub struct Groups {
    root: PathBuf,
}

/// One build's. Dropped, it is removed, and what is in it is killed.
pub(super) struct Group {
    pub(super) path: PathBuf,
}

impl Groups {
    /// Tries it out, and ends what an earlier life of this worker left there. The error is a sentence for the
    /// operator.
    pub fn open(root: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!(
                "{} cannot be used: {error}. It must be a folder of a cgroup2 file system that belongs to the \
                 worker's user, and no process may be in it but in groups below; docs/sandbox.md says how",
                root.display()
            )
        };
        let own: Vec<PathBuf> = fs::read_dir(root)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(failed)?;
        let is_build =
            |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        for path in own.iter().filter(is_build) {
            remove(path).map_err(failed)?;
        }
        for controller in CONTROLLERS {
            if let Err(error) = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")) {
                tracing::warn!(
                    %error,
                    "worker.cgroup: the kernel does not count {controller} there, so builds' guards alone do"
                );
            }
        }
        let groups = Self { root: root.to_owned() };
        let probe = groups.group("probe").map_err(failed)?;
        // In any other folder this would be a new file.
        fs::metadata(probe.path.join("cgroup.procs")).map_err(failed)?;
        Ok(groups)
    }

    pub(super) fn make(&self, job: &Job) -> io::Result<Group> {
        let group = self.group(&format!("{}-{}", job.deployment, job.seat))?;
        for (file, value) in limits(&job.limits) {
            match fs::write(group.path.join(file), value) {
                // The controller is not there, which was told at the start.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
                done => done?,
            }
        }
        Ok(group)
    }

    fn group(&self, name: &str) -> io::Result<Group> {
        let path = self.root.join(format!("{PREFIX}{name}"));
        // Of the command before this one of the same build.
        remove(&path)?;
        fs::create_dir(&path)?;
        Ok(Group { path })
    }
}

fn limits(limits: &JobLimits) -> [(&'static str, String); 4] {
    [
        ("memory.max", limits.memory_bytes.to_string()),
        ("memory.swap.max", "0".to_owned()),
        ("memory.oom.group", "1".to_owned()),
        // Threads count.
        ("pids.max", limits.user_processes.to_string()),
    ]
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, group = %self.path.display(), "the group of a build that ended stays behind");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries < DYING => kill(path),
            done => return done,
        }
        tries += 1;
        thread::sleep(PAUSE);
    }
}

/// Moves this process into a group, and with it whatever it will start.
pub(super) fn enter(group: &Path) -> Result<(), String> {
    fs::write(group.join("cgroup.procs"), "0")
        .map_err(|error| format!("its group cannot be entered: {error}"))
}

/// What the kernel refused to those in a group, if anything.
pub(super) fn exceeded(group: &Path) -> Option<Limit> {
    if count(&group.join("memory.events"), "oom_kill") > 0 {
        return Some(Limit::Memory);
    }
    (count(&group.join("pids.events"), "max") > 0).then_some(Limit::Processes)
}

fn count(events: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(events).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Kills all in a group, however fast they fork (Linux 5.14).
pub(super) fn kill(group: &Path) {
    let _ = fs::write(group.join("cgroup.kill"), "1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refused_is_read_from_its_events() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path();
        assert_eq!(exceeded(group), None, "no controller");
        fs::write(group.join("memory.events"), "low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\n").unwrap();
        fs::write(group.join("pids.events"), "max 0\n").unwrap();
        assert_eq!(exceeded(group), None);
        fs::write(group.join("pids.events"), "max 3\n").unwrap();
        assert_eq!(exceeded(group), Some(Limit::Processes));
        fs::write(group.join("memory.events"), "oom 1\noom_kill 4\noom_group_kill 1\n").unwrap();
        assert_eq!(exceeded(group), Some(Limit::Memory));
    }

    #[test]
    fn a_folder_that_is_no_group_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Groups::open(folder.path()).unwrap_err();
        assert!(refused.contains("cgroup2"), "{refused}");
        assert!(Groups::open(Path::new("/nowhere")).is_err());
    }
}
