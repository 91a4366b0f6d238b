//! What every `Source` must do, tried on a real Git server over HTTP.
//!
//! Start with [`Bench`], whose `source` is the only thing that names an adapter.

mod access;
mod content;
mod endings;
mod parts;
mod references;

use crate::support::git::{Content, GitServer, Repository};
use gv::adapters::source::git::GitSource;
use gv::domain::address::AllowedHost;
use gv::domain::repo::{GitRef, RepoUrl};
use gv::domain::secret::Secret;
use gv::ports::source::{FetchLimits, FetchRequest, Fetched, Source, SourceError};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A source that may contact these hosts besides public ones.
fn source(allow: &[&str]) -> Box<dyn Source> {
    // The first test of the process installs it; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let allow = allow.iter().map(|host| AllowedHost::parse(host).unwrap()).collect();
    Box::new(GitSource::new(allow).unwrap())
}

/// A Git server, a source that may contact it, and a folder to fetch into.
struct Bench {
    git: GitServer,
    source: Box<dyn Source>,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let git = GitServer::start().await;
        let source = source(&[git.address()]);
        Self { git, source, folder: TempDir::new().unwrap() }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    fn request(&self, url: &str) -> FetchRequest {
        FetchRequest {
            repo_url: RepoUrl::parse(url).unwrap(),
            reference: None,
            commit: None,
            token: None,
            into: self.target(),
            limits: FetchLimits { bytes: 50_000_000, files: 10_000, time: Duration::from_secs(60) },
            progress: Arc::new(|_| ()),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Fetched, SourceError> {
        let fetched = self.source.fetch(request, CancellationToken::new()).await;
        let left: Vec<_> =
            self.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        let expected = if fetched.is_ok() { vec![self.target()] } else { vec![] };
        assert_eq!(left, expected, "nothing but the result is left: {fetched:?}");
        fetched
    }

    async fn fetch_url(&self, url: &str) -> Result<Fetched, SourceError> {
        self.fetch(self.request(url)).await
    }

    async fn fetch_ref(&self, repository: &Repository, name: &str) -> Result<Fetched, SourceError> {
        let reference = Some(GitRef::parse(name).unwrap());
        self.fetch(FetchRequest { reference, ..self.request(&repository.url()) }).await
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.target().join(path)).unwrap()
    }

    fn forget(&self) {
        std::fs::remove_dir_all(self.target()).unwrap();
    }
}

fn paths(folder: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
}
