//! Installed packages: `node_modules` as a build left it, for the next one that would install the very same.
//!
//! The same means: the same lockfile, settings of the package manager, tools, variables and command. The command
//! that installs runs all the same, and finds nothing to fetch or to unpack. So it would not notice what else had
//! changed them: packages are kept only where nothing but their manager has a hand in them (`sole`), and only as
//! it left them. Start with [`Packages::of`].

use super::moved::Place;
use super::sole;
use super::{ProjectCache, remove_if_there};
use crate::domain::digest::Digest;
use crate::worker::inside::{Inside, join};
use crate::worker::package::{PackageJson, has_members};
use crate::worker::plan::{Command, CommandKind, Plan};
use crate::worker::workspace::remove_tree;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

const PACKAGES: &str = "packages";
const KEY: &str = "packages.key";
const FOLDER: &str = "node_modules";
/// What decides which packages are installed, and how.
const DECIDE: [&str; 13] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pnpmfile.cjs",
    "pnpm-workspace.yaml",
    "bunfig.toml",
];
/// Of one of these files: a lockfile of a hundred thousand packages.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Folders within in which tools keep what they check for themselves.
const CACHES: [&str; 5] = [".astro", ".cache", ".tmp", ".vite", ".vite-temp"];
/// Of more files the state is not noted, and they are not kept.
const MOST_FILES: usize = 300_000;

/// What a build installs, by its name.
pub struct Packages {
    key: Digest,
    /// How they were when they were installed. `None`: nobody noted.
    installed: Option<Digest>,
}

impl Packages {
    /// `made_with` is whatever else the packages depend on; secrets may be a part of it, so that the digest is
    /// a keyed one. `None`: they are not kept, since they may depend on more, or lie in several places. Blocks.
    pub fn of(
        repository: &Inside,
        plan: &Plan,
        made_with: &[String],
        keyed: impl FnOnce(&[u8]) -> Option<Digest>,
    ) -> Option<Self> {
        let mut installs = plan.commands.iter().filter(|command| command.kind == CommandKind::Install);
        let (Some(Command { again: Some(_), folder, line, .. }), None) = (installs.next(), installs.next())
        else {
            return None;
        };
        let package = PackageJson::read(repository, folder).ok()??;
        if *folder != plan.root
            || has_members(repository, folder)
            || package.has_local_dependencies()
            || package.has_install_script()
            || sole::READ_MORE.iter().any(|name| package.depends_on(name))
        {
            return None;
        }
        let mut parts = vec![line.clone().into_bytes()];
        parts.extend(made_with.iter().map(|part| part.clone().into_bytes()));
        for name in DECIDE {
            parts.push(name.into());
            parts.push(contents(repository, &join(folder, name)).ok()?);
        }
        let digests: String = parts.iter().map(|part| Digest::of(part).to_string()).collect();
        Some(Self { key: keyed(digests.as_bytes())?, installed: None })
    }
}

