//! What a Node project says about itself: `package.json`, and the package manager that its
//! lockfile asks for. Nothing is run here. Start with [`choose`].

mod workspace;

pub use workspace::has_members;

use crate::worker::inside::{Inside, join, upwards};
use crate::worker::presets::presets;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The few fields that gv reads. Each is read leniently: npm itself takes files with odd values
/// in the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PackageJson {
    scripts: Value,
    dependencies: Value,
    dev_dependencies: Value,
    optional_dependencies: Value,
    package_manager: Value,
    engines: Value,
    volta: Value,
    workspaces: Value,
}

impl PackageJson {
    /// `None`: there is none. `Err` says what is wrong with it.
    pub fn read(repository: &Inside, folder: &str) -> Result<Option<Self>, String> {
        let path = join(folder, "package.json");
        if !repository.is_file(&path) {
            return Ok(None);
        }
        let text = repository.text(&path).ok_or_else(|| format!("{path} is not readable as text"))?;
        // Editors on Windows put a byte order mark before it; npm takes it away as well.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        serde_json::from_str(text).map(Some).map_err(|error| format!("{path} is not valid JSON: {error}"))
    }

    pub fn depends_on(&self, name: &str) -> bool {
        let has = |map: &Value| map.get(name).is_some();
        has(&self.dependencies) || has(&self.dev_dependencies)
    }

    pub fn script(&self, name: &str) -> Option<&str> {
        let script = self.scripts.get(name)?.as_str()?;
        (!script.trim().is_empty()).then_some(script)
    }

    /// Whether something of the project's own runs whenever its packages are installed (npm's documentation, "Scripts";
    /// pnpm.io, "Scripts").
    pub fn has_install_script(&self) -> bool {
        const RUN: [&str; 11] = [
            "preinstall",
            "install",
            "postinstall",
            "prepublish",
            "preprepare",
            "prepare",
            "postprepare",
            "predependencies",
            "dependencies",
            "postdependencies",
            "pnpm:devPreinstall",
        ];
        RUN.iter().any(|name| self.script(name).is_some())
    }

    pub fn has_dependencies(&self) -> bool {
        let any = |map: &Value| map.as_object().is_some_and(|map: &Map<_, _>| !map.is_empty());
        any(&self.dependencies) || any(&self.dev_dependencies)
    }

    /// Whether packages come from folders beside the project, whose contents no lockfile knows.
    pub fn has_local_dependencies(&self) -> bool {
        let local = |version: &Value| {
            let version = version.as_str().unwrap_or_default();
            ["file:", "link:", "portal:", "workspace:", "./", "../", "/", "~/"]
                .iter()
                .any(|at| version.starts_with(at))
        };
        let any = |map: &Value| map.as_object().is_some_and(|map| map.values().any(local));
        [&self.dependencies, &self.dev_dependencies, &self.optional_dependencies].into_iter().any(any)
    }

    pub fn volta_node(&self) -> Option<&str> {
        self.volta.get("node")?.as_str()
    }

    pub fn engines_node(&self) -> Option<&str> {
        self.engines.get("node")?.as_str()
    }

    /// The patterns of a workspace's folders: a list, or a list below `packages`. `None`: it is none.
    pub fn workspaces(&self) -> Option<Vec<String>> {
        let list = self.workspaces.as_array().or_else(|| self.workspaces.get("packages")?.as_array())?;
        Some(list.iter().filter_map(|pattern| pattern.as_str().map(str::to_owned)).collect())
    }

    /// The name and the version of `packageManager`: `pnpm@9.1.0+sha512...`.
    fn package_manager(&self) -> Option<(&str, &str)> {
        let (name, version) = self.package_manager.as_str()?.split_once('@')?;
        let version = version.split('+').next().unwrap_or(version);
        let plain = version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
        (plain && version.starts_with(|c: char| c.is_ascii_digit())).then_some((name, version))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Npm,
    Pnpm,
    YarnClassic,
    /// Yarn 2 and newer.
    YarnBerry,
    Bun,
}

/// How a project's packages are installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageManager {
    pub tool: Tool,
    /// As npm understands it: exact from `packageManager`, else the major that wrote the lockfile.
    pub version: Option<String>,
    /// Where to install: the folder of the lockfile, relative to the repository.
    pub folder: String,
    pub has_lockfile: bool,
    /// A release of Yarn that the repository brings along, relative to the repository.
    pub vendored: Option<String>,
    /// For the log.
    pub because: String,
}

