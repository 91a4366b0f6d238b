//! The older forms of a manifest, 1 and 2: JSON documents, which are still served and never written
//! again. Version 1 had no rules.

use super::entry::{Codings, NewEntry};
use super::{FileTable, Manifest, ManifestError, SitePath};
use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::routing::rules::Rules;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How these forms begin, and no other.
pub(super) const BEGIN: u8 = b'{';

const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
struct Document {
    deployment: DeploymentId,
    account: UserId,
    project: ProjectId,
    #[serde(default)]
    spa_fallback: Option<SitePath>,
    #[serde(default)]
    rules: Rules,
    files: BTreeMap<SitePath, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    size: u64,
    #[serde(rename = "type")]
    media_type: String,
}

impl From<Entry> for NewEntry {
    fn from(entry: Entry) -> Self {
        let Entry { digest, size, media_type } = entry;
        Self { digest, size, media_type, codings: Codings::default() }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let unreadable = |error: serde_json::Error| ManifestError::Unreadable(error.to_string());
    let head: Head = serde_json::from_slice(bytes).map_err(unreadable)?;
    if !VERSIONS.contains(&head.version) {
        return Err(ManifestError::UnknownVersion(head.version));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(unreadable)?;
    let files = document.files.into_iter().map(|(path, entry)| (path, entry.into()));
    let files = FileTable::build(files).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
    Ok(Manifest {
        deployment: document.deployment,
        account: document.account,
        project: document.project,
        spa_fallback: document.spa_fallback,
        rules: document.rules,
        files: files.of_older_form(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn document(version: u32) -> (serde_json::Value, DeploymentId) {
        let mut rng = rand::rng();
        let now = OffsetDateTime::UNIX_EPOCH;
        let deployment = DeploymentId::new(now, &mut rng);
        let entry = |text: &str, media_type: &str| serde_json::json!({ "digest": Digest::of(text.as_bytes()), "size": text.len(), "type": media_type });
        let document = serde_json::json!({
            "version": version,
            "deployment": deployment,
            "account": UserId::new(now, &mut rng),
            "project": ProjectId::new(now, &mut rng),
            "spa_fallback": "index.html",
            "rules": Rules::default(),
            "files": { "index.html": entry("hi", "text/html"), "a.css": entry("a", "text/css") },
        });
        (document, deployment)
    }

    fn read(document: &serde_json::Value, deployment: DeploymentId) -> Result<Manifest, ManifestError> {
        Manifest::decode(document.to_string().as_bytes(), deployment)
    }

    #[test]
    fn a_manifest_of_the_second_form_is_read_into_the_same_table() {
        let (document, deployment) = document(2);
        let manifest = read(&document, deployment).unwrap();
        assert_eq!(manifest.deployment, deployment);
        assert_eq!(manifest.spa_fallback, SitePath::parse("index.html").ok());
        let (path, entry) = manifest.files.get("index.html").unwrap();
        assert_eq!((path, entry.media_type, entry.size), ("index.html", "text/html", 2));
        assert_eq!((entry.digest, entry.codings), (Digest::of(b"hi"), Codings::default()));
        assert_eq!((manifest.files.len(), manifest.bytes()), (2, 3));
        assert!(!manifest.files.knows_codings(), "nobody tried any then");
        let again = Manifest::decode(&manifest.encode(), deployment).unwrap();
        assert!(manifest.files.iter().eq(again.files.iter()));
    }

    #[test]
    fn a_manifest_of_the_first_form_has_no_rules() {
        let (mut document, deployment) = document(1);
        document.as_object_mut().unwrap().remove("rules");
        document.as_object_mut().unwrap().remove("spa_fallback");
        let manifest = read(&document, deployment).unwrap();
        assert_eq!((manifest.rules, manifest.spa_fallback), (Rules::default(), None));
    }

    #[test]
    fn a_foreign_newer_or_broken_document_is_refused() {
        let (document, deployment) = document(2);
        let other = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        assert_eq!(read(&document, other), Err(ManifestError::Foreign(deployment)));
        for version in [0, 3, 9] {
            let mut newer = document.clone();
            newer["version"] = version.into();
            assert_eq!(read(&newer, deployment), Err(ManifestError::UnknownVersion(version)));
        }
        assert!(Manifest::decode(b"{", deployment).is_err());
        let escape = document.to_string().replace("a.css", "../secret");
        assert!(Manifest::decode(escape.as_bytes(), deployment).is_err());
    }
}
