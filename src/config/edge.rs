//! The keys of the edge.

use super::reader::{A_TEBIBYTE_MB, Reader};
use super::tls::{self, Tls};
use crate::domain::host::{Scheme, SiteUrls};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Edge {
    pub listen: SocketAddr,
    /// Scheme and port under which browsers reach the edge; `None`: derived from `domain` and the
    /// port that the edge really listens on.
    pub public: Option<SiteUrls>,
    pub tls: Option<Tls>,
    /// Visitors who come without TLS are sent to it.
    pub https_redirect: bool,
    /// For how long browsers are told to stay with TLS, in seconds; 0: they are not.
    pub hsts_max_age_s: u64,
    /// Of the edge's own memory for files, in MiB.
    pub memory_mb: u64,
    /// Of one file in the shared cache, in KiB.
    pub redis_max_kb: u64,
    pub disk: Option<EdgeDisk>,
    /// How long an edge trusts a pointer that it heard nothing new about.
    pub pointer_ttl_s: u64,
    /// How long fingerprinted files of a deployment outlive it under its host.
    pub skew_protection: Duration,
    pub access_log: AccessLog,
    /// Hosts that have metrics of their own.
    pub metrics_sites: usize,
}

#[derive(Clone, Debug)]
pub struct EdgeDisk {
    pub dir: PathBuf,
    pub mb: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    Stdout,
    File(PathBuf),
}

/// Longer, and an object of a host's pointer would grow without need.
const MAX_SKEW: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn read(from: &mut Reader<'_>) -> Option<Edge> {
    let listen = from.parsed("edge.listen", "an address such as 127.0.0.1:8000");
    let path =
        |from: &Reader<'_>, key| Some(from.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from);
    let tls = tls::read(from, "edge");
    let public = public(from);
    let disk_mb = from.number("edge.disk_mb", 1..=A_TEBIBYTE_MB);
    let edge = Edge {
        https_redirect: https_redirect(from, tls.is_some(), public.as_ref()),
        hsts_max_age_s: tls::hsts_max_age_s(from, "edge", tls.is_some()),
        public,
        tls,
        memory_mb: from.number("edge.memory_mb", 1..=A_TEBIBYTE_MB),
        redis_max_kb: from.number("edge.redis_max_kb", 0..=64 * 1024),
        disk: path(from, "edge.disk_dir").map(|dir| EdgeDisk { dir, mb: disk_mb }),
        pointer_ttl_s: from.number("edge.pointer_ttl_s", 1..=3_600),
        skew_protection: skew_protection(from),
        access_log: match from.text("edge.access_log") {
            "" => AccessLog::Off,
            "stdout" => AccessLog::Stdout,
            path => AccessLog::File(path.into()),
        },
        metrics_sites: from.number("edge.metrics_sites", 0..=100_000),
        listen: listen?,
    };
    Some(edge)
}

fn public(from: &mut Reader<'_>) -> Option<SiteUrls> {
    let schemes = [("", None), ("http", Some(Scheme::Http)), ("https", Some(Scheme::Https))];
    let scheme = from.word("edge.public_scheme", &schemes).flatten();
    let port: u16 = from.number("edge.public_port", 0..=65_535);
    if scheme.is_none() && port != 0 {
        from.problem("edge.public_port", "needs edge.public_scheme beside it");
    }
    scheme.map(|scheme| SiteUrls { scheme, port: Some(port).filter(|port| *port != 0) })
}

fn https_redirect(from: &mut Reader<'_>, has_tls: bool, public: Option<&SiteUrls>) -> bool {
    let redirects = tls::https_redirect(from, "edge", has_tls);
    if redirects && public.is_some_and(|public| public.scheme == Scheme::Http) {
        from.problem("edge.https_redirect", "needs edge.public_scheme to be https, or empty");
    }
    redirects
}

fn skew_protection(from: &mut Reader<'_>) -> Duration {
    let text = from.text("edge.skew_protection");
    // humantime wants a unit even of nothing.
    let parsed = if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() };
    parsed.filter(|window| *window <= MAX_SKEW).unwrap_or_else(|| {
        from.problem(
            "edge.skew_protection",
            "must be a time such as 24h or 30m, at most 30d; 0 turns it off",
        );
        Duration::ZERO
    })
}