/// Empty where there is no such file.
fn contents(repository: &Inside, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = match repository.file(path) {
        Ok(Some((file, len))) if len <= MOST_BYTES => file,
        Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
        Err(rustix::io::Errno::NOENT) => return Ok(bytes),
        Err(error) => return Err(error.into()),
    };
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether an entry of a cache is this file's.
pub(super) fn is_own(name: &OsStr) -> bool {
    name == PACKAGES || name == KEY
}

impl ProjectCache {
    /// Moves the packages of an earlier build to where this one installs its own, where they are the same, and
    /// notes down what this one installs. `false`: there are none. Blocks.
    pub fn give_packages(&mut self, source: &Inside, packages: Packages) -> bool {
        let kept = std::fs::read_to_string(self.dir.join(KEY));
        let is_same = kept.is_ok_and(|key| key == packages.key.to_string());
        self.packages = Some(packages);
        if !is_same {
            return false;
        }
        let filled = self.place(source).fill(&self.dir.join(PACKAGES));
        if let Err(error) = &filled {
            tracing::debug!(%error, "packages of an earlier build were not given back");
        }
        filled.is_ok()
    }

    /// Notes how the packages are, when they are installed and nothing else has run. Blocks.
    pub fn note_packages(&mut self, source: &Inside) {
        let installed = self.packages.is_some().then(|| self.state_of_packages(source)).flatten();
        if let Some(packages) = &mut self.packages {
            packages.installed = installed;
        }
    }

    /// `None`: they are not there, or more than are looked at.
    fn state_of_packages(&self, source: &Inside) -> Option<Digest> {
        sole::state(&self.place(source).open().ok()?, &CACHES, MOST_FILES)
    }

    /// Takes away what [`ProjectCache::give_packages`] brought. Blocks.
    pub fn clear_packages(&self, source: &Inside) -> io::Result<()> {
        self.place(source).clear()
    }

    pub(super) fn take_packages(&self, source: &Inside) -> io::Result<()> {
        let Some(packages) = &self.packages else { return self.drop_packages() };
        // What a build changes in its packages, the next one must not find: it may not change it any more.
        if packages.installed.is_none() || packages.installed != self.state_of_packages(source) {
            tracing::debug!("a build changed its packages: they are not kept");
            return self.drop_packages();
        }
        // Without its key nothing is used that is not whole.
        remove_if_there(self.dir.join(KEY))?;
        match self.place(source).take(&self.dir.join(PACKAGES)) {
            Ok(true) => std::fs::write(self.dir.join(KEY), packages.key.to_string()),
            Ok(false) => self.drop_packages(),
            Err(error) => {
                tracing::debug!(%error, "installed packages were not kept");
                self.drop_packages()
            }
        }
    }

    fn drop_packages(&self) -> io::Result<()> {
        drop_from(&self.dir)
    }

    fn place<'a>(&'a self, source: &'a Inside) -> Place<'a> {
        Place { source, root: &self.root, path: FOLDER }
    }
}

/// Removes the packages that a cache has.
pub(super) fn drop_from(cache: &Path) -> io::Result<()> {
    remove_if_there(cache.join(KEY))?;
    remove_tree(&cache.join(PACKAGES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::Target;
    use crate::domain::settings::{BuildSettings, Variables};
    use crate::worker::plan::{Request, make};

    /// The key of a repository with a build script; `own` is more of its package.json.
    fn key(own: &str, files: &[(&str, &str)], made_with: &str) -> Option<Digest> {
        let folder = tempfile::tempdir().unwrap();
        let scripts = if own.contains("scripts") { "" } else { r#""scripts": {"build": "vite"}, "# };
        let package = format!(r#"{{{scripts}"dependencies": {{"vite": "7"}}{own}}}"#);
        for (path, text) in [("package.json", package.as_str())].iter().chain(files) {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        let (repository, none) = (Inside::open(folder.path()).unwrap(), Variables::default());
        let request = Request {
            settings: &BuildSettings::default(),
            target: Target::Production,
            variables: (&none, &none),
            is_installed: &|_| false,
            brings_tools: true,
        };
        let plan = make(&repository, &request).unwrap();
        let packages =
            Packages::of(&repository, &plan, &[made_with.to_owned()], |bytes| Some(Digest::of(bytes)));
        packages.map(|packages| packages.key)
    }

    #[test]
    fn packages_are_the_same_where_all_that_decides_is_the_same() {
        let lockfile = ("package-lock.json", "{}");
        let known = key("", &[lockfile], "node 24").unwrap();
        assert_eq!(key("", &[lockfile, ("README.md", "words")], "node 24"), Some(known));
        for (other, what) in [
            (key("", &[("package-lock.json", "{ }")], "node 24"), "lockfile"),
            (key("", &[lockfile, (".npmrc", "omit=dev")], "node 24"), "settings"),
            (key(r#", "overrides": {}"#, &[lockfile], "node 24"), "package.json"),
            (key("", &[lockfile], "node 22"), "tools"),
        ] {
            assert!(other.is_some_and(|other| other != known), "{what}");
        }
    }

    #[test]
    fn packages_that_no_lockfile_knows_are_not_kept() {
        let lockfile = ("package-lock.json", "{}");
        assert_eq!(key("", &[], ""), None, "no lockfile");
        assert_eq!(key(r#", "workspaces": ["apps/*"]"#, &[lockfile], ""), None, "a workspace");
        assert_eq!(key(r#", "devDependencies": {"own": "file:./own"}"#, &[lockfile], ""), None, "a folder");
        let members = ("pnpm-workspace.yaml", "packages:\n  - 'apps/*'\n");
        let pnpm = ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n");
        assert_eq!(key("", &[pnpm, members], ""), None, "a workspace of pnpm's");
        assert!(key("", &[pnpm, ("pnpm-workspace.yaml", "nodeLinker: hoisted\n")], "").is_some());
        assert_eq!(key(r#", "devDependencies": {"patch-package": "8"}"#, &[lockfile], ""), None, "patches");
        let scripts = |name: &str| format!(r#", "scripts": {{"build": "vite", "{name}": "node x.js"}}"#);
        for name in ["preinstall", "install", "postinstall", "prepare", "postprepare", "dependencies"] {
            assert_eq!(key(&scripts(name), &[lockfile], ""), None, "{name}");
        }
        assert!(key(&scripts("prebuild"), &[lockfile], "").is_some());
        assert!(key(r#", "devDependencies": {"other": "~1.2.0"}"#, &[lockfile], "").is_some());
    }
}