impl Tool {
    pub fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::YarnClassic | Self::YarnBerry => "yarn",
            Self::Bun => "bun",
        }
    }

    /// The package that brings the program along.
    fn npm_package(self) -> &'static str {
        match self {
            Self::YarnBerry => "@yarnpkg/cli-dist",
            other => other.program(),
        }
    }

    fn any_version(self) -> &'static str {
        let known = &presets().package_managers;
        match self {
            Self::Npm => &known.npm,
            Self::Pnpm => &known.pnpm,
            Self::YarnClassic => &known.yarn_classic,
            Self::YarnBerry => &known.yarn_berry,
            Self::Bun => &known.bun,
        }
    }
}

impl PackageManager {
    /// The arguments that install exactly what the lockfile says, where there is one.
    pub fn install(&self) -> &'static str {
        match (self.tool, self.has_lockfile) {
            (Tool::Npm, true) => "ci",
            (Tool::Npm | Tool::Bun | Tool::YarnClassic, false) => "install",
            (Tool::Pnpm, false) => "install --no-frozen-lockfile",
            (Tool::Pnpm | Tool::YarnClassic | Tool::Bun, true) => "install --frozen-lockfile",
            (Tool::YarnBerry, true) => "install --immutable",
            (Tool::YarnBerry, false) => "install --no-immutable",
        }
    }

    /// The same where the packages of an earlier build are there, and may be right. `None`: without a lockfile
    /// nobody knows what is right.
    pub fn install_again(&self) -> Option<&'static str> {
        match self.tool {
            _ if !self.has_lockfile => None,
            // Its `ci` begins with removing what is there.
            Tool::Npm => Some("install --no-save"),
            _ => Some(self.install()),
        }
    }

    /// The wanted version, as npm takes it: exact, or a major.
    pub fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(self.tool.any_version())
    }

    /// How a release that the repository brings along is called in one of its folders.
    pub fn vendored_call(&self, folder: &str) -> Option<String> {
        let release = self.vendored.as_deref()?;
        Some(format!("node {}", quoted(&format!("{}{release}", way_up(folder)))))
    }

    /// How the package manager is called in `folder` of the repository, given which programs are
    /// on the worker, where it brings none. `None`: not at all.
    pub fn invocation(&self, folder: &str, is_installed: impl Fn(&str) -> bool) -> Option<String> {
        if let Some(call) = self.vendored_call(folder).filter(|_| is_installed("node")) {
            return Some(call);
        }
        // An installed yarn is most often the classic one, which cannot read berry's lockfile.
        if self.tool != Tool::YarnBerry && is_installed(self.tool.program()) {
            return Some(self.tool.program().to_owned());
        }
        if !is_installed("npx") {
            return None;
        }
        let (version, package) = (self.version(), self.tool.npm_package());
        // Named apart from the command, so that scripts which call the program find it as well.
        Some(format!("npx --yes --package={package}@{version} -- {}", self.tool.program()))
    }
}

/// What is said where the nearest `packageManager` cannot be followed, and another one is taken.
pub fn warning(repository: &Inside, folder: &str) -> Option<String> {
    let wanted = upwards(folder).find_map(|at| {
        let package = PackageJson::read(repository, at).ok().flatten()?;
        let followed =
            package.package_manager().is_some_and(|(name, version)| tool_named(name, version).is_some());
        match package.package_manager {
            Value::Null => None,
            Value::String(text) => Some((text, followed)),
            other => Some((other.to_string(), false)),
        }
    });
    let (text, _) = wanted.filter(|(_, followed)| !followed)?;
    let shown: String = text.chars().filter(|c| !c.is_control()).take(50).collect();
    Some(format!(
        "Warning: packageManager is {shown:?}, which is not followed: it can name npm, pnpm, yarn or bun with an exact \
         version (\"pnpm@10.0.0\")."
    ))
}

