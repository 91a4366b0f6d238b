//! Which adapter stands behind each port, by the four URLs of the configuration.

use crate::adapters::blobs::filesystem::FilesystemBlobs;
use crate::adapters::blobs::metered::Metered;
use crate::adapters::blobs::s3::S3Blobs;
use crate::adapters::cache::local::LocalCache;
use crate::adapters::cache::local_logs::LocalLogs;
use crate::adapters::cache::local_notices::LocalNotices;
use crate::adapters::cache::redis::Redis;
use crate::adapters::database::Database as SqlDatabase;
use crate::adapters::queue::amqp::AmqpQueue;
use crate::adapters::queue::local::LocalQueue;
use crate::config::Config;
use crate::domain::sealing::SecretKeys;
use crate::ports::blobs::Blobs;
use crate::ports::cache::Cache;
use crate::ports::database::Database;
use crate::ports::live_logs::LiveLogs;
use crate::ports::notices::Notices;
use crate::ports::queue::Queue;
use anyhow::{Context, bail};
use std::path::Path;
use std::sync::Arc;

/// Short lines weigh more in memory than they do in a log's cap.
const LIVE_LOG_SHARE: u64 = 6;

/// What the api and the worker stand on.
#[derive(Clone)]
pub struct Backends {
    pub database: Arc<dyn Database>,
    pub queue: Arc<dyn Queue>,
    pub shared: Shared,
}

/// What all roles stand on, the edge on nothing else.
#[derive(Clone)]
pub struct Shared {
    pub cache: Arc<dyn Cache>,
    pub live_logs: Arc<dyn LiveLogs>,
    pub notices: Arc<dyn Notices>,
    pub blobs: Arc<dyn Blobs>,
}

impl Backends {
    pub fn connect(config: &Config, keys: &Arc<SecretKeys>) -> anyhow::Result<Self> {
        Ok(Self {
            database: database(config, keys)?,
            queue: queue(config)?,
            shared: Shared::connect(config)?,
        })
    }

    /// Refuses what would leave a process alone with itself: another one could not hear it.
    pub fn expect_shareable(&self, role: &str) -> anyhow::Result<()> {
        expect_shared(role, "queue.url", self.queue.is_shared())?;
        self.shared.expect_shareable(role)
    }
}

impl Shared {
    /// Waits for no server: each is connected to when it is there.
    pub fn connect(config: &Config) -> anyhow::Result<Self> {
        let blobs = blobs(config)?;
        let (cache, live_logs, notices) = cache(config)?;
        Ok(Self { cache, live_logs, notices, blobs })
    }

    pub fn expect_shareable(&self, role: &str) -> anyhow::Result<()> {
        expect_shared(role, "cache.url", self.cache.is_shared())?;
        expect_shared(role, "blobs.url", self.blobs.is_shared())
    }
}

fn expect_shared(role: &str, key: &str, shared: bool) -> anyhow::Result<()> {
    if shared {
        return Ok(());
    }
    bail!(
        "{key} is memory:, which no other process can see: gv {role} would be alone with itself. \
         Run gv up, which holds all roles in one process"
    )
}

pub fn database(config: &Config, keys: &Arc<SecretKeys>) -> anyhow::Result<Arc<dyn Database>> {
    let url = config.database.url.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let folder = Path::new(path).parent().context("database.url: names no file")?;
        super::data_dir::make_private(folder)
            .with_context(|| format!("database.url: cannot make {}", folder.display()))?;
    }
    Ok(Arc::new(SqlDatabase::connect(url).context("database.url")?.with_keys(keys.clone())))
}

pub fn queue(config: &Config) -> anyhow::Result<Arc<dyn Queue>> {
    let url = config.queue.url.expose();
    if url.starts_with("memory:") {
        return Ok(Arc::new(LocalQueue::new()));
    }
    Ok(Arc::new(AmqpQueue::connect(url).context("queue.url")?))
}

/// The ports that one cache serves.
pub type Cached = (Arc<dyn Cache>, Arc<dyn LiveLogs>, Arc<dyn Notices>);

pub fn cache(config: &Config) -> anyhow::Result<Cached> {
    let url = config.cache.url.expose();
    let max_log_bytes = LIVE_LOG_SHARE * (config.limits.log_mb << 20);
    if url.starts_with("memory:") {
        return Ok((
            Arc::new(LocalCache::new(config.cache.memory_mb << 20)),
            Arc::new(LocalLogs::new(max_log_bytes as usize)),
            Arc::new(LocalNotices::new()),
        ));
    }
    let redis = Redis::connect(url).context("cache.url")?;
    Ok((Arc::new(redis.cache()), Arc::new(redis.live_logs(max_log_bytes)), Arc::new(redis.notices())))
}

pub fn blobs(config: &Config) -> anyhow::Result<Arc<dyn Blobs>> {
    let settings = &config.blobs;
    let opened: Arc<dyn Blobs> = match settings.url.strip_prefix("file:") {
        Some(folder) => {
            let folder = folder.strip_prefix("//").unwrap_or(folder);
            Arc::new(FilesystemBlobs::open(Path::new(folder)).context("blobs.url")?)
        }
        None => {
            let (access_key, secret_key) = (settings.access_key.as_ref(), settings.secret_key.as_ref());
            Arc::new(S3Blobs::connect(&settings.url, access_key, secret_key).context("blobs.url")?)
        }
    };
    Ok(Arc::new(Metered::new(opened)))
}
