//! The bytes of a file in memory, in the form that is sent best: small ones as they are, copied behind
//! their head; larger ones as pages of the kernel, which it sends without copying them: those of files
//! without a name, in a folder where there is one. A file system has larger pages than the memory
//! without files, which cost less to send, and may take them back when memory is short.
//!
//! Start with [`HeldFile::new`].

use bytes::Bytes;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// From so many bytes on, a copy costs more than another call.
const PAGED: usize = 32 * 1024;
/// What a process may open where no limit is told.
const UNLIMITED: u64 = 1 << 20;

#[derive(Clone)]
pub enum HeldFile {
    Bytes(Bytes),
    Pages(Arc<Pages>),
}

impl HeldFile {
    /// Holds a copy of its own: what an adapter gives may be a slice of something larger.
    pub fn new(bytes: &[u8], room: &Arc<PageRoom>) -> Self {
        if bytes.len() >= PAGED
            && let Some(pages) = Pages::of(bytes, room)
        {
            return Self::Pages(Arc::new(pages));
        }
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pages(pages) => pages.len,
        }
    }
}

/// A file that has no name. Nobody writes to it any more.
pub struct Pages {
    file: File,
    len: u64,
    room: Arc<PageRoom>,
}

impl Pages {
    /// `None`: there is no room, or the kernel has none.
    fn of(bytes: &[u8], room: &Arc<PageRoom>) -> Option<Self> {
        if room.taken.fetch_add(1, Ordering::Relaxed) >= room.max {
            room.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        match room.filled(bytes) {
            Ok(file) => Some(Self { file, len: bytes.len() as u64, room: Arc::clone(room) }),
            Err(error) => {
                room.taken.fetch_sub(1, Ordering::Relaxed);
                tracing::debug!(%error, "a file is held by its bytes");
                None
            }
        }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Some bytes from a place on: as many as fit, unless it ends before.
    pub fn read(&self, from: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(into, from)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many files may be held as pages: each takes a place among what the process may open.
pub struct PageRoom {
    /// For files without a name. `None`: they lie in memory alone.
    folder: Option<PathBuf>,
    max: u64,
    taken: AtomicU64,
}

impl PageRoom {
    /// Raises what the process may open as far as it may, and takes a half of it: the other is for
    /// connections.
    pub fn of_process(folder: Option<PathBuf>) -> Arc<Self> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        let max = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        Arc::new(Self { folder, max: max.unwrap_or(UNLIMITED) / 2, taken: AtomicU64::new(0) })
    }

    /// In the folder, else in memory: not every file system can have files without a name, and one may
    /// be full.
    fn filled(&self, bytes: &[u8]) -> io::Result<File> {
        let fill = |made: OwnedFd| {
            let mut file = File::from(made);
            file.write_all(bytes).map(|()| file)
        };
        if let Some(folder) = &self.folder {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let made = openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from);
            match made.and_then(fill) {
                Ok(file) => return Ok(file),
                Err(error) => tracing::debug!(%error, "a file is held in memory alone"),
            }
        }
        fill(memfd_create("gv-file", MemfdFlags::CLOEXEC)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_pages_as_long_as_there_is_room() {
        let here = tempfile::tempdir().unwrap();
        for folder in [None, Some(here.path().to_owned()), Some(here.path().join("gone"))] {
            let room = Arc::new(PageRoom { folder, max: 1, taken: AtomicU64::new(0) });
            let bytes = vec![7; PAGED];
            let first = HeldFile::new(&bytes, &room);
            let HeldFile::Pages(pages) = &first else { panic!("there is room") };
            let mut read = vec![0; 10];
            assert_eq!(pages.read(PAGED as u64 - 4, &mut read).unwrap(), 4);
            assert_eq!(read[..5], [7, 7, 7, 7, 0]);
            assert!(matches!(HeldFile::new(&bytes, &room), HeldFile::Bytes(held) if held == bytes));
            drop(first);
            assert!(matches!(HeldFile::new(&bytes, &room), HeldFile::Pages(_)), "its place is free again");
            assert!(matches!(HeldFile::new(&bytes[1..], &room), HeldFile::Bytes(_)));
        }
        assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "they have no names");
    }
}
