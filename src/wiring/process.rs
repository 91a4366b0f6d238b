//! The roles of one process: what each is given, and how they end, together.
//!
//! Start with [`Process::new`], then [`Process::run`].

use super::backends::Shared;
use super::builds::tools;
use super::listeners::bind;
use super::traces::ProcessTraces;
use super::{disk, half_of_pointer_ttl};
use crate::adapters::clock::SystemClock;
use crate::adapters::source::git::GitSource;
use crate::api::ApiSettings;
use crate::app::App;
use crate::config::Config;
use crate::config::edge::AccessLog;
use crate::edge::access_log::Destination;
use crate::edge::{DiskSettings, EdgePorts, EdgeSettings};
use crate::ops::Checks;
use crate::ports::executor::Executor;
use crate::tls::certificates::Certificates;
use crate::tls::listeners::Listeners;
use crate::worker::{Machine, Worker, WorkerSettings};
use crate::{api as api_role, edge as edge_role, ops, telemetry};
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Longer than any role takes to end by itself.
const SHUTDOWN: Duration = Duration::from_secs(45);

/// The roles of one process, and how they end: together.
pub(super) struct Process {
    role: &'static str,
    ops: Option<TcpListener>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    pub(super) traces: ProcessTraces,
    /// The process has been asked to end: it is not ready any more.
    asked: CancellationToken,
    /// Asks the roles to end.
    stop: CancellationToken,
    /// Ends the operator's listener, after the roles.
    end: CancellationToken,
    roles: JoinSet<(&'static str, anyhow::Result<()>)>,
    operators: JoinSet<anyhow::Result<()>>,
    _disk: AbortOnDropHandle<()>,
}

impl Process {
    pub(super) fn new(
        role: &'static str,
        config: &Config,
        asked: &CancellationToken,
    ) -> anyhow::Result<Self> {
        // Nobody calls a worker, and a `gv up` is alone: there is nobody to send the callers to.
        let withdrawal = if ["api", "edge"].contains(&role) { config.ops.withdraw_s } else { 0 };
        Ok(Self {
            role,
            ops: config.ops.listen.map(|address| bind("ops.listen", address)).transpose()?,
            metrics: telemetry::start_metrics()?,
            traces: ProcessTraces::start(config, role)?,
            asked: asked.clone(),
            stop: after_withdrawal(asked, Duration::from_secs(withdrawal)),
            end: CancellationToken::new(),
            roles: JoinSet::new(),
            operators: JoinSet::new(),
            _disk: AbortOnDropHandle::new(tokio::spawn(disk::watch(disk::folders(config)))),
        })
    }

    fn add(&mut self, name: &'static str, role: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.roles.spawn(async move { (name, role.await) });
    }

    /// `renews`: nobody else in this process renews certificates.
    pub(super) fn add_api(
        &mut self,
        config: &Config,
        app: &Arc<App>,
        listeners: Listeners,
        certificates: Option<Arc<Certificates>>,
        renews: bool,
    ) {
        let settings = ApiSettings { renews_certificates: renews, ..ApiSettings::from(config) };
        self.add("api", api_role::serve(app.clone(), settings, listeners, certificates, self.stop.clone()));
    }

    pub(super) fn add_worker(
        &mut self,
        config: &Config,
        app: &Arc<App>,
        executor: &Arc<dyn Executor>,
        name: String,
    ) -> anyhow::Result<()> {
        let source = GitSource::new(config.source.allow.clone()).context("preparing to clone")?;
        let settings = WorkerSettings::new(name, &config.worker, &config.limits, &config.source);
        let worker = Worker {
            app: app.clone(),
            source: Arc::new(source),
            executor: executor.clone(),
            tools: tools(config)?,
            machine: Machine::new(settings.path.clone()),
            settings,
        };
        self.add("worker", worker.run(self.stop.clone()));
        Ok(())
    }

