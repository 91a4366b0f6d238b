//! The folder that [`super::filesystem`] keeps objects in: blocking calls on open descriptors.
//!
//! No call resolves a path from outside. Each walks from the root's descriptor, one name after the
//! other, and follows no link: whatever is planted in the folder, an object is a regular file
//! beneath the root or it is refused. Threads, streams and the port's errors are not here.
//!
//! ```text
//! blobs/ manifests/ hosts/ certificates/ sources/ logs/     objects, under the path that their key is
//! tmp/                                     objects being written, renamed into place when whole
//! locks/                                   one file for each group of keys that are rewritten
//! ```
//!
//! Start with [`Folder::write`] and [`Temporary::place`].

use crate::domain::digest::Digest;
use crate::ports::blobs::{Body, Key, OpenFile};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, StatVfsMountFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `NONBLOCK`: opening a FIFO would else wait for its writer. On regular files it does nothing.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Another process may be writing to a younger one.
const LEFTOVER_AGE_SECS: i64 = 6 * 60 * 60;
/// Keys that are rewritten share this many locks.
const LOCKS: usize = 16;
/// A lock is held for one read and one rename: past this its holder hangs.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Folders remembered to be on disk; past this the memory starts anew.
const REMEMBERED: usize = 10_000;

pub(super) struct Folder {
    /// Where it was found; nothing is resolved from it.
    path: PathBuf,
    root: OwnedFd,
    temporary: OwnedFd,
    locks: OwnedFd,
    turns: [Mutex<()>; LOCKS],
    /// Folders whose own entries are known to survive a crash.
    durable: Mutex<HashSet<String>>,
}

impl Folder {
    /// Makes the folder where it is not there, private to its user, and removes what writers that
    /// died left behind.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let path = path.canonicalize()?;
        // Not everyone may read the folder above: then its entry reaches the disk in its own time.
        if let Some(above) = path.parent().and_then(|above| File::open(above).ok()) {
            above.sync_all()?;
        }
        let root = OwnedFd::from(File::open(&path)?);
        let folder = Self {
            path,
            temporary: make(root.as_fd(), "tmp")?,
            locks: make(root.as_fd(), "locks")?,
            root,
            turns: Default::default(),
            durable: Mutex::default(),
        };
        rustix::fs::fsync(&folder.root)?;
        folder.remove_leftovers()?;
        Ok(folder)
    }

    /// Compares with the age of a file that is made for it: the folder's own clock.
    fn remove_leftovers(&self) -> io::Result<()> {
        let fresh = self.write(&Body::Bytes(bytes::Bytes::new()))?;
        let now = modified_secs(&self.temporary, &fresh.name)?;
        for entry in rustix::fs::Dir::read_from(&self.temporary)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') || name == fresh.name {
                continue;
            }
            // Another process may be removing it at this moment: not to find it is as good.
            if modified_secs(&self.temporary, name).is_ok_and(|then| now - then > LEFTOVER_AGE_SECS) {
                let _ = rustix::fs::unlinkat(&self.temporary, name, AtFlags::empty());
            }
        }
        Ok(())
    }

    /// An object, open for reading, and its length in bytes. `None`: it is not there.
    pub(super) fn read(&self, key: &Key) -> io::Result<Option<(File, u64)>> {
        let (dir, name) = split(key);
        let Some(dir) = self.enter(dir)? else { return Ok(None) };
        match rustix::fs::openat(&dir, name, READ, Mode::empty()) {
            Ok(file) => regular(file).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes an object beside the others. When this returns its bytes are on disk.
    pub(super) fn write(&self, body: &Body) -> io::Result<Temporary<'_>> {
        let name = format!("{:032x}", rand::random::<u128>());
        let mut file = File::from(rustix::fs::openat(&self.temporary, &name, NEW, Mode::from(0o644))?);
        let temporary = Temporary { folder: self, name, placed: false };
        match body {
            Body::Bytes(bytes) => file.write_all(bytes)?,
            Body::File { file: from, len } => copy(&**from, *len, &mut file)?,
        }
        rustix::fs::fdatasync(&file)?;
        Ok(temporary)
    }

    /// The folder at this path, or `None` where there is none.
    pub(super) fn enter(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        let mut at = self.root.try_clone()?;
        for name in path.split('/') {
            at = match rustix::fs::openat(&at, name, FOLDER, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(at))
    }

    /// The folder at this path, made where there was none, so that it survives a crash.
    pub(super) fn make(&self, path: &str) -> io::Result<OwnedFd> {
        let durable = self.durable().contains(path);
        if let Some(folder) = self.enter(path)?.filter(|_| durable) {
            return Ok(folder);
        }
        let mut at = self.root.try_clone()?;
        for name in path.split('/') {
            let next = make(at.as_fd(), name)?;
            // Even where it was there: another process may have made it a moment ago.
            rustix::fs::fsync(&at)?;
            at = next;
        }
        let mut known = self.durable();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.to_owned());
        Ok(at)
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<String>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps every other thread and process from changing the keys of this key's group.
    pub(super) fn lock(&self, key: &Key) -> io::Result<Held<'_>> {
        let group = usize::from(Digest::of(key.as_str().as_bytes()).as_bytes()[0]) % LOCKS;
        let turn = self.turns[group].lock().unwrap_or_else(PoisonError::into_inner);
        let flags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
        let file = rustix::fs::openat(&self.locks, format!("{group:02}"), flags, Mode::from(0o644))?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Held { _turn: turn, _file: file }),
                Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::WOULDBLOCK) => {
                    let text = format!("another process has held the lock locks/{group:02} for too long");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether an object could be written now.
    pub(super) fn check(&self) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(&self.root)?;
        // What is stored in a folder that was moved away or mounted over is lost at the next start.
        let (held, found) = (rustix::fs::fstat(&self.root)?, rustix::fs::stat(&self.path)?);
        if (held.st_dev, held.st_ino) != (found.st_dev, found.st_ino) {
            return Err(io::Error::other("another folder is at its place by now: start again"));
        }
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(Errno::ROFS.into());
        }
        // Some filesystems do not count their files, and say that they have room for none.
        if disk.f_bavail == 0 || (disk.f_files > 0 && disk.f_favail == 0) {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }
}

