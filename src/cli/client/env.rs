//! `gv env`: a project's variables.

use super::connection::{Connection, Page};
use super::{ClientArgs, print, tell};
use crate::cli::ConfigArgs;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// No value is longer.
const LONGEST: u64 = 64 * 1024;

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List a project's variables; the values of secrets stay hidden.
    List(ListArgs),
    /// Set a variable for builds that begin afterwards.
    ///
    /// The value is read from standard input where none is given, so that it stays out of the shell's
    /// history: gv env set my-site API_KEY --secret < key.txt
    Set(SetArgs),
    /// Delete a variable.
    Unset(UnsetArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The project.
    pub project: String,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// The project.
    pub project: String,
    /// Letters, digits and _; or NAME=VALUE.
    pub name: String,
    /// The value; else standard input is read, without its last line break.
    pub value: Option<String>,
    /// Never show the value again, and hide it in logs.
    #[arg(long)]
    pub secret: bool,
    /// For builds of this target alone; else for all.
    #[arg(long, value_enum)]
    pub target: Option<TargetArg>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct UnsetArgs {
    /// The project.
    pub project: String,
    /// The variable's name.
    pub name: String,
    /// For builds of this target alone; else for all.
    #[arg(long, value_enum)]
    pub target: Option<TargetArg>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TargetArg {
    Production,
    Preview,
}

impl TargetArg {
    fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Preview => "preview",
        }
    }
}

pub async fn run(config: &ConfigArgs, command: &EnvCommand) -> anyhow::Result<ExitCode> {
    match command {
        EnvCommand::List(args) => list(config, args).await,
        EnvCommand::Set(args) => set(config, args).await,
        EnvCommand::Unset(args) => unset(config, args).await,
    }
}

async fn list(config: &ConfigArgs, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let page: Page<Value> = connection.get(&["projects", &args.project, "env"], &[]).await?;
    if args.client.json {
        print(serde_json::to_string(&page)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if page.items.is_empty() {
        tell(format!("{} has no variables yet: gv env set {0} NAME", args.project))?;
    }
    for item in &page.items {
        let targets: Vec<&str> =
            item["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let value = item["value"].as_str().map_or_else(|| "***".to_owned(), |value| format!("{value:?}"));
        let name = item["key"].as_str().unwrap_or_default();
        print(format!("{name:<28} {:<20} {value}", targets.join(",")))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(config: &ConfigArgs, args: &SetArgs) -> anyhow::Result<ExitCode> {
    let (name, value) = match (args.name.split_once('='), &args.value) {
        (Some((name, value)), None) => (name, value.to_owned()),
        (_, Some(value)) => (args.name.as_str(), value.clone()),
        (None, None) => (args.name.as_str(), from_stdin()?),
    };
    let mut body = json!({"value": value, "secret": args.secret});
    if let Some(target) = args.target {
        body["targets"] = json!([target.word()]);
    }
    let connection = Connection::open(config, &args.client)?;
    let stored: Value = connection.put(&["projects", &args.project, "env", name], &body).await?;
    if args.client.json {
        print(stored.to_string())?;
    } else {
        tell(format!("{name} is set for builds of {} from now on.", args.project))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn unset(config: &ConfigArgs, args: &UnsetArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let query: Vec<(&str, &str)> = args.target.iter().map(|target| ("target", target.word())).collect();
    connection.delete_with(&["projects", &args.project, "env", &args.name], &query).await?;
    if args.client.json {
        print(json!({"key": args.name, "deleted": true}).to_string())?;
    } else {
        tell(format!("{} is gone from builds of {} from now on.", args.name, args.project))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn from_stdin() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        tell("Type the value, then Ctrl+D on a line of its own:")?;
    }
    let mut value = String::new();
    stdin.lock().take(LONGEST + 2).read_to_string(&mut value).context("the value must be UTF-8")?;
    let stripped = value.strip_suffix('\n').unwrap_or(&value);
    Ok(stripped.strip_suffix('\r').unwrap_or(stripped).to_owned())
}
