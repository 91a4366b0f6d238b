//! What builds are held by, and where their tools come from.

use crate::adapters::executor::cgroup::Groups;
use crate::adapters::executor::choice::{Means, Wanted, choose};
use crate::adapters::executor::process::{GuardProgram, Place};
use crate::adapters::tools::registry::RegistryTools;
use crate::config::{Config, Sandbox};
use crate::ports::executor::Executor;
use crate::ports::tools::Tools;
use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// Whether this process is root, and all these users are somebody to its kernel: the root of a user namespace
/// may be its only inhabitant.
fn may_become(first: u32, count: u16) -> bool {
    let (first, last) = (u64::from(first), u64::from(first) + u64::from(count.max(1)) - 1);
    let inhabited = |map: &str| {
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(from)), Some(Ok(_)), Some(Ok(count))) =
                (numbers.next(), numbers.next(), numbers.next())
            else {
                return false;
            };
            let inhabited = from..from.saturating_add(count);
            inhabited.contains(&first) && inhabited.contains(&last)
        })
    };
    rustix::process::geteuid().is_root()
        && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| inhabited(&map))
}

/// The hold that builds get, tried in a folder before anything is promised.
pub(super) async fn executor(config: &Config, dir: &Path) -> anyhow::Result<Arc<dyn Executor>> {
    let worker = &config.worker;
    // Else builds that run as the same user could trace it, where nothing but that keeps them.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the worker's memory is open to its own user's processes");
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let groups = worker.cgroup.as_deref().map(Groups::open).transpose().map_err(anyhow::Error::msg);
    let place = Place {
        guard: GuardProgram::this_binary(),
        records: dir.join("running"),
        readable: worker.sandbox_read.clone(),
        first_user: Some(worker.build_uid).filter(|first| may_become(*first, worker.concurrency)),
        seats: worker.concurrency,
        groups: groups.context("worker.cgroup")?,
    };
    let wanted = match worker.sandbox {
        Sandbox::Auto => Wanted::Auto,
        Sandbox::Bubblewrap => Wanted::Bubblewrap,
        Sandbox::Landlock => Wanted::Landlock,
        Sandbox::UnsafeNone => Wanted::Nothing,
    };
    let means = Means { place, dir, egress_allow: worker.egress_allow.clone() };
    let executor = choose(wanted, &means).await.map_err(anyhow::Error::msg).context("worker.sandbox")?;
    if executor.is_sandbox() {
        tracing::info!(sandbox = executor.mode(), "builds are held");
    } else {
        tracing::warn!(
            "BUILDS ARE NOT HELD (worker.sandbox = \"unsafe-none\"): whoever may deploy can read and do whatever \
             this worker can, its secrets and its network included"
        );
    }
    metrics::gauge!("gv_sandbox", "mode" => executor.mode()).set(1.0);
    Ok(Arc::new(executor))
}

/// What brings Node.js and package managers; `None`: nothing does.
pub(super) fn tools(config: &Config) -> anyhow::Result<Option<Arc<dyn Tools>>> {
    let worker = &config.worker;
    let Some(registry) = &worker.registry else { return Ok(None) };
    let registry = Url::parse(registry.expose()).context("worker.registry")?;
    let dir = std::path::absolute(&worker.tools_dir).context("worker.tools_dir")?;
    let tools =
        RegistryTools::new(registry, dir, worker.tools_mb << 20).context("preparing to bring tools")?;
    Ok(Some(Arc::new(tools)))
}
