//! What builds of a project leave for the next: package stores of the tools, and caches of frameworks.
//!
//! `<dir>/<account>-<project>/<scope>/` belongs to one build at a time; a second one at the same moment builds
//! without. Production is a scope, and each branch's previews are one, which begins as a copy of production's:
//! what a preview's build leaves is never seen by production's. `tools/` is written to by the build where it
//! lies; `files/` (`frameworks`) and `packages/` are moved into the workspace and back. Start with
//! [`Caches::open`].

mod frameworks;
mod moved;
mod packages;
mod sole;

pub use packages::Packages;

use crate::domain::deployment::{Deployment, Target};
use crate::domain::digest::Digest;
use crate::domain::repo::Commit;
use crate::worker::inside::Inside;
use crate::worker::package::Tool;
use crate::worker::workspace::remove_tree;
use rustix::fs::FlockOperation;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use walkdir::WalkDir;

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

/// The cache of one scope, held by one build.
pub struct ProjectCache {
    dir: PathBuf,
    lock: File,
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
    /// Opens the cache of a deployment whose project lies at `root` of its repository. Blocks.
    pub fn open(&self, deployment: &Deployment, commit: &Commit, root: &str) -> io::Result<Opened> {
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
        let mut warm = dir.is_dir();
        if !warm && scope != PRODUCTION && !deployment.options.no_cache {
            warm = self.copy_of_production(&project, &dir)?;
        }
        make(&dir.join(TOOLS))?;
        make(&dir.join(FILES))?;
        let cache = ProjectCache { dir, lock, root: root.to_owned(), packages: None };
        Ok(if warm { Opened::Warm(cache) } else { Opened::Cold(cache) })
    }

    /// `false`: there is none, or it is in use.
    fn copy_of_production(&self, project: &Path, into: &Path) -> io::Result<bool> {
        let from = project.join(PRODUCTION);
        if !from.is_dir() {
            return Ok(false);
        }
        let Some(_lock) = hold(project, PRODUCTION, FlockOperation::NonBlockingLockShared)? else {
            return Ok(false);
        };
        // Complete or not there: a worker may die over it.
        let unfinished = into.with_extension("copying");
        remove_tree(&unfinished)?;
        copy_tree(&from, &unfinished, |name| !packages::is_own(name))?;
        std::fs::rename(&unfinished, into)?;
        Ok(true)
    }

    /// Keeps what a build that went well left, within the bounds; returns what is to be said of it. Blocks.
    pub fn keep(&self, cache: ProjectCache, source: &Inside) -> io::Result<Option<String>> {
        cache.take_back(source);
        cache.take_packages(source)?;
        let mut bytes = size(&cache.dir)?;
        let mut said = None;
        if bytes > self.project_bytes {
            // What is quickest to get again goes first.
            cache.drop_packages()?;
            bytes = size(&cache.dir)?;
        }
        if bytes > self.project_bytes {
            remove_tree(&cache.dir)?;
            said = Some(format!(
                "The cache had {} and is dropped: a project may have {} (worker.cache_mb).",
                super::upload::amount(bytes),
                super::upload::amount(self.project_bytes)
            ));
        } else {
            std::fs::write(cache.dir.join("bytes"), bytes.to_string())?;
        }
        drop(cache);
        self.evict()?;
        Ok(said)
    }

