//! Why an attempt ends before its site is live, and how the errors of the ports become reasons
//! that a person can act on. Start with [`Halt`].

use crate::app::lease::AdvanceError;
use crate::domain::deployment::Deployment;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::routing::sources::Refused;
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::ports::executor::ExecutorError;
use crate::ports::source::SourceError;
use crate::worker::collect::CollectError;

/// What ends an attempt early.
#[derive(Debug)]
pub enum Halt {
    /// The deployment fails. The cause, which a person who deploys has no use for, is for the
    /// operator's log.
    Failed { failure: Failure, cause: Option<anyhow::Error> },
    /// There is nothing to build, and that is well: why, as a sentence.
    Skipped(String),
    /// The lease's token fired: the lease knows why.
    Interrupted,
}

pub type Step<T> = Result<T, Halt>;

impl Halt {
    pub fn failed(code: FailureCode, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Failed { failure: Failure::new(code, message), cause: None }
    }

    /// A fault of this worker or of gv.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let message = "The worker met a fault of its own. Deploy again; when it fails again, ask its operator, \
                       whose log has the cause.";
        Self::Failed { failure: Failure::new(FailureCode::Internal, message), cause: Some(cause.into()) }
    }

    pub fn storage(cause: StoreError) -> Self {
        let message = "The site's files could not be stored. Deploy again; when it fails again, ask the operator, \
                       whose log has the cause.";
        Self::Failed { failure: Failure::new(FailureCode::StorageFailed, message), cause: Some(cause.into()) }
    }

    /// The project's variables could not be read.
    pub fn variables(cause: StoreError) -> Self {
        if cause.kind != StoreErrorKind::Locked {
            return Self::internal(cause);
        }
        let message = "The project's variables are sealed by a key that this gv does not have. Ask its operator to put \
                       the key back into secrets.keys (gv doctor says which), then deploy again.";
        Self::Failed { failure: Failure::new(FailureCode::StorageFailed, message), cause: Some(cause.into()) }
    }

    pub fn source(error: SourceError, deployment: &Deployment) -> Self {
        let url = &deployment.source.repo_url;
        let code = match &error {
            SourceError::Stopped => return Self::Interrupted,
            SourceError::Internal(_) => return Self::internal(error),
            SourceError::NotFound => FailureCode::RepositoryNotFound,
            SourceError::Empty => FailureCode::RepositoryEmpty,
            SourceError::RefNotFound(_) => FailureCode::RefNotFound,
            SourceError::AddressRefused(_) => FailureCode::AddressRefused,
            SourceError::TooLarge { .. } => FailureCode::LimitExceeded,
            SourceError::TimedOut(_) => FailureCode::CloneTimeout,
            SourceError::Submodule { .. } => FailureCode::SubmoduleUnavailable,
            SourceError::LargeFiles(_) => FailureCode::LargeFilesUnavailable,
            SourceError::TokenOverHttp | SourceError::Unreachable(_) | SourceError::Invalid(_) => {
                FailureCode::CloneFailed
            }
        };
        let message = match &error {
            SourceError::NotFound => format!(
                "There is no Git repository at {url}, or it is private: check the URL, or send a token that may \
                 read it as git_token."
            ),
            SourceError::Empty => format!("{url} has no commit yet: push one, then deploy again."),
            SourceError::RefNotFound(name) => {
                format!("{url} has no branch, tag or commit {name}: check the name, or push it first.")
            }
            SourceError::AddressRefused(host) => format!(
                "{host} has no public address, and gv contacts no other. The operator can allow it in \
                 source.allow."
            ),
            SourceError::TooLarge { what, limit } => format!(
                "The repository has more than {limit} {what}: take large files out of it, or ask the operator to \
                 raise the limits of `source`."
            ),
            SourceError::TimedOut(time) => format!(
                "Cloning {url} took longer than {} s: try again, or make the repository smaller.",
                time.as_secs()
            ),
            SourceError::TokenOverHttp => {
                "A token is not sent over plain http: use the https URL.".to_owned()
            }
            SourceError::Unreachable(reason) => {
                format!("{url} could not be read: {reason}. Deploy again later.")
            }
            SourceError::Submodule { path, url, cause } => submodule(path, url, cause),
            SourceError::LargeFiles(reason) => format!(
                "Files that Git LFS keeps could not be fetched: {reason}. See whether they were pushed (git lfs push \
                 --all origin) and whether the token may read them, or keep them in Git itself."
            ),
            SourceError::Invalid(reason) => format!("{url} cannot be checked out: {reason}."),
            SourceError::Stopped | SourceError::Internal(_) => String::new(),
        };
        Self::failed(code, message)
    }
}

fn submodule(path: &str, url: &str, cause: &SourceError) -> String {
    let remedy = match cause {
        SourceError::NotFound => {
            "There is no such repository, or it is private: make it public, or keep it on the host of the site's own \
             repository, whose token it is read with"
        }
        SourceError::RefNotFound(_) => "Its repository does not have the commit: push it there",
        SourceError::AddressRefused(_) => {
            "Its host has no public address, which only the operator can allow (source.allow)"
        }
        SourceError::Invalid(_) => "Give it an https URL in .gitmodules, or commit its files",
        _ => "Deploy again later, or commit its files",
    };
    format!("The submodule {path} could not be fetched from {url}: {cause}. {remedy}.")
}

impl From<Refused> for Halt {
    fn from(refused: Refused) -> Self {
        Self::failed(FailureCode::ConfigurationInvalid, refused.to_string())
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, cause: None }
    }
}

impl From<AdvanceError> for Halt {
    fn from(error: AdvanceError) -> Self {
        Self::internal(error)
    }
}

impl From<ExecutorError> for Halt {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::ProgramMissing(program) => Self::failed(
                FailureCode::ToolMissing,
                format!("{program} is not installed on this worker; its operator can install it."),
            ),
            other @ ExecutorError::Failed(_) => Self::internal(other),
        }
    }
}

impl From<CollectError> for Halt {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Stopped => Self::Interrupted,
            CollectError::Invalid(message) => Self::failed(FailureCode::OutputInvalid, message),
            CollectError::TooMuch(message) => Self::failed(FailureCode::OutputExceeded, message),
            error @ CollectError::Io { .. } => Self::internal(error),
        }
    }
}
