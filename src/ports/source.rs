//! Fetches the source of a site from where people keep it.

use crate::domain::repo::{Commit, GitRef, RepoUrl};
use crate::domain::secret::Secret;
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[async_trait]
pub trait Source: Send + Sync {
    /// Checks out one commit, without its history, into a folder that does not exist yet, with its
    /// submodules and the files that Git LFS keeps. `.git` is not among what is left there. All of
    /// it is within one set of limits. Contacts no address that is not public, unless allowed by
    /// configuration. Within the time limit, and soon after `stop`, it returns and writes no more.
    async fn fetch(&self, request: FetchRequest, stop: CancellationToken) -> Result<Fetched, SourceError>;
}

#[derive(Clone)]
pub struct FetchRequest {
    pub repo_url: RepoUrl,
    /// A branch, a tag or a commit; `None`: the default branch.
    pub reference: Option<GitRef>,
    /// The commit that an earlier attempt checked out, by its 40 digits: tried first where the
    /// server gives it; `reference` is then what it was reached by.
    pub commit: Option<String>,
    pub token: Option<Secret>,
    pub into: PathBuf,
    pub limits: FetchLimits,
    /// Told, in words for the log, how far it is: at most a few times a second.
    pub progress: Arc<dyn Fn(&str) + Send + Sync>,
}

#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Of the files that are checked out together, and of what is received.
    pub bytes: u64,
    pub files: u64,
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub commit: Commit,
    /// The repository's default branch, where the server tells.
    /// The commit's tree, which names everything that was checked out, by its 40 digits.
    pub tree: String,
    /// The commit's whole message, not to be shown as it is, cut to some thousand characters.
    pub message: String,
    pub default_branch: Option<String>,
    pub files: u64,
    pub bytes: u64,
    /// Paths of submodules that were not fetched, since nothing says where they are.
    pub submodules: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("there is no Git repository at this URL, or it needs a token")]
    NotFound,
    #[error("the repository is empty")]
    Empty,
    #[error("the repository has no branch, tag or commit {0}")]
    RefNotFound(String),
    /// The URL, or what it redirects to, leads to this host, which may not be contacted.
    #[error("{0} has no public address")]
    AddressRefused(String),
    #[error("a token is not sent over plain http")]
    TokenOverHttp,
    #[error("more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("stopped")]
    Stopped,
    /// The server cannot be reached or broke off: another time it may work.
    #[error("{0}")]
    Unreachable(String),
    /// What the server sent cannot be checked out: colliding or forbidden names, broken objects.
    #[error("{0}")]
    Invalid(String),
    /// A submodule, by its path and the URL that `.gitmodules` gives it.
    #[error("the submodule {path}: {cause}")]
    Submodule { path: String, url: String, cause: Box<SourceError> },
    /// Files that Git LFS keeps cannot be had. The beginning of a sentence about them.
    #[error("{0}")]
    LargeFiles(String),
    /// A fault on this side: a full disk, say.
    #[error("{0}")]
    Internal(String),
}
