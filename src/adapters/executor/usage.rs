//! What a build's processes use together, looked at by its guard now and then.
//!
//! A limit of the kernel's own is one process's alone; a build has as many as it likes. Start with
//! [`Watch::exceeded`].

use super::cgroup;
use super::disk::Disk;
use super::orders::{Command, Limits, Usage};
use super::tree::{self, Identity, Stat};
use crate::ports::executor::Limit;
use rustix::process::getpid;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// gv's own within the tree: launcher or bubblewrap, and the first process of a namespace.
const OWN_PROCESSES: u64 = 3;
/// Between two exact countings of memory that only look too much.
const COUNT_AGAIN: Duration = Duration::from_millis(300);

pub(super) struct Watch {
    limits: Limits,
    group: Option<PathBuf>,
    /// The most memory that was seen, in bytes.
    most: u64,
    processors: Processors,
    disk: Disk,
    /// Before that, memory is not counted exactly once more.
    next_count: Instant,
}

impl Watch {
    pub(super) fn begin(command: &Command) -> Self {
        let folders = command.writable().map(Into::into).collect();
        let limits = command.limits;
        let disk = Disk::watch(folders, command.account, limits.disk_bytes, limits.disk_files);
        let group = command.group.clone().map(PathBuf::from);
        let processors = Processors::default();
        Self { limits, group, most: 0, processors, disk, next_count: Instant::now() }
    }

    /// What the descendants of this process use too much of, if anything. `reaped` of them were there until
    /// now, dead: a fork bomb that met the kernel's limit may have died out between two looks, and all that
    /// is left of it to be seen is its dead.
    pub(super) fn exceeded(&mut self, reaped: usize) -> Option<Limit> {
        let me = getpid().as_raw_pid();
        let tree = tree::descendants(me);
        if is_crowd(&tree, reaped, self.limits.processes) {
            return Some(Limit::Processes);
        }
        if let Some(limit) = self.group.as_deref().and_then(cgroup::exceeded) {
            return Some(limit);
        }
        if self.processors.used(&tree) > self.limits.cpu {
            return Some(Limit::Cpu);
        }
        if self.has_too_much_memory(&tree) {
            return Some(Limit::Memory);
        }
        self.disk.exceeded()
    }

    /// What they used in all. To be called when they are dead and reaped.
    pub(super) fn in_the_end(&mut self) -> Usage {
        Usage { memory_bytes: self.most, cpu: self.processors.used(&[]) }
    }

    fn has_too_much_memory(&mut self, tree: &[Stat]) -> bool {
        let most = self.limits.memory_bytes;
        let at_most: u64 = tree.iter().map(resident).sum();
        self.most = self.most.max(at_most);
        if at_most <= most || Instant::now() < self.next_count {
            return false;
        }
        // What processes share was counted for each of them: now exactly, which is slower. Twice, as
        // some may end in between and leave their share to others that were not looked at yet.
        let exact = || tree.iter().map(|process| share(process).unwrap_or_else(|| now(process))).sum::<u64>();
        let has = exact() > most && exact() > most;
        self.next_count = Instant::now() + COUNT_AGAIN;
        has
    }
}

/// The same of processes alone, for the moment in which a command has ended: of a fork bomb even the first shell
/// may have been refused a process.
pub(super) fn crowd(reaped: usize, most: u64) -> Option<Limit> {
    is_crowd(&tree::descendants(getpid().as_raw_pid()), reaped, most).then_some(Limit::Processes)
}

fn is_crowd(tree: &[Stat], reaped: usize, most: u64) -> bool {
    tree.len().saturating_add(reaped) as u64 > most.saturating_add(OWN_PROCESSES)
}

/// What of the processors was used, counted in two ways, of which each misses something.
#[derive(Default)]
struct Processors {
    /// Own ticks of those that were there at the last look.
    alive: HashMap<Identity, u64>,
    /// Of those that are gone, as they were seen last.
    gone: u64,
}

impl Processors {
    /// By the kernel, what has ended is in the time of whoever reaped it, of this process in the end; but nobody
    /// reaps the children of one that ignores their end (`SIGCHLD`). By these looks, each counts for itself, up to
    /// the last look that met it.
    fn used(&mut self, tree: &[Stat]) -> Duration {
        let own = Stat::read(getpid().as_raw_pid()).map_or(0, |stat| stat.ticks);
        let reaped = tree.iter().map(|process| process.ticks).sum::<u64>().saturating_add(own);
        let ticks = reaped.max(self.seen(tree));
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks.saturating_mul(1000) / per_second)
    }

    fn seen(&mut self, tree: &[Stat]) -> u64 {
        let mut before = std::mem::take(&mut self.alive);
        for process in tree {
            let ticks = before.remove(&process.identity).unwrap_or(0).max(process.own_ticks);
            self.alive.insert(process.identity, ticks);
        }
        for (identity, ticks) in before {
            // A walk may miss one whose parent ends meanwhile.
            if Identity::of(identity.pid) == Some(identity) {
                self.alive.insert(identity, ticks);
            } else {
                self.gone = self.gone.saturating_add(ticks);
            }
        }
        self.alive.values().sum::<u64>().saturating_add(self.gone)
    }
}

/// In bytes; what processes share counts for each.
fn resident(process: &Stat) -> u64 {
    process.pages.saturating_mul(rustix::param::page_size() as u64)
}

/// The same at this moment: nothing for one that has ended.
fn now(process: &Stat) -> u64 {
    Stat::read(process.identity.pid).map_or(0, |process| resident(&process))
}

/// A process's share of memory, in bytes: of what n processes share, an n-th.
fn share(process: &Stat) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.identity.pid)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_process_has_its_share_of_memory() {
        let own = Stat::read(getpid().as_raw_pid()).unwrap();
        let bytes = share(&own).unwrap();
        assert!(bytes > 100_000 && bytes <= own.pages * rustix::param::page_size() as u64 * 2, "{bytes}");
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let script = "sh -c 'sleep 60 & echo $!; wait' & wait";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        // It may still be about to become its program, and has no memory then.
        let is_found = || {
            let below = tree::descendants(getpid().as_raw_pid());
            below.iter().any(|process| process.identity.pid == grandchild && process.pages > 0)
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_found() {
            assert!(Instant::now() < deadline, "a grandchild is not found");
        }
        let all = |found: Vec<Stat>| found.into_iter().map(|one| one.identity).collect::<HashSet<_>>();
        let parent = child.id() as i32;
        assert_eq!(all(tree::descendants(parent)), all(tree::descendants_by_parents(parent)));
        tree::kill_descendants(child.id() as i32);
        child.wait().unwrap();
    }
}
