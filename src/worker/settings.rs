//! What a worker goes by, in the units that the ports take.

use crate::config;
use crate::domain::settings::Variables;
use crate::ports::executor::JobLimits;
use crate::ports::source::FetchLimits;
use crate::worker::caches::Caches;
use crate::worker::collect::CollectLimits;
use std::path::PathBuf;
use std::time::Duration;

/// Single files that a build may write although they could not be published: caches of bundlers.
const LEAST_FILE_MIB: u64 = 2048;
const OPEN_FILES: u64 = 8192;
/// What one process may ask for, in relation to what all may use: much of it is never touched, and
/// one that asks for more than it gets dies with less to say than one that is ended.
const PROCESS_DATA: u64 = 2;
/// How many times what a build may have is too much for its user: a fork bomb has grown for a moment when its
/// build is ended for it. Threads are counted there as well.
const BURST: u64 = 4;
const MIB: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Of this worker and its later lives in the same data folder, and of no other: what an
    /// earlier life held is let go of by it.
    pub name: String,
    /// Where workspaces are made; nothing else that is called like one may be there.
    pub dir: PathBuf,
    pub concurrency: u16,
    /// For install and build together.
    pub build_timeout: Duration,
    /// Where builds look for programs.
    pub path: String,
    /// The operator's variables for every build: a package registry, a proxy.
    pub build_env: Variables,
    pub(super) caches: Caches,
    pub(super) fetch: FetchLimits,
    pub(super) job: JobLimits,
    pub(super) collect: CollectLimits,
}

impl WorkerSettings {
    pub fn new(
        name: String,
        worker: &config::Worker,
        limits: &config::Limits,
        source: &config::Source,
    ) -> Self {
        let build_timeout = Duration::from_secs(worker.build_timeout_s);
        let mib = |count: u64| count.saturating_mul(MIB);
        Self {
            name,
            // Builds are told absolute paths.
            dir: std::path::absolute(&worker.dir).unwrap_or_else(|_| worker.dir.clone()),
            concurrency: worker.concurrency,
            build_timeout,
            path: std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned()),
            build_env: worker.build_env.clone(),
            caches: Caches {
                dir: std::path::absolute(&worker.cache_dir).unwrap_or_else(|_| worker.cache_dir.clone()),
                project_bytes: mib(worker.cache_mb),
                total_bytes: mib(worker.caches_mb),
            },
            fetch: FetchLimits {
                bytes: mib(source.max_mb),
                files: source.max_files,
                time: Duration::from_secs(source.timeout_s),
            },
            job: JobLimits {
                time: build_timeout,
                memory_bytes: mib(limits.build_memory_mb),
                processes: limits.build_processes,
                cpu: Duration::from_secs(limits.build_cpu_s),
                disk_bytes: mib(limits.workspace_mb),
                disk_files: limits.workspace_files,
                process_bytes: mib(limits.build_memory_mb).saturating_mul(PROCESS_DATA),
                user_processes: limits.build_processes.saturating_mul(BURST),
                file_bytes: mib(limits.file_mb.max(LEAST_FILE_MIB)),
                open_files: OPEN_FILES,
            },
            collect: CollectLimits {
                files: limits.output_files,
                total_bytes: mib(limits.output_mb),
                file_bytes: mib(limits.file_mb),
            },
        }
    }
}
