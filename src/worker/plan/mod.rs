//! What is to be run for a repository, and where its output will be: decided from the files and
//! the person's settings before anything runs.
//!
//! `commands` chooses what is run, `output` where the site will be. Start with [`make`].

mod commands;
mod output;

use crate::domain::deployment::Target;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::settings::{BuildSettings, CommandLine, Variables};
use crate::worker::declared::{self, Declared, SETTINGS, Said};
use crate::worker::inside::Inside;
use crate::worker::node::{self, NodeChoice};
use crate::worker::package::{self, PackageJson, PackageManager};
use crate::worker::presets::{Framework, Recognised, Runtime, presets};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Plan {
    /// The project's folder, relative to the repository.
    pub root: String,
    pub framework: Option<&'static Framework>,
    /// Whose packages are installed; `None`: it is no Node project.
    pub manager: Option<PackageManager>,
    /// `None`: nothing of it runs on Node.js.
    pub node: Option<NodeChoice>,
    /// Variables that files of the repository set.
    pub environment: BTreeMap<String, String>,
    /// Asked before anything else; when it ends well, there is nothing to deploy.
    pub ignore_command: Option<Said<CommandLine>>,
    /// Patterns of paths whose change is worth a deployment; empty: every path is.
    pub watch: Vec<String>,
    /// What was recognised, and why: the beginning of the build's log.
    pub notes: Vec<String>,
    /// In this order.
    pub commands: Vec<Command>,
    pub output: Output,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub kind: CommandKind,
    /// For the build's shell.
    pub line: String,
    /// Where it starts, relative to the repository.
    pub folder: String,
    /// What to run in its place when it fails and says this word.
    pub fallback: Option<(&'static str, String)>,
    /// What to run in its place where the packages that it installs are there from an earlier build. `None`:
    /// it is not known to install packages alone.
    pub again: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    Install,
    Build,
}

/// Where the site will be, relative to the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Somebody named it to gv.
    Named(String),
    /// The first of these that is there, else wherever the build wrote a page to.
    Built(Vec<String>),
    /// Nothing is run: the repository's own files are the site.
    Source(String),
}

/// What a plan is made from, beside the repository.
pub struct Request<'a> {
    pub settings: &'a BuildSettings,
    pub target: Target,
    /// The build's own variables, and the operator's for every build.
    pub variables: (&'a Variables, &'a Variables),
    /// Which programs the worker's machine has.
    pub is_installed: &'a dyn Fn(&str) -> bool,
    /// Whether the worker brings Node.js and package managers itself.
    pub brings_tools: bool,
}

/// Plans the build of a checked out repository.
pub fn make(repository: &Inside, request: &Request<'_>) -> Result<Plan, Failure> {
    let declared = declared::read(repository, request.settings, request.target)?;
    let root = declared.root().to_owned();
    if !repository.is_folder(&root) {
        let by = declared.root_dir.as_ref().map_or(SETTINGS, |said| said.by);
        return Err(Failure::new(
            FailureCode::ConfigurationInvalid,
            format!(
                "The repository has no folder {root}: set root_dir to the folder of the site (it comes from {by})."
            ),
        ));
    }
    let package = PackageJson::read(repository, &root)
        .map_err(|problem| Failure::new(FailureCode::ConfigurationInvalid, format!("{problem}.")))?;
    let recognised = match &declared.framework {
        Some(Said { value: Some(name), by }) => {
            presets().named(name).map(|framework| Recognised { framework, because: format!("{by} names it") })
        }
        Some(Said { value: None, .. }) => None,
        None => presets().recognise(repository, &root, package.as_ref()),
    };
    Planner { repository, request, declared, root, package, recognised, notes: Vec::new() }.plan()
}

struct Planner<'a> {
    repository: &'a Inside,
    request: &'a Request<'a>,
    declared: Declared,
    root: String,
    package: Option<PackageJson>,
    recognised: Option<Recognised>,
    notes: Vec<String>,
}

