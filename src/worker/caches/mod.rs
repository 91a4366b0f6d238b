//! What builds of a project leave for the next: package stores of the tools, and caches of frameworks.
//!
//! `<dir>/<account>-<project>/<scope>/` belongs to one build at a time; a second one at the same moment builds
//! without. Production is a scope, and each branch's previews are one, which begins as a copy of production's:
//! what a preview's build leaves is never seen by production's. `tools/` is written to by the build where it
//! lies; `files/` (`frameworks`) and `packages/` are moved into the workspace and back. `scope` says what a scope
//! is called and who has it, `bounds` how much is kept. Start with [`Caches::open`].

mod bounds;
mod copy;
mod frameworks;
mod moved;
mod packages;
mod scope;
mod size;
mod sole;

pub use packages::Packages;

use bounds::Held;
use copy::Copy;
use scope::{PRODUCTION, hold, scope};

use crate::domain::deployment::Deployment;
use crate::domain::repo::Commit;
use crate::worker::inside::Inside;
use crate::worker::package::Tool;
use crate::worker::workspace::remove_tree;
use rustix::fs::FlockOperation;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

const TOOLS: &str = "tools";
const FILES: &str = "files";

#[derive(Clone, Debug)]
pub struct Caches {
    pub dir: PathBuf,
    /// Of one scope. 0: nothing is kept.
    pub project_bytes: u64,
    /// Of all on this worker; what was used longest ago goes first.
    pub total_bytes: u64,
}

/// The cache of one scope, held by one build. Whatever became of that, what it left is brought within the bounds
/// when this is dropped: a build writes to the stores of its tools where they lie.
pub struct ProjectCache {
    dir: PathBuf,
    /// `None`: it was let go of.
    held: Option<Held>,
    root: String,
    /// What this build installed, as far as it is worth keeping.
    packages: Option<Packages>,
}

/// What was found.
pub enum Opened {
    /// Nothing is kept on this worker.
    Off,
    /// Another build uses it.
    Busy,
    Cold(ProjectCache),
    Warm(ProjectCache),
}

impl Caches {
    /// Opens the cache of a deployment whose project lies at `root` of its repository. `copying` is called before
    /// production's is copied, which `stop` ends. Blocks.
    pub fn open(
        &self,
        deployment: &Deployment,
        (commit, root): (&Commit, &str),
        stop: &CancellationToken,
        copying: impl FnOnce(),
    ) -> io::Result<Opened> {
        if self.project_bytes == 0 || self.total_bytes == 0 {
            return Ok(Opened::Off);
        }
        let project = self.dir.join(format!("{}-{}", deployment.account, deployment.project));
        make(&project)?;
        let scope = scope(deployment.target, commit.branch.as_deref());
        let Some(lock) = hold(&project, &scope, FlockOperation::NonBlockingLockExclusive)? else {
            return Ok(Opened::Busy);
        };
        let dir = project.join(&scope);
        if deployment.options.no_cache {
            remove_tree(&dir)?;
        }
        bounds::note_open(&dir)?;
        let mut warm = dir.is_dir();
        if !warm && scope != PRODUCTION && !deployment.options.no_cache {
            warm = self.copy_of_production(&project, &dir, stop, copying)?;
        }
        make(&dir.join(TOOLS))?;
        make(&dir.join(FILES))?;
        let held = Some(Held::new(self.clone(), dir.clone(), lock));
        let cache = ProjectCache { dir, held, root: root.to_owned(), packages: None };
        Ok(if warm { Opened::Warm(cache) } else { Opened::Cold(cache) })
    }

    /// `false`: there is none, or it is in use, or it is not worth the wait.
    fn copy_of_production(
        &self,
        project: &Path,
        into: &Path,
        stop: &CancellationToken,
        copying: impl FnOnce(),
    ) -> io::Result<bool> {
        let from = project.join(PRODUCTION);
        if !from.is_dir() {
            return Ok(false);
        }
        let Some(_lock) = hold(project, PRODUCTION, FlockOperation::NonBlockingLockShared)? else {
            return Ok(false);
        };
        copying();
        // Complete or not there: a worker may die over it.
        let unfinished = into.with_extension("copying");
        remove_tree(&unfinished)?;
        let mut copy = Copy::new(self.project_bytes, stop);
        let is_whole = copy
            .tree(&from, &unfinished, |name| !packages::is_own(name) && name != OsStr::new(bounds::BYTES))?;
        if is_whole {
            std::fs::rename(&unfinished, into)?;
        } else {
            remove_tree(&unfinished)?;
        }
        Ok(is_whole)
    }

    /// Keeps what a build that went well left, within the bounds; returns what is to be said of it. Blocks.
    pub fn keep(mut cache: ProjectCache, source: &Inside) -> io::Result<Option<String>> {
        cache.take_back(source);
        cache.take_packages(source)?;
        cache.held.take().map_or(Ok(None), Held::let_go)
    }
}

impl ProjectCache {
    /// Where the build may write.
    pub fn folder(&self) -> PathBuf {
        self.dir.join(TOOLS)
    }