    /// Removes what was used longest ago until the rest is within the bound. What is in use stays.
    fn evict(&self) -> io::Result<()> {
        let mut scopes: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for project in std::fs::read_dir(&self.dir)? {
            let project = project?.path();
            if !project.is_dir() {
                continue;
            }
            for scope in std::fs::read_dir(&project)? {
                let path = scope?.path();
                if path.is_dir() {
                    // One that was never finished counts as old and large.
                    let noted = std::fs::read_to_string(path.join("bytes")).ok();
                    let bytes = noted.and_then(|text| text.trim().parse().ok()).unwrap_or(self.project_bytes);
                    let used = std::fs::metadata(path.join("bytes")).and_then(|file| file.modified());
                    scopes.push((used.unwrap_or(SystemTime::UNIX_EPOCH), bytes, path));
                }
            }
        }
        scopes.sort();
        let mut total: u64 = scopes.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in scopes {
            if total <= self.total_bytes {
                break;
            }
            let (Some(project), Some(scope)) =
                (path.parent(), path.file_name().and_then(|name| name.to_str()))
            else {
                continue;
            };
            if hold(project, scope, FlockOperation::NonBlockingLockExclusive)?.is_some() {
                remove_tree(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

const PRODUCTION: &str = "production";

/// Branches may be named anything.
fn scope(target: Target, branch: Option<&str>) -> String {
    match target {
        Target::Production => PRODUCTION.to_owned(),
        Target::Preview => {
            let digest = Digest::of(branch.unwrap_or_default().as_bytes()).to_string();
            format!("preview-{}", &digest[..16])
        }
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
        // Explicitly, since a process that the build left in another's hands could hold a copy.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Builds may have another user, who has to get through.
fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)
}

/// `None`: somebody else holds it.
fn hold(project: &Path, scope: &str, how: FlockOperation) -> io::Result<Option<File>> {
    let path = project.join(format!("{scope}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, how) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    // Files with several names: packages are links into the store that they came from.
    let mut linked = HashSet::new();
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        // A folder counts for a block, and a file for one at least.
        let own = if entry.file_type().is_dir() {
            0
        } else {
            let file = entry.metadata()?;
            if file.nlink() > 1 && !linked.insert((file.dev(), file.ino())) {
                continue;
            }
            file.len()
        };
        bytes += own.max(512);
    }
    Ok(bytes)
}

/// Copies folders, files and links, and nothing else, of what is wanted at the top. Nothing is followed.
fn copy_tree(from: &Path, into: &Path, is_wanted: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    for entry in WalkDir::new(from)
        .into_iter()
        .filter_entry(|entry| entry.depth() != 1 || is_wanted(entry.file_name()))
    {
        let entry = entry?;
        let Ok(name) = entry.path().strip_prefix(from) else { continue };
        let to = into.join(name);
        let kind = entry.file_type();
        if kind.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::BuildOptions;
    use crate::domain::deployment::tests::queued;

    fn deployment(target: Target) -> Deployment {
        Deployment { target, ..queued() }
    }

    fn commit(branch: &str) -> Commit {
        Commit { id: "0".repeat(40), message: String::new(), branch: Some(branch.to_owned()) }
    }

    struct Stage {
        folder: tempfile::TempDir,
        caches: Caches,
    }

    impl Stage {
        fn set(project_bytes: u64, total_bytes: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("caches");
            Self { folder, caches: Caches { dir, project_bytes, total_bytes } }
        }

        /// One build, which finds `expected` where it looks and leaves `next` there.
        fn build(&self, deployment: &Deployment, branch: &str, expected: Option<&str>, next: &str) {
            let source = self.folder.path().join("source");
            std::fs::create_dir_all(&source).unwrap();
            let inside = Inside::open(&source).unwrap();
            let cache = match self.caches.open(deployment, &commit(branch), ".").unwrap() {
                Opened::Cold(cache) | Opened::Warm(cache) => cache,
                _ => panic!("there is a cache"),
            };
            cache.give(&inside);
            let file = source.join(".next/cache/file");
            assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), expected, "{branch}");
            std::fs::create_dir_all(source.join(".next/cache")).unwrap();
            std::fs::write(&file, next).unwrap();
            std::fs::write(cache.folder().join("store"), next).unwrap();
            self.caches.keep(cache, &inside).unwrap();
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
        let Ok(Opened::Cold(held)) = stage.caches.open(&site, &commit("main"), ".") else { panic!() };
        assert!(matches!(stage.caches.open(&site, &commit("main"), "."), Ok(Opened::Busy)));
        drop(held);
        assert!(matches!(stage.caches.open(&site, &commit("main"), "."), Ok(Opened::Warm(_))));
    }

    #[test]
    fn what_is_too_large_goes_and_what_was_used_longest_ago_makes_room() {
        let stage = Stage::set(20_000, 40_000);
        let (one, two, three) =
            (deployment(Target::Production), deployment(Target::Production), deployment(Target::Production));
        let some = "x".repeat(1_000);
        for site in [&one, &two] {
            stage.build(site, "main", None, &some);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let stage = Stage { caches: Caches { total_bytes: 9_000, ..stage.caches }, folder: stage.folder };
        stage.build(&three, "main", None, &some);
        stage.build(&one, "main", None, &some);
        stage.build(&three, "main", Some(&some), &"x".repeat(30_000));
        stage.build(&three, "main", None, "x");
    }

    #[test]
    fn a_file_with_several_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        assert_eq!(size(folder.path()).unwrap(), 100_000 + 512);
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
        let Ok(Opened::Cold(cache)) = stage.caches.open(&site, &commit("main"), ".") else { panic!() };
        stage.caches.keep(cache, &Inside::open(&source).unwrap()).unwrap();
        assert!(outside.join("cache").is_dir());
    }
}
