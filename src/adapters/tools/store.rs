//! The folder of tools: `NAME@VERSION/` each, with `package`, `bin` and its length in `bytes`.
//!
//! Beside each stands a lock, `locks/NAME@VERSION`: held shared by whoever uses the tool, alone by
//! whoever makes or removes it. A folder appears by a rename and is whole from then on. All of it
//! holds between the processes of a machine. Start with [`Store::hold`] and [`Store::begin`].

use super::unpack::PACKAGE;
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// What a process that was killed left half-made goes after so long.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone)]
pub(super) struct Store {
    dir: PathBuf,
    /// Of all tools together; what is in use stays whatever it is.
    limit_bytes: u64,
}

/// A tool that is there for as long as this is held.
pub(super) struct Held {
    pub(super) folder: PathBuf,
    _lock: File,
}

/// The right to make a tool that is not there.
pub(super) struct Making {
    lock: File,
    id: String,
    staging: TempDir,
}

/// What trying to get a tool came to.
pub(super) enum Begun {
    Held(Held),
    Making(Making),
    /// Somebody else makes or removes it.
    Busy,
}

impl Store {
    pub(super) fn new(dir: PathBuf, limit_bytes: u64) -> Self {
        Self { dir, limit_bytes }
    }

    /// The versions of a package that are there.
    pub(super) fn kept(&self, package: &str) -> Vec<String> {
        let prefix = id(package, "");
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
    }

    /// Takes hold of a version. `None`: it is not there, or going.
    pub(super) fn hold(&self, package: &str, version: &str) -> io::Result<Option<Held>> {
        let id = id(package, version);
        if !self.dir.join(&id).is_dir() {
            return Ok(None);
        }
        let Some(lock) = self.lock(&id, FlockOperation::NonBlockingLockShared)? else { return Ok(None) };
        self.held(&id, lock)
    }

    fn held(&self, id: &str, lock: File) -> io::Result<Option<Held>> {
        let folder = self.dir.join(id);
        if !folder.is_dir() {
            return Ok(None);
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        rustix::fs::futimens(&lock, &Timestamps { last_access: omit, last_modification: now })?;
        Ok(Some(Held { folder, _lock: lock }))
    }

    /// Takes hold of a version, or of the right to make it.
    pub(super) fn begin(&self, package: &str, version: &str) -> io::Result<Begun> {
        if let Some(held) = self.hold(package, version)? {
            return Ok(Begun::Held(held));
        }
        let id = id(package, version);
        let Some(lock) = self.lock(&id, FlockOperation::NonBlockingLockExclusive)? else {
            return Ok(Begun::Busy);
        };
        if self.dir.join(&id).is_dir() {
            // It came meanwhile.
            return Ok(Begun::Busy);
        }
        let staging = self.dir.join("staging");
        std::fs::create_dir_all(&staging)?;
        remove_stale(&staging);
        let staging = tempfile::Builder::new().prefix("tool-").tempdir_in(staging)?;
        Ok(Begun::Making(Making { lock, id, staging }))
    }

    /// Puts what was made in its place. `None`: it was removed at once, by someone short of room.
    pub(super) fn finish(&self, making: Making, bytes: u64) -> io::Result<Option<Held>> {
        let Making { lock, id, staging } = making;
        let made = staging.path().join("tool");
        std::fs::write(made.join("bytes"), bytes.to_string())?;
        protect(&made)?;
        let folder = self.dir.join(&id);
        std::fs::rename(&made, &folder)?;
        std::fs::set_permissions(&folder, Permissions::from_mode(0o555))?;
        drop(staging);
        // For a moment between the two ways of holding it, it is anybody's.
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            locked => {
                locked?;
                self.held(&id, lock)
            }
        }
    }

    /// Removes what was used the longest ago, until the rest is within the limit.
    pub(super) fn make_room(&self) -> io::Result<()> {
        let mut tools = Vec::new();
        for entry in std::fs::read_dir(&self.dir)?.flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            let Ok(text) = std::fs::read_to_string(entry.path().join("bytes")) else { continue };
            let used = std::fs::metadata(self.lock_path(&id)).and_then(|lock| lock.modified());
            tools.push((used.unwrap_or(SystemTime::UNIX_EPOCH), id, text.trim().parse::<u64>().unwrap_or(0)));
        }
        tools.sort_unstable();
        let mut bytes: u64 = tools.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, id, freed) in tools {
            if bytes <= self.limit_bytes {
                break;
            }
            // In use: it stays.
            let Some(_lock) = self.lock(&id, FlockOperation::NonBlockingLockExclusive)? else { continue };
            remove(&self.dir.join(&id))?;
            std::fs::remove_file(self.lock_path(&id))?;
            tracing::info!(tool = id, "a tool that was not used lately is removed: there is no room");
            bytes = bytes.saturating_sub(freed);
        }
        Ok(())
    }

    fn lock_path(&self, id: &str) -> PathBuf {
        self.dir.join("locks").join(id)
    }

    /// `None`: another holds it.
    fn lock(&self, id: &str, how: FlockOperation) -> io::Result<Option<File>> {
        let path = self.lock_path(id);
        loop {
            std::fs::create_dir_all(self.dir.join("locks"))?;
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match rustix::fs::flock(&file, how) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            // The one who held it may have removed the file with the tool: then it locks nothing.
            if file.metadata()?.nlink() > 0 {
                return Ok(Some(file));
            }
        }
    }
}

