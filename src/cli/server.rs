//! The commands that run for long, and the one that prepares the database for them.

use super::ConfigArgs;
use super::config::load_or_explain;
use crate::adapters::clock::SystemClock;
use crate::config::Log;
use crate::config::layers::Outside;
use crate::demo::server::DemoServer;
use crate::ports::clock::Clock;
use crate::wiring::Started;
use crate::wiring::data_dir::OwnerSession;
use crate::{telemetry, wiring};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What blocking calls still get once every role has ended.
const LAST_CALLS: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where everything is kept; the platform's user data folder + gv when left out.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Also make a small Git repository of a sample site, deploy it and print its URL.
    #[arg(long)]
    pub demo: bool,
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Only say what there is to do; exit 1 when there is something.
    #[arg(long)]
    pub check: bool,
    /// After the database was restored from a copy: also make what it says of its hosts count over whatever
    /// was published since, in storage and at edges (docs/operations.md, "Restore").
    #[arg(long, conflicts_with = "check")]
    pub restored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Api,
    Worker,
    Edge,
}

pub fn up(args: &ConfigArgs, up: &UpArgs) -> anyhow::Result<ExitCode> {
    super::memory::share_arenas();
    let mut outside = Outside::of_process(args.config.clone());
    if let Some(dir) = &up.data_dir {
        let dir = dir.to_str().context("--data-dir must be UTF-8")?;
        outside.flags.push(("data_dir", dir.to_owned(), "--data-dir"));
    }
    let mut config = load_or_explain(&outside)?.config;
    let log = config.log.clone();
    run_until_signal(&log, async move |stop| {
        let demo = if up.demo { Some(DemoServer::start(SystemClock.now())?) } else { None };
        if let Some(demo) = &demo {
            config.source.allow.push(demo.address()?);
        }
        let ready = |started: &Started, owner: OwnerSession| {
            announce(started)?;
            if let Some(demo) = &demo {
                tokio::spawn(super::demo::deploy(owner, demo.repo_url()));
            }
            Ok(())
        };
        wiring::up(&config, ready, stop).await
    })
}

pub fn role(args: &ConfigArgs, role: Role) -> anyhow::Result<ExitCode> {
    let config = load_or_explain(&Outside::of_process(args.config.clone()))?.config;
    run_until_signal(&config.log, async |stop| match role {
        Role::Api => wiring::api(&config, announce, stop).await,
        Role::Worker => wiring::worker(&config, announce, stop).await,
        Role::Edge => wiring::edge(&config, announce, stop).await,
    })
}

pub fn migrate(args: &ConfigArgs, migrate: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let config = load_or_explain(&Outside::of_process(args.config.clone()))?.config;
    telemetry::start_logging(&config.log)?;
    runtime()?.block_on(async {
        if migrate.check {
            let pending = wiring::pending_migrations(&config).await?;
            report("to do", &pending, "the database is up to date")?;
            return Ok(if pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        report("ran", &wiring::migrate(&config).await?, "the database was up to date")?;
        if migrate.restored {
            let hosts = wiring::lift_hosts(&config).await?;
            writeln!(
                std::io::stdout(),
                "lifted: {hosts} hosts, which the sweepers of api and worker publish"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn report(verb: &str, names: &[String], nothing: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for name in names {
        writeln!(out, "{verb}: {name}")?;
    }
    if names.is_empty() {
        writeln!(out, "{nothing}")?;
    }
    Ok(())
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

/// Runs a role until it ends by itself or SIGTERM or SIGINT asks it to; a second signal ends the
/// process at once.
fn run_until_signal(
    log: &Log,
    role: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(log)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopping = stop.clone();
        tokio::spawn(async move {
            for hurry in [false, true] {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                if hurry {
                    tracing::warn!("second signal: ending at once");
                    std::process::exit(130);
                }
                tracing::info!("stopping");
                stopping.cancel();
            }
        });
        Box::pin(role(stop)).await?;
        Ok(ExitCode::SUCCESS)
    });
    // A thread that is stuck in a call to the system (a folder on a network) does not keep the
    // process from ending.
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

/// Says on standard output that the process can serve: a line of JSON for programs, words for people.
fn announce(started: &Started) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let url = |address: &Option<std::net::SocketAddr>| address.map(|address| format!("http://{address}"));
    if !out.is_terminal() {
        let mut line = json!({"event": "ready", "role": started.role});
        for (name, address) in [("api", &started.api), ("edge", &started.edge), ("ops", &started.ops)] {
            if let Some(url) = url(address) {
                line[name] = url.into();
            }
        }
        for (name, address) in [("api_tls", started.api_tls), ("edge_tls", started.edge_tls)] {
            if let Some(address) = address {
                line[name] = format!("https://{address}").into();
            }
        }
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    writeln!(out, "\n  gv {} is up ({})\n", env!("CARGO_PKG_VERSION"), started.role)?;
    for (name, address) in [("api", &started.api), ("sites", &started.edge), ("ops", &started.ops)] {
        if let Some(url) = url(address) {
            writeln!(out, "  {name:<6} {url}")?;
        }
    }
    for (name, address) in [("api", started.api_tls), ("sites", started.edge_tls)] {
        if let Some(address) = address {
            writeln!(out, "  {name:<6} https://{address}")?;
        }
    }
    if let Some(dir) = &started.data_dir {
        writeln!(out, "  data   {}", dir.display())?;
    }
    if started.role == "up" {
        writeln!(
            out,
            "\n  Deploy a site from a second terminal:\n\n    gv deploy https://github.com/team/site.git\n"
        )?;
    }
    Ok(out.flush()?)
}