    /// What points each tool to its store. npm takes the lockfile's word for what is in its own.
    pub fn environment(&self, tool: Option<Tool>) -> Vec<(String, String)> {
        let below = |name: &str| self.folder().join(name).display().to_string();
        let mut variables = vec![
            ("npm_config_cache", below("npm")),
            ("YARN_CACHE_FOLDER", below("yarn")),
            ("YARN_ENABLE_GLOBAL_CACHE", "false".to_owned()),
            ("BUN_INSTALL_CACHE_DIR", below("bun")),
            ("PIP_CACHE_DIR", below("pip")),
        ];
        match tool {
            // npm complains of the variable, so only pnpm gets it.
            Some(Tool::Pnpm) => variables.push(("npm_config_store_dir", below("pnpm"))),
            Some(Tool::Npm) => variables.push(("npm_config_prefer_offline", "true".to_owned())),
            _ => {}
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Drop for ProjectCache {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let let_go = move || match held.let_go() {
            Ok(None) => {}
            Ok(Some(said)) => tracing::info!("{said}"),
            Err(error) => tracing::warn!(%error, "what a build left in its cache could not be measured"),
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(let_go)),
            Err(_) => let_go(),
        }
    }
}

/// Builds may have another user, who has to get through.
fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)
}

fn remove_if_there(path: PathBuf) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::tests::queued;
    use crate::domain::deployment::{BuildOptions, Target};

    pub(super) fn deployment(target: Target) -> Deployment {
        Deployment { target, ..queued() }
    }

    fn commit(branch: &str) -> Commit {
        Commit { id: "0".repeat(40), message: String::new(), branch: Some(branch.to_owned()) }
    }

    pub(super) struct Stage {
        pub(super) folder: tempfile::TempDir,
        pub(super) caches: Caches,
    }

    impl Stage {
        pub(super) fn set(project_bytes: u64, total_bytes: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("caches");
            Self { folder, caches: Caches { dir, project_bytes, total_bytes } }
        }

        pub(super) fn open(&self, deployment: &Deployment, branch: &str) -> io::Result<Opened> {
            self.caches.open(deployment, (&commit(branch), "."), &CancellationToken::new(), || {})
        }

        /// One build, which finds `expected` where it looks and leaves `next` there.
        pub(super) fn build(
            &self,
            deployment: &Deployment,
            branch: &str,
            expected: Option<&str>,
            next: &str,
        ) {
            let source = self.folder.path().join("source");
            std::fs::create_dir_all(&source).unwrap();
            let inside = Inside::open(&source).unwrap();
            let cache = match self.open(deployment, branch).unwrap() {
                Opened::Cold(cache) | Opened::Warm(cache) => cache,
                _ => panic!("there is a cache"),
            };
            cache.give(&inside);
            let file = source.join(".next/cache/file");
            assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), expected, "{branch}");
            std::fs::create_dir_all(source.join(".next/cache")).unwrap();
            std::fs::write(&file, next).unwrap();
            std::fs::write(cache.folder().join("store"), next).unwrap();
            Caches::keep(cache, &inside).unwrap();
            std::fs::remove_dir_all(source).unwrap();
        }
    }

    #[test]
    fn a_build_finds_what_the_one_before_left() {
        let stage = Stage::set(1 << 20, 1 << 20);
        let site = deployment(Target::Production);
        stage.build(&site, "main", None, "one");
        stage.build(&site, "main", Some("one"), "two");
        let fresh = BuildOptions { no_cache: true, ..BuildOptions::default() };
        stage.build(&Deployment { options: fresh, ..site.clone() }, "main", None, "three");
        stage.build(&site, "main", Some("three"), "four");
        stage.build(&deployment(Target::Production), "main", None, "of another account");
    }

    #[test]
    fn previews_begin_with_productions_cache_and_never_change_it() {
        let stage = Stage::set(1 << 20, 1 << 20);
        let site = deployment(Target::Production);
        let preview = Deployment { target: Target::Preview, ..site.clone() };
        stage.build(&site, "main", None, "good");
        stage.build(&preview, "feature", Some("good"), "poison");
        stage.build(&preview, "feature", Some("poison"), "poison");
        stage.build(&preview, "other", Some("good"), "x");
        stage.build(&site, "main", Some("good"), "good");
    }

    #[test]
    fn a_cache_is_used_by_one_build_at_a_time() {
        let stage = Stage::set(1 << 20, 1 << 20);
        let site = deployment(Target::Production);
        let Ok(Opened::Cold(held)) = stage.open(&site, "main") else { panic!() };
        assert!(matches!(stage.open(&site, "main"), Ok(Opened::Busy)));
        drop(held);
        assert!(matches!(stage.open(&site, "main"), Ok(Opened::Warm(_))));
    }

    #[test]
    fn a_folder_that_is_a_link_out_of_the_project_is_not_kept() {
        let stage = Stage::set(1 << 20, 1 << 20);
        let outside = stage.folder.path().join("outside");
        std::fs::create_dir_all(outside.join("cache")).unwrap();
        let source = stage.folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::os::unix::fs::symlink(&outside, source.join(".next")).unwrap();
        std::os::unix::fs::symlink(&outside, source.join(".cache")).unwrap();
        let site = deployment(Target::Production);
        let Ok(Opened::Cold(cache)) = stage.open(&site, "main") else { panic!() };
        Caches::keep(cache, &Inside::open(&source).unwrap()).unwrap();
        assert!(outside.join("cache").is_dir());
    }
}
