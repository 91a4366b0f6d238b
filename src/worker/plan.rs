//! What is to be run for a repository, and where its output will be: decided from the files and
//! the person's settings before anything runs. Start with [`make`].

use crate::domain::deployment::{Failure, FailureCode};
use crate::domain::routing::compile::Settings;
use crate::domain::settings::{BuildSettings, CommandLine, RelativeDir};
use crate::worker::inside::{Inside, join};
use crate::worker::package::{self, PackageJson, PackageManager, Tool};
use crate::worker::presets::{Framework, Recognised, Runtime, presets};
use crate::worker::rules::RuleFiles;
use serde_json::Value;

#[derive(Debug)]
pub struct Plan {
    /// The project's folder, relative to the repository.
    pub root: String,
    pub framework: Option<&'static Framework>,
    pub package_tool: Option<Tool>,
    /// What was recognised, and why: the beginning of the build's log.
    pub notes: Vec<String>,
    /// In this order.
    pub commands: Vec<Command>,
    pub output: Output,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub kind: CommandKind,
    /// For the build's shell.
    pub line: String,
    /// Where it starts, relative to the repository.
    pub folder: String,
    /// What to run in its place when it fails and says this word.
    pub fallback: Option<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    Install,
    Build,
}

/// Where the site will be, relative to the repository.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// The person named it.
    Named(String),
    /// The first of these that is there, else wherever the build wrote a page to.
    Built(Vec<String>),
    /// Nothing is run: the repository's own files are the site.
    Source(String),
}

/// Plans the build of a checked out repository. `is_installed` tells which programs the worker has.
pub fn make(
    repository: &Inside,
    settings: &BuildSettings,
    is_installed: &dyn Fn(&str) -> bool,
) -> Result<Plan, Failure> {
    let root = settings.root_dir.as_ref().map_or(".", RelativeDir::as_str);
    if !repository.is_folder(root) {
        return Err(Failure::new(
            FailureCode::ConfigurationInvalid,
            format!("The repository has no folder {root}: set root_dir to the folder of the site."),
        ));
    }
    let package = PackageJson::read(repository, root)
        .map_err(|problem| Failure::new(FailureCode::ConfigurationInvalid, format!("{problem}.")))?;
    let recognised = presets().recognise(repository, root, package.as_ref());
    Planner { repository, settings, is_installed, root, package, recognised, notes: Vec::new() }.plan()
}

struct Planner<'a> {
    repository: &'a Inside,
    settings: &'a BuildSettings,
    is_installed: &'a dyn Fn(&str) -> bool,
    root: &'a str,
    package: Option<PackageJson>,
    recognised: Option<Recognised>,
    notes: Vec<String>,
}

