//! Files of a build's that are open and have no name any more: they take room on the disk, and no folder shows
//! them. Looked at again and again by a thread of its guard, as `disk` does with folders.
//!
//! Processes show what they have open to those of their own user (`proc_pid_fd(5)`), or to root with all its
//! rights, which containers do not give it: so the thread of a guard that is root takes the build's user for its
//! looks. Start with [`Nameless::watch`].

use super::disk::pause_after;
use super::tree;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid, getpid};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// What was found last.
#[derive(Default)]
pub(super) struct Nameless {
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Nameless {
    /// Looks at all that descends from this process until it ends. `account`: whose processes these are, where it
    /// is not this one's user.
    pub(super) fn watch(account: Option<u32>, most_files: u64) -> Arc<Self> {
        let found = Arc::new(Self::default());
        let told = found.clone();
        let watching = move || {
            if let Some(account) = account {
                look_as(account);
            }
            loop {
                let began = Instant::now();
                let (bytes, files) = count(getpid().as_raw_pid(), most_files);
                told.bytes.store(bytes, Ordering::Relaxed);
                told.files.store(files, Ordering::Relaxed);
                thread::sleep(pause_after(began.elapsed()));
            }
        };
        // Without the thread nothing is found, and the folders are counted all the same.
        let _ = thread::Builder::new().name("gv-open".to_owned()).spawn(watching);
        found
    }

    /// On the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }
}

/// Makes this thread, and no other, act as a user. It stays root's own in all else, so that the user can neither
/// signal nor trace it (`kill(2)`, `ptrace(2)`).
fn look_as(account: u32) {
    let (uid, gid) = (Uid::from_raw(account), Gid::from_raw(account));
    let group = rustix::thread::set_thread_res_gid(Gid::ROOT, gid, Gid::ROOT);
    let user = rustix::thread::set_thread_res_uid(Uid::ROOT, uid, Uid::ROOT);
    // What it may not look at then counts for nothing.
    let _ = group.and(user);
}

/// Bytes on the disk and files, up to one more than `most_files`.
fn count(root: i32, most_files: u64) -> (u64, u64) {
    let (mut bytes, mut seen) = (0u64, HashSet::new());
    for process in tree::descendants(root) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{}/fd", process.identity.pid);
        // Gone, or another's.
        let Ok(folder) = rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty()) else { continue };
        let Ok(entries) = Dir::read_from(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(stat) = rustix::fs::statat(&folder, entry.file_name(), AtFlags::empty()) else { continue };
            if stat.st_nlink == 0
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && seen.insert((stat.st_dev, stat.st_ino))
            {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
                bytes = bytes.saturating_add(blocks.saturating_mul(512));
                if seen.len() as u64 > most_files {
                    return (bytes, seen.len() as u64);
                }
            }
        }
    }
    (bytes, seen.len() as u64)
}
