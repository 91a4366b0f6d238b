//! The adapter of `ports::tools`: what is kept is used, what is missing is downloaded, and while the
//! registry is away the newest that is kept will do.
//!
//! Start with [`RegistryTools::new`].

use super::names;
use super::store::{Begun, Held, Making, Store};
use super::unpack::{BIN, unpack};
use super::web::{Release, Web};
use crate::ports::tools::{Brought, ToolName, Tools, ToolsError, Wanted};
use async_trait::async_trait;
use nodejs_semver::{Range, Version};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// How long what the registry said about the newest version is believed.
const BELIEVED: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a registry that could not be reached is left alone, where something kept will do.
const LEFT_ALONE: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: usize = 1_000;
/// For bringing one tool, waiting for others included.
const WHOLE: Duration = Duration::from_secs(600);
/// Between two looks at what another process makes.
const LOOK: Duration = Duration::from_millis(200);

pub struct RegistryTools {
    web: Web,
    store: Store,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    releases: HashMap<Wanted, (Instant, Release)>,
    unreachable: Option<Instant>,
}

impl RegistryTools {
    /// `dir`: the folder that they are kept in, made on first need; at most `limit_bytes` of tools
    /// that nobody uses stay there. The process needs a default rustls provider by now.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(registry: Url, dir: PathBuf, limit_bytes: u64) -> Result<Self, ToolsError> {
        let web = Web::new(registry)
            .map_err(|error| ToolsError::Unreachable(format!("the HTTP client cannot start: {error}")))?;
        Ok(Self { web, store: Store::new(dir, limit_bytes), known: Mutex::default() })
    }
}

#[async_trait]
impl Tools for RegistryTools {
    async fn bring(&self, wanted: &Wanted) -> Result<Brought, ToolsError> {
        let late = |_| {
            ToolsError::Unreachable(format!(
                "{} did not come within {} s",
                wanted.tool.word(),
                WHOLE.as_secs()
            ))
        };
        tokio::time::timeout(WHOLE, self.bring_now(wanted)).await.map_err(late)?
    }
}

impl RegistryTools {
    async fn bring_now(&self, wanted: &Wanted) -> Result<Brought, ToolsError> {
        let package = names::package(wanted.tool)?;
        // An exact version never changes: nobody has to be asked.
        if Version::parse(&wanted.version).is_ok()
            && let Some(held) = self.store.hold(package, &wanted.version)?
        {
            return Ok(brought(held, wanted.version.clone(), false));
        }
        if self.is_left_alone()
            && let Some(kept) = self.newest_kept(package, wanted)?
        {
            return Ok(kept);
        }
        let came = match self.release(package, wanted).await {
            Ok(release) => self.obtain(package, wanted.tool, &release).await,
            Err(error) => Err(error),
        };
        let Err(error) = came else { return came };
        if matches!(error, ToolsError::Unreachable(_)) {
            self.known().unreachable = Some(Instant::now());
        }
        match self.newest_kept(package, wanted)? {
            Some(kept) => {
                tracing::warn!(%error, tool = package, version = kept.version, "the registry of tools failed: what is kept is used");
                Ok(kept)
            }
            None => Err(error),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_left_alone(&self) -> bool {
        self.known().unreachable.is_some_and(|at| at.elapsed() < LEFT_ALONE)
    }

    async fn release(&self, package: &str, wanted: &Wanted) -> Result<Release, ToolsError> {
        if let Some((at, release)) = self.known().releases.get(wanted)
            && at.elapsed() < BELIEVED
        {
            return Ok(release.clone());
        }
        let release = self.web.newest(package, &wanted.version).await?;
        let mut known = self.known();
        known.unreachable = None;
        // Strangers choose versions: what is remembered of them stays small.
        if known.releases.len() >= MAX_REMEMBERED {
            known.releases.clear();
        }
        known.releases.insert(wanted.clone(), (Instant::now(), release.clone()));
        Ok(release)
    }

    /// Takes hold of a release, which is downloaded unless it is there or another brings it.
    async fn obtain(&self, package: &str, tool: ToolName, release: &Release) -> Result<Brought, ToolsError> {
        loop {
            match self.store.begin(package, &release.version)? {
                Begun::Held(held) => return Ok(brought(held, release.version.clone(), false)),
                Begun::Busy => tokio::time::sleep(LOOK).await,
                Begun::Making(making) => {
                    if let Some(held) = self.make(making, tool, release).await? {
                        return Ok(brought(held, release.version.clone(), true));
                    }
                }
            }
        }
    }

    async fn make(
        &self,
        making: Making,
        tool: ToolName,
        release: &Release,
    ) -> Result<Option<Held>, ToolsError> {
        self.web.download(release, &making.archive()).await?;
        let store = self.store.clone();
        let unpacking = move || {
            let into = making.folder()?;
            let bytes = unpack(&making.archive(), &into, names::programs(tool))?;
            let held = store.finish(making, bytes)?;
            store.make_room()?;
            Ok(held)
        };
        tokio::task::spawn_blocking(unpacking).await.map_err(std::io::Error::other)?
    }

    fn newest_kept(&self, package: &str, wanted: &Wanted) -> Result<Option<Brought>, ToolsError> {
        let Ok(range) = Range::parse(&wanted.version) else { return Ok(None) };
        let parsed = self.store.kept(package).into_iter().filter_map(|text| {
            let version = Version::parse(&text).ok()?;
            range.satisfies(&version).then_some((version, text))
        });
        let mut fitting: Vec<_> = parsed.collect();
        fitting.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        for (_, version) in fitting {
            if let Some(held) = self.store.hold(package, &version)? {
                return Ok(Some(brought(held, version, false)));
            }
        }
        Ok(None)
    }
}

fn brought(held: Held, version: String, downloaded: bool) -> Brought {
    let folder = held.folder.clone();
    Brought { version, bin: folder.join(BIN), folder, downloaded, hold: Box::new(held) }
}
