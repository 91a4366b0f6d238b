//! The registry's HTTP side: what versions of a package there are, and its archives, each within
//! its bounds of time and size and checked against the digest that the registry gives.
//!
//! The registry is the operator's choice and not a stranger's: proxies of the environment are used,
//! and private addresses are as good as others. Start with [`Web`].

use crate::domain::address::npm_registry;
use crate::ports::tools::ToolsError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nodejs_semver::{Range, Version};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha512};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use url::Url;

const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may be heard.
const SILENCE: Duration = Duration::from_secs(30);
/// For all of one answer.
const WHOLE: Duration = Duration::from_secs(300);
/// Of a package's list of versions: the longest that are asked for have 10 MB.
const MAX_LIST_BYTES: usize = 64 << 20;
/// Of an archive.
const MAX_ARCHIVE_BYTES: u64 = 512 << 20;
/// The short form of a package's document, and the whole where a mirror has no other.
const SHORT: HeaderValue =
    HeaderValue::from_static("application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8");
pub(super) struct Web {
    client: Client,
    registry: Url,
}

/// One version of a package.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) version: String,
    archive: Url,
    /// SHA-512.
    digest: Vec<u8>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    versions: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    dist: Dist,
    /// Its text says why it should not be used.
    #[serde(default)]
    deprecated: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    integrity: Option<String>,
}

impl Web {
    pub(super) fn new(registry: Url) -> reqwest::Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("gv/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .timeout(WHOLE)
            .build()?;
        Ok(Self { client, registry })
    }

    /// The newest version of a package that `wanted` allows.
    pub(super) async fn newest(&self, package: &str, wanted: &str) -> Result<Release, ToolsError> {
        let mut url = self.registry.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(package);
        }
        let response = self.get(url, package).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(ToolsError::NoSuchVersion(format!("of {package}")));
        }
        let body = bounded(success(response, package)?, MAX_LIST_BYTES).await?;
        let document: Document = serde_json::from_slice(&body)
            .map_err(|error| ToolsError::Damaged(format!("the list of {package}'s versions: {error}")))?;
        self.choose(package, wanted, &document)
    }

    fn choose(&self, package: &str, wanted: &str, document: &Document) -> Result<Release, ToolsError> {
        let none = || ToolsError::NoSuchVersion(format!("{wanted} of {package}"));
        let range = Range::parse(wanted).map_err(|_| none())?;
        let parsed = document.versions.iter().filter_map(|(text, entry)| {
            let version = Version::parse(text).ok()?;
            range.satisfies(&version).then_some((entry.deprecated.is_none(), version, text, entry))
        });
        let (_, _, version, entry) = parsed.max_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1))).ok_or_else(none)?;
        let digest = entry.dist.integrity.as_deref().and_then(sha512).ok_or_else(|| {
            ToolsError::Damaged(format!("the registry gives no SHA-512 for {package} {version}"))
        })?;
        let archive = self.archive(&entry.dist.tarball).ok_or_else(|| {
            ToolsError::Damaged(format!("the registry names no usable archive for {package} {version}"))
        })?;
        Ok(Release { version: version.clone(), archive, digest })
    }

    fn archive(&self, text: &str) -> Option<Url> {
        let mut url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
        // Mirrors that pass documents on without rewriting them name archives there, as npm knows.
        let public = npm_registry();
        if url.host_str() == Some(&public) && self.registry.host_str() != Some(&public) {
            let path = format!("{}{}", self.registry.path().trim_end_matches('/'), url.path());
            url = self.registry.clone();
            url.set_path(&path);
        }
        Some(url)
    }

    /// Writes the archive of a release to `into`, whole and as its digest says.
    pub(super) async fn download(&self, release: &Release, into: &Path) -> Result<(), ToolsError> {
        let what = format!("version {}", release.version);
        let mut response = success(self.get(release.archive.clone(), &what).await?, &what)?;
        let mut file = tokio::fs::File::create(into).await?;
        let (mut hasher, mut bytes) = (Sha512::new(), 0_u64);
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            bytes += chunk.len() as u64;
            if bytes > MAX_ARCHIVE_BYTES {
                return Err(ToolsError::Damaged(format!("the archive of {what} is longer than any tool's")));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        if hasher.finalize().as_slice() != release.digest {
            return Err(ToolsError::Damaged(format!(
                "the archive of {what} has not the digest that the registry gives"
            )));
        }
        Ok(())
    }

    async fn get(&self, url: Url, what: &str) -> Result<Response, ToolsError> {
        tracing::debug!(what, "asking the registry of tools");
        self.client.get(url).header(ACCEPT, SHORT).send().await.map_err(lost)
    }
}

