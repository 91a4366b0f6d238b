//! A deployment's immutable table of contents: path -> digest, size, type, codings, and its compiled
//! rules.
//!
//! It is written once, by the worker, and read by every edge; so it is checked like a stranger's
//! data when it comes back. Start with [`Manifest`], then [`FileTable`]; how they are stored is
//! `binary`'s, how they once were is `json`'s.

mod binary;
mod entry;
mod json;
mod site_path;
mod table;
#[cfg(test)]
mod tests;

pub use entry::{Coded, CodedCheck, Codings, FileEntry, NewEntry};
pub use site_path::SitePath;
pub use table::{FileTable, TooLarge};

use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::routing::rules::Rules;

#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub deployment: DeploymentId,
    pub account: UserId,
    pub project: ProjectId,
    /// The file that answers unknown paths with 200, as the framework of the site has it. For the
    /// plain dialect: the others say so in their own rules.
    pub spa_fallback: Option<SitePath>,
    /// Compiled from the site's rule files. Version 1 had none.
    pub rules: Rules,
    pub files: FileTable,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is not readable: {0}")]
    Unreadable(String),
    #[error("the manifest has form {0}, which this binary does not know: update it")]
    UnknownVersion(u32),
    #[error("the manifest belongs to {0}")]
    Foreign(DeploymentId),
}

impl Manifest {
    /// The form in which manifests are written. Older ones are still read: deployments are served
    /// for ever.
    pub const VERSION: u32 = 3;

    /// Of an encoded manifest: beyond, it is none. 100,000 files with ordinary paths make a half.
    pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

    pub fn encode(&self) -> Vec<u8> {
        binary::encode(self)
    }

    /// Reads a stored manifest of `deployment`.
    pub fn decode(bytes: &[u8], deployment: DeploymentId) -> Result<Self, ManifestError> {
        let is_json = bytes.first() == Some(&json::BEGIN);
        let manifest = if is_json { json::decode(bytes)? } else { binary::decode(bytes)? };
        if manifest.deployment != deployment {
            return Err(ManifestError::Foreign(manifest.deployment));
        }
        Ok(manifest)
    }

    /// Of all files together, uncoded.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }
}