/// A lock of [`Folder::lock`], until it is dropped. The kernel gives back what a process held.
pub(super) struct Held<'a> {
    _file: OwnedFd,
    _turn: MutexGuard<'a, ()>,
}

/// An object that is whole and on disk, but not yet in its place. Dropped, it is removed.
pub(super) struct Temporary<'a> {
    folder: &'a Folder,
    name: String,
    placed: bool,
}

impl Temporary<'_> {
    /// Moves it over whatever has this name. To survive a crash `dir` is to be synced afterwards.
    pub(super) fn place(mut self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.folder.temporary, &self.name, dir, name)?;
        self.placed = true;
        Ok(())
    }

    /// Moves it where nothing has this name. `false`: something has.
    pub(super) fn place_new(mut self, dir: &OwnedFd, name: &str) -> io::Result<bool> {
        let from = &self.folder.temporary;
        match rustix::fs::renameat_with(from, &self.name, dir, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.placed = true,
            Err(Errno::EXIST) => return Ok(false),
            // Network filesystems have no such rename, but a link refuses a taken name as well.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match rustix::fs::linkat(from, &self.name, dir, name, AtFlags::empty()) {
                    Ok(()) => {}
                    Err(Errno::EXIST) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // What stays after all is a leftover, which the next start removes.
            let _ = rustix::fs::unlinkat(&self.folder.temporary, &self.name, AtFlags::empty());
        }
    }
}

/// A key's folder and its name therein.
pub(super) fn split(key: &Key) -> (&str, &str) {
    // Every key has a `/`: see the functions that make them.
    key.as_str().rsplit_once('/').unwrap_or_default()
}

/// Whether a regular file has this name: anything else is no object, and is written over.
pub(super) fn is_there(dir: &OwnedFd, name: &str) -> io::Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An absent name is no error.
pub(super) fn remove(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make(at: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, name, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(at, name, FOLDER, Mode::empty())?)
}

fn modified_secs(dir: &OwnedFd, name: &str) -> io::Result<i64> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mtime as i64)
}

/// The file and its length, unless it is a FIFO, a device or the like.
fn regular(file: OwnedFd) -> io::Result<(File, u64)> {
    let file = File::from(file);
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    Ok((file, about.len()))
}

/// Copies in the kernel, and shares the blocks where the filesystem can (`copy_file_range`, which
/// [`io::copy`] uses between files).
fn copy(from: &dyn OpenFile, len: u64, to: &mut File) -> io::Result<()> {
    let unusable = |why: &str| {
        let text = format!("cannot take the bytes of {from:?}: {why}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let source = match from.open() {
        Ok(source) => source,
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::XDEV) => {
                return Err(unusable(&error.to_string()));
            }
            _ => return Err(error),
        },
    };
    let (source, _) = regular(source.into()).map_err(|error| unusable(&error.to_string()))?;
    // One byte more than there should be, to notice that there is more.
    let copied = io::copy(&mut source.take(len.saturating_add(1)), to)?;
    if copied != len {
        return Err(unusable(&format!("it should have {len} bytes and has {}", source_has(copied, len))));
    }
    Ok(())
}