    /// `folder` is the process's own, where it has one.
    pub(super) fn add_edge(
        &mut self,
        config: &Config,
        shared: &Shared,
        certificates: Option<Arc<Certificates>>,
        listeners: Listeners,
        folder: Option<&Path>,
    ) {
        let ports = EdgePorts {
            cache: shared.cache.clone(),
            notices: shared.notices.clone(),
            blobs: shared.blobs.clone(),
            clock: Arc::new(SystemClock),
            tracer: self.traces.tracer.clone(),
            certificates,
        };
        let settings = edge_settings(config, folder);
        self.add("edge", edge_role::serve(ports, settings, listeners, self.stop.clone()));
    }

    pub(super) fn add_sweeper(&mut self, app: &Arc<App>) {
        let (app, stop) = (app.clone(), self.stop.clone());
        self.add("sweeper", async move {
            app.sweep(stop).await;
            Ok(())
        });
    }

    pub(super) fn add_ops(&mut self, checks: Checks) -> anyhow::Result<Option<SocketAddr>> {
        let Some(listener) = self.ops.take() else { return Ok(None) };
        let address = listener.local_addr()?;
        let (asked, end) = (self.asked.clone(), self.end.clone());
        self.operators.spawn(ops::serve(self.role, checks, self.metrics.clone(), listener, asked, end));
        Ok(Some(address))
    }

    /// Until `stop`, or until a role falls over, which ends the others too.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(joined) = self.roles.join_next().await {
            let ended = match joined {
                Ok((name, Err(error))) => Err(error.context(format!("the {name} failed"))),
                Ok((name, Ok(()))) if !self.stop.is_cancelled() => {
                    Err(anyhow::anyhow!("the {name} ended by itself"))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error).context("a role panicked"),
            };
            if ended.is_err() && outcome.is_ok() {
                outcome = ended;
            }
            if outcome.is_err() && !self.stop.is_cancelled() {
                self.asked.cancel();
                self.stop.cancel();
            }
            if self.stop.is_cancelled() {
                break;
            }
        }
        let rest = async {
            while let Some(joined) = self.roles.join_next().await {
                if let Ok((name, Err(error))) = joined {
                    tracing::error!(error = format!("{error:#}"), "the {name} did not end well");
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN, rest).await.is_err() {
            tracing::warn!("ending although not every role has: {} s are over", SHUTDOWN.as_secs());
        }
        self.traces.end().await;
        self.end.cancel();
        while self.operators.join_next().await.is_some() {}
        outcome
    }
}

/// Cancelled so long after `asked`: load balancers see by `/readyz` that the process is to end, and send it
/// nothing any more, while its listeners still answer what is on its way.
fn after_withdrawal(asked: &CancellationToken, withdrawal: Duration) -> CancellationToken {
    if withdrawal.is_zero() {
        return asked.clone();
    }
    let (asked, stop) = (asked.clone(), CancellationToken::new());
    let stopping = stop.clone();
    tokio::spawn(async move {
        asked.cancelled().await;
        tokio::time::sleep(withdrawal).await;
        stopping.cancel();
    });
    stop
}

fn edge_settings(config: &Config, folder: Option<&Path>) -> EdgeSettings {
    let edge = &config.edge;
    let disk = edge.disk.clone().map(|disk| DiskSettings { dir: disk.dir, bytes: disk.mb << 20 });
    EdgeSettings {
        memory_bytes: edge.memory_mb << 20,
        pointer_ttl: half_of_pointer_ttl(config),
        max_cached_bytes: edge.redis_max_kb << 10,
        pages_dir: disk.as_ref().map(|disk| disk.dir.clone()).or(folder.map(Path::to_owned)),
        disk,
        skew_protection: edge.skew_protection,
        access_log: match edge.access_log.clone() {
            AccessLog::Off => None,
            AccessLog::Stdout => Some(Destination::Stdout),
            AccessLog::File(path) => Some(Destination::File(path)),
        },
        metrics_sites: edge.metrics_sites,
        hsts_max_age_s: edge.hsts_max_age_s,
    }
}