impl Planner<'_> {
    fn plan(mut self) -> Result<Plan, Failure> {
        if let Some(Recognised { framework, because }) = &self.recognised {
            self.notes.push(format!("Recognised {}: {because}.", framework.name));
        }
        if self.settings.node_version.is_some() {
            self.notes.push("node_version is noted, but this worker builds with its own Node.js.".to_owned());
        }
        let manager = self.package.is_some().then(|| package::choose(self.repository, self.root));
        let build = self.build(manager.as_ref())?;
        let mut commands = self.install(manager.as_ref(), build.is_some())?;
        commands.extend(build);
        let output = self.output(&commands);
        if commands.is_empty() {
            self.notes.push("Nothing to build: the files of the repository are the site.".to_owned());
        }
        Ok(Plan {
            root: self.root.to_owned(),
            framework: self.framework(),
            package_tool: manager.map(|manager| manager.tool),
            notes: self.notes,
            commands,
            output,
        })
    }

    fn framework(&self) -> Option<&'static Framework> {
        self.recognised.as_ref().map(|recognised| recognised.framework)
    }

    fn build(&mut self, manager: Option<&PackageManager>) -> Result<Option<Command>, Failure> {
        let command = |line: String| {
            Some(Command { kind: CommandKind::Build, line, folder: self.root.to_owned(), fallback: None })
        };
        if let Some(line) = &self.settings.build_command {
            return Ok(Some(line.as_str())
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .and_then(command));
        }
        let script = match self.framework() {
            Some(framework) => framework.script.as_deref(),
            None => Some("build"),
        };
        let has_script =
            |name: &&str| self.package.as_ref().is_some_and(|package| package.script(name).is_some());
        if let (Some(script), Some(manager)) = (script.filter(has_script), manager) {
            let line = format!("{} run {script}", self.call(manager, self.root)?);
            if self.recognised.is_none() {
                self.notes.push(format!("package.json has a script \"{script}\": it builds the site."));
            }
            return Ok(command(line));
        }
        let Some(framework) = self.framework() else { return Ok(None) };
        Ok(command(self.own_command(framework)?))
    }

    /// The preset's command, once its program is known to be there.
    fn own_command(&self, framework: &Framework) -> Result<String, Failure> {
        let line = framework.build_command.as_str();
        let has = |file: &str| self.repository.is_file(&join(self.root, file));
        // Without a Gemfile there is no bundle.
        let line = if has("Gemfile") { line } else { line.strip_prefix("bundle exec ").unwrap_or(line) };
        let program = line.split(' ').next().unwrap_or(line);
        let comes_along = match framework.runtime {
            Runtime::Node => true,
            Runtime::Python => has("requirements.txt"),
            _ => false,
        };
        if comes_along || (self.is_installed)(program) {
            return Ok(line.to_owned());
        }
        Err(missing(
            program,
            &format!(
                "{} sites need it. Or set build_command: an empty one publishes the files as they are.",
                framework.name
            ),
        ))
    }

    fn install(&mut self, manager: Option<&PackageManager>, builds: bool) -> Result<Vec<Command>, Failure> {
        let command = |line: String, folder: &str| Command {
            kind: CommandKind::Install,
            line,
            folder: folder.to_owned(),
            fallback: None,
        };
        if let Some(line) = self.settings.install_command.as_ref().map(CommandLine::as_str) {
            let line = Some(line).filter(|line| !line.is_empty());
            return Ok(line.map(|line| command(line.to_owned(), self.root)).into_iter().collect());
        }
        let mut commands = Vec::new();
        if !builds {
            return Ok(commands);
        }
        let wanted = |manager: &&PackageManager| {
            manager.has_lockfile || self.package.as_ref().is_some_and(PackageJson::has_dependencies)
        };
        if let Some(manager) = manager.filter(wanted) {
            let call = self.call(manager, &manager.folder)?;
            self.notes.push(format!("Packages by {}: {}.", manager.tool.program(), manager.because));
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
            commands.push(install);
        }
        let has = |file: &str| self.repository.is_file(&join(self.root, file));
        let runtime = self.framework().map(|framework| framework.runtime);
        if runtime == Some(Runtime::Ruby) && has("Gemfile") {
            if !(self.is_installed)("bundle") {
                return Err(missing("bundle", "The Gemfile asks for it."));
            }
            commands.push(command("bundle install".to_owned(), self.root));
        }
        if runtime == Some(Runtime::Python) && has("requirements.txt") {
            if !(self.is_installed)("python3") {
                return Err(missing("python3", "The requirements.txt asks for it."));
            }
            // In an environment of its own: distributions refuse packages beside their own ones.
            let line =
                "python3 -m venv \"$HOME/.venv\" && \"$HOME/.venv/bin/pip\" install -r requirements.txt";
            commands.push(command(line.to_owned(), self.root));
        }
        Ok(commands)
    }

    fn call(&self, manager: &PackageManager, folder: &str) -> Result<String, Failure> {
        let call =
            (self.is_installed)("node").then(|| manager.invocation(folder, self.is_installed)).flatten();
        call.ok_or_else(|| {
            missing("npm", "It comes with Node.js (24 or newer), which this project is built with.")
        })
    }

    fn output(&self, commands: &[Command]) -> Output {
        if let Some(named) = &self.settings.output_dir {
            return Output::Named(join(self.root, named.as_str()));
        }
        let routing = Settings::from(self.settings);
        let published = RuleFiles::of_project(self.repository, self.root).publish(routing);
        let published = published.map(|folder| join(self.root, folder.as_str()));
        let builds = commands.iter().any(|command| command.kind == CommandKind::Build);
        if !builds {
            let published = published.filter(|folder| self.repository.is_folder(folder));
            return Output::Source(published.unwrap_or_else(|| self.source_folder()));
        }
        let mut folders =
            self.framework().map(|framework| self.preset_folders(framework)).unwrap_or_default();
        for folder in &mut folders {
            *folder = join(self.root, folder);
        }
        folders.splice(0..0, published);
        Output::Built(folders)
    }

    /// Where a framework writes to, relative to the project: what its configuration says, as far
    /// as that can be read without running it, then its habit.
    fn preset_folders(&self, framework: &Framework) -> Vec<String> {
        let mut folders = Vec::new();
        if let Some(config) = &framework.output_config {
            let named = config.files.iter().find_map(|file| {
                let text = self.repository.text(&join(self.root, file))?;
                Some(config.matches.0.captures(&text)?.get(1)?.as_str().to_owned())
            });
            folders.extend(named);
        }
        if let Some(rule) = &framework.output_script {
            let script = framework.script.as_deref();
            let script = script.and_then(|script| self.package.as_ref()?.script(script));
            if let Some(found) = script.and_then(|script| rule.matches.0.captures(script)) {
                let folder = found.get(1).map_or(".", |group| group.as_str());
                folders.push(join(folder.trim_end_matches('/'), &rule.suffix));
            }
        }
        if matches!(framework.slug.as_str(), "angular" | "ionic-angular") {
            folders.extend(
                self.repository
                    .text(&join(self.root, "angular.json"))
                    .as_deref()
                    .map(angular_folders)
                    .unwrap_or_default(),
            );
        }
        // Only habits of the project's own files so far: none may lead out of the repository.
        folders.retain_mut(|folder| match RelativeDir::parse(folder) {
            Ok(normal) => {
                normal.as_str().clone_into(folder);
                folder != "."
            }
            Err(_) => false,
        });
        folders.push(framework.output_dir.clone());
        folders.extend(framework.alternatives.iter().cloned());
        folders
    }

    /// The site of a repository in which nothing is built: itself, unless only `public` has a page.
    fn source_folder(&self) -> String {
        let public = join(self.root, "public");
        if !self.repository.is_file(&join(self.root, "index.html")) && self.repository.is_folder(&public) {
            return public;
        }
        self.root.to_owned()
    }
}

