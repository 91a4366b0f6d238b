//! Packing the checked out source into one file: what a later build, or a person, starts from.
//!
//! The same tree packs to the same bytes: sorted, without times or owners. Links are kept as links
//! and never followed. Start with [`pack`].

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tokio_util::sync::CancellationToken;
use walkdir::WalkDir;

/// Fast, and close to what higher levels reach on text.
const LEVEL: i32 = 3;

/// Packs `folder` into a new file `into` and returns its length in bytes; `None`: stopped. Blocks.
/// Nothing may write to the folder meanwhile.
pub fn pack(folder: &Path, into: &Path, stop: &CancellationToken) -> std::io::Result<Option<u64>> {
    if stop.is_cancelled() {
        return Ok(None);
    }
    let file = OpenOptions::new().write(true).create_new(true).open(into)?;
    let packer = zstd::Encoder::new(BufWriter::with_capacity(256 * 1024, file), LEVEL)?;
    let mut archive = tar::Builder::new(packer);
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let entry = entry?;
        let Ok(name) = entry.path().strip_prefix(folder) else { continue };
        let kind = entry.file_type();
        let mut header = tar::Header::new_gnu();
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            archive.append_data(&mut header, name, std::io::empty())?;
        } else if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, name, std::fs::read_link(entry.path())?)?;
        } else if kind.is_file() {
            let file = open(entry.path())?;
            let metadata = file.metadata()?;
            header.set_mode(if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
            header.set_size(metadata.len());
            archive.append_data(&mut header, name, file)?;
        }
    }
    let file = archive.into_inner()?.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(Some(file.metadata()?.len()))
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn packed(folder: &Path) -> Vec<u8> {
        let into = tempfile::tempdir().unwrap();
        let path = into.path().join("source.tar.zst");
        let len = pack(folder, &path, &CancellationToken::new()).unwrap().unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    #[test]
    fn the_archive_holds_files_and_links_and_never_what_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("{}/file", "long".repeat(40));
        std::fs::create_dir(folder.path().join("long".repeat(40))).unwrap();
        std::fs::write(folder.path().join(&long), "deep").unwrap();
        std::fs::write(folder.path().join("index.html"), "page").unwrap();
        symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let bytes = packed(folder.path());
        let mut archive = tar::Archive::new(zstd::Decoder::new(&bytes[..]).unwrap());
        let mut entries = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            entries.insert(entry.path().unwrap().display().to_string(), link.unwrap_or(text));
        }
        assert_eq!(entries["index.html"], "page");
        assert_eq!(entries[&long], "deep");
        assert_eq!(entries["link"], "/etc/passwd");
    }

    #[test]
    fn the_same_tree_packs_to_the_same_bytes() {
        let trees: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        for (tree, names) in trees.iter().zip([["a", "b"], ["b", "a"]]) {
            for name in names {
                std::fs::write(tree.path().join(name), name).unwrap();
            }
        }
        assert_eq!(packed(trees[0].path()), packed(trees[1].path()));
    }
}
