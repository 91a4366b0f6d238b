//! The form in which a manifest is stored: a head as JSON, then the table of files as it is used.
//!
//! ```text
//! 4 bytes   "gvmf"
//! u32       the version, 3
//! u64       length of the head in bytes
//!           the head: whose it is, and its rules
//!           the table, to the end: see `table`
//! ```
//!
//! Numbers are little-endian. The head is JSON since it is small beside the files, and since rules
//! gain fields more often than files do.

use super::{FileTable, Manifest, ManifestError, SitePath};
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::routing::rules::Rules;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

const MAGIC: &[u8; 4] = b"gvmf";

#[derive(Serialize, Deserialize)]
struct Head<'m> {
    deployment: DeploymentId,
    account: UserId,
    project: ProjectId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spa_fallback: Option<Cow<'m, SitePath>>,
    rules: Cow<'m, Rules>,
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let head = Head {
        deployment: manifest.deployment,
        account: manifest.account,
        project: manifest.project,
        spa_fallback: manifest.spa_fallback.as_ref().map(Cow::Borrowed),
        rules: Cow::Borrowed(&manifest.rules),
    };
    // Every field is a string, a number or a map with string keys: JSON holds them all.
    #[expect(clippy::expect_used, reason = "see above")]
    let head = serde_json::to_vec(&head).expect("the head of a manifest is plain JSON");
    let table = manifest.files.as_bytes();
    let mut bytes = Vec::with_capacity(16 + head.len() + table.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&Manifest::VERSION.to_le_bytes());
    bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(table);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let unreadable = |why: &str| ManifestError::Unreadable(why.to_owned());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| unreadable("it is no manifest"))?;
    let short = || unreadable("it ends early");
    let (version, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let version = u32::from_le_bytes(*version);
    if version != Manifest::VERSION {
        return Err(ManifestError::UnknownVersion(version));
    }
    let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (head, table) = rest.split_at_checked(length).ok_or_else(short)?;
    let head: Head<'_> =
        serde_json::from_slice(head).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
    Ok(Manifest {
        deployment: head.deployment,
        account: head.account,
        project: head.project,
        spa_fallback: head.spa_fallback.map(Cow::into_owned),
        rules: head.rules.into_owned(),
        files: FileTable::read(table).map_err(unreadable)?,
    })
}
