//! The table of contents of a deployment: the fourth step of a request. It never changes, so it
//! is held as long as there is room.

use crate::domain::host::PointerTarget;
use crate::domain::id::DeploymentId;
use crate::domain::manifest::Manifest;
use crate::edge::layers::{Failure, Layer, Layers, broken, failed};
use crate::flights::Flights;
use crate::ports::blobs::Key;
use bytes::Bytes;
use quick_cache::sync::Cache as Memory;
use quick_cache::{OptionsBuilder, Weighter};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Larger ones go past the shared cache.
const MAX_CACHED_BYTES: usize = 1024 * 1024;
/// A visitor waits no longer for one, however many want it.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);
/// For how long one that is gone is not asked for again, and how many such are remembered.
const GONE: Duration = Duration::from_secs(5);
const MAX_GONE: usize = 10_000;
/// Manifests that are read and unpacked at the same time.
const LOADING: usize = 8;

type Loaded = Result<(Arc<Manifest>, Layer), Failure>;

pub struct Manifests {
    memory: Arc<Held>,
    /// Those that storage did not have, and until when that is believed.
    gone: Arc<Memory<DeploymentId, Instant>>,
    layers: Layers,
    flights: Flights<DeploymentId, Loaded>,
    /// What is being read is not among what is held: strangers may ask for many sites at once.
    loading: Arc<Semaphore>,
}

type Held = Memory<DeploymentId, Arc<Manifest>, ByMemory>;

#[derive(Clone)]
struct ByMemory;

impl Weighter<DeploymentId, Arc<Manifest>> for ByMemory {
    fn weight(&self, _: &DeploymentId, manifest: &Arc<Manifest>) -> u64 {
        1024 + manifest.rules.weight() + manifest.files.memory_bytes()
    }
}

impl Manifests {
    /// Holds manifests of `max_bytes` in all, by estimate.
    pub fn new(layers: Layers, max_bytes: u64, runtime: Handle) -> anyhow::Result<Self> {
        let options = OptionsBuilder::new()
            // One shard: each has its share of the room, and a large site must find a place.
            .shards(1)
            .estimated_items_capacity(1_000)
            .weight_capacity(max_bytes)
            .build()?;
        let memory = Memory::with_options(options, ByMemory, Default::default(), Default::default());
        let loading = Arc::new(Semaphore::new(LOADING));
        let gone = Arc::new(Memory::new(MAX_GONE));
        Ok(Self { memory: Arc::new(memory), gone, layers, flights: Flights::new(runtime), loading })
    }

    pub async fn find(&self, target: &PointerTarget) -> Loaded {
        if let Some(manifest) = self.memory.get(&target.deployment) {
            return Ok((manifest, Layer::Memory));
        }
        if self.gone.get(&target.deployment).is_some_and(|until| Instant::now() < until) {
            return Err(Failure::Unavailable);
        }
        let flight = self.flights.join(&target.deployment, || {
            let load = self.load(target.clone());
            async move { timeout(LOAD_DEADLINE, load).await.unwrap_or(Err(Failure::Unavailable)) }
        });
        flight.landed().await.unwrap_or(Err(Failure::Unavailable))
    }

    fn load(&self, target: PointerTarget) -> impl Future<Output = Loaded> + Send + 'static {
        let (memory, layers) = (Arc::clone(&self.memory), self.layers.clone());
        let (loading, gone) = (Arc::clone(&self.loading), Arc::clone(&self.gone));
        async move {
            let _place = loading.acquire_owned().await.map_err(|_| Failure::Unavailable)?;
            let id = target.deployment;
            if let Some(manifest) = memory.get(&id) {
                return Ok((manifest, Layer::Memory));
            }
            let (cache_key, key) = (format!("manifest:{id}"), Key::manifest(id));
            if let Some(bytes) = layers.cached(&cache_key).await {
                match decode(bytes, target.clone()).await {
                    Ok(manifest) => {
                        hold(&memory, &manifest);
                        return Ok((manifest, Layer::Cache));
                    }
                    Err(problem) => {
                        broken(&format!("{cache_key} in the cache: {problem}"));
                        layers.drop_cached(&cache_key).await;
                    }
                }
            }
            let bytes = match layers.read(&key, Manifest::MAX_BYTES).await {
                Ok(Some(bytes)) => bytes,
                // Its pointer came later, so it was deleted: soon the pointer will say so.
                Ok(None) => {
                    tracing::warn!("{key} is gone, but a host still points at it");
                    gone.insert(id, Instant::now() + GONE);
                    return Err(Failure::Unavailable);
                }
                Err(error) => return Err(failed(&error)),
            };
            let manifest = decode(bytes.clone(), target)
                .await
                .map_err(|problem| broken(&format!("{key}: {problem}")))?;
            hold(&memory, &manifest);
            if bytes.len() <= MAX_CACHED_BYTES {
                layers.keep(cache_key, bytes);
            }
            Ok((manifest, Layer::Storage))
        }
    }
}

fn hold(memory: &Held, manifest: &Arc<Manifest>) {
    tracing::debug!(deployment = %manifest.deployment, files = manifest.files.len(), "a site is opened");
    memory.insert(manifest.deployment, Arc::clone(manifest));
}

/// Off the runtime: a manifest of a large site takes a while.
async fn decode(bytes: Bytes, target: PointerTarget) -> Result<Arc<Manifest>, String> {
    let decode = move || {
        let manifest = Manifest::decode(&bytes, target.deployment).map_err(|error| error.to_string())?;
        if (manifest.account, manifest.project) != (target.account, target.project) {
            return Err("the manifest belongs to another project than its host".to_owned());
        }
        Ok(Arc::new(manifest))
    };
    tokio::task::spawn_blocking(decode).await.map_err(|error| error.to_string())?
}