/// Which package manager a project wants: by `packageManager`, else by the nearest lockfile on the
/// way up to the repository's root, else npm.
pub fn choose(repository: &Inside, folder: &str) -> PackageManager {
    let lockfile = upwards(folder).find_map(|at| lockfile_in(repository, at).map(|found| (at, found)));
    // The lockfile of tools at the top of a repository says nothing of a project that is none of theirs.
    let lockfile = lockfile.filter(|(at, _)| *at == folder || !workspace::leaves_out(repository, at, folder));
    let wanted = upwards(folder).find_map(|at| {
        let package = PackageJson::read(repository, at).ok().flatten()?;
        let (name, version) = package.package_manager()?;
        Some((at, tool_named(name, version)?, version.to_owned()))
    });
    let mut chosen = match (wanted, lockfile) {
        (Some((at, tool, version)), lockfile) => {
            let lockfile = lockfile.filter(|(_, found)| found.tool == tool);
            PackageManager {
                tool,
                because: format!("packageManager is {}@{version}", tool.program()),
                version: Some(version),
                has_lockfile: lockfile.is_some(),
                folder: lockfile.map_or(at, |(at, _)| at).to_owned(),
                vendored: None,
            }
        }
        (None, Some((at, found))) => PackageManager {
            tool: found.tool,
            version: found.version,
            folder: at.to_owned(),
            has_lockfile: true,
            vendored: None,
            because: format!("there is a {}", join(at, found.file)),
        },
        (None, None) => {
            let pnpm = upwards(folder).find(|at| repository.is_file(&join(at, workspace::PNPM)));
            PackageManager {
                tool: if pnpm.is_some() { Tool::Pnpm } else { Tool::Npm },
                version: None,
                folder: workspace::root(repository, folder).unwrap_or(folder).to_owned(),
                has_lockfile: false,
                vendored: None,
                because: match pnpm {
                    Some(at) => format!("there is a {}, and no lockfile", join(at, workspace::PNPM)),
                    None => "there is no lockfile".to_owned(),
                },
            }
        }
    };
    if chosen.tool == Tool::YarnBerry {
        chosen.vendored = vendored_yarn(repository, &chosen.folder);
    }
    chosen
}

struct Lockfile {
    tool: Tool,
    file: &'static str,
    version: Option<String>,
}

fn tool_named(name: &str, version: &str) -> Option<Tool> {
    Some(match name {
        "npm" => Tool::Npm,
        "pnpm" => Tool::Pnpm,
        "bun" => Tool::Bun,
        "yarn" if version.starts_with("1.") || version == "1" => Tool::YarnClassic,
        "yarn" => Tool::YarnBerry,
        _ => return None,
    })
}

/// The lockfile of a folder. Where there are several, as other hosts choose: bun writes a yarn.lock
/// beside its own; else yarn, pnpm, npm, bun.
fn lockfile_in(repository: &Inside, folder: &str) -> Option<Lockfile> {
    let has = |file: &str| repository.is_file(&join(folder, file));
    let bun = ["bun.lock", "bun.lockb"].into_iter().find(|file| has(file));
    let yarn = has("yarn.lock");
    let found = |tool, file, version| Some(Lockfile { tool, file, version });
    if let Some(file) = bun.filter(|_| yarn) {
        return found(Tool::Bun, file, None);
    }
    if yarn {
        let text = repository.text(&join(folder, "yarn.lock")).unwrap_or_default();
        return match text.split_once("__metadata:") {
            Some((_, metadata)) => found(Tool::YarnBerry, "yarn.lock", Some(berry_version(metadata))),
            None => found(Tool::YarnClassic, "yarn.lock", None),
        };
    }
    if has("pnpm-lock.yaml") {
        let text = repository.text(&join(folder, "pnpm-lock.yaml")).unwrap_or_default();
        return found(Tool::Pnpm, "pnpm-lock.yaml", pnpm_version(&text));
    }
    if let Some(file) = ["package-lock.json", "npm-shrinkwrap.json"].into_iter().find(|file| has(file)) {
        return found(Tool::Npm, file, None);
    }
    found(Tool::Bun, bun?, None)
}

/// The newest major of pnpm that writes this form of lockfile.
fn pnpm_version(lockfile: &str) -> Option<String> {
    let line = lockfile.lines().take(20).find_map(|line| line.strip_prefix("lockfileVersion:"))?;
    let major = match line.trim().trim_matches(['\'', '"']) {
        "5.3" => "6",
        "5.4" => "7",
        "6.0" | "6.1" => "8",
        "7.0" => "9",
        _ => "10",
    };
    Some(major.to_owned())
}

/// The major of Yarn that wrote this form of lockfile, told by what follows `__metadata:`.
fn berry_version(metadata: &str) -> String {
    let form = metadata.lines().take(5).find_map(|line| line.trim().strip_prefix("version:"));
    match form.map(str::trim) {
        Some("4" | "5") => "2",
        Some("6" | "7") => "3",
        _ => "4",
    }
    .to_owned()
}

fn vendored_yarn(repository: &Inside, folder: &str) -> Option<String> {
    let text = repository.text(&join(folder, ".yarnrc.yml"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("yarnPath:"))?;
    let path = join(folder, line.trim().trim_matches(['\'', '"']).trim_start_matches("./"));
    repository.is_file(&path).then_some(path)
}

/// From `folder` to the root: `../../`.
fn way_up(folder: &str) -> String {
    "../".repeat(upwards(folder).count() - 1)
}

/// One word for a shell, whatever is in it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
