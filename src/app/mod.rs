//! Use cases that touch two ports or more: sign in, submit, take, publish, roll back, sweep, log.
//!
//! Nothing here knows HTTP, a table or a technology; roles call it, adapters serve it. Start with
//! [`submit`], then [`lease`], then [`publish`]: the way of a deployment.

pub mod accounts;
pub mod administration;
pub mod deadline;
pub mod lease;
pub mod logs;
pub mod manifests;
pub mod projects;
pub mod publish;
pub mod signing;
pub mod submit;
pub mod sweep;

use crate::app::accounts::Accounts;
use crate::domain::host::{Names, SiteUrls};
use crate::domain::sealing::SecretKeys;
use crate::ports::blobs::Blobs;
use crate::ports::cache::Cache;
use crate::ports::clock::Clock;
use crate::ports::database::Database;
use crate::ports::live_logs::LiveLogs;
use crate::ports::notices::Notices;
use crate::ports::queue::Queue;
use crate::ports::traces::Tracer;
use std::sync::Arc;
use std::time::Duration;

/// The ports that api and worker share, and the few figures that the use cases go by. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub database: Arc<dyn Database>,
    pub queue: Arc<dyn Queue>,
    pub cache: Arc<dyn Cache>,
    pub live_logs: Arc<dyn LiveLogs>,
    pub notices: Arc<dyn Notices>,
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub tracer: Tracer,
    pub accounts: Arc<Accounts>,
    pub secrets: Arc<SecretKeys>,
    pub policy: Policy,
}

#[derive(Clone, Debug)]
pub struct Policy {
    pub names: Names,
    pub site_urls: SiteUrls,
    pub lease: Duration,
    /// How many deployments of one account are held at a time, and how many may wait.
    pub account_builds: u32,
    pub account_queued: u32,
    /// Whether a newer deployment of a branch also stops one that is built.
    pub supersede_running: bool,
    /// How many silent workers a deployment survives, counting the last.
    pub max_attempts: u32,
    /// How long a host's pointer may be held by a cache: what a lost notice costs at most.
    pub pointer_lifetime: Duration,
    /// How long a host remembers what it showed before.
    pub skew_protection: Duration,
    /// A deployment's log ends here, in bytes.
    pub log_bytes: u64,
    pub access_token_lifetime: Duration,
    pub refresh_token_lifetime: Duration,
}
