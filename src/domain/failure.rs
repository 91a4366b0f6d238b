//! Why a deployment failed, or was called off: stable words for programs, sentences for people.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Why a deployment failed: a stable word, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: FailureCode,
    pub message: Cow<'static, str>,
}

macro_rules! failure_codes {
    ($($(#[$doc:meta])* $variant:ident $word:literal)*) => {
        /// The stable words of `error.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl FailureCode {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

failure_codes! {
    /// The repository could not be reached or read.
    CloneFailed "clone_failed"
    /// No such repository, or none that this token may see.
    RepositoryNotFound "repository_not_found"
    /// The repository has no commit.
    RepositoryEmpty "repository_empty"
    /// No such branch, tag or commit.
    RefNotFound "ref_not_found"
    /// The URL leads to an address that gv does not contact.
    AddressRefused "address_refused"
    CloneTimeout "clone_timeout"
    /// A submodule could not be fetched.
    SubmoduleUnavailable "submodule_unavailable"
    /// Files that Git LFS keeps could not be fetched.
    LargeFilesUnavailable "large_files_unavailable"
    /// A setting names what the source does not have, or a file of settings is invalid.
    ConfigurationInvalid "configuration_invalid"
    InstallFailed "install_failed"
    BuildFailed "build_failed"
    BuildTimeout "build_timeout"
    /// The build needs a program that this worker does not have.
    ToolMissing "tool_missing"
    /// Node.js or a package manager could not be brought to this worker.
    ToolchainUnavailable "toolchain_unavailable"
    /// The build ended well but left nothing to publish.
    OutputMissing "output_missing"
    /// The output has what cannot be published: a link out of it, a device, a name that is no UTF-8.
    OutputInvalid "output_invalid"
    /// The build used more memory, processes, processor time or disk than a build may have.
    MemoryExceeded "memory_exceeded"
    ProcessesExceeded "processes_exceeded"
    CpuExceeded "cpu_exceeded"
    WorkspaceExceeded "workspace_exceeded"
    /// The build printed more than a log may hold.
    LogExceeded "log_exceeded"
    /// What it built has more files or bytes than a deployment may publish.
    OutputExceeded "output_exceeded"
    /// Another limit: of the repository, of a single file.
    LimitExceeded "limit_exceeded"
    StorageFailed "storage_failed"
    /// Every worker that took it went silent.
    WorkerLost "worker_lost"
    /// Canceled: a newer deployment of the same branch came before it was built.
    Superseded "superseded"
    /// Canceled: the commit's message, or the project's own command, says that nothing is to be built.
    Skipped "skipped"
    Internal "internal"
}

impl Failure {
    pub fn new(code: FailureCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.word())
    }
}
