//! What gv says about itself while it runs: structured logs on standard error, metrics for
//! `/metrics`. What a person or a script asked for goes to standard output and is not made here.

use crate::config::{Log, LogFormat};
use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Starts logging. Called once, by whoever owns the process.
pub fn start_logging(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&log.level).context("log.level")?;
    let filter = with_quiet_clients(filter, &log.level)?;
    let json = match log.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(layer).try_init()?;
    } else {
        let layer = fmt::layer().with_target(false).with_writer(std::io::stderr);
        registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()?;
    }
    Ok(())
}

/// Libraries that warn of every broken connection, or of whatever a stranger sends: those above them say what
/// it means, once.
const NOISY: &[&str] = &["actix_http", "fred", "h2"];

/// Unless they are asked for by name.
fn with_quiet_clients(filter: EnvFilter, asked: &str) -> anyhow::Result<EnvFilter> {
    let noisy = NOISY.iter().filter(|target| !asked.contains(*target));
    noisy
        .into_iter()
        .try_fold(filter, |filter, target| Ok(filter.add_directive(format!("{target}=off").parse()?)))
}

/// Seconds, from a cached file to a long build.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0,
];

/// Bytes of memory, from 16 MiB to 32 GiB, each twice the one before.
const BYTES: &[f64] = &[
    16_777_216.0,
    33_554_432.0,
    67_108_864.0,
    134_217_728.0,
    268_435_456.0,
    536_870_912.0,
    1_073_741_824.0,
    2_147_483_648.0,
    4_294_967_296.0,
    8_589_934_592.0,
    17_179_869_184.0,
    34_359_738_368.0,
];

/// What histograms were told lies in a heap of its own until it is sorted into their buckets.
const SORT_EVERY: Duration = Duration::from_secs(5);

/// Starts counting; the handle renders what was counted. Must be called within the runtime, which
/// keeps what was counted small, whether or not somebody ever asks for it.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_memory_bytes".to_owned()), BYTES)?
        .install_recorder()?;
    let sorted = recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(SORT_EVERY).await;
            sorted.run_upkeep();
        }
    });
    Ok(recorder)
}
