//! Measures a commit's tree before anything of it is written.
//!
//! A pack of 200 KB can unfold into millions of files, since a tree may hold one subtree many
//! times. The walk stops at the limits, so it costs no more than what it admits. It also refuses
//! names that no honest repository has: Git's own tools do not write them, a forger's do.
//! Start with [`measure`].

use crate::ports::source::{FetchLimits, SourceError};
use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::objs::FindExt;
use gix::objs::tree::{EntryKind, EntryRef};
use gix::odb::HeaderExt;
use gix::validate::path::component;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a checkout would write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Commits of other repositories, by where they belong.
    pub(super) submodules: Vec<(BString, ObjectId)>,
    /// What may be a pointer of Git LFS, by its length.
    pub(super) small: Vec<(BString, ObjectId)>,
    /// All `.gitattributes`.
    pub(super) attributes: Vec<ObjectId>,
}

/// A pointer of Git LFS has a few lines: its specification allows less than 1,024 bytes.
const POINTER_BYTES: std::ops::Range<u64> = 100..1_024;

/// Names that trick some file system into `.git`, on this one or on where the site goes next.
/// Names that Windows merely cannot have are left alone.
pub(super) const NAMES: component::Options =
    component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };

/// Linux takes 255 bytes a name and 4,096 a path; the folder that holds the checkout needs some.
const NAME_BYTES: usize = 255;
const PATH_BYTES: usize = 3_000;
const LINK_BYTES: u64 = 4_095;

/// Walks the tree `root`. `Stopped` once `interrupt` is set.
pub(super) fn measure(
    objects: &gix::OdbHandle,
    root: ObjectId,
    limits: FetchLimits,
    interrupt: &AtomicBool,
) -> Result<Measured, SourceError> {
    let mut walk =
        Walk { objects, limits, found: Measured::default(), folders: vec![(BString::default(), root)] };
    // Folders count as files do: a tree of empty ones would never end otherwise.
    let mut folders: u64 = 0;
    let mut buffer = Vec::new();
    while let Some((path, id)) = walk.folders.pop() {
        if interrupt.load(Relaxed) {
            return Err(SourceError::Stopped);
        }
        folders += 1;
        if folders > limits.files.saturating_add(1) {
            return Err(SourceError::TooLarge { what: "folders", limit: limits.files });
        }
        let tree = objects.find_tree(&id, &mut buffer).map_err(|_| {
            SourceError::Invalid(format!("the folder /{} is missing or broken", shown(&path)))
        })?;
        let mut names = HashSet::with_capacity(tree.entries.len());
        for entry in &tree.entries {
            let full = join(path.as_bstr(), entry.filename);
            if !names.insert(entry.filename) {
                return Err(SourceError::Invalid(format!("two files are named {}", shown(&full))));
            }
            walk.enter(entry, full)?;
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    objects: &'a gix::OdbHandle,
    limits: FetchLimits,
    found: Measured,
    folders: Vec<(BString, ObjectId)>,
}

impl Walk<'_> {
    fn enter(&mut self, entry: &EntryRef<'_>, path: BString) -> Result<(), SourceError> {
        let kind = entry.mode.kind();
        check_name(entry.filename, kind, &path)?;
        let over = |what, limit| Err(SourceError::TooLarge { what, limit });
        match kind {
            EntryKind::Tree => {
                if self.folders.len() as u64 > self.limits.files {
                    return over("folders", self.limits.files);
                }
                self.folders.push((path, entry.oid.to_owned()));
            }
            EntryKind::Commit => {
                if self.found.submodules.len() as u64 >= self.limits.files {
                    return over("submodules", self.limits.files);
                }
                self.found.submodules.push((path, entry.oid.to_owned()));
            }
            EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => {
                self.found.files += 1;
                if self.found.files > self.limits.files {
                    return over("files", self.limits.files);
                }
                let bytes = self.blob_bytes(entry, &path)?;
                if kind == EntryKind::Link && bytes > LINK_BYTES {
                    return Err(SourceError::Invalid(format!(
                        "the symbolic link {} is too long",
                        shown(&path)
                    )));
                }
                self.found.bytes = self.found.bytes.saturating_add(bytes);
                if self.found.bytes > self.limits.bytes {
                    return over("bytes of files", self.limits.bytes);
                }
                if kind != EntryKind::Link && entry.filename == ".gitattributes" {
                    self.found.attributes.push(entry.oid.to_owned());
                } else if kind != EntryKind::Link && POINTER_BYTES.contains(&bytes) {
                    self.found.small.push((path, entry.oid.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn blob_bytes(&self, entry: &EntryRef<'_>, path: &BString) -> Result<u64, SourceError> {
        match self.objects.header(entry.oid) {
            Ok(header) if header.kind() == gix::objs::Kind::Blob => Ok(header.size()),
            _ => Err(SourceError::Invalid(format!("the file {} is missing or broken", shown(path)))),
        }
    }
}

fn check_name(name: &BStr, kind: EntryKind, path: &BString) -> Result<(), SourceError> {
    let forbidden = || SourceError::Invalid(format!("the name {} is forbidden", shown(path)));
    if name.contains(&0) || name.len() > NAME_BYTES || path.len() > PATH_BYTES {
        return Err(forbidden());
    }
    let mode = (kind == EntryKind::Link).then_some(component::Mode::Symlink);
    gix::validate::path::component(name, mode, NAMES).map(|_| ()).map_err(|_| forbidden())
}

fn join(folder: &BStr, name: &BStr) -> BString {
    let mut path = BString::from(Vec::with_capacity(folder.len() + 1 + name.len()));
    if !folder.is_empty() {
        path.extend_from_slice(folder);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path as it may be shown: cut, and without what forges lines of a log.
pub(super) fn shown(path: &BString) -> String {
    let text = path.to_str_lossy();
    let clean = text.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    clean.collect()
}
