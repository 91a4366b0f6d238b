//! Programs that builds run on and that a worker brings by itself: Node.js in several majors, and
//! the package managers.
//!
//! `adapters::tools` takes them from a registry of npm packages and keeps them in a folder that
//! builds only read.

use async_trait::async_trait;
use std::any::Any;
use std::path::PathBuf;

#[async_trait]
pub trait Tools: Send + Sync {
    /// Brings the newest version of a tool that `wanted` allows. What is kept already costs next to
    /// nothing; the first need of a version waits for its download, and so does everybody else who
    /// needs it meanwhile, in whatever process.
    async fn bring(&self, wanted: &Wanted) -> Result<Brought, ToolsError>;
}

/// A tool, and the versions of it that will do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub tool: ToolName,
    /// As npm reads it: `24`, `10.1.0`.
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToolName {
    Node,
    Npm,
    Pnpm,
    YarnClassic,
    /// Yarn 2 and newer.
    YarnBerry,
    Bun,
}

impl ToolName {
    /// What people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Node => "Node.js",
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::YarnClassic | Self::YarnBerry => "yarn",
            Self::Bun => "bun",
        }
    }
}

/// A tool that is there. It stays for as long as this is held.
pub struct Brought {
    /// Exact.
    pub version: String,
    /// Everything of it: what a build must be able to read.
    pub folder: PathBuf,
    /// The part of `folder` that goes into PATH.
    pub bin: PathBuf,
    /// Whether it had to be downloaded now.
    pub downloaded: bool,
    /// Lets go of it when dropped.
    pub hold: Box<dyn Any + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// The registry cannot be reached, or answers nothing useful. It ends a sentence.
    #[error("{0}")]
    Unreachable(String),
    /// The registry has no such version.
    #[error("there is no version {0}")]
    NoSuchVersion(String),
    /// What came is not what the registry says it is, or no package at all.
    #[error("{0}")]
    Damaged(String),
    #[error("the folder of tools cannot be used: {0}")]
    Folder(#[from] std::io::Error),
}