impl Planner<'_> {
    fn plan(mut self) -> Result<Plan, Failure> {
        self.notes.append(&mut self.declared.notes);
        if self.root != "." {
            let by = self.declared.root_dir.as_ref().map_or(SETTINGS, |said| said.by);
            self.notes.push(format!("The site is in {}, by {by}.", self.root));
        }
        if let Some(Recognised { framework, because }) = &self.recognised {
            self.notes.push(format!("Recognised {}: {because}.", framework.name));
        }
        let manager = self.package.is_some().then(|| package::choose(self.repository, &self.root));
        let build = self.build(manager.as_ref())?;
        let mut commands = self.install(manager.as_ref(), build.is_some())?;
        commands.extend(build);
        let node = self.node(manager.as_ref(), &commands)?;
        self.tell_versions(manager.as_ref(), &commands);
        for command in &commands {
            let what = match command.kind {
                CommandKind::Install => "Install",
                CommandKind::Build => "Build",
            };
            let place = if command.folder == "." { String::new() } else { format!(" in {}", command.folder) };
            self.notes.push(format!("{what}: `{}`{place}, {}.", command.line, self.origin(command)));
        }
        let output = self.output(&commands);
        if commands.is_empty() {
            self.notes.push("Nothing to build: the files of the repository are the site.".to_owned());
        }
        let environment = self.declared.environment.into_iter().map(|(name, said)| (name, said.value));
        Ok(Plan {
            root: self.root,
            framework: self.recognised.map(|recognised| recognised.framework),
            manager: manager.filter(|_| !commands.is_empty()),
            node,
            environment: environment.collect(),
            ignore_command: self.declared.ignore_command,
            watch: self.declared.watch,
            notes: self.notes,
            commands,
            output,
        })
    }

    fn framework(&self) -> Option<&'static Framework> {
        self.recognised.as_ref().map(|recognised| recognised.framework)
    }

    /// Which Node.js the commands run on, where they do.
    fn node(
        &mut self,
        manager: Option<&PackageManager>,
        commands: &[Command],
    ) -> Result<Option<NodeChoice>, Failure> {
        const PROGRAMS: [&str; 7] = ["node", "npm", "npx", "pnpm", "yarn", "bun", "bunx"];
        let calls_it = |command: &Command| {
            let mut words = command.line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
            words.any(|word| PROGRAMS.contains(&word))
        };
        let runs_on_node = self.framework().is_some_and(|framework| framework.runtime == Runtime::Node);
        let wanted = manager.is_some() || runs_on_node || self.declared.node_version.is_some();
        if commands.is_empty() || !(wanted || commands.iter().any(calls_it)) {
            return Ok(None);
        }
        let variable = self.variable("NODE_VERSION");
        let chosen = node::choose(
            self.repository,
            &self.root,
            self.declared.node_version.as_ref(),
            variable.as_ref(),
        )?;
        self.notes.push(format!("Node.js {}: {}.", chosen.major, chosen.because));
        self.notes.extend(chosen.warning.clone());
        Ok(Some(chosen))
    }

    /// A variable of the build, before gv adds its own.
    fn variable(&self, name: &str) -> Option<Said<String>> {
        let (own, operator) = self.request.variables;
        let of = |variables: &Variables, by| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| Said { value: value.to_owned(), by })
        };
        of(own, "the project's variables")
            .or_else(|| self.declared.environment.get(name).cloned())
            .or_else(|| of(operator, "the operator's variables"))
    }

    /// Versions that a project asks for by a variable, and that are not gv's to bring.
    fn tell_versions(&mut self, manager: Option<&PackageManager>, commands: &[Command]) {
        for (name, program) in
            [("HUGO_VERSION", "Hugo"), ("PYTHON_VERSION", "Python"), ("RUBY_VERSION", "Ruby")]
        {
            if let Some(said) = self.variable(name).filter(|_| !commands.is_empty()) {
                let version: String = said.value.chars().filter(|c| !c.is_control()).take(30).collect();
                self.notes.push(format!(
                    "Warning: {name} is {version} by {}: this worker builds with the {program} that it has.",
                    said.by
                ));
            }
        }
        if let Some(manager) = manager.filter(|_| !commands.is_empty()) {
            self.notes.extend(package::warning(self.repository, &self.root));
            let program = manager.tool.program();
            self.notes.push(format!("Packages by {program} {}: {}.", manager.version(), manager.because));
        }
    }
}

#[cfg(test)]
mod tests;
