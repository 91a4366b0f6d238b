//! The one room that names everything: configuration in, adapters chosen, roles out.
//!
//! Start with [`up`], which holds all roles in one process; [`api`], [`worker`] and [`edge`] are
//! its parts, each alone.

mod backends;
mod builds;
mod certificates;
mod checks;
pub mod data_dir;
mod disk;
pub mod doctor;
mod keys;
mod listeners;
mod process;
mod restore;
mod traces;

pub use restore::lift_hosts;

use crate::adapters::clock::SystemClock;
use crate::app::accounts::Accounts;
use crate::app::administration::Administration;
use crate::app::signing::SigningKeys;
use crate::app::{App, Policy};
use crate::config::Config;
use crate::domain::host::{Names, Scheme, SiteUrls};
use crate::domain::sealing::SecretKeys;
use crate::domain::secret::Secret;
use crate::ops::Checks;
use crate::ports::database::Database;
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::ports::traces::Tracer;
use crate::ports::variables::Resealed;
use anyhow::Context;
use backends::{Backends, Shared};
use builds::executor;
use certificates::Shown;
use data_dir::{DataDir, OwnerSession};
use listeners::{api_listeners, edge_listeners};
use process::Process;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a process that can serve says about itself.
#[derive(Clone, Debug)]
pub struct Started {
    pub role: &'static str,
    pub api: Option<SocketAddr>,
    pub api_tls: Option<SocketAddr>,
    pub edge: Option<SocketAddr>,
    pub edge_tls: Option<SocketAddr>,
    pub ops: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
}

impl Started {
    fn of(role: &'static str) -> Self {
        Self { role, api: None, api_tls: None, edge: None, edge_tls: None, ops: None, data_dir: None }
    }
}

/// api, worker and edge in one process. `ready` is told once all of them can serve.
pub async fn up(
    config: &Config,
    ready: impl FnOnce(&Started, OwnerSession) -> anyhow::Result<()>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let data = DataDir::open(&config.data_dir)?;
    let Some(secrets) = keys::of_up(config, &data, &stop).await? else { return Ok(()) };
    let backends = Backends::connect(config, &secrets)?;
    let (api, edge) = (api_listeners(config)?, edge_listeners(config)?);
    let (api_address, api_tls) = (api.plain.local_addr()?, api.tls_address()?);
    let (edge_address, edge_tls) = (edge.plain.local_addr()?, edge.tls_address()?);
    let shown = Shown { edge: edge_tls.is_some(), api: api_tls.is_some() };
    let certificates = certificates::certificates(config, &backends.shared.blobs, &secrets, shown)?;
    let mut process = Process::new("up", config, &stop)?;
    let executor = executor(config, &config.worker.dir).await?;
    let mut checks = backend_checks(&backends);
    checks.push(checks::sandbox(&executor));
    let ops = process.add_ops(checks)?;
    // Sites are served while the database is still waited for.
    process.add_edge(config, &backends.shared, certificates.clone(), edge, Some(&config.data_dir));
    let Some(()) =
        when_reachable("migrating the database", &stop, || migrate_now(&*backends.database)).await?
    else {
        return process.run().await;
    };
    let keys = match config.auth.signing_keys.as_slice() {
        [] => vec![data.signing_key()?],
        keys => keys.to_vec(),
    };
    let app = app(config, &backends, (&keys, secrets), edge_address, &process.traces.tracer)?;
    let held = data.owner_session().map(|session| Secret::new(session.token));
    let owning = || app.owner(held.clone());
    let Some((_, token)) = when_reachable("making the owner's token", &stop, owning).await? else {
        return process.run().await;
    };
    let owner = OwnerSession { api: format!("http://{api_address}"), token: token.expose().to_owned() };
    data.keep_owner_session(&owner)?;

    process.add_api(config, &app, api, certificates, edge_tls.is_none());
    process.add_worker(config, &app, &executor, data.worker_name()?)?;
    process.add_sweeper(&app);
    let started = Started {
        role: "up",
        api: Some(api_address),
        api_tls,
        edge: Some(edge_address),
        edge_tls,
        ops,
        data_dir: Some(config.data_dir.clone()),
    };
    ready(&started, owner)?;
    process.run().await
}

