//! What a build's folders take on the disk, counted again and again by a thread of its guard.
//!
//! Everything there was made by a stranger and changes meanwhile: folders are opened one below the
//! other, no link is followed, and what cannot be read is made readable, since it would be a hiding
//! place. Start with [`Disk::watch`].

use super::nameless::Nameless;
use crate::ports::executor::Limit;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two countings at least; after one that took long, more: counting is to cost the build
/// little.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_FACTOR: u32 = 8;
/// Deeper than any honest tree. Each level is an open folder of the guard's.
const MOST_DEPTH: usize = 500;

const FINE: u8 = 0;
const BYTES: u8 = 1;
const FILES: u8 = 2;

pub(super) struct Disk {
    found: Arc<AtomicU8>,
    nameless: Arc<Nameless>,
    most_bytes: u64,
    most_files: u64,
}

impl Disk {
    /// Counts until the process ends. `account`: whose the build is, where it is not this process's user.
    pub(super) fn watch(
        folders: Vec<PathBuf>,
        account: Option<u32>,
        most_bytes: u64,
        most_files: u64,
    ) -> Self {
        let found = Arc::new(AtomicU8::new(FINE));
        let told = found.clone();
        let nameless = Nameless::watch(account, most_files);
        let open = nameless.clone();
        let watching = move || {
            loop {
                let began = Instant::now();
                let (bytes, files) = (open.bytes(), open.files());
                let mut count = Count { most_bytes, most_files, bytes, files, ..Count::default() };
                for folder in &folders {
                    count.tree(folder);
                }
                told.store(count.verdict(), Ordering::Relaxed);
                if count.verdict() != FINE {
                    return;
                }
                thread::sleep(pause_after(began.elapsed()));
            }
        };
        // Without the thread nothing is counted: the kernel's limits of single files are left.
        let _ = thread::Builder::new().name("gv-disk".to_owned()).spawn(watching);
        Self { found, nameless, most_bytes, most_files }
    }

    pub(super) fn exceeded(&self) -> Option<Limit> {
        match self.found.load(Ordering::Relaxed) {
            BYTES => Some(Limit::DiskBytes),
            FILES => Some(Limit::DiskFiles),
            _ if self.nameless.bytes() > self.most_bytes => Some(Limit::DiskBytes),
            _ if self.nameless.files() > self.most_files => Some(Limit::DiskFiles),
            _ => None,
        }
    }
}

/// How long to wait after a counting that took so long.
pub(super) fn pause_after(counting: Duration) -> Duration {
    (counting * PAUSE_FACTOR).max(PAUSE)
}

#[derive(Default)]
struct Count {
    most_bytes: u64,
    most_files: u64,
    bytes: u64,
    files: u64,
    /// Files with several names, each of which would count them again.
    linked: HashSet<(u64, u64)>,
    is_too_deep: bool,
}

impl Count {
    fn verdict(&self) -> u8 {
        if self.bytes > self.most_bytes {
            BYTES
        } else if self.files > self.most_files || self.is_too_deep {
            FILES
        } else {
            FINE
        }
    }

    fn tree(&mut self, root: &Path) {
        let Ok(root) = open(CWD, root) else { return };
        let mut open_folders = Vec::new();
        open_folders.extend(Dir::read_from(&root).ok().map(|entries| (root, entries)));
        while let Some((folder, entries)) = open_folders.last_mut() {
            if self.verdict() != FINE {
                return;
            }
            let Some(entry) = entries.next() else {
                open_folders.pop();
                continue;
            };
            // It may be gone by now, whatever it was.
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Ok(inner) = open(&*folder, name)
                && let Ok(entries) = Dir::read_from(&inner)
            {
                open_folders.push((inner, entries));
                self.is_too_deep |= open_folders.len() > MOST_DEPTH;
            }
        }
    }

    fn add(&mut self, stat: &Stat) {
        if stat.st_nlink > 1
            && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
            && !self.linked.insert((stat.st_dev, stat.st_ino))
        {
            return;
        }
        self.files += 1;
        self.bytes =
            self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
    }
}

fn open(at: impl AsFd, path: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&at, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // By what was opened: a name could mean something else by now.
            let found = flags.difference(OFlags::RDONLY) | OFlags::PATH;
            let found = rustix::fs::openat(&at, path, found, Mode::empty())?;
            let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
            rustix::fs::chmod(itself.as_str(), Mode::RWXU)?;
            rustix::fs::openat(&found, c".", flags, Mode::empty())
        }
        done => done,
    }
}

/// Makes everything below a folder a user's, no link followed. To be called before a stranger's
/// command has run there.
pub(super) fn give(root: &Path, user: u32) -> Result<(), Errno> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(user));
    let root = open(CWD, root)?;
    if rustix::fs::fstat(&root)?.st_uid == user {
        return Ok(());
    }
    let mut waiting = vec![rustix::io::dup(&root)?];
    while let Some(folder) = waiting.pop() {
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::chownat(&folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
                // Gone meanwhile: several commands may begin in one folder.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            match open(&folder, name) {
                Ok(inner) => waiting.push(inner),
                // No folder, or none any more.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    // Last, as it says that all is done.
    rustix::fs::fchown(&root, Some(uid), Some(gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn count(root: &Path) -> Count {
        let mut count = Count { most_bytes: u64::MAX, most_files: u64::MAX, ..Count::default() };
        count.tree(root);
        count
    }

    #[test]
    fn what_is_on_the_disk_counts_once_and_holes_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(at("a/b/file"), at("a/again")).unwrap();
        fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/usr", at("out")).unwrap();
        let counted = count(folder.path());
        assert_eq!(counted.files, 5, "a, b, file, sparse and the link");
        assert!((1 << 20..2 << 20).contains(&counted.bytes), "{}", counted.bytes);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_no_hiding_place_and_a_bottomless_one_is_too_much() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().join("hidden");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("file"), vec![1; 1 << 20]).unwrap();
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(count(folder.path()).bytes >= 1 << 20);
        let mut deepest = open(CWD, folder.path()).unwrap();
        for _ in 0..MOST_DEPTH + 1 {
            rustix::fs::mkdirat(&deepest, "deep", Mode::RWXU).unwrap();
            deepest = open(&deepest, "deep").unwrap();
        }
        assert_eq!(count(folder.path()).verdict(), FILES);
        // Deeper than the clean-up of the standard library likes its paths.
        assert!(std::process::Command::new("rm").arg("-rf").arg(folder.path()).status().unwrap().success());
    }
}
