//! The keys of workers and of their builds.

use super::reader::{A_DAY_S, A_TEBIBYTE_MB, Reader};
use crate::domain::address::{AllowedHost, npm_registry};
use crate::domain::secret::Secret;
use crate::domain::settings::Variables;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Worker {
    pub concurrency: u16,
    pub build_timeout_s: u64,
    pub lease_s: u64,
    pub max_attempts: u32,
    /// Whether a newer deployment of a branch also stops one that is built.
    pub supersede_running: bool,
    pub dir: PathBuf,
    /// An http or https URL, which may have a password; `None`: no tools are brought.
    pub registry: Option<Secret>,
    pub tools_dir: PathBuf,
    /// Of tools that are not in use, in MiB.
    pub tools_mb: u64,
    /// Of builds' caches: where, and how much a project's, and all on this worker, may have, in MiB.
    pub cache_dir: PathBuf,
    pub cache_mb: u64,
    pub caches_mb: u64,
    /// The operator's own, for every build.
    pub build_env: Variables,
    pub sandbox: Sandbox,
    /// What builds may read beside the system.
    pub sandbox_read: Vec<PathBuf>,
    /// Whom builds run as where the worker is root.
    pub build_uid: u32,
    /// A control group that belongs to this worker. `None`: builds get none.
    pub cgroup: Option<PathBuf>,
    /// What builds may contact although its address is not public.
    pub egress_allow: Vec<AllowedHost>,
}

/// How builds are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    Auto,
    Bubblewrap,
    Landlock,
    UnsafeNone,
}

pub(super) fn read(from: &mut Reader<'_>, data_dir: &Path) -> Worker {
    let (dir, tools) = (from.folder("worker.dir"), from.folder("worker.tools_dir"));
    let caches = from.folder("worker.cache_dir");
    let cgroup = from.folder("worker.cgroup");
    let sandboxes = [
        ("auto", Sandbox::Auto),
        ("bubblewrap", Sandbox::Bubblewrap),
        ("landlock", Sandbox::Landlock),
        ("unsafe-none", Sandbox::UnsafeNone),
    ];
    let sandbox = from.word("worker.sandbox", &sandboxes);
    Worker {
        concurrency: from.number("worker.concurrency", 1..=1_000),
        build_timeout_s: from.number("worker.build_timeout_s", 1..=A_DAY_S),
        lease_s: from.number("worker.lease_s", 2..=3_600),
        max_attempts: from.number("worker.max_attempts", 1..=100),
        supersede_running: from.flag("worker.supersede_running"),
        dir: dir.unwrap_or_else(|| data_dir.join("work")),
        registry: registry(from),
        tools_dir: tools.unwrap_or_else(|| data_dir.join("tools")),
        tools_mb: from.number("worker.tools_mb", 0..=A_TEBIBYTE_MB),
        cache_dir: caches.unwrap_or_else(|| data_dir.join("caches")),
        cache_mb: from.number("worker.cache_mb", 0..=A_TEBIBYTE_MB),
        caches_mb: from.number("worker.caches_mb", 0..=A_TEBIBYTE_MB),
        build_env: build_env(from),
        sandbox: sandbox.unwrap_or(Sandbox::Auto),
        sandbox_read: sandbox_read(from),
        build_uid: from.number("worker.build_uid", 1..=i64::from(u32::MAX - 1 - 1_000)),
        cgroup,
        egress_allow: from.allowed_hosts("worker.egress_allow"),
    }
}

/// Paths that are shown to builds as they are here.
fn sandbox_read(from: &mut Reader<'_>) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = from.list("worker.sandbox_read").into_iter().map(PathBuf::from).collect();
    if let Some(wrong) = paths.iter().find(|path| !path.is_absolute() || path.parent().is_none()) {
        let wrong = wrong.display();
        from.problem(
            "worker.sandbox_read",
            format!("{wrong} must be an absolute path, such as /opt/node, and not /"),
        );
    }
    paths
}

fn build_env(from: &mut Reader<'_>) -> Variables {
    let items = from.list("worker.build_env");
    let pairs: Option<_> =
        items.iter().map(|item| item.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    let variables = pairs.map(Variables::parse);
    match variables {
        Some(Ok(variables)) => variables,
        Some(Err(invalid)) => {
            from.problem("worker.build_env", invalid.to_string());
            Variables::default()
        }
        None => {
            from.problem("worker.build_env", "must be a list of NAME=value");
            Variables::default()
        }
    }
}

fn registry(from: &mut Reader<'_>) -> Option<Secret> {
    let text = from.optional_secret("worker.registry")?;
    if text.expose() == "npm" {
        return Some(Secret::new(format!("https://{}/", npm_registry())));
    }
    let parsed = url::Url::parse(text.expose()).ok().filter(url::Url::has_host);
    if !parsed.is_some_and(|url| ["http", "https"].contains(&url.scheme())) {
        from.problem("worker.registry", "must be npm, an http or https URL, or empty");
    }
    Some(text)
}