fn source_has(copied: u64, len: u64) -> String {
    if copied > len { "more".to_owned() } else { copied.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::Hostname;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn key(host: &str) -> Key {
        Key::host(&Hostname::parse(host).unwrap())
    }

    fn put(folder: &Folder, key: &Key, bytes: &'static [u8]) -> io::Result<()> {
        let dir = folder.make(split(key).0)?;
        folder.write(&Body::Bytes(bytes.into()))?.place(&dir, split(key).1)
    }

    /// A store with one object in it, beside a folder that is not its own.
    fn store() -> (tempfile::TempDir, Folder, PathBuf, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let (root, outside) = (scratch.path().join("store"), scratch.path().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        let folder = Folder::open(&root).unwrap();
        put(&folder, &key("a.test"), b"a").unwrap();
        (scratch, folder, root, outside)
    }

    #[test]
    fn a_link_in_an_objects_place_is_not_followed_and_is_written_over() {
        let (_scratch, folder, root, outside) = store();
        symlink(outside.join("secret"), root.join("hosts/b.test")).unwrap();
        assert!(folder.read(&key("b.test")).is_err());
        let hosts = folder.enter("hosts").unwrap().unwrap();
        assert!(!is_there(&hosts, "b.test").unwrap());
        put(&folder, &key("b.test"), b"b").unwrap();
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
        assert_eq!(std::fs::read(root.join("hosts/b.test")).unwrap(), b"b");
    }

    #[test]
    fn a_link_in_a_folders_place_is_refused() {
        let (_scratch, folder, root, outside) = store();
        std::fs::remove_dir_all(root.join("hosts")).unwrap();
        symlink(&outside, root.join("hosts")).unwrap();
        assert!(folder.read(&key("secret")).is_err());
        assert!(put(&folder, &key("new.test"), b"new").is_err());
        assert!(!outside.join("new.test").exists());
    }

    #[test]
    fn a_fifo_in_an_objects_place_is_refused_without_waiting_for_its_writer() {
        let (_scratch, folder, _root, _) = store();
        let hosts = folder.enter("hosts").unwrap().unwrap();
        rustix::fs::mknodat(&hosts, "b.test", FileType::Fifo, Mode::from(0o644), 0).unwrap();
        assert_eq!(folder.read(&key("b.test")).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn only_a_regular_file_of_the_right_length_is_taken() {
        let (_scratch, folder, root, outside) = store();
        let secret = outside.join("secret");
        let link = outside.join("link");
        symlink(&secret, &link).unwrap();
        let takes = |path: &Path, len| folder.write(&Body::file(path, len)).is_ok();
        assert!(takes(&secret, 6));
        assert!(!takes(&secret, 5), "it has grown");
        assert!(!takes(&secret, 7), "it was cut");
        assert!(!takes(&link, 6));
        assert!(!takes(&outside, 6));
        assert!(!takes(&outside.join("nothing"), 6));
        assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0, "and nothing is left behind");
    }

    #[test]
    fn leftovers_of_dead_writers_go_at_the_next_start_and_young_ones_stay() {
        let (_scratch, folder, root, _) = store();
        for name in ["old", "young"] {
            std::fs::write(root.join("tmp").join(name), "half an obj").unwrap();
        }
        let day_ago = modified_secs(&folder.temporary, "old").unwrap() - 86_400;
        let then = rustix::fs::Timespec { tv_sec: day_ago as _, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: then, last_modification: then };
        rustix::fs::utimensat(&folder.temporary, "old", &times, AtFlags::empty()).unwrap();
        Folder::open(&root).unwrap();
        assert!(!root.join("tmp/old").exists());
        assert!(root.join("tmp/young").exists());
        assert!(folder.read(&key("a.test")).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_another_process_holds_is_waited_for() {
        let (_scratch, folder, root, _) = store();
        let other = Folder::open(&root).unwrap();
        let held = other.lock(&key("a.test")).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| folder.lock(&key("a.test")).map(drop));
            assert!(!waiting.is_finished());
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_store_whose_folder_was_removed_says_so() {
        let (_scratch, folder, root, _) = store();
        folder.check().unwrap();
        std::fs::remove_dir_all(root).unwrap();
        assert!(folder.check().is_err());
        assert!(put(&folder, &key("a.test"), b"a").is_err());
    }
}
