//! Folders that are moved between a cache and a workspace: one renaming each, whatever is in them. No link of
//! a repository or of a build is followed out of it.

use crate::worker::inside::{Inside, join};
use crate::worker::workspace::remove_tree;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use walkdir::WalkDir;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// A folder of a project: `name`, in `folder` of the repository.
pub(super) struct Place<'a> {
    pub(super) source: &'a Inside,
    /// The project's, relative to the repository.
    pub(super) root: &'a str,
    /// Relative to the project, with one folder above it at most.
    pub(super) path: &'a str,
}

impl Place<'_> {
    fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or((".", self.path))
    }

    /// Moves a folder of the cache here. What is here already stays.
    pub(super) fn fill(&self, from: &Path) -> io::Result<()> {
        let (parent, name) = (self.parent()?, self.split().1);
        rustix::fs::renameat_with(CWD, from, &parent, name, RenameFlags::NOREPLACE)?;
        self.own()
    }

    /// Moves the folder that is here into the cache, in place of what was there. `false`: there is none.
    pub(super) fn take(&self, into: &Path) -> io::Result<bool> {
        let (folder, name) = self.split();
        let parent = match self.source.resolve(&join(self.root, folder), FOLDER) {
            Ok(parent) => parent,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(false);
        }
        remove_tree(into)?;
        rustix::fs::renameat(&parent, name, CWD, into)?;
        Ok(true)
    }

    /// The folder that is here.
    pub(super) fn open(&self) -> Result<OwnedFd, Errno> {
        self.source.resolve(&join(self.root, self.path), FOLDER)
    }

    /// Removes the folder that is here.
    pub(super) fn clear(&self) -> io::Result<()> {
        let (folder, name) = self.split();
        let parent = self.source.resolve(&join(self.root, folder), FOLDER)?;
        remove_tree(&Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name))
    }

    /// Makes what was moved here whose the workspace is: builds of a worker that is root have users of their
    /// own.
    fn own(&self) -> io::Result<()> {
        let owner = rustix::fs::fstat(self.source.resolve(self.root, FOLDER)?)?;
        let given = self.source.resolve(&join(self.root, self.path), FOLDER)?;
        if rustix::fs::fstat(&given)?.st_uid == owner.st_uid {
            return Ok(());
        }
        for entry in WalkDir::new(format!("/proc/self/fd/{}/", given.as_raw_fd())) {
            std::os::unix::fs::lchown(entry?.path(), Some(owner.st_uid), Some(owner.st_gid))?;
        }
        Ok(())
    }

    /// The folder above, made where it is missing.
    fn parent(&self) -> io::Result<OwnedFd> {
        let folder = self.split().0;
        let path = join(self.root, folder);
        match self.source.resolve(&path, FOLDER) {
            Err(Errno::NOENT) => {
                let root = self.source.resolve(self.root, FOLDER)?;
                rustix::fs::mkdirat(&root, folder, Mode::from_raw_mode(0o755))?;
                let made = self.source.resolve(&path, FOLDER)?;
                let owner = rustix::fs::fstat(&root)?;
                if rustix::fs::fstat(&made)?.st_uid != owner.st_uid {
                    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
                    rustix::fs::fchown(&made, Some(uid), Some(gid))?;
                }
                Ok(made)
            }
            found => Ok(found?),
        }
    }
}