/// The api role alone.
pub async fn api(
    config: &Config,
    ready: impl FnOnce(&Started) -> anyhow::Result<()>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let secrets = parsed(&config.secrets.keys)?;
    let backends = Backends::connect(config, &secrets)?;
    backends.expect_shareable("api")?;
    expect_secrets(config, "api")?;
    let keys = &config.auth.signing_keys;
    anyhow::ensure!(
        !keys.is_empty(),
        "auth.signing_keys: is empty; make a key with gv config keygen and give it to every gv api"
    );
    let listeners = api_listeners(config)?;
    let (address, api_tls) = (listeners.plain.local_addr()?, listeners.tls_address()?);
    let mut process = Process::new("api", config, &stop)?;
    let certificates = match api_tls {
        Some(_) => {
            let shown = Shown { edge: false, api: true };
            certificates::certificates(config, &backends.shared.blobs, &secrets, shown)?
        }
        None => None,
    };
    let app = app(config, &backends, (keys, secrets), config.edge.listen, &process.traces.tracer)?;
    process.add_api(config, &app, listeners, certificates, true);
    process.add_sweeper(&app);
    let ops = process.add_ops(backend_checks(&backends))?;
    ready(&Started { api: Some(address), api_tls, ops, ..Started::of("api") })?;
    process.run().await
}

/// The worker role alone.
pub async fn worker(
    config: &Config,
    ready: impl FnOnce(&Started) -> anyhow::Result<()>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let data = DataDir::open(&config.data_dir)?;
    let secrets = parsed(&config.secrets.keys)?;
    let backends = Backends::connect(config, &secrets)?;
    backends.expect_shareable("worker")?;
    expect_secrets(config, "worker")?;
    let mut process = Process::new("worker", config, &stop)?;
    // A worker signs nobody in: its keys are never used.
    let keys = [SigningKeys::generate()];
    let app = app(config, &backends, (&keys, secrets), config.edge.listen, &process.traces.tracer)?;
    let executor = executor(config, &config.worker.dir).await?;
    process.add_worker(config, &app, &executor, data.worker_name()?)?;
    process.add_sweeper(&app);
    let mut checks = backend_checks(&backends);
    checks.push(checks::sandbox(&executor));
    let ops = process.add_ops(checks)?;
    ready(&Started { ops, ..Started::of("worker") })?;
    process.run().await
}

/// The edge role alone.
pub async fn edge(
    config: &Config,
    ready: impl FnOnce(&Started) -> anyhow::Result<()>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (shared, secrets) = (Shared::connect(config)?, parsed(&config.secrets.keys)?);
    shared.expect_shareable("edge")?;
    let listeners = edge_listeners(config)?;
    let (address, edge_tls) = (listeners.plain.local_addr()?, listeners.tls_address()?);
    let mut process = Process::new("edge", config, &stop)?;
    let shown = Shown { edge: edge_tls.is_some(), api: false };
    let certificates = certificates::certificates(config, &shared.blobs, &secrets, shown)?;
    process.add_edge(config, &shared, certificates, listeners, None);
    let ops = process.add_ops(vec![checks::cache(&shared.cache), checks::blobs(&shared.blobs)])?;
    ready(&Started { edge: Some(address), edge_tls, ops, ..Started::of("edge") })?;
    process.run().await
}

/// Runs the migrations that are missing, and returns their names. Waits for a database that cannot
/// be reached yet.
pub async fn migrate(config: &Config) -> anyhow::Result<Vec<String>> {
    let database = backends::database(config, &Arc::default())?;
    let ran =
        when_reachable("migrating the database", &CancellationToken::new(), || database.migrate()).await?;
    Ok(ran.unwrap_or_default())
}

pub async fn pending_migrations(config: &Config) -> anyhow::Result<Vec<String>> {
    backends::database(config, &Arc::default())?.pending().await.context("reading the database's schema")
}

/// An operator's hand on the accounts of a database that is up to date.
pub async fn administration(config: &Config) -> anyhow::Result<Administration> {
    let database = backends::database(config, &Arc::default())?;
    let pending = database.pending().await.context("reading the database's schema")?;
    anyhow::ensure!(pending.is_empty(), "the database has {} migrations to run: gv migrate", pending.len());
    // Nobody is signed in by it: its keys are never used.
    let accounts = Accounts::new(SigningKeys::parse(&[SigningKeys::generate()])?);
    Ok(Administration { database, clock: Arc::new(SystemClock), accounts })
}

/// What every process that stores or reads variables must have: one that had none, or another one's, would
/// lock the others out.
fn expect_secrets(config: &Config, role: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !config.secrets.keys.is_empty(),
        "secrets.keys: is empty; make a key with gv secrets keygen and give it to every gv api and gv worker \
         (this is gv {role})"
    );
    Ok(())
}