impl Making {
    /// Where the archive goes.
    pub(super) fn archive(&self) -> PathBuf {
        self.staging.path().join("archive.tgz")
    }

    /// Makes the folder that the tool goes into.
    pub(super) fn folder(&self) -> io::Result<PathBuf> {
        let folder = self.staging.path().join("tool");
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }
}

fn id(package: &str, version: &str) -> String {
    format!("{}@{version}", package.replace('/', "+"))
}

/// Takes the right to write from everything below a folder: whoever runs a tool has no business
/// there, and `npm install --global` would land in it.
fn protect(folder: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(folder).min_depth(1) {
        let entry = entry?;
        if !entry.file_type().is_symlink() {
            let mode = entry.metadata()?.permissions().mode();
            std::fs::set_permissions(entry.path(), Permissions::from_mode(mode & 0o555))?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    // Out of sight first: what is there is whole.
    let parent = folder.parent().unwrap_or(folder).join("staging");
    std::fs::create_dir_all(&parent)?;
    let out_of_sight = tempfile::Builder::new().prefix("gone-").tempdir_in(parent)?;
    let to = out_of_sight.path().join(PACKAGE);
    // To be moved, a folder must be writable itself.
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    std::fs::rename(folder, &to)?;
    remove_tree(&to)
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        if entry.file_type().is_dir() {
            std::fs::set_permissions(entry.path(), Permissions::from_mode(0o755))?;
        }
    }
    std::fs::remove_dir_all(folder)
}

fn remove_stale(staging: &Path) {
    for entry in std::fs::read_dir(staging).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|data| data.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            // The next one tries again.
            let _ = remove_tree(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(limit_bytes: u64) -> (TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("tools"), limit_bytes);
        (dir, store)
    }

    fn make(store: &Store, version: &str, bytes: u64) -> Held {
        let Begun::Making(making) = store.begin("@a/tool", version).unwrap() else {
            panic!("not to be made")
        };
        let folder = making.folder().unwrap();
        std::fs::create_dir(folder.join(PACKAGE)).unwrap();
        std::fs::write(folder.join(PACKAGE).join("file"), "text").unwrap();
        store.finish(making, bytes).unwrap().unwrap()
    }

    #[test]
    fn a_tool_is_made_once_and_then_held_by_whoever_asks() {
        let (_dir, store) = store(1000);
        assert!(store.hold("@a/tool", "1.0.0").unwrap().is_none());
        let Begun::Making(making) = store.begin("@a/tool", "1.0.0").unwrap() else { panic!() };
        assert!(matches!(store.begin("@a/tool", "1.0.0").unwrap(), Begun::Busy), "one at a time");
        drop(making);
        let held = make(&store, "1.0.0", 4);
        assert!(matches!(store.begin("@a/tool", "1.0.0").unwrap(), Begun::Held(_)));
        assert_eq!(store.kept("@a/tool"), ["1.0.0"]);
        assert_eq!(store.kept("@a/too"), [""; 0]);
        let mode = std::fs::metadata(held.folder.join("package/file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0, "nobody writes to it");
        assert_eq!(std::fs::read_dir(store.dir.join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn without_room_the_one_used_the_longest_ago_goes_unless_it_is_in_use() {
        let (_dir, store) = store(10);
        drop(make(&store, "1.0.0", 4));
        let in_use = make(&store, "2.0.0", 4);
        std::thread::sleep(Duration::from_millis(20));
        drop(make(&store, "3.0.0", 4));
        std::thread::sleep(Duration::from_millis(20));
        drop(store.hold("@a/tool", "1.0.0").unwrap().unwrap());
        store.make_room().unwrap();
        let mut kept = store.kept("@a/tool");
        kept.sort_unstable();
        assert_eq!(kept, ["1.0.0", "2.0.0"]);
        assert!(in_use.folder.join("package/file").exists());
        assert!(matches!(store.begin("@a/tool", "3.0.0").unwrap(), Begun::Making(_)), "it can come again");
    }
}
