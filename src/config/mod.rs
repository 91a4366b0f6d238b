//! The one configuration that all roles share.
//!
//! A TOML file under environment variables under flags, each key with its origin. [`Config`] is
//! the whole, already parsed into types that cannot be wrong; [`load`] makes it, by what [`reader`] has of
//! values, and [`shown`] hides what is secret. `config/gv.toml` is its complete commented default, and a test
//! holds the two equal.

pub mod acme;
pub mod api;
pub mod edge;
pub mod layers;
pub mod load;
mod reader;
pub mod shown;
pub mod telemetry;
pub mod tls;
mod worker;

pub use worker::{Sandbox, Worker};

use crate::domain::address::AllowedHost;
use crate::domain::host::Hostname;
use crate::domain::secret::Secret;
use acme::Acme;
use api::Api;
use edge::Edge;
use std::net::SocketAddr;
use std::path::PathBuf;
use telemetry::Telemetry;

#[derive(Clone, Debug)]
pub struct Config {
    /// Sites are `<name>.<domain>`.
    pub domain: Hostname,
    pub data_dir: PathBuf,
    pub database: Database,
    pub queue: Queue,
    pub cache: Cache,
    pub blobs: Blobs,
    pub api: Api,
    pub edge: Edge,
    /// `None`: certificates come from files, if at all.
    pub acme: Option<Acme>,
    pub ops: Ops,
    pub worker: Worker,
    pub limits: Limits,
    pub source: Source,
    pub auth: Auth,
    pub secrets: Secrets,
    pub log: Log,
    pub telemetry: Telemetry,
}

impl Config {
    /// Whether sites are for browsers of this machine alone.
    pub fn is_local(&self) -> bool {
        let domain = self.domain.as_str();
        domain == "localhost" || domain.ends_with(".localhost")
    }
}

#[derive(Clone, Debug)]
pub struct Database {
    /// `sqlite:` and a path, or `postgres://`.
    pub url: Secret,
}

#[derive(Clone, Debug)]
pub struct Queue {
    /// `memory:`, or `amqp://` (`amqps://`) with a virtual host; `?queue=NAME` names the queue.
    pub url: Secret,
}

#[derive(Clone, Debug)]
pub struct Cache {
    /// `memory:`, or `redis://` (`rediss://`) with a database's number; `?prefix=P` begins each key.
    pub url: Secret,
    /// Of the in-process cache, in MiB.
    pub memory_mb: u64,
}

#[derive(Clone, Debug)]
pub struct Blobs {
    /// `file:` and a path, or `s3://BUCKET[/PREFIX]?endpoint=URL&region=R&path_style=true`.
    pub url: String,
    /// For `s3://`; left out, the usual `AWS_*` variables say.
    pub access_key: Option<Secret>,
    pub secret_key: Option<Secret>,
}

#[derive(Clone, Debug)]
pub struct Ops {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    /// How long an api or an edge is not ready any more and serves all the same, before it ends.
    pub withdraw_s: u64,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub output_files: u64,
    pub output_mb: u64,
    pub file_mb: u64,
    pub log_mb: u64,
    /// Of all processes of a build together, in MiB.
    pub build_memory_mb: u64,
    pub build_processes: u64,
    pub build_cpu_s: u64,
    pub workspace_mb: u64,
    pub workspace_files: u64,
    /// Deployments of one account that are built at a time, over all workers, and that may wait.
    pub account_builds: u32,
    pub account_queued: u32,
}

#[derive(Clone, Debug)]
pub struct Source {
    /// What may be cloned from although its address is not public.
    pub allow: Vec<AllowedHost>,
    pub max_mb: u64,
    pub max_files: u64,
    pub timeout_s: u64,
}

#[derive(Clone, Debug)]
pub struct Auth {
    pub registration: Registration,
    /// Ed25519 keys in the form that `gv config keygen` prints; the first signs, all verify.
    /// Empty: `gv up` keeps one in `data_dir`.
    pub signing_keys: Vec<Secret>,
    pub access_token_s: u64,
    pub refresh_token_days: u64,
    /// How often one address, and one e-mail address, may try to sign in within a minute.
    pub attempts_per_min: u32,
}

#[derive(Clone, Debug)]
pub struct Secrets {
    /// Keys in the form that `gv secrets keygen` prints; the first seals, all open. Empty: `gv up` keeps
    /// one in `data_dir`.
    pub keys: Vec<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Open,
    Closed,
}

#[derive(Clone, Debug)]
pub struct Log {
    /// A `tracing` filter: `info`, `gv=debug,warn` ...
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON unless standard error is a terminal.
    Auto,
    Json,
    Text,
}
