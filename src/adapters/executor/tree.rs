//! Process trees, as `/proc` shows them: who descends from whom, and how to kill them all.
//!
//! A process is named by its id and its start time together ([`Identity`]), and signalled through
//! a pidfd, so that an id which the kernel gave to another process in the meantime hurts nobody.
//! Fields are those of proc_pid_stat(5).

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group};
use rustix::process::{pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs;

/// Sweeps that freeze before the one that kills. Two are enough unless something forks fast.
const FREEZING_SWEEPS: usize = 64;

/// One process, for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// In clock ticks since the machine started.
    pub(super) start: u64,
}

impl Identity {
    /// `None`: there is no such process (any more).
    pub(super) fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| stat.identity)
    }

    /// A zombie is dead: it only waits for its parent to notice.
    pub(super) fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.identity == self && !stat.is_dead)
    }

    /// Reaches this process or none. Errors are left out: what cannot be signalled any more is
    /// what the caller wants, and everything else shows in the next look at the tree.
    pub(super) fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // The descriptor holds on to one process; only then is the start time worth reading.
            Ok(process) => {
                if self.is_alive() {
                    let _ = pidfd_send_signal(process, signal);
                }
            }
            // Kernels and emulations without pidfds.
            Err(Errno::NOSYS) if self.is_alive() => {
                let _ = kill_process(pid, signal);
            }
            Err(_) => {}
        }
    }
}

pub(super) struct Stat {
    pub(super) identity: Identity,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) is_dead: bool,
    /// In memory, in pages; what processes share counts for each.
    pub(super) pages: u64,
    /// Of the processors, in clock ticks, with what its children used that are dead and reaped.
    pub(super) ticks: u64,
    /// The same without its children's.
    pub(super) own_ticks: u64,
}

impl Stat {
    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, stat: &[u8]) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold brackets itself.
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse().ok();
        let amount = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Some(Self {
            is_dead: matches!(*fields.first()?, "Z" | "X" | "x"),
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            ticks: (11..=14).map(amount).sum(),
            own_ticks: (11..=12).map(amount).sum(),
            pages: amount(21),
            identity: Identity { pid, start: fields.get(19)?.parse().ok()? },
        })
    }
}

/// All processes that can be seen. Each is read when the iterator gets to it.
pub(super) fn processes() -> impl Iterator<Item = Stat> {
    let folder = fs::read_dir("/proc").into_iter().flatten().flatten();
    folder.filter_map(|entry| Stat::read(entry.file_name().to_str()?.parse().ok()?))
}

/// Kills what descends from `root`, never `root` itself, which must be a subreaper: else the
/// orphans among them are found elsewhere. Call it until nothing is left, since a fork may have
/// slipped through, and reap in between. Returns how many it found alive.
pub(super) fn kill_descendants(root: i32) -> usize {
    let Some(root) = Stat::read(root) else { return 0 };
    let mut family = HashMap::from([(root.identity.pid, root.identity)]);
    // What is frozen forks no more and still counts against the limit of processes: so a fork
    // bomb loses ground with each sweep, where one that is killed piece by piece would regrow.
    let mut frozen = HashSet::new();
    for _ in 0..FREEZING_SWEEPS {
        let before = frozen.len();
        sweep(&root, Signal::STOP, &mut family, &mut frozen);
        if frozen.len() == before {
            break;
        }
    }
    for identity in &frozen {
        identity.signal(Signal::KILL);
    }
    // Who got away from the freezing so far.
    sweep(&root, Signal::KILL, &mut family, &mut frozen);
    frozen.len()
}

/// Signals all descendants that are not in `reached` yet, each as soon as it is found: one that
/// forks and exits in a loop is gone when the walk is over. `family` is kept from sweep to sweep,
/// since ids wrap around and a child may stand before its parent in a walk.
fn sweep(root: &Stat, signal: Signal, family: &mut HashMap<i32, Identity>, reached: &mut HashSet<Identity>) {
    let mut groups = HashSet::new();
    for process in processes() {
        let identity = process.identity;
        let is_descendant = || {
            let parent = family.get(&process.parent);
            parent.is_some_and(|parent| Identity::of(process.parent) == Some(*parent))
        };
        if identity == root.identity || process.is_dead || !is_descendant() {
            continue;
        }
        family.insert(identity.pid, identity);
        if !reached.insert(identity) {
            continue;
        }
        // A group is reached in one stroke that no fork escapes. Every group but the root's own
        // was made by a descendant, and only its descendants can be in it. One stroke a sweep: with
        // one for each member a large group would take the square of its size.
        if process.group != root.group
            && process.group > 1
            && groups.insert(process.group)
            && let Some(group) = Pid::from_raw(process.group)
        {
            let _ = kill_process_group(group, signal);
        }
        identity.signal(signal);
    }
}

/// What descends from `root`, dead or alive, `root` itself left out. Costs what the tree has, where the kernel
/// tells children: many builds are looked at in turn, and one may be a fork bomb.
pub(super) fn descendants(root: i32) -> Vec<Stat> {
    let mut found = Vec::new();
    let mut known = HashSet::from([root]);
    if !fs::exists(format!("/proc/{root}/task/{root}/children")).unwrap_or(false) {
        return descendants_by_parents(root);
    }
    let mut waiting = children(root);
    while let Some(pid) = waiting.pop() {
        // Its id may have been given away since: who has it now descends from somebody else, and says so.
        let Some(process) = Stat::read(pid).filter(|process| known.contains(&process.parent)) else {
            continue;
        };
        if known.insert(pid) {
            found.push(process);
            waiting.extend(children(pid));
        }
    }
    found
}

/// The children of a process, which belong to its threads (proc_tid_children(5)); none where it is gone.
fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let own = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    own.flat_map(|own| own.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

pub(super) fn descendants_by_parents(root: i32) -> Vec<Stat> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for process in processes() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut waiting = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = waiting.pop() {
        let own = children.remove(&parent).unwrap_or_default();
        waiting.extend(own.iter().map(|process| process.identity.pid));
        found.extend(own);
    }
    found
}

/// What is alive in a session.
pub(super) fn members(session: i32) -> impl Iterator<Item = Stat> {
    processes().filter(move |process| process.session == session && !process.is_dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = b"7 (a) R 9 (b) S 3 5 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 10";
        let stat = Stat::parse(7, line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.session, stat.is_dead), (3, 5, 6, false));
        assert_eq!(stat.identity, Identity { pid: 7, start: 4242 });
        assert_eq!((stat.ticks, stat.own_ticks, stat.pages), (5 + 6 + 7 + 8, 5 + 6, 10));
    }

    #[test]
    fn the_running_process_finds_itself() {
        let me = std::process::id() as i32;
        let identity = Identity::of(me).unwrap();
        assert!(identity.is_alive());
        assert!(!Identity { start: identity.start + 1, ..identity }.is_alive());
        assert!(processes().any(|process| process.identity == identity));
    }

    #[test]
    fn a_signal_for_an_id_that_was_given_away_reaches_nobody() {
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let now = Identity::of(other.id() as i32).unwrap();
        Identity { start: now.start.wrapping_sub(1), ..now }.signal(Signal::KILL);
        assert!(now.is_alive());
        now.signal(Signal::KILL);
        other.wait().unwrap();
        assert!(!now.is_alive());
    }
}
