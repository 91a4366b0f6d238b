//! The programs that a build runs on: Node.js and package managers that the worker brings, or, where
//! it brings none or the registry of tools is away, those of its own machine.
//!
//! A version that is brought is the same on every worker, so that it comes first. Start with
//! [`Toolchain::prepare`].

mod machine;

pub use machine::Machine;

use crate::app::logs::LogWriter;
use crate::domain::deployment::StepName;
use crate::domain::failure::FailureCode;
use crate::ports::tools::{Brought, ToolName, Tools, ToolsError, Wanted};
use crate::worker::failure::{Halt, Step};
use crate::worker::node::NodeChoice;
use crate::worker::package::Tool;
use crate::worker::plan::Plan;
use crate::worker::presets::presets;
use std::any::Any;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// What the commands of one build are given. The tools stay for as long as this is held.
#[derive(Default)]
pub struct Toolchain {
    /// For PATH, the first to be looked through first.
    pub bins: Vec<PathBuf>,
    /// What the commands must be able to read.
    pub folders: Vec<PathBuf>,
    /// Where the headers of the Node.js that was brought lie, for packages that compile something.
    pub headers: Option<PathBuf>,
    held: Vec<Box<dyn Any + Send + Sync>>,
}

impl Toolchain {
    /// Brings what a plan needs, and tells in the log what it is.
    pub async fn prepare(
        plan: &Plan,
        tools: Option<&dyn Tools>,
        machine: &Machine,
        log: &LogWriter,
        stop: &CancellationToken,
    ) -> Step<Self> {
        let mut chain = Self::default();
        let Some(node) = &plan.node else { return Ok(chain) };
        let Some(tools) = tools else {
            if let Some(note) = machine.note_on(node).await {
                log.say(StepName::Build, note);
            }
            return Ok(chain);
        };
        let bringing = chain.bring_all(plan, node, tools, machine, log);
        stop.run_until_cancelled(bringing).await.ok_or(Halt::Interrupted)??;
        Ok(chain)
    }

    async fn bring_all(
        &mut self,
        plan: &Plan,
        node: &NodeChoice,
        tools: &dyn Tools,
        machine: &Machine,
        log: &LogWriter,
    ) -> Step<()> {
        let mut brought = Vec::new();
        for wanted in wanted(plan, node) {
            let name = wanted.tool.word();
            match tools.bring(&wanted).await {
                Ok(tool) => {
                    let how = if tool.downloaded { ", downloaded now" } else { "" };
                    brought.push(format!("{name} {}{how}", tool.version));
                    self.take(wanted.tool, tool);
                }
                Err(ToolsError::NoSuchVersion(_)) => {
                    return Err(Halt::failed(
                        FailureCode::ConfigurationInvalid,
                        format!(
                            "The project asks for {name} {}, which was never published: correct packageManager \
                             in package.json.",
                            wanted.version
                        ),
                    ));
                }
                Err(error) => {
                    let found = machine.instead_of(&wanted, node).await;
                    let found = found.ok_or_else(|| unavailable(&wanted, &error))?;
                    log.say(
                        StepName::Build,
                        format!(
                            "Warning: {name} {} could not be brought ({error}): {found} is used.",
                            wanted.version
                        ),
                    );
                }
            }
        }
        if !brought.is_empty() {
            log.say(StepName::Build, format!("Builds with {}.", brought.join(", ")));
        }
        Ok(())
    }

    fn take(&mut self, tool: ToolName, brought: Brought) {
        if tool == ToolName::Node {
            self.headers = Some(brought.folder.join("package"));
        }
        self.bins.push(brought.bin);
        self.folders.push(brought.folder);
        self.held.push(brought.hold);
    }
}

/// What a plan needs, Node.js first: the others run on it.
fn wanted(plan: &Plan, node: &NodeChoice) -> Vec<Wanted> {
    let of = |tool, version: &str| Wanted { tool, version: version.to_owned() };
    let mut wanted = vec![of(ToolName::Node, &node.major.to_string())];
    let manager = plan.manager.as_ref();
    let tool = manager.map(|manager| match manager.tool {
        Tool::Npm => ToolName::Npm,
        Tool::Pnpm => ToolName::Pnpm,
        Tool::YarnClassic => ToolName::YarnClassic,
        Tool::YarnBerry => ToolName::YarnBerry,
        Tool::Bun => ToolName::Bun,
    });
    let known = &presets().package_managers;
    // Scripts call it whatever installs the packages.
    if tool != Some(ToolName::Npm) {
        wanted.push(of(ToolName::Npm, &known.npm));
    }
    if let (Some(tool), Some(manager)) = (tool, manager) {
        // One that the repository brings along is called by the one of the worker.
        let vendored = manager.vendored.is_some();
        let version = if vendored { known.yarn_berry.as_str() } else { manager.version() };
        wanted.push(of(tool, version));
    }
    wanted
}

fn unavailable(wanted: &Wanted, error: &ToolsError) -> Halt {
    let name = format!("{} {}", wanted.tool.word(), wanted.version);
    let remedy = match error {
        ToolsError::Folder(_) => "Its operator can see to the folder of tools (worker.tools_dir).",
        _ => {
            "Deploy again later; when it goes on, ask the operator, who can name another registry \
             (worker.registry) or install it on the worker."
        }
    };
    Halt::failed(
        FailureCode::ToolchainUnavailable,
        format!("{name} could not be brought to the worker, which has none of its own: {error}. {remedy}"),
    )
}
