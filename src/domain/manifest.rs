//! A deployment's immutable table of contents: path -> digest, size, type, and its compiled rules.
//!
//! It is written once, by the worker, and read by every edge; so it is checked like a stranger's
//! data when it comes back. Start with [`Manifest`], then [`SitePath`].

use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::routing::rules::Rules;
use crate::domain::text::{Invalid, parsed_text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this document; a reader refuses one that it does not know.
    pub version: u32,
    pub deployment: DeploymentId,
    pub account: UserId,
    pub project: ProjectId,
    /// The file that answers unknown paths with 200, as the framework of the site has it. For the
    /// plain dialect: the others say so in their own rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spa_fallback: Option<SitePath>,
    /// Compiled from the site's rule files. Version 1 had none.
    #[serde(default)]
    pub rules: Rules,
    pub files: BTreeMap<SitePath, FileEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub digest: Digest,
    /// Bytes, uncoded.
    pub size: u64,
    /// The media type, complete with its charset.
    #[serde(rename = "type")]
    pub media_type: String,
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
    pub const VERSION: u32 = 2;
    /// Older forms that are still read: deployments are served for ever.
    const OLDEST_VERSION: u32 = 1;

    /// Of an encoded manifest: beyond, it is none. 50,000 files with ordinary paths make a quarter.
    pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

    pub fn encode(&self) -> Vec<u8> {
        // Every field is a string, a number or a map with string keys: JSON holds them all.
        #[expect(clippy::expect_used, reason = "see above")]
        serde_json::to_vec(self).expect("a manifest is plain JSON")
    }

    /// Reads a stored manifest of `deployment`.
    pub fn decode(bytes: &[u8], deployment: DeploymentId) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let unreadable = |error: serde_json::Error| ManifestError::Unreadable(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(unreadable)?;
        if !(Self::OLDEST_VERSION..=Self::VERSION).contains(&head.version) {
            return Err(ManifestError::UnknownVersion(head.version));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        if manifest.deployment != deployment {
            return Err(ManifestError::Foreign(manifest.deployment));
        }
        Ok(manifest)
    }

    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).fold(0, u64::saturating_add)
    }
}

/// A file's place in a site: relative, `/` between segments, no empty, `.` or `..` segment.
/// Decoded UTF-8, not percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(String);

impl SitePath {
    /// At most 4,096 bytes, segments of at most 255.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.len() <= 255 && !s.contains('\0');
        if text.len() > 4096 || !text.split('/').all(segment) {
            return Err(Invalid::new("is not the path of a file in a site"));
        }
        Ok(Self(text.to_owned()))
    }
}
parsed_text!(SitePath);

impl std::borrow::Borrow<str> for SitePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn manifest() -> Manifest {
        let mut rng = rand::rng();
        let now = OffsetDateTime::UNIX_EPOCH;
        let entry =
            FileEntry { digest: Digest::of(b"hi"), size: 2, media_type: "text/html; charset=utf-8".into() };
        Manifest {
            version: Manifest::VERSION,
            deployment: DeploymentId::new(now, &mut rng),
            account: UserId::new(now, &mut rng),
            project: ProjectId::new(now, &mut rng),
            spa_fallback: None,
            rules: Rules::default(),
            files: BTreeMap::from([(SitePath::parse("index.html").unwrap(), entry)]),
        }
    }

    #[test]
    fn a_manifest_reads_back_what_was_written() {
        let manifest = manifest();
        assert_eq!(Manifest::decode(&manifest.encode(), manifest.deployment).unwrap(), manifest);
    }

    #[test]
    fn a_manifest_of_the_first_form_has_no_rules() {
        let manifest = manifest();
        let mut json: serde_json::Value = serde_json::from_slice(&manifest.encode()).unwrap();
        json["version"] = 1.into();
        json.as_object_mut().unwrap().remove("rules");
        let read = Manifest::decode(json.to_string().as_bytes(), manifest.deployment).unwrap();
        assert_eq!(read, Manifest { version: 1, ..manifest });
    }

    #[test]
    fn a_foreign_newer_or_broken_manifest_is_refused() {
        let manifest = manifest();
        let other = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        assert!(matches!(Manifest::decode(&manifest.encode(), other), Err(ManifestError::Foreign(_))));
        let newer = Manifest { version: 9, ..manifest.clone() }.encode();
        assert_eq!(Manifest::decode(&newer, manifest.deployment), Err(ManifestError::UnknownVersion(9)));
        assert!(Manifest::decode(b"{", manifest.deployment).is_err());
        let escape = String::from_utf8(manifest.encode()).unwrap().replace("index.html", "../secret");
        assert!(Manifest::decode(escape.as_bytes(), manifest.deployment).is_err());
    }

    #[test]
    fn paths_stay_inside_the_site() {
        for bad in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a/", "a\0"] {
            assert!(SitePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SitePath::parse(".well-known/a b/é.txt").is_ok());
    }
}
