//! The edge: shows sites to visitors. It reads the cache and object storage, and knows neither
//! database nor queue, so that every site is served while those are down.
//!
//! A request goes one way: the [`front`] reads it, [`site_host`] names the site, [`pointers`] the
//! deployment that it shows. From there memory has most answers [`ready`]; for the others
//! [`manifests`] say what the deployment has, [`resolve`](crate::domain::routing::resolve) which file
//! or rule answers, [`files`] the bytes, [`rules`] what becomes of the [`field_list`]. [`layers`] and
//! [`disk`] lie below their memories. Connections by TLS begin with a handshake of [`tls`](crate::tls).
//! Start with [`pipeline`], then [`serve`].

pub mod access_log;
mod disk;
mod field_list;
mod files;
mod fingerprint;
mod first_visit;
mod front;
mod held;
mod http2;
mod https;
mod layers;
mod manifests;
mod moment;
mod pages;
mod pipeline;
mod pointers;
mod propagation;
mod ready;
mod reply;
mod request;
mod rules;
mod server;
mod site;
mod site_counters;
mod site_host;
mod skew;
mod tally;
mod target;
mod unusual;

pub use server::serve;

use crate::domain::host::Hostname;
use crate::ports::blobs::Blobs;
use crate::ports::cache::Cache;
use crate::ports::clock::Clock;
use crate::ports::notices::Notices;
use crate::ports::traces::Tracer;
use crate::tls::certificates::Certificates;
use crate::tls::{KnownSites, Unsaid};
use access_log::Destination;
use async_trait::async_trait;
use disk::Disk;
use files::{Files, Room};
use held::PageRoom;
use layers::Layers;
use manifests::Manifests;
use metrics::{Unit, describe_counter};
use pointers::Pointers;
use propagation::Propagation;
use ready::ReadyAnswers;
use site_counters::Sites;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

#[derive(Clone)]
pub struct EdgePorts {
    pub cache: Arc<dyn Cache>,
    pub notices: Arc<dyn Notices>,
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub tracer: Tracer,
    /// `None`: no certificates but those of files.
    pub certificates: Option<Arc<Certificates>>,
}

#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// For files, manifests and answers together, in bytes.
    pub memory_bytes: u64,
    /// How long a pointer is trusted that nothing new was heard about.
    pub pointer_ttl: Duration,
    /// Of one file in the shared cache, in bytes; 0: none is put there.
    pub max_cached_bytes: u64,
    pub disk: Option<DiskSettings>,
    /// A folder on a file system, for the files that memory holds as pages.
    pub pages_dir: Option<PathBuf>,
    /// How long fingerprinted files of a deployment outlive it under its host.
    pub skew_protection: Duration,
    /// `None`: no access log.
    pub access_log: Option<Destination>,
    /// Hosts that have metrics of their own.
    pub metrics_sites: usize,
    /// For how long browsers are told to stay with TLS, in seconds; 0: they are not.
    pub hsts_max_age_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    pub dir: PathBuf,
    pub bytes: u64,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            pointer_ttl: Duration::from_secs(5),
            max_cached_bytes: 64 << 10,
            disk: None,
            pages_dir: None,
            skew_protection: Duration::from_secs(86_400),
            access_log: None,
            metrics_sites: 500,
            hsts_max_age_s: 0,
        }
    }
}

/// What the edge knows, shared by all its threads.
pub struct Edge {
    pointers: Pointers,
    manifests: Manifests,
    ready: ReadyAnswers,
    files: Files,
    clock: Arc<dyn Clock>,
    tracer: Tracer,
    skew_protection: Duration,
    certificates: Option<Arc<Certificates>>,
}

impl Edge {
    /// Loads from the layers below run on `runtime`, so that no visitor who leaves ends another's.
    fn new(ports: &EdgePorts, settings: &EdgeSettings, runtime: &Handle) -> anyhow::Result<Self> {
        describe_metrics();
        let layers = Layers::new(ports, runtime.clone());
        // A quarter for manifests: a site of 50,000 files takes about 8 MB of it; another for
        // answers with their small bodies.
        let (for_manifests, for_ready) = (settings.memory_bytes / 4, settings.memory_bytes / 4);
        let disk = match &settings.disk {
            Some(disk) => Some(Disk::open(&disk.dir, disk.bytes)?),
            None => None,
        };
        let room = Room {
            memory_bytes: settings.memory_bytes - for_manifests - for_ready,
            max_cached_bytes: settings.max_cached_bytes,
            pages: PageRoom::of_process(settings.pages_dir.clone()),
        };
        let sites = Sites::new(settings.metrics_sites);
        Ok(Self {
            pointers: Pointers::new(
                layers.clone(),
                settings.pointer_ttl,
                (sites, Propagation::new(Arc::clone(&ports.clock))),
                runtime.clone(),
            ),
            manifests: Manifests::new(layers.clone(), for_manifests, runtime.clone())?,
            ready: ReadyAnswers::new(for_ready)?,
            files: Files::new(layers, disk, &room, runtime.clone())?,
            clock: Arc::clone(&ports.clock),
            tracer: ports.tracer.clone(),
            skew_protection: settings.skew_protection,
            certificates: ports.certificates.clone(),
        })
    }
}

#[async_trait]
impl KnownSites for Edge {
    async fn has(&self, host: &Hostname) -> Result<bool, Unsaid> {
        let sighting = self.pointers.find(host).await.map_err(|_| Unsaid)?;
        Ok(sighting.pointer.is_some_and(|pointer| pointer.target.is_some()))
    }
}

fn describe_metrics() {
    describe_counter!("gv_edge_requests_total", "Answers, by status and the layer that they came from.");
    describe_counter!("gv_edge_bytes_total", Unit::Bytes, "Bodies of answers.");
    describe_counter!("gv_edge_storage_reads_total", "Reads of object storage, tries included.");
    describe_counter!("gv_edge_coalesced_total", "Requests that waited for the load of another.");
    describe_counter!("gv_edge_cache_failures_total", "Calls of the cache that failed or took too long.");
    describe_counter!("gv_edge_corrupt_total", "Stored things that were not what was published.");
    describe_counter!("gv_edge_access_log_dropped_total", "Lines of the access log that found no room.");
}
