//! What builds of a project leave for the next: package stores of the tools, and caches of frameworks.
//!
//! `<dir>/<account>-<project>/<scope>/` belongs to one build at a time; a second one at the same moment builds
//! without. Production is a scope, and each branch's previews are one, which begins as a copy of production's:
//! what a preview's build leaves is never seen by production's. `tools/` is written to by the build where it
//! lies; `files/` (`frameworks`) and `packages/` are moved into the workspace and back. Start with
//! [`Caches::open`].

mod copy;
mod frameworks;
mod moved;
mod packages;
mod sole;

pub use packages::Packages;

use copy::Copy;

use crate::domain::deployment::{Deployment, Target};
use crate::domain::digest::Digest;
use crate::domain::repo::Commit;
use crate::worker::inside::Inside;
use crate::worker::package::Tool;
use crate::worker::upload::amount;
use crate::worker::workspace::remove_tree;
use rustix::fs::FlockOperation;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;
use walkdir::WalkDir;

const TOOLS: &str = "tools";
const FILES: &str = "files";
/// How large it was when it was last let go of, and when that was.
const BYTES: &str = "bytes";
/// Stands before the number while a build has it.
const OPEN: &str = "open ";

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
        // Until it is noted anew nobody knows how large it is.
        if let Ok(noted) = std::fs::read_to_string(dir.join(BYTES)) {
            std::fs::write(dir.join(BYTES), format!("{OPEN}{}", noted.trim_start_matches(OPEN)))?;
        }
        let mut warm = dir.is_dir();
        if !warm && scope != PRODUCTION && !deployment.options.no_cache {
            warm = self.copy_of_production(&project, &dir, stop, copying)?;
        }
        make(&dir.join(TOOLS))?;
        make(&dir.join(FILES))?;
        let held = Some(Held { caches: self.clone(), dir: dir.clone(), lock });
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
        let is_whole =
            copy.tree(&from, &unfinished, |name| !packages::is_own(name) && name != OsStr::new(BYTES))?;
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
                    let noted = std::fs::read_to_string(path.join(BYTES)).unwrap_or_default();
                    let bytes = match noted.trim().parse() {
                        Ok(bytes) => bytes,
                        Err(_) => self.unnoted(&project, &path, noted.trim_start_matches(OPEN))?,
                    };
                    let used = std::fs::metadata(path.join(BYTES)).and_then(|file| file.modified());
                    scopes.push((used.unwrap_or(SystemTime::UNIX_EPOCH), bytes, path));
                }
            }
        }
        scopes.sort();
        let mut total = scopes.iter().fold(0u64, |total, (_, bytes, _)| total.saturating_add(*bytes));
        for (_, bytes, path) in scopes {
            if total <= self.total_bytes {
                break;
            }
            let (Some(project), Some(scope)) = (path.parent(), scope_of(&path)) else { continue };
            if hold(project, scope, FlockOperation::NonBlockingLockExclusive)?.is_some() {
                remove_tree(&path)?;
                total = total.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    /// How large a scope is that was never let go of: as large as it was `before`, or may be, where it is in use; else
    /// its worker died, and it is measured.
    fn unnoted(&self, project: &Path, folder: &Path, before: &str) -> io::Result<u64> {
        let Some(scope) = scope_of(folder) else { return Ok(0) };
        match hold(project, scope, FlockOperation::NonBlockingLockExclusive)? {
            Some(_lock) => Ok(size(folder).unwrap_or(self.total_bytes)),
            None => Ok(before.trim().parse().unwrap_or(self.project_bytes)),
        }
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

/// The cache of one scope on the disk, which nobody else uses meanwhile.
struct Held {
    caches: Caches,
    dir: PathBuf,
    lock: File,
}

impl Held {
    /// Brings it within the bounds, and all others; returns what is to be said of it. Blocks.
    fn let_go(self) -> io::Result<Option<String>> {
        let most = self.caches.project_bytes;
        // What cannot be measured is too large: a build may have closed a folder.
        let measured = || size(&self.dir).unwrap_or(u64::MAX);
        let mut bytes = measured();
        let mut said = None;
        if bytes > most {
            // What is quickest to get again goes first.
            packages::drop_from(&self.dir)?;
            bytes = measured();
        }
        if bytes > most {
            remove_tree(&self.dir)?;
            let had = if bytes == u64::MAX { "more than can be counted".to_owned() } else { amount(bytes) };
            said = Some(format!(
                "The cache had {had} and is dropped: a project may have {} (worker.cache_mb).",
                amount(most)
            ));
        } else {
            std::fs::write(self.dir.join(BYTES), bytes.to_string())?;
        }
        let caches = self.caches.clone();
        drop(self);
        caches.evict()?;
        Ok(said)
    }
}

impl Drop for Held {
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

/// The name of the scope whose folder this is, whole or still being copied.
fn scope_of(folder: &Path) -> Option<&str> {
    folder.file_stem().and_then(OsStr::to_str)
}

fn remove_if_there(path: PathBuf) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// By how much a file may take more room than its length says: blocks are larger than small files.
const ROUNDING: u64 = 64 * 1024;

/// Of a file, as its length says, holes too; or the room that is set aside for it, where that is much more.
fn length(file: &Metadata) -> u64 {
    let room = file.blocks().saturating_mul(512);
    if room > file.len().saturating_add(ROUNDING) { room } else { file.len() }
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
            length(&file)
        };
        bytes += own.max(512);
    }
    Ok(bytes)
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

        fn open(&self, deployment: &Deployment, branch: &str) -> io::Result<Opened> {
            self.caches.open(deployment, (&commit(branch), "."), &CancellationToken::new(), || {})
        }

        /// One build, which finds `expected` where it looks and leaves `next` there.
        fn build(&self, deployment: &Deployment, branch: &str, expected: Option<&str>, next: &str) {
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

    /// Bytes on the disk of all that is kept.
    fn kept(stage: &Stage) -> u64 {
        size(&stage.caches.dir).unwrap()
    }

    #[test]
    fn what_a_failed_build_left_is_bounded_as_well() {
        let stage = Stage::set(50_000, 100_000);
        let site = deployment(Target::Production);
        let branches = ["one", "two", "three", "four"];
        let preview = Deployment { target: Target::Preview, ..site };
        for branch in branches {
            stage.build(&preview, branch, None, "x");
            let Ok(Opened::Warm(cache)) = stage.open(&preview, branch) else { panic!() };
            std::fs::write(cache.folder().join("large"), vec![1; 300_000]).unwrap();
            // It fails.
            drop(cache);
        }
        assert!(kept(&stage) < 20_000, "{}", kept(&stage));
        for branch in branches {
            let Ok(Opened::Cold(cache)) = stage.open(&preview, branch) else { panic!() };
            std::fs::write(cache.folder().join("fits"), vec![1; 40_000]).unwrap();
            drop(cache);
        }
        assert!(kept(&stage) < 110_000, "{}", kept(&stage));
        // What a worker that died had open is measured by the next that makes room.
        let Ok(Opened::Cold(mut cache)) = stage.open(&preview, "five") else { panic!() };
        std::fs::write(cache.folder().join("large"), vec![1; 300_000]).unwrap();
        cache.held = None;
        drop(cache);
        stage.build(&preview, "six", None, "x");
        assert!(kept(&stage) < 110_000, "{}", kept(&stage));
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
        let Ok(Opened::Cold(cache)) = stage.open(&site, "main") else { panic!() };
        Caches::keep(cache, &Inside::open(&source).unwrap()).unwrap();
        assert!(outside.join("cache").is_dir());
    }
}
