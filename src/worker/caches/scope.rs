//! What a scope of a project's cache is called, and the lock of whoever has it.

use crate::domain::deployment::Target;
use crate::domain::digest::Digest;
use rustix::fs::FlockOperation;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(super) const PRODUCTION: &str = "production";

/// Branches may be named anything.
pub(super) fn scope(target: Target, branch: Option<&str>) -> String {
    match target {
        Target::Production => PRODUCTION.to_owned(),
        Target::Preview => {
            let digest = Digest::of(branch.unwrap_or_default().as_bytes()).to_string();
            format!("preview-{}", &digest[..16])
        }
    }
}

/// `None`: somebody else holds it.
pub(super) fn hold(project: &Path, scope: &str, how: FlockOperation) -> io::Result<Option<File>> {
    let path = project.join(format!("{scope}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, how) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The name of the scope whose folder this is, whole or still being copied.
pub(super) fn scope_of(folder: &Path) -> Option<&str> {
    folder.file_stem().and_then(OsStr::to_str)
}