/// The output folders that an `angular.json` names, the likeliest first.
fn angular_folders(text: &str) -> Vec<String> {
    let Ok(workspace) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let Some(projects) = workspace["projects"].as_object() else { return Vec::new() };
    let default = workspace["defaultProject"].as_str().and_then(|name| projects.get_key_value(name));
    let Some((name, project)) = default.or_else(|| projects.iter().next()) else { return Vec::new() };
    let targets = if project["architect"].is_object() { &project["architect"] } else { &project["targets"] };
    let path = &targets["build"]["options"]["outputPath"];
    let (base, browser) = match path {
        Value::String(base) => (base.clone(), "browser"),
        Value::Object(_) => (
            path["base"].as_str().map_or_else(|| format!("dist/{name}"), str::to_owned),
            path["browser"].as_str().unwrap_or("browser"),
        ),
        _ => (format!("dist/{name}"), "browser"),
    };
    // The older builder has no folder of its own for what browsers get.
    vec![join(&base, browser), base]
}

fn missing(program: &str, why: &str) -> Failure {
    Failure::new(
        FailureCode::ToolMissing,
        format!("{program} is not installed on this worker; its operator can install it. {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn planned(files: &[(&str, &str)], settings: &BuildSettings) -> Result<Plan, Failure> {
        let folder = repository(files);
        make(&Inside::open(folder.path()).unwrap(), settings, &|program| program != "hugo")
    }

    fn lines(plan: &Plan) -> Vec<&str> {
        plan.commands.iter().map(|command| command.line.as_str()).collect()
    }

    const VITE: (&str, &str) =
        ("package.json", r#"{"scripts": {"build": "tsc && vite build"}, "devDependencies": {"vite": "7"}}"#);

    #[test]
    fn a_project_with_a_lockfile_is_installed_by_it_and_built_by_its_script() {
        let plan = planned(&[VITE, ("package-lock.json", "{}")], &BuildSettings::default()).unwrap();
        assert_eq!(lines(&plan), ["npm ci", "npm run build"]);
        assert_eq!(plan.commands[0].fallback, Some(("EUSAGE", "npm install".to_owned())));
        assert_eq!(plan.output, Output::Built(vec!["dist".into()]));
        assert_eq!(plan.framework.unwrap().slug, "vite");
        assert_eq!(
            plan.notes[0],
            "Recognised Vite (React, Vue, Svelte, Solid, Preact, Lit, vanilla): package.json depends on vite."
        );
    }

    #[test]
    fn without_a_script_the_command_of_the_framework_runs() {
        let package = ("package.json", r#"{"devDependencies": {"@11ty/eleventy": "3"}}"#);
        let plan = planned(&[package], &BuildSettings::default()).unwrap();
        assert_eq!(lines(&plan), ["npm install", "eleventy"]);
    }

    #[test]
    fn nuxt_is_generated_although_it_has_a_build_script_too() {
        let package = r#"{"scripts": {"build": "nuxt build", "generate": "nuxt generate"}, "dependencies": {"nuxt": "4"}}"#;
        let plan = planned(&[("package.json", package)], &BuildSettings::default()).unwrap();
        assert_eq!(lines(&plan), ["npm install", "npm run generate"]);
    }

    #[test]
    fn in_a_monorepo_packages_are_installed_where_the_lockfile_is() {
        let settings = BuildSettings { root_dir: RelativeDir::parse("apps/web").ok(), ..Default::default() };
        let files = [("apps/web/package.json", VITE.1), ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")];
        let plan = planned(&files, &settings).unwrap();
        assert_eq!(lines(&plan), ["pnpm install --frozen-lockfile", "pnpm run build"]);
        let folders: Vec<_> = plan.commands.iter().map(|command| command.folder.as_str()).collect();
        assert_eq!(folders, [".", "apps/web"]);
        assert_eq!(plan.output, Output::Built(vec!["apps/web/dist".into()]));
    }

    #[test]
    fn what_the_person_says_wins_and_an_empty_command_runs_nothing() {
        let settings = BuildSettings {
            install_command: CommandLine::parse("").ok(),
            build_command: CommandLine::parse("make site").ok(),
            output_dir: RelativeDir::parse("out").ok(),
            ..Default::default()
        };
        let plan = planned(&[VITE], &settings).unwrap();
        assert_eq!((lines(&plan), &plan.output), (vec!["make site"], &Output::Named("out".into())));
        let nothing = BuildSettings { build_command: CommandLine::parse("").ok(), ..Default::default() };
        let plan = planned(&[VITE, ("index.html", "")], &nothing).unwrap();
        assert_eq!((lines(&plan), &plan.output), (vec![], &Output::Source(".".into())));
    }

    #[test]
    fn plain_files_are_the_site_themselves_or_their_public_folder() {
        let source = |files: &[(&str, &str)]| planned(files, &BuildSettings::default()).unwrap().output;
        assert_eq!(source(&[("index.html", "")]), Output::Source(".".into()));
        assert_eq!(source(&[("public/index.html", "")]), Output::Source("public".into()));
        assert_eq!(source(&[("index.html", ""), ("public/logo.svg", "")]), Output::Source(".".into()));
        assert_eq!(source(&[("package.json", "{}"), ("index.html", "")]), Output::Source(".".into()));
    }

    #[test]
    fn a_build_script_without_a_known_framework_is_run() {
        let plan = planned(
            &[("package.json", r#"{"scripts": {"build": "node make.js"}}"#)],
            &BuildSettings::default(),
        );
        let plan = plan.unwrap();
        assert_eq!((lines(&plan), &plan.output), (vec!["npm run build"], &Output::Built(vec![])));
    }

    #[test]
    fn a_missing_program_or_folder_and_a_broken_package_json_say_what_to_do() {
        let failure = planned(&[("hugo.toml", "")], &BuildSettings::default()).unwrap_err();
        assert_eq!(failure.code, FailureCode::ToolMissing);
        assert!(failure.message.starts_with("hugo is not installed"), "{}", failure.message);
        let settings = BuildSettings { root_dir: RelativeDir::parse("web").ok(), ..Default::default() };
        let failure = planned(&[VITE], &settings).unwrap_err();
        assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
        let failure = planned(&[("package.json", "{")], &BuildSettings::default()).unwrap_err();
        assert!(failure.message.starts_with("package.json is not valid JSON"), "{}", failure.message);
    }

    #[test]
    fn a_netlify_toml_says_which_folder_is_published() {
        let toml = ("netlify.toml", "[build]\npublish = \"./site/\"\n");
        let output = |files: &[(&str, &str)]| planned(files, &BuildSettings::default()).unwrap().output;
        assert_eq!(
            output(&[toml, ("site/index.html", ""), ("index.html", "")]),
            Output::Source("site".into())
        );
        assert_eq!(output(&[toml, ("index.html", "")]), Output::Source(".".into()));
        assert_eq!(output(&[toml, VITE]), Output::Built(vec!["site".into(), "dist".into()]));
        let outside = ("netlify.toml", "[build]\npublish = \"../../etc\"\n");
        assert_eq!(output(&[outside, ("index.html", "")]), Output::Source(".".into()));
    }

    #[test]
    fn the_output_folder_is_read_from_the_configuration_where_it_can_be() {
        let folders = |files: &[(&str, &str)]| match planned(files, &BuildSettings::default()).unwrap().output
        {
            Output::Built(folders) => folders[0].clone(),
            other => panic!("{other:?}"),
        };
        let vitepress = |script: &str| {
            format!(r#"{{"scripts": {{"build": "{script}"}}, "dependencies": {{"vitepress": "1"}}}}"#)
        };
        assert_eq!(folders(&[("package.json", &vitepress("vitepress build site"))]), "site/.vitepress/dist");
        assert_eq!(folders(&[("package.json", &vitepress("vitepress build"))]), ".vitepress/dist");
        assert_eq!(folders(&[VITE, ("vite.config.ts", "build: { outDir: './site/' }")]), "site");
        assert_eq!(folders(&[VITE, ("vite.config.ts", "build: { outDir: '../../x' }")]), "dist");
        let angular = ("package.json", r#"{"devDependencies": {"@angular/cli": "20"}}"#);
        let workspace =
            r#"{"projects": {"shop": {"architect": {"build": {"options": {"outputPath": "out"}}}}}}"#;
        assert_eq!(folders(&[angular, ("angular.json", workspace)]), "out/browser");
    }
}
