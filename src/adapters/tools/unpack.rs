//! An archive of the registry as a folder: its files and folders and nothing else, within bounds,
//! and a `bin` beside them that has the programs by their names.
//!
//! The archive's digest was checked, so that it is what was published; what was published may still
//! be odd. Start with [`unpack`].

use crate::ports::tools::ToolsError;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType};

const MAX_BYTES: u64 = 2 << 30;
const MAX_ENTRIES: usize = 100_000;

/// Where a package's own files lie below a tool's folder, and where its programs.
pub(super) const PACKAGE: &str = "package";
pub(super) const BIN: &str = "bin";

/// Unpacks into an empty folder. `programs` are added to those that the package names itself.
/// Returns the bytes of all its files.
pub(super) fn unpack(archive: &Path, into: &Path, programs: &[(&str, &str)]) -> Result<u64, ToolsError> {
    let package = into.join(PACKAGE);
    std::fs::create_dir(&package)?;
    let file = File::open(archive)?;
    let mut archive = Archive::new(GzDecoder::new(file));
    let mut bytes = 0_u64;
    for (count, entry) in archive.entries().map_err(|error| damaged(&error))?.enumerate() {
        let entry = entry.map_err(|error| damaged(&error))?;
        bytes = bytes.saturating_add(entry.size());
        if count >= MAX_ENTRIES || bytes > MAX_BYTES {
            return Err(ToolsError::Damaged("the archive is larger than any tool".to_owned()));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let path = entry.path().map_err(|error| damaged(&error))?.into_owned();
        let Some(inner) = inner(&path)? else { continue };
        let to = package.join(&inner);
        match kind {
            EntryType::Directory => std::fs::create_dir_all(&to)?,
            EntryType::Regular | EntryType::Continuous => {
                std::fs::create_dir_all(to.parent().unwrap_or(&package))?;
                let is_program = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                write(entry, &to, is_program)?;
            }
            _ => {
                let message = format!("the archive has something that is no file: {}", inner.display());
                return Err(ToolsError::Damaged(message));
            }
        }
    }
    link_programs(into, programs)?;
    Ok(bytes)
}

/// The path without the folder that all of a package's files are in. `None`: that folder itself.
fn inner(path: &Path) -> Result<Option<PathBuf>, ToolsError> {
    let parts: Vec<_> = path.components().filter(|part| *part != Component::CurDir).collect();
    if parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
        let message = format!("the archive has a path that leads out of it: {}", path.display());
        return Err(ToolsError::Damaged(message));
    }
    Ok((parts.len() > 1).then(|| parts[1..].iter().collect()))
}

fn write(mut from: impl Read, to: &Path, is_program: bool) -> Result<(), ToolsError> {
    let mode = if is_program { 0o755 } else { 0o644 };
    // Nothing is there yet: nothing can be written through.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    std::io::copy(&mut from, &mut file).map_err(|error| damaged(&error))?;
    Ok(())
}

fn link_programs(folder: &Path, programs: &[(&str, &str)]) -> Result<(), ToolsError> {
    let bin = folder.join(BIN);
    std::fs::create_dir(&bin)?;
    let document = std::fs::read(folder.join(PACKAGE).join("package.json"))?;
    let document: Value = serde_json::from_slice(&document).map_err(|error| {
        ToolsError::Damaged(format!("the package's own package.json is not valid: {error}"))
    })?;
    let mut named: Vec<(String, String)> = match &document["bin"] {
        Value::Object(map) => {
            map.iter().filter_map(|(name, path)| Some((name.clone(), path.as_str()?.to_owned()))).collect()
        }
        _ => Vec::new(),
    };
    named.extend(programs.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())));
    for (name, path) in named {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let parts: Vec<_> = Path::new(&path).components().filter(|part| *part != Component::CurDir).collect();
        let inside = parts.iter().all(|part| matches!(part, Component::Normal(_)));
        let path: PathBuf = parts.iter().collect();
        let target = folder.join(PACKAGE).join(&path);
        if !plain || !inside || !target.is_file() {
            continue;
        }
        std::fs::set_permissions(&target, Permissions::from_mode(0o755))?;
        match symlink(Path::new("..").join(PACKAGE).join(&path), bin.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn damaged(error: &std::io::Error) -> ToolsError {
    ToolsError::Damaged(format!("the archive cannot be unpacked: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    /// An archive with these entries; their paths are taken as they are.
    fn archive(entries: &[(&str, EntryType, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = Builder::new(GzEncoder::new(file.reopen().unwrap(), Compression::fast()));
        for (path, kind, text) in entries {
            let mut header = Header::new_ustar();
            // As no honest program writes them.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            if *kind == EntryType::Symlink {
                header.as_old_mut().linkname[..4].copy_from_slice(b"/etc");
            }
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        file
    }

    const REGULAR: EntryType = EntryType::Regular;

    #[test]
    fn a_package_s_programs_stand_in_bin_whatever_its_outer_folder_is_called() {
        let package =
            r#"{"bin": {"tool": "./bin/tool.js", "gone": "x.js", "../up": "bin/tool.js", "out": "../../x"}}"#;
        let file = archive(&[
            ("node-v1/package.json", REGULAR, package),
            ("node-v1/bin/tool.js", REGULAR, "#!/bin/sh\necho ran\n"),
            ("node-v1/docs", EntryType::Directory, ""),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let bytes = unpack(file.path(), folder.path(), &[("also", "bin/tool.js")]).unwrap();
        assert_eq!(bytes, (package.len() + 19) as u64);
        for program in ["tool", "also"] {
            let ran = std::process::Command::new(folder.path().join("bin").join(program)).output().unwrap();
            assert_eq!(ran.stdout, b"ran\n");
        }
        assert_eq!(std::fs::read_dir(folder.path().join("bin")).unwrap().count(), 2);
    }

    #[test]
    fn what_leads_out_or_is_no_file_is_refused() {
        let json = ("package/package.json", REGULAR, "{}");
        for odd in [
            ("package/../../out", REGULAR, "x"),
            ("/etc/out", REGULAR, "x"),
            ("package/link", EntryType::Symlink, ""),
            ("package/pipe", EntryType::Fifo, ""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let refused = unpack(archive(&[json, odd]).path(), folder.path(), &[]).unwrap_err();
            assert!(matches!(refused, ToolsError::Damaged(_)), "{odd:?}: {refused}");
        }
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "no archive").unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(unpack(text.path(), folder.path(), &[]), Err(ToolsError::Damaged(_))));
    }
}