fn success(response: Response, what: &str) -> Result<Response, ToolsError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(ToolsError::Unreachable(format!("the registry answers {} for {what}", status.as_u16())))
}

async fn bounded(mut response: Response, limit: usize) -> Result<Vec<u8>, ToolsError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > limit {
            return Err(ToolsError::Damaged("the registry's answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The digest of a Subresource Integrity text; those of weaker algorithms do not count.
fn sha512(integrity: &str) -> Option<Vec<u8>> {
    let text = integrity.split_whitespace().find_map(|part| part.strip_prefix("sha512-"))?;
    let digest = STANDARD.decode(text.split('?').next().unwrap_or(text)).ok()?;
    (digest.len() == 64).then_some(digest)
}

/// A connection's end, without the URL, which may have a password.
fn lost(error: reqwest::Error) -> ToolsError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    ToolsError::Unreachable(format!("the registry cannot be read: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(versions: &[(&str, bool)]) -> Document {
        let digest = STANDARD.encode([7; 64]);
        let entries = versions.iter().map(|(version, deprecated)| {
            let mut entry = serde_json::json!({"dist": {
                "tarball": format!("https://{}/x/-/x-{version}.tgz", npm_registry()),
                "integrity": format!("sha1-AAAA sha512-{digest}"),
            }});
            if *deprecated {
                entry["deprecated"] = "do not".into();
            }
            ((*version).to_owned(), entry)
        });
        let versions: serde_json::Map<_, _> = entries.collect();
        serde_json::from_value(serde_json::json!({ "versions": versions })).unwrap()
    }

    fn web(registry: &str) -> Web {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Web::new(Url::parse(registry).unwrap()).unwrap()
    }

    #[test]
    fn the_newest_release_of_a_range_is_chosen_and_no_early_or_withdrawn_one() {
        let web = web("https://mirror.example.com/npm/");
        let known =
            document(&[("24.9.0", false), ("24.21.0", false), ("24.22.0", true), ("25.0.0-rc.1", false)]);
        let choose = |wanted: &str| web.choose("x", wanted, &known).map(|release| release.version);
        assert_eq!(choose("24").unwrap(), "24.21.0");
        assert_eq!(choose("24.22.0").unwrap(), "24.22.0", "where it is asked for by name");
        for absent in ["25", "1", "latest; rm"] {
            assert!(matches!(choose(absent), Err(ToolsError::NoSuchVersion(_))), "{absent}");
        }
    }

    #[test]
    fn a_mirror_s_archives_come_from_the_mirror() {
        let archive = |registry: &str| {
            let release = web(registry).choose("x", "1", &document(&[("1.0.0", false)])).unwrap();
            release.archive.to_string()
        };
        assert_eq!(
            archive("https://mirror.example.com/npm/"),
            "https://mirror.example.com/npm/x/-/x-1.0.0.tgz"
        );
        let public = format!("https://{}/", npm_registry());
        assert_eq!(archive(&public), format!("{public}x/-/x-1.0.0.tgz"));
    }

    #[test]
    fn only_a_whole_sha_512_is_a_digest() {
        assert!(sha512(&format!("sha512-{}?opt", STANDARD.encode([1; 64]))).is_some());
        assert!(sha512("sha512-AAAA").is_none());
        assert!(sha512("sha256-AAAA").is_none());
    }
}
