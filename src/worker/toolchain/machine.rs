//! What a worker's own machine has of the programs that builds run on.

use crate::ports::tools::{ToolName, Wanted};
use crate::worker::node::NodeChoice;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// A program that says its version takes no longer, unless it is broken.
const ANSWER: Duration = Duration::from_secs(10);

/// The worker's machine, as builds see it.
#[derive(Clone)]
pub struct Machine {
    /// Where programs are looked for.
    path: String,
    /// Asked once: an update of the machine comes with a restart of the worker.
    node: Arc<OnceCell<Option<String>>>,
}

impl Machine {
    pub fn new(path: String) -> Self {
        Self { path, node: Arc::default() }
    }

    pub fn has(&self, program: &str) -> bool {
        self.find(program).is_some()
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        let mut files = std::env::split_paths(&self.path).map(|folder| folder.join(program));
        files.find(|file| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
    }

    /// What stands in for a tool that cannot be brought: Node.js of the same major, a package
    /// manager of any version. A yarn of today is most often the old one, which cannot read a
    /// newer one's lockfile.
    pub(super) async fn instead_of(&self, wanted: &Wanted, node: &NodeChoice) -> Option<String> {
        let program = match wanted.tool {
            ToolName::Node => {
                let version = self.node().await?;
                let same = major(&version) == Some(node.major);
                return same.then(|| format!("this worker's own Node.js {version}"));
            }
            ToolName::YarnBerry => return None,
            ToolName::Npm => "npm",
            ToolName::Pnpm => "pnpm",
            ToolName::YarnClassic => "yarn",
            ToolName::Bun => "bun",
        };
        self.has(program).then(|| format!("this worker's own {program}"))
    }

    /// What to say where this machine's Node.js builds whatever a project asks for.
    pub(super) async fn note_on(&self, node: &NodeChoice) -> Option<String> {
        let version = self.node().await?;
        if major(&version) == Some(node.major) {
            return Some(format!("Builds with this worker's own Node.js {version}."));
        }
        Some(format!(
            "Warning: this worker brings no tools (worker.registry is empty): its own Node.js {version} builds, not {}.",
            node.major
        ))
    }

    /// The version of the Node.js here.
    pub(in crate::worker) async fn node(&self) -> Option<String> {
        self.node.get_or_init(|| self.ask_node()).await.clone()
    }

    async fn ask_node(&self) -> Option<String> {
        let program = self.find("node")?;
        let mut command = tokio::process::Command::new(program);
        command.arg("--version").env_clear().stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(ANSWER, command.output()).await.ok()?.ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        Some(version.trim().trim_start_matches('v').to_owned()).filter(|version| major(version).is_some())
    }
}

fn major(version: &str) -> Option<u64> {
    version.split('.').next()?.parse().ok()
}
