//! The folder in which one attempt works, and its removal whatever a build left in it.
//!
//! `<dir>/<deployment>-<attempt>/` holds `source`, `home` and `tmp`, all of which the build may
//! write to; `<dir>/<deployment>-<attempt>.tar.zst`, the packed source, lies beside it because
//! the build must not. Start with [`Workspace::create`].

use crate::domain::deployment::Deployment;
use crate::domain::id::DeploymentId;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

const ARCHIVE: &str = ".tar.zst";

impl Workspace {
    /// Makes the folder for an attempt, without `source`, which the clone makes.
    pub fn create(dir: &Path, deployment: &Deployment) -> std::io::Result<Self> {
        let root = dir.join(format!("{}-{}", deployment.id, deployment.attempt));
        let workspace = Self { root };
        remove_tree(&workspace.root)?;
        for folder in [workspace.root.clone(), workspace.home(), workspace.tmp()] {
            std::fs::create_dir(&folder)?;
        }
        Ok(workspace)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn archive(&self) -> PathBuf {
        let mut path = self.root.clone().into_os_string();
        path.push(ARCHIVE);
        path.into()
    }

    /// Removes everything of this attempt.
    pub fn remove(&self) -> std::io::Result<()> {
        let archive = match std::fs::remove_file(self.archive()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        remove_tree(&self.root).and(archive)
    }
}

/// Removes what workers of an earlier life left in `dir`. Returns how many workspaces there were.
pub fn remove_leftovers(dir: &Path) -> std::io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        // Only what has the shape of ours: the folder is the operator's.
        let stem = name.to_str().map(|name| name.strip_suffix(ARCHIVE).unwrap_or(name));
        let ours = stem.and_then(|stem| stem.split_once('-')).is_some_and(|(id, attempt)| {
            id.parse::<DeploymentId>().is_ok() && attempt.parse::<u32>().is_ok()
        });
        if ours {
            if entry.file_type()?.is_dir() {
                remove_tree(&entry.path())?;
                removed += 1;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(removed)
}

/// Removes a tree of any depth, folders without write permission included; an absent one is no
/// error. To be called when nothing writes to it any more.
///
/// A hostile build can nest folders deeper than a stack or a path is long. So folders are not
/// descended into but moved up: each folder's own folders become children of the root, until all
/// are empty.
pub fn remove_tree(path: &Path) -> std::io::Result<()> {
    let root = match open_folder(CWD, path) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    rustix::fs::fchmod(&root, Mode::RWXU)?;
    let mut moved: u64 = 0;
    loop {
        let mut folders = 0;
        for name in names(&root)? {
            if unlink(&root, &name)? {
                continue;
            }
            folders += 1;
            let folder = open_folder(&root, name.as_c_str())?;
            for inner in names(&folder)? {
                if unlink(&folder, &inner)? {
                    continue;
                }
                // To be moved, a folder must be writable itself: its `..` changes.
                writable(&folder, &inner)?;
                move_up(&folder, &inner, &root, &mut moved)?;
            }
            rustix::fs::unlinkat(&root, name.as_c_str(), AtFlags::REMOVEDIR)?;
        }
        if folders == 0 {
            return std::fs::remove_dir(path);
        }
    }
}

fn move_up(folder: &OwnedFd, name: &std::ffi::CStr, root: &OwnedFd, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        // A build may have used such a name itself: then the next number is tried.
        let to = format!(".removed-{moved}");
        match rustix::fs::renameat_with(folder, name, root, to, rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            done => return done,
        }
    }
}

fn open_folder(at: impl AsFd, path: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&at, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&at, path, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(&at, path, flags, Mode::empty())
        }
        Ok(folder) => {
            rustix::fs::fchmod(&folder, Mode::RWXU)?;
            Ok(folder)
        }
        Err(error) => Err(error),
    }
}

fn writable(folder: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
    rustix::fs::chmodat(folder, name, Mode::RWXU, AtFlags::empty())
}

/// `false`: it is a folder.
fn unlink(folder: &OwnedFd, name: &std::ffi::CStr) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(false);
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
    Ok(true)
}

fn names(folder: &OwnedFd) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_tree_goes_whatever_its_depth_and_permissions_and_what_it_links_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir_all(tree.join("locked/inner")).unwrap();
        std::fs::write(tree.join("locked/inner/file"), "").unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        symlink(&outside, tree.join("locked/inner/link")).unwrap();
        for path in ["locked/inner", "locked"] {
            std::fs::set_permissions(tree.join(path), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        // Deeper than a path may be long.
        let mut deepest =
            rustix::fs::open(&tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&deepest, "deep", Mode::RWXU).unwrap();
            deepest = open_folder(&deepest, "deep").unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn only_what_a_worker_left_is_removed_at_its_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let id = DeploymentId::new(time::OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        std::fs::create_dir_all(dir.path().join(format!("{id}-1/source"))).unwrap();
        std::fs::write(dir.path().join(format!("{id}-1.tar.zst")), "").unwrap();
        std::fs::create_dir(dir.path().join("mine")).unwrap();
        assert_eq!(remove_leftovers(dir.path()).unwrap(), 1);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
    }
}
