//! What is run: the commands that install a project's packages, then the one that builds it.

use super::{Command, CommandKind, Planner};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::settings::CommandLine;
use crate::worker::declared::Said;
use crate::worker::inside::join;
use crate::worker::package::{PackageJson, PackageManager, Tool};
use crate::worker::presets::{Framework, Runtime};

impl Planner<'_> {
    pub(super) fn build(&mut self, manager: Option<&PackageManager>) -> Result<Option<Command>, Failure> {
        let folder = self.root.clone();
        let command = |line: String| {
            Some(Command { kind: CommandKind::Build, line, folder, fallback: None, again: None })
        };
        if let Some(Said { value: line, .. }) = &self.declared.build_command {
            return Ok(Some(line.as_str())
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .and_then(command));
        }
        if let (Some((script, _)), Some(manager)) = (self.script(), manager) {
            let line = format!("{} run {script}", self.call(manager, &self.root)?);
            return Ok(command(line));
        }
        let Some(framework) = self.framework() else { return Ok(None) };
        Ok(command(self.own_command(framework)?))
    }

    /// The script of package.json that builds, with what it runs.
    fn script(&self) -> Option<(&str, &str)> {
        let name = match self.framework() {
            Some(framework) => framework.script.as_deref()?,
            None => "build",
        };
        Some((name, self.package.as_ref()?.script(name)?))
    }

    /// Why a command is run: the end of its line in the log.
    pub(super) fn origin(&self, command: &Command) -> String {
        let said = match command.kind {
            CommandKind::Install => self.declared.install_command.as_ref(),
            CommandKind::Build => self.declared.build_command.as_ref(),
        };
        if let Some(Said { by, .. }) = said {
            return format!("by {by}");
        }
        match (command.kind, self.script()) {
            (CommandKind::Install, _) => "by the project's files".to_owned(),
            (CommandKind::Build, Some((name, text))) if command.line.ends_with(&format!("run {name}")) => {
                let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
                format!("package.json's script \"{name}\" (`{text}`)")
            }
            (CommandKind::Build, _) => {
                let name = self.framework().map_or("the preset", |framework| framework.name.as_str());
                format!("as {name} does it")
            }
        }
    }

    /// The preset's command, once its program is known to be there.
    fn own_command(&self, framework: &Framework) -> Result<String, Failure> {
        let has = |file: &str| self.repository.is_file(&join(&self.root, file));
        let variant = framework.variants.iter().find(|variant| has(&variant.file));
        let line = variant.map_or(&framework.build_command, |variant| &variant.build_command).as_str();
        // Without a Gemfile there is no bundle.
        let line = if has("Gemfile") { line } else { line.strip_prefix("bundle exec ").unwrap_or(line) };
        let program = line.split(' ').next().unwrap_or(line);
        let comes_along = match framework.runtime {
            Runtime::Node => true,
            Runtime::Python => has("requirements.txt"),
            _ => false,
        };
        if comes_along || (self.request.is_installed)(program) {
            return Ok(line.to_owned());
        }
        let remedy = match framework.runtime {
            Runtime::Python => {
                format!("Or name it in a requirements.txt, which is installed with pip: {program}.")
            }
            _ => "Or set build_command: an empty one publishes the files as they are.".to_owned(),
        };
        Err(missing(program, &format!("{} sites need it. {remedy}", framework.name)))
    }

    pub(super) fn install(
        &mut self,
        manager: Option<&PackageManager>,
        builds: bool,
    ) -> Result<Vec<Command>, Failure> {
        let command = |line: String, folder: &str| Command {
            kind: CommandKind::Install,
            line,
            folder: folder.to_owned(),
            fallback: None,
            again: None,
        };
        if let Some(line) =
            self.declared.install_command.as_ref().map(|said| CommandLine::as_str(&said.value))
        {
            let line = Some(line).filter(|line| !line.is_empty());
            return Ok(line.map(|line| command(line.to_owned(), &self.root)).into_iter().collect());
        }
        let mut commands = Vec::new();
        if !builds {
            return Ok(commands);
        }
        let wanted = |manager: &&PackageManager| {
            manager.has_lockfile
                || manager.folder != self.root
                || self.package.as_ref().is_some_and(PackageJson::has_dependencies)
        };
        if let Some(manager) = manager.filter(wanted) {
            let call = self.call(manager, &manager.folder)?;
            if call.starts_with("npx ") {
                self.notes.push(format!(
                    "{} is not installed on this worker: it is run from its npm package.",
                    manager.tool.program()
                ));
            }
            let mut install = command(format!("{call} {}", manager.install()), &manager.folder);
            if (manager.tool, manager.has_lockfile) == (Tool::Npm, true) {
                // npm refuses lockfiles that it wrote itself, where packages are optional.
                install.fallback = Some(("EUSAGE", format!("{call} install")));
            }
            install.again = manager.install_again().map(|again| format!("{call} {again}"));
            commands.push(install);
        }
        let has = |file: &str| self.repository.is_file(&join(&self.root, file));
        let runtime = self.framework().map(|framework| framework.runtime);
        if runtime == Some(Runtime::Ruby) && has("Gemfile") {
            if !(self.request.is_installed)("bundle") {
                return Err(missing("bundle", "The Gemfile asks for it."));
            }
            commands.push(command("bundle install".to_owned(), &self.root));
        }
        if runtime == Some(Runtime::Python) && has("requirements.txt") {
            if !(self.request.is_installed)("python3") {
                return Err(missing("python3", "The requirements.txt asks for it."));
            }
            // In an environment of its own: distributions refuse packages beside their own ones.
            let line =
                "python3 -m venv \"$HOME/.venv\" && \"$HOME/.venv/bin/pip\" install -r requirements.txt";
            commands.push(command(line.to_owned(), &self.root));
        }
        Ok(commands)
    }

    fn call(&self, manager: &PackageManager, folder: &str) -> Result<String, Failure> {
        if self.request.brings_tools {
            let vendored = manager.vendored_call(folder);
            return Ok(vendored.unwrap_or_else(|| manager.tool.program().to_owned()));
        }
        let is_installed = self.request.is_installed;
        let call = is_installed("node").then(|| manager.invocation(folder, is_installed)).flatten();
        call.ok_or_else(|| {
            missing("npm", "It comes with Node.js (24 or newer), which this project is built with.")
        })
    }
}

fn missing(program: &str, why: &str) -> Failure {
    Failure::new(
        FailureCode::ToolMissing,
        format!("{program} is not installed on this worker; its operator can install it. {why}"),
    )
}
