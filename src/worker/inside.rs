//! Reading files that strangers wrote: a repository's and a build's. Every such read goes through
//! here, beneath one opened folder, whatever links, pipes or devices stand in the way.
//!
//! The kernel resolves the path (`openat2`), so that there is no moment between looking and
//! opening. Nothing is written here. Start with [`Inside`].

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// What of a project's own text files is looked at: none that matters is longer.
pub const TEXT_BYTES: u64 = 2 * 1024 * 1024;

/// A file has more than [`TEXT_BYTES`].
#[derive(Debug)]
pub struct TooLong;

/// A folder that paths are resolved beneath: a link that leads out of it is refused.
pub struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// Opens the folder itself, which gv made: `path` is trusted.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let root = rustix::fs::open(path, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { root })
    }

    /// A folder below this one as a root of its own.
    pub fn folder(&self, path: &str) -> Result<Self, Errno> {
        Ok(Self { root: self.resolve(path, FOLDER)? })
    }

    /// Opens whatever `path` leads to, which must be inside: `XDEV` when it is not.
    pub fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), how);
        // The kernel gives up with `AGAIN` on a path with `..` when anything is renamed meanwhile, on the whole
        // machine: other builds may be busy at it.
        for pause in
            std::iter::repeat_n(Duration::ZERO, 8).chain((0..9).map(|nth| Duration::from_millis(1 << nth)))
        {
            match open() {
                Err(Errno::AGAIN) => std::thread::sleep(pause),
                done => return done,
            }
        }
        open()
    }

    /// What `path` leads to, links followed.
    pub fn stat(&self, path: &str) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.resolve(path, OFlags::PATH)?)
    }

    pub fn is_file(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| kind(&stat) == FileType::RegularFile)
    }

    pub fn is_folder(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| kind(&stat) == FileType::Directory)
    }

    /// A regular file to read from, with its length. `None`: it is of another kind.
    pub fn file(&self, path: &str) -> Result<Option<(File, u64)>, Errno> {
        // A pipe without a writer would make a plain open wait for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        // Looked at first without opening it for reading: that alone can set a device off.
        if kind(&self.stat(path)?) != FileType::RegularFile {
            return Ok(None);
        }
        let file = self.resolve(path, flags)?;
        let stat = rustix::fs::fstat(&file)?;
        let regular = kind(&stat) == FileType::RegularFile;
        Ok(regular.then(|| (File::from(file), size(&stat))))
    }

    /// The text of a small file. `None`: absent, no regular file, outside, too long or no UTF-8;
    /// whoever asks recognises a project by it and takes all of these for "not there".
    pub fn text(&self, path: &str) -> Option<String> {
        String::from_utf8(self.bytes(path)?.ok()?).ok()
    }

    /// The bytes of a small file, whether or not they are text. `None`: absent, no regular file, or
    /// outside.
    pub fn bytes(&self, path: &str) -> Option<Result<Vec<u8>, TooLong>> {
        let (file, len) = self.file(path).ok()??;
        if len > TEXT_BYTES {
            return Some(Err(TooLong));
        }
        let mut bytes = Vec::new();
        file.take(TEXT_BYTES).read_to_end(&mut bytes).ok()?;
        Some(Ok(bytes))
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// In bytes.
pub fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Joins relative paths with `/`; `.` and the empty path are the root.
pub fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("." | "", name) => name.to_owned(),
        (folder, "." | "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

/// The folders from `folder` up to the root, both among them.
pub fn upwards(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |folder: &&str| above(folder))
}

fn above(folder: &str) -> Option<&str> {
    match folder {
        "." | "" => None,
        inner => Some(inner.rsplit_once('/').map_or(".", |(parent, _)| parent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_out_of_the_folder_pipes_and_huge_files_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "text").unwrap();
        symlink("/etc/passwd", at("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", at("relative")).unwrap();
        symlink("/proc/self/environ", at("magic")).unwrap();
        symlink("plain", at("within")).unwrap();
        symlink("loop", at("loop")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RWXU).unwrap();
        File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("bytes"), [0xff, 0xfe]).unwrap();

        let inside = Inside::open(folder.path()).unwrap();
        assert_eq!(inside.text("plain").as_deref(), Some("text"));
        assert_eq!(inside.text("within").as_deref(), Some("text"), "a link inside is as good");
        let refused =
            ["absolute", "relative", "magic", "loop", "pipe", "sparse", "folder", "bytes", "absent"];
        for name in refused {
            assert_eq!(inside.text(name), None, "{name}");
        }
        assert_eq!(inside.text("folder/../../x"), None);
    }

    #[test]
    fn the_way_up_ends_at_the_root() {
        assert_eq!(upwards("a/b/c").collect::<Vec<_>>(), ["a/b/c", "a/b", "a", "."]);
        assert_eq!(upwards(".").collect::<Vec<_>>(), ["."]);
    }
}
