//! The jobs that run, one small file each, for the worker's next life to find.
//!
//! A guard dies by itself when its worker does, so a record usually names processes that are gone
//! already; it is there for the guard that could not: stopped, or killed together with the worker.

use super::tree::{self, Identity, Stat};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a guard whose worker is gone may take to end by itself.
const GUARD_PATIENCE: Duration = Duration::from_secs(5);
/// How long what was killed may take to be dead: longer hangs in the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    place: Place,
    worker: Identity,
    pub(super) guard: Identity,
    /// The command's first process, which leads its session; absent until it exists.
    pub(super) leader: Option<Identity>,
    workspace: OsString,
}

impl Record {
    /// Of a job of this process. `None` when the guard is gone already.
    pub(super) fn new(guard: u32, workspace: &Path) -> Option<Self> {
        Some(Self {
            place: Place::here(),
            worker: Identity::of(std::process::id().try_into().ok()?)?,
            guard: Identity::of(guard.try_into().ok()?)?,
            leader: None,
            workspace: workspace.as_os_str().to_owned(),
        })
    }

    /// Kills what is left of the job, and returns when it is dead. Blocks for seconds at worst.
    /// The error is the process that would not die.
    fn clear(&self) -> Result<(), Identity> {
        // Ids mean nothing after a restart of the machine, or in another container.
        if self.place != Place::here() {
            return Ok(());
        }
        if !wait_for(GUARD_PATIENCE, || !self.guard.is_alive()) {
            tracing::warn!(guard = self.guard.pid, "the guard of an earlier build has to be killed");
            kill_with_guard(self.guard)?;
        }
        match self.leader {
            Some(leader) => kill_session(leader, Some(&self.workspace)),
            None => Ok(()),
        }
    }
}

/// Where process ids and start times mean what they say: one boot, one process namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    boot: String,
    namespace: OsString,
}

impl Place {
    /// Where `/proc` hides the two, every place is the same: the start times have to do.
    fn here() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self { boot: boot.trim_end().to_owned(), namespace: namespace.into_os_string() }
    }
}

/// The file of one job. Dropping it forgets nothing: call [`RecordFile::remove`] when all are dead.
pub(super) struct RecordFile {
    path: PathBuf,
    pub(super) record: Record,
}

impl RecordFile {
    /// `name` is the deployment's. The guard is in the file's name, too: the same deployment may
    /// come back to this worker before its last command is dead.
    pub(super) fn new(folder: &Path, name: &str, record: Record) -> Self {
        Self { path: folder.join(format!("{name}.{}.json", record.guard.pid)), record }
    }

    /// Whole or not at all. It need not outlive the machine, as no process does.
    pub(super) fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = self.path.with_extension("new");
        fs::write(&unfinished, serde_json::to_vec(&self.record)?)?;
        fs::rename(unfinished, &self.path)
    }

    pub(super) fn remove(&self) {
        remove(&self.path);
    }
}

/// Kills what the records of dead workers name, and removes those. A worker that lives, this one
/// included, keeps its own. Blocks; the error is a sentence.
pub(super) fn clear_leftovers(folder: &Path) -> Result<(), String> {
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("the folder {} cannot be read: {error}", folder.display())),
    };
    for file in files.flatten() {
        let path = file.path();
        let record = match fs::read(&path).map(|bytes| serde_json::from_slice::<Record>(&bytes)) {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => {
                tracing::warn!(path = %path.display(), %error, "a record of a running build is no record");
                remove(&path);
                continue;
            }
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        if record.place == Place::here() && record.worker.is_alive() {
            continue;
        }
        record.clear().map_err(|left| {
            format!("process {} of an earlier build cannot be killed: end it and start again", left.pid)
        })?;
        remove(&path);
    }
    Ok(())
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a record of an ended build stays behind");
    }
}

/// Kills a guard that does not do its work, and before it all that descends from it.
pub(super) fn kill_with_guard(guard: Identity) -> Result<(), Identity> {
    let dead = wait_for(KILL_PATIENCE, || {
        if !guard.is_alive() {
            return true;
        }
        // While it lives it is the subreaper of the whole tree, even when it is stopped: it goes last.
        if tree::kill_descendants(guard.pid) == 0 {
            guard.signal(Signal::KILL);
        }
        false
    });
    if dead { Ok(()) } else { Err(guard) }
}

/// Kills the session that `leader` leads or led. Where the leader may have died long ago, only what
/// works in `workspace` is taken for a member of that session.
pub(super) fn kill_session(leader: Identity, workspace: Option<&OsStr>) -> Result<(), Identity> {
    let mut left = leader;
    let dead = wait_for(KILL_PATIENCE, || {
        let mut is_empty = true;
        for member in tree::members(leader.pid).filter(|member| belongs(member, leader, workspace)) {
            is_empty = false;
            left = member.identity;
            member.identity.signal(Signal::KILL);
        }
        is_empty
    });
    if dead { Ok(()) } else { Err(left) }
}

