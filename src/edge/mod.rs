//! The edge: shows sites to visitors. It reads the cache and object storage, and knows neither
//! database nor queue, so that every site is served while those are down.
//!
//! A request goes one way: [`site_host`] names the site, [`pointers`] the deployment that it
//! shows, [`manifests`] what that has, [`resolve`](crate::domain::routing::resolve) the file or the
//! rule that answers, [`conditions`] what of it is wanted, [`files`] the bytes, [`respond`] the answer, [`rules`]
//! its fields. [`layers`] is what lies
//! below their memories. Start with [`pipeline`].

mod conditions;
mod files;
mod fingerprint;
mod flights;
mod layers;
mod manifests;
mod pages;
mod pipeline;
mod pointers;
mod respond;
mod rules;
mod site_host;

use crate::ports::blobs::Blobs;
use crate::ports::cache::Cache;
use crate::ports::notices::Notices;
use actix_web::{App, HttpServer, web};
use files::Files;
use layers::Layers;
use manifests::Manifests;
use metrics::{Unit, describe_counter};
use pointers::Pointers;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub struct EdgePorts {
    pub cache: Arc<dyn Cache>,
    pub notices: Arc<dyn Notices>,
    pub blobs: Arc<dyn Blobs>,
}

#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// For files and manifests together, in bytes.
    pub memory_bytes: u64,
    /// How long a pointer is trusted that nothing new was heard about.
    pub pointer_ttl: Duration,
}

/// What the edge knows, shared by all its threads.
struct Edge {
    pointers: Pointers,
    manifests: Manifests,
    files: Files,
}

/// How long downloads may go on after the stop, in seconds.
const DRAIN_S: u64 = 30;
/// How long a client may take to send the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Serves visitors on `listener` until `stop`, then finishes what runs, for at most 30 seconds.
/// Must be called within a Tokio runtime of several threads: loads from the layers below run on
/// it, so that no visitor who leaves ends another's. Fails when the listener cannot be used.
pub async fn serve(
    ports: EdgePorts,
    settings: EdgeSettings,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    describe_metrics();
    let runtime = Handle::current();
    let layers = Layers::new(&ports, runtime.clone());
    // A quarter for manifests: a site of 50,000 files takes about 10 MB of it.
    let for_manifests = settings.memory_bytes / 4;
    let edge = web::Data::new(Edge {
        pointers: Pointers::new(layers.clone(), settings.pointer_ttl, runtime.clone()),
        manifests: Manifests::new(layers.clone(), for_manifests, runtime.clone())?,
        files: Files::new(layers, settings.memory_bytes - for_manifests, runtime)?,
    });
    let app = {
        let edge = edge.clone();
        move || App::new().app_data(edge.clone()).default_service(web::to(pipeline::handle))
    };
    let server = HttpServer::new(app)
        .listen(listener)?
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_DEADLINE)
        .client_disconnect_timeout(CLOSE_DEADLINE)
        .shutdown_timeout(DRAIN_S)
        .disable_signals()
        .shutdown_signal(stop.cancelled_owned())
        .run();
    // Heard to the end: a host may move while downloads finish.
    tokio::select! {
        ended = server => ended?,
        () = edge.pointers.follow(&*ports.notices) => {}
    }
    Ok(())
}

fn describe_metrics() {
    describe_counter!("gv_edge_requests_total", "Answers, by status and the layer that they came from.");
    describe_counter!("gv_edge_bytes_total", Unit::Bytes, "Bodies of answers.");
    describe_counter!("gv_edge_storage_reads_total", "Reads of object storage, tries included.");
    describe_counter!("gv_edge_coalesced_total", "Requests that waited for the load of another.");
    describe_counter!("gv_edge_cache_failures_total", "Calls of the cache that failed or took too long.");
    describe_counter!("gv_edge_corrupt_total", "Stored things that were not what was published.");
}