fn parsed(keys: &[Secret]) -> anyhow::Result<Arc<SecretKeys>> {
    Ok(Arc::new(SecretKeys::parse(keys).context("secrets.keys")?))
}

/// Seals by the first key what others sealed, batch by batch, until nothing is left. `note` is told after each.
/// Cut off, it goes on where it was.
pub async fn rotate_secrets(
    config: &Config,
    note: impl Fn(Resealed) -> anyhow::Result<()>,
) -> anyhow::Result<Resealed> {
    const BATCH: u32 = 200;
    let keys = match config.secrets.keys.as_slice() {
        // A `gv up` whose key lies in its data folder, which may be running.
        [] => data_dir::kept_secret_key(&config.data_dir)?.into_iter().collect::<Vec<_>>(),
        keys => keys.to_vec(),
    };
    anyhow::ensure!(!keys.is_empty(), "secrets.keys: is empty: there is nothing to seal by");
    let database = backends::database(config, &parsed(&keys)?)?;
    let mut all = Resealed::default();
    loop {
        let some = database.reseal(BATCH).await.context("sealing anew")?;
        if some.total() == 0 {
            return Ok(all);
        }
        all.variables += some.variables;
        all.deployments += some.deployments;
        note(all)?;
    }
}

fn app(
    config: &Config,
    backends: &Backends,
    (keys, secrets): (&[Secret], Arc<SecretKeys>),
    edge: SocketAddr,
    tracer: &Tracer,
) -> anyhow::Result<Arc<App>> {
    let shared = backends.shared.clone();
    Ok(Arc::new(App {
        database: backends.database.clone(),
        queue: backends.queue.clone(),
        cache: shared.cache,
        live_logs: shared.live_logs,
        notices: shared.notices,
        blobs: shared.blobs,
        clock: Arc::new(SystemClock),
        tracer: tracer.clone(),
        accounts: Arc::new(Accounts::new(SigningKeys::parse(keys).context("auth.signing_keys")?)),
        secrets,
        policy: Policy {
            names: Names { domain: config.domain.clone() },
            site_urls: config.edge.public.clone().unwrap_or_else(|| site_urls(config, edge)),
            lease: Duration::from_secs(config.worker.lease_s),
            account_builds: config.limits.account_builds,
            account_queued: config.limits.account_queued,
            supersede_running: config.worker.supersede_running,
            max_attempts: config.worker.max_attempts,
            pointer_lifetime: half_of_pointer_ttl(config),
            skew_protection: config.edge.skew_protection,
            log_bytes: config.limits.log_mb << 20,
            access_token_lifetime: Duration::from_secs(config.auth.access_token_s),
            refresh_token_lifetime: Duration::from_secs(config.auth.refresh_token_days * 86_400),
        },
    }))
}

/// On a laptop browsers come straight to the edge; a real domain has TLS before it.
fn site_urls(config: &Config, edge: SocketAddr) -> SiteUrls {
    if config.is_local() {
        SiteUrls { scheme: Scheme::Http, port: Some(edge.port()) }
    } else {
        SiteUrls { scheme: Scheme::Https, port: None }
    }
}

fn backend_checks(backends: &Backends) -> Checks {
    vec![
        checks::database(&backends.database),
        checks::queue(&backends.queue),
        checks::cache(&backends.shared.cache),
        checks::blobs(&backends.shared.blobs),
    ]
}

/// A cache may hold a pointer for one half, and an edge that read it there at the end for another:
/// together they are what a lost notice costs.
fn half_of_pointer_ttl(config: &Config) -> Duration {
    Duration::from_secs(config.edge.pointer_ttl_s) / 2
}

async fn migrate_now(database: &dyn Database) -> Result<(), StoreError> {
    let ran = database.migrate().await?;
    if !ran.is_empty() {
        tracing::info!(migrations = ran.len(), "the database was brought up to date");
    }
    Ok(())
}

/// Calls again until the database is there. `None`: `stop` came first.
async fn when_reachable<T, F>(
    doing: &'static str,
    stop: &CancellationToken,
    mut call: impl FnMut() -> F,
) -> anyhow::Result<Option<T>>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut told = false;
    loop {
        match call().await {
            Err(error) if error.kind == StoreErrorKind::Unavailable => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, doing, "waiting for the database");
                }
            }
            done => return done.map(Some).context(doing),
        }
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
            return Ok(None);
        }
    }
}