/// The id of a session outlives its leader, and is free for another once its last member is dead.
/// While the leader is there its start time tells; later the workspace does, where nobody but the
/// build works.
fn belongs(member: &Stat, leader: Identity, workspace: Option<&OsStr>) -> bool {
    if let Some(now) = Identity::of(leader.pid) {
        return now == leader;
    }
    workspace.is_none_or(|workspace| {
        let dir = fs::read_link(format!("/proc/{}/cwd", member.identity.pid));
        let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.into());
        dir.is_ok_and(|dir| dir.starts_with(workspace))
    })
}

fn wait_for(patience: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_done() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// A process that leads a session, with a second one in it, both in `dir`.
    fn session(dir: &Path) -> (Child, Identity) {
        let script = "sleep 600 & echo $! >member; wait";
        let leader = Command::new("setsid").args(["sh", "-c", script]).current_dir(dir).spawn().unwrap();
        let pid = leader.id() as i32;
        assert!(wait_for(KILL_PATIENCE, || tree::members(pid).count() == 2));
        (leader, Identity::of(pid).unwrap())
    }

    /// As the record of a worker that is dead would say it.
    fn record(leader: Identity, workspace: &Path) -> Record {
        let mut record = Record::new(std::process::id(), workspace).unwrap();
        let mut dead = Command::new("true").spawn().unwrap();
        record.worker = Identity { pid: dead.id() as i32, start: 1 };
        record.guard = record.worker;
        dead.wait().unwrap();
        record.leader = Some(leader);
        record
    }

    fn end(mut leader: Child) {
        leader.kill().unwrap();
        leader.wait().unwrap();
    }

    #[test]
    fn what_a_dead_worker_and_its_dead_guard_left_is_killed_and_its_record_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut leader, identity) = session(folder.path());
        let records = folder.path().join("records");
        RecordFile::new(&records, "one", record(identity, folder.path())).write().unwrap();
        clear_leftovers(&records).unwrap();
        assert_eq!(tree::members(identity.pid).count(), 0);
        assert_eq!(fs::read_dir(&records).unwrap().count(), 0);
        leader.wait().unwrap();
    }

    #[test]
    fn members_of_a_session_whose_leader_is_dead_are_known_by_their_workspace() {
        let folder = tempfile::tempdir().unwrap();
        let (leader, identity) = session(folder.path());
        end(leader);
        assert_eq!(tree::members(identity.pid).count(), 1);
        record(identity, Path::new("/nowhere")).clear().unwrap();
        assert_eq!(tree::members(identity.pid).count(), 1, "a stranger's session is left alone");
        record(identity, folder.path()).clear().unwrap();
        assert_eq!(tree::members(identity.pid).count(), 0);
    }

    #[test]
    fn an_id_that_was_given_to_another_process_kills_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (leader, identity) = session(folder.path());
        let reused = Identity { start: identity.start - 1, ..identity };
        record(reused, folder.path()).clear().unwrap();
        let mut elsewhere = record(identity, folder.path());
        elsewhere.place.boot = "another".to_owned();
        elsewhere.clear().unwrap();
        assert_eq!(tree::members(identity.pid).count(), 2);
        record(identity, folder.path()).clear().unwrap();
        end(leader);
    }

    #[test]
    fn the_record_of_a_worker_that_lives_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (leader, identity) = session(folder.path());
        let records = folder.path().join("records");
        let own = Record {
            worker: Identity::of(std::process::id() as i32).unwrap(),
            ..record(identity, folder.path())
        };
        let file = RecordFile::new(&records, "own", own);
        file.write().unwrap();
        clear_leftovers(&records).unwrap();
        assert_eq!(tree::members(identity.pid).count(), 2);
        assert!(file.path.exists());
        kill_session(identity, None).unwrap();
        end(leader);
    }

    #[test]
    fn a_stopped_guard_is_killed_with_all_that_descends_from_it() {
        let script = "setsid sleep 600 & sh -c 'sleep 600 & wait' & wait";
        let mut guard = Command::new("setsid").args(["sh", "-c", script]).spawn().unwrap();
        let identity = Identity::of(guard.id() as i32).unwrap();
        let children = || tree::processes().filter(|child| child.parent == identity.pid).count();
        assert!(wait_for(KILL_PATIENCE, || children() == 2));
        identity.signal(Signal::STOP);
        let waiter = thread::spawn(move || guard.wait().unwrap());
        kill_with_guard(identity).unwrap();
        assert_eq!(children(), 0);
        waiter.join().unwrap();
    }

    #[test]
    fn a_file_that_is_no_record_is_removed_and_no_folder_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("half.new"), "{").unwrap();
        clear_leftovers(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        clear_leftovers(&folder.path().join("none")).unwrap();
    }
}
