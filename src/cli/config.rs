//! `gv config`: what is in force, what is wrong, and a key to sign with.

use super::ConfigArgs;
use crate::app::signing::SigningKeys;
use crate::config::layers::{Outside, Problem};
use crate::config::load::{Loaded, load};
use crate::config::shown::shown;
use clap::Subcommand;
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its value and where that came from. Secrets are hidden.
    Show {
        /// Print JSON: {"key": {"value": ..., "origin": ...}}.
        #[arg(long)]
        json: bool,
    },
    /// Say what is wrong with the configuration; exit 1 when something is.
    Check,
    /// Print a new key for auth.signing_keys.
    Keygen,
}

/// The configuration of this process, or one error that lists every problem.
pub fn load_or_explain(outside: &Outside) -> anyhow::Result<Loaded> {
    load(outside).map_err(|problems| anyhow::anyhow!("the configuration is not valid:\n{}", list(&problems)))
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub fn run(args: &ConfigArgs, command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let outside = Outside::of_process(args.config.clone());
    match command {
        ConfigCommand::Keygen => println!("{}", SigningKeys::generate().expose()),
        ConfigCommand::Check => {
            if let Err(problems) = load(&outside) {
                println!("{}", list(&problems));
                return Ok(ExitCode::FAILURE);
            }
            println!("the configuration is valid");
        }
        ConfigCommand::Show { json } => show(&load_or_explain(&outside)?, *json),
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn show(loaded: &Loaded, as_json: bool) {
    let rows = loaded
        .settings
        .iter()
        .map(|(key, setting)| (key, in_force(loaded, key, shown(key, setting)), setting));
    if as_json {
        let map: serde_json::Map<String, serde_json::Value> = rows
            .map(|(key, value, setting)| {
                (key.clone(), json!({"value": value, "origin": setting.origin.to_string()}))
            })
            .collect();
        println!("{:#}", serde_json::Value::Object(map));
        return;
    }
    for (key, value, setting) in rows {
        println!("{key} = {value}  # {}", setting.origin);
    }
}

/// Empty values that stand for a place in the data folder are shown as that place.
fn in_force(loaded: &Loaded, key: &str, shown: String) -> String {
    if shown != "\"\"" {
        return shown;
    }
    let config = &loaded.config;
    match key {
        "data_dir" => format!("{:?}", config.data_dir),
        "worker.cache_dir" => format!("{:?}", config.worker.cache_dir),
        "worker.dir" => format!("{:?}", config.worker.dir),
        "database.url" => format!("{:?}", config.database.url.expose()),
        "blobs.url" => format!("{:?}", config.blobs.url),
        _ => shown,
    }
}
