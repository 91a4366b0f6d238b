//! How much is kept, of one scope and of all: whatever became of a build, its cache is measured when it is let go
//! of, and what was used longest ago on this worker makes room.
//!
//! Start with [`Held::let_go`].

use super::scope::{hold, scope_of};
use super::size::size;
use super::{Caches, packages};
use crate::worker::upload::amount;
use crate::worker::workspace::remove_tree;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How large it was when it was last let go of, and when that was.
pub(super) const BYTES: &str = "bytes";
/// Stands before the number while a build has it.
const OPEN: &str = "open ";

/// Until it is noted anew nobody knows how large a scope is that a build has.
pub(super) fn note_open(dir: &Path) -> io::Result<()> {
    let Ok(noted) = std::fs::read_to_string(dir.join(BYTES)) else { return Ok(()) };
    std::fs::write(dir.join(BYTES), format!("{OPEN}{}", noted.trim_start_matches(OPEN)))
}

/// The cache of one scope on the disk, which nobody else uses meanwhile.
pub(super) struct Held {
    caches: Caches,
    dir: PathBuf,
    lock: File,
}

impl Held {
    pub(super) fn new(caches: Caches, dir: PathBuf, lock: File) -> Self {
        Self { caches, dir, lock }
    }

    /// Brings it within the bounds, and all others; returns what is to be said of it. Blocks.
    pub(super) fn let_go(self) -> io::Result<Option<String>> {
        let most = self.caches.project_bytes;
        // What cannot be measured is too large: a build may have closed a folder.
        let measured = || size(&self.dir).unwrap_or(u64::MAX);
        let mut bytes = measured();
        let mut said = None;
        if bytes > most {
            // What is quickest to get again goes first.
            packages::drop_from(&self.dir)?;
            bytes = measured();
        }
        if bytes > most {
            remove_tree(&self.dir)?;
            let had = if bytes == u64::MAX { "more than can be counted".to_owned() } else { amount(bytes) };
            said = Some(format!(
                "The cache had {had} and is dropped: a project may have {} (worker.cache_mb).",
                amount(most)
            ));
        } else {
            std::fs::write(self.dir.join(BYTES), bytes.to_string())?;
        }
        let caches = self.caches.clone();
        drop(self);
        caches.evict()?;
        Ok(said)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Explicitly, since a process that the build left in another's hands could hold a copy.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Caches {
    /// Removes what was used longest ago until the rest is within the bound. What is in use stays.
    fn evict(&self) -> io::Result<()> {
        let mut scopes: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for project in std::fs::read_dir(&self.dir)? {
            let project = project?.path();
            if !project.is_dir() {
                continue;
            }
            for scope in std::fs::read_dir(&project)? {
                let path = scope?.path();
                if path.is_dir() {
                    let noted = std::fs::read_to_string(path.join(BYTES)).unwrap_or_default();
                    let bytes = match noted.trim().parse() {
                        Ok(bytes) => bytes,
                        Err(_) => self.unnoted(&project, &path, noted.trim_start_matches(OPEN))?,
                    };
                    let used = std::fs::metadata(path.join(BYTES)).and_then(|file| file.modified());
                    scopes.push((used.unwrap_or(SystemTime::UNIX_EPOCH), bytes, path));
                }
            }
        }
        scopes.sort();
        let mut total = scopes.iter().fold(0u64, |total, (_, bytes, _)| total.saturating_add(*bytes));
        for (_, bytes, path) in scopes {
            if total <= self.total_bytes {
                break;
            }
            let (Some(project), Some(scope)) = (path.parent(), scope_of(&path)) else { continue };
            if hold(project, scope, FlockOperation::NonBlockingLockExclusive)?.is_some() {
                remove_tree(&path)?;
                total = total.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    /// How large a scope is that was never let go of: as large as it was `before`, or may be, where it is in use; else
    /// its worker died, and it is measured.
    fn unnoted(&self, project: &Path, folder: &Path, before: &str) -> io::Result<u64> {
        let Some(scope) = scope_of(folder) else { return Ok(0) };
        match hold(project, scope, FlockOperation::NonBlockingLockExclusive)? {
            Some(_lock) => Ok(size(folder).unwrap_or(self.total_bytes)),
            None => Ok(before.trim().parse().unwrap_or(self.project_bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::{Deployment, Target};
    use crate::worker::caches::Opened;
    use crate::worker::caches::tests::{Stage, deployment};

    #[test]
    fn what_is_too_large_goes_and_what_was_used_longest_ago_makes_room() {
        let stage = Stage::set(20_000, 40_000);
        let (one, two, three) =
            (deployment(Target::Production), deployment(Target::Production), deployment(Target::Production));
        let some = "x".repeat(1_000);
        for site in [&one, &two] {
            stage.build(site, "main", None, &some);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let stage = Stage { caches: Caches { total_bytes: 9_000, ..stage.caches }, folder: stage.folder };
        stage.build(&three, "main", None, &some);
        stage.build(&one, "main", None, &some);
        stage.build(&three, "main", Some(&some), &"x".repeat(30_000));
        stage.build(&three, "main", None, "x");
    }

    /// Bytes on the disk of all that is kept.
    fn kept(stage: &Stage) -> u64 {
        size(&stage.caches.dir).unwrap()
    }

    #[test]
    fn what_a_failed_build_left_is_bounded_as_well() {
        let stage = Stage::set(50_000, 100_000);
        let site = deployment(Target::Production);
        let branches = ["one", "two", "three", "four"];
        let preview = Deployment { target: Target::Preview, ..site };
        for branch in branches {
            stage.build(&preview, branch, None, "x");
            let Ok(Opened::Warm(cache)) = stage.open(&preview, branch) else { panic!() };
            std::fs::write(cache.folder().join("large"), vec![1; 300_000]).unwrap();
            // It fails.
            drop(cache);
        }
        assert!(kept(&stage) < 20_000, "{}", kept(&stage));
        for branch in branches {
            let Ok(Opened::Cold(cache)) = stage.open(&preview, branch) else { panic!() };
            std::fs::write(cache.folder().join("fits"), vec![1; 40_000]).unwrap();
            drop(cache);
        }
        assert!(kept(&stage) < 110_000, "{}", kept(&stage));
        // What a worker that died had open is measured by the next that makes room.
        let Ok(Opened::Cold(mut cache)) = stage.open(&preview, "five") else { panic!() };
        std::fs::write(cache.folder().join("large"), vec![1; 300_000]).unwrap();
        cache.held = None;
        drop(cache);
        stage.build(&preview, "six", None, "x");
        assert!(kept(&stage) < 110_000, "{}", kept(&stage));
    }
}
