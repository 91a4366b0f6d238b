//! Copying a cache that strangers wrote: within a bound, as long as somebody waits for it, and no larger than it was.
//!
//! Holes stay holes, and a file with several names stays one. Nothing is followed. Start with [`Copy::tree`].

use super::size::length;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use walkdir::WalkDir;

/// What takes longer is not worth the wait: a build fetches its packages in less.
const LONGEST: Duration = Duration::from_secs(30);
const PIECE: usize = 1024 * 1024;

pub(super) struct Copy<'a> {
    /// Bytes that may still be copied, holes among them.
    left: u64,
    until: Instant,
    stop: &'a CancellationToken,
    /// Where files with several names lie in the copy, by device and number.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<'a> Copy<'a> {
    pub(super) fn new(most_bytes: u64, stop: &'a CancellationToken) -> Self {
        Self { left: most_bytes, until: Instant::now() + LONGEST, stop, linked: HashMap::new() }
    }

    /// Copies folders, files and links, and nothing else, of what is wanted at the top. `false`: it came to a
    /// bound, or was stopped, and what is there is not whole.
    pub(super) fn tree(
        &mut self,
        from: &Path,
        into: &Path,
        is_wanted: impl Fn(&OsStr) -> bool,
    ) -> io::Result<bool> {
        let entries = WalkDir::new(from).into_iter();
        for entry in entries.filter_entry(|entry| entry.depth() != 1 || is_wanted(entry.file_name())) {
            let entry = entry?;
            let Ok(name) = entry.path().strip_prefix(from) else { continue };
            let to = into.join(name);
            let kind = entry.file_type();
            if !self.may_take(512) {
                return Ok(false);
            }
            if kind.is_dir() {
                DirBuilder::new().recursive(true).mode(0o700).create(&to)?;
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &to)?;
            } else if kind.is_file() && !self.file(entry.path(), &to)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes from what may be copied.
    fn may_take(&mut self, bytes: u64) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) if self.goes_on() => {
                self.left = left;
                true
            }
            _ => false,
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.is_cancelled() && Instant::now() < self.until
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<bool> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let source = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(from)?;
        let found = source.metadata()?;
        if found.nlink() > 1 {
            let number = (found.dev(), found.ino());
            if let Some(first) = self.linked.get(&number) {
                return std::fs::hard_link(first, to).map(|()| true);
            }
            self.linked.insert(number, to.to_owned());
        }
        if !self.may_take(length(&found)) {
            return Ok(false);
        }
        let target = OpenOptions::new().write(true).create_new(true).mode(found.mode() & 0o777).open(to)?;
        target.set_len(found.len())?;
        self.data(&source, &target, found.len())
    }

    /// Copies what is not a hole.
    fn data(&self, source: &File, target: &File, len: u64) -> io::Result<bool> {
        let mut piece = vec![0; PIECE.min(usize::try_from(len).unwrap_or(PIECE))];
        let mut at = 0;
        while at < len {
            let (begin, end) = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(begin) => (begin, rustix::fs::seek(source, SeekFrom::Hole(begin))?.min(len)),
                // Nothing but a hole is left.
                Err(Errno::NXIO) => return Ok(true),
                // Not every file system knows its holes.
                Err(Errno::INVAL) => (at, len),
                Err(error) => return Err(error.into()),
            };
            at = begin;
            while at < end {
                if !self.goes_on() {
                    return Ok(false);
                }
                let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(piece.len());
                let Some(some) = piece.get_mut(..wanted) else { break };
                let read = source.read_at(some, at)?;
                if read == 0 {
                    // It became shorter meanwhile.
                    return Ok(false);
                }
                target.write_all_at(some.get(..read).unwrap_or_default(), at)?;
                at += read as u64;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const MANY: u64 = 1 << 40;

    fn copied(from: &Path, into: &Path, most: u64) -> bool {
        Copy::new(most, &CancellationToken::new()).tree(from, into, |name| name != "left").unwrap()
    }

    #[test]
    fn a_copy_is_the_same_and_takes_no_more_room() {
        let folder = tempfile::tempdir().unwrap();
        let (from, into) = (folder.path().join("from"), folder.path().join("into"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir_all(from.join("left/b")).unwrap();
        let long: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        fs::write(from.join("a/long"), &long).unwrap();
        fs::write(from.join("a/empty"), "").unwrap();
        fs::hard_link(from.join("a/long"), from.join("a/b/again")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("out")).unwrap();
        let sparse = File::create(from.join("sparse")).unwrap();
        sparse.set_len(2 << 30).unwrap();
        sparse.write_all_at(b"in the middle", 1 << 30).unwrap();
        assert!(copied(&from, &into, MANY));
        assert_eq!(fs::read(into.join("a/long")).unwrap(), long);
        assert_eq!(fs::read(into.join("a/empty")).unwrap(), b"");
        let inode = |name: &str| fs::metadata(into.join(name)).unwrap().ino();
        assert_eq!(inode("a/long"), inode("a/b/again"));
        assert_eq!(fs::read_link(into.join("out")).unwrap(), Path::new("/etc/passwd"));
        assert!(!into.join("left").exists());
        let sparse = fs::metadata(into.join("sparse")).unwrap();
        assert!(sparse.len() == 2 << 30 && sparse.blocks() * 512 < 1 << 20, "{}", sparse.blocks());
        let mut middle = [0; 13];
        File::open(into.join("sparse")).unwrap().read_exact_at(&mut middle, 1 << 30).unwrap();
        assert_eq!(&middle, b"in the middle");
    }

    #[test]
    fn what_is_too_large_with_its_holes_is_not_copied_and_a_stop_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::File::create(from.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        assert!(!copied(&from, &folder.path().join("one"), 1 << 20));
        assert!(copied(&from, &folder.path().join("two"), 2 << 30));
        let stop = CancellationToken::new();
        stop.cancel();
        let mut copy = Copy::new(MANY, &stop);
        assert!(!copy.tree(&from, &folder.path().join("three"), |_| true).unwrap());
    }
}
