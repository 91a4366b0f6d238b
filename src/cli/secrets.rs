//! `gv secrets`: a key to seal by, and sealing everything by a new one.

use super::ConfigArgs;
use super::config::load_or_explain;
use crate::config::layers::Outside;
use crate::domain::sealing::SecretKeys;
use crate::{telemetry, wiring};
use clap::Subcommand;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Print a new key for secrets.keys.
    Keygen,
    /// Seal every variable and token by the first of secrets.keys; then the others may go.
    ///
    /// Works beside everything else; cut off, it goes on where it was when it is run again.
    Rotate {
        /// Print JSON: {"variables": ..., "deployments": ...}.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &ConfigArgs, command: &SecretsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SecretsCommand::Keygen => {
            writeln!(std::io::stdout(), "{}", SecretKeys::generate(&mut rand::rng()).expose())?;
        }
        SecretsCommand::Rotate { json } => rotate(args, *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate(args: &ConfigArgs, as_json: bool) -> anyhow::Result<()> {
    let config = load_or_explain(&Outside::of_process(args.config.clone()))?.config;
    telemetry::start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(wiring::rotate_secrets(&config, |so_far| {
        Ok(writeln!(std::io::stderr(), "{} are sealed anew", so_far.total())?)
    }))?;
    let mut out = std::io::stdout();
    if as_json {
        let done = json!({"variables": done.variables, "deployments": done.deployments});
        writeln!(out, "{done}")?;
    } else {
        writeln!(
            out,
            "sealed by the first key: {} variables, {} deployments; nothing else is left",
            done.variables, done.deployments
        )?;
    }
    Ok(())
}
