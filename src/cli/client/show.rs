//! Commands that look at a deployment or move a pointer: list, inspect, logs, cancel, open,
//! promote, rollback.

use super::connection::{Connection, Deployment, LogEvent, Page};
use super::follow::verdict;
use super::{ClientArgs, print, tell};
use crate::cli::ConfigArgs;
use clap::Args;
use console::{Color, style};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this project's.
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Only those in this state: queued, cloning, building, uploading, ready, failed, canceled.
    #[arg(long)]
    pub state: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct OneArgs {
    /// The deployment, such as dpl_01k...
    pub id: String,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The deployment, such as dpl_01k...
    pub id: String,
    /// Go on until the deployment has ended.
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The project's name.
    pub project: String,
    /// This deployment; else the last ready one before what production shows.
    #[arg(long, value_name = "ID")]
    pub to: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What one page of the API holds at most.
const PAGE: u32 = 100;

pub async fn list(config: &ConfigArgs, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let mut items: Vec<Deployment> = Vec::new();
    let mut cursor: Option<String> = None;
    while items.len() < args.limit as usize {
        let limit = (args.limit - items.len() as u32).min(PAGE).to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(args.project.as_deref().map(|project| ("project", project)));
        query.extend(args.state.as_deref().map(|state| ("state", state)));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: Page<Deployment> = connection.get(&["deployments"], &query).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if args.client.json {
        print(serde_json::to_string(&Page { items, next_cursor: cursor })?)?;
    } else if items.is_empty() {
        tell("No deployments yet. Make one: gv deploy https://example.com/team/site.git")?;
    } else {
        table(&items)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(items: &[Deployment]) -> anyhow::Result<()> {
    let width = items.iter().map(|item| item.project.len()).max().unwrap_or(0).max("PROJECT".len());
    print(format!(
        "{:<24}  {:<width$}  {:<9}  {:<10}  {:<20}  URL",
        "ID", "PROJECT", "STATE", "TARGET", "CREATED"
    ))?;
    for item in items {
        let created = item.created_at.get(..19).unwrap_or(&item.created_at).replace('T', " ");
        let state = style(format!("{:<9}", item.state)).fg(tint(&item.state));
        print(format!(
            "{:<24}  {:<width$}  {state}  {:<10}  {created:<20}  {}",
            item.id, item.project, item.target, item.url
        ))?;
    }
    Ok(())
}

fn tint(state: &str) -> Color {
    match state {
        "ready" => Color::Green,
        "failed" => Color::Red,
        "canceled" => Color::Yellow,
        _ => Color::Cyan,
    }
}

pub async fn inspect(config: &ConfigArgs, args: &OneArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let deployment: Deployment = connection.get(&["deployments", &args.id], &[]).await?;
    show(&args.client, &deployment)
}

fn show(client: &ClientArgs, deployment: &Deployment) -> anyhow::Result<ExitCode> {
    if client.json {
        print(serde_json::to_string(deployment)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |name: &str, value: &str| {
        if value.is_empty() { Ok(()) } else { print(format!("{name:<10} {value}")) }
    };
    row("id", &deployment.id)?;
    row("project", &deployment.project)?;
    row("state", &style(&deployment.state).fg(tint(&deployment.state)).to_string())?;
    row("target", &deployment.target)?;
    row("url", &deployment.url)?;
    for host in deployment.rest.get("hosts").and_then(Value::as_array).into_iter().flatten() {
        row("host", host.as_str().unwrap_or_default())?;
    }
    for key in ["repo_url", "ref", "branch", "commit"] {
        row(key, deployment.text(key))?;
    }
    row("message", deployment.text("commit_message"))?;
    row("created", &deployment.created_at)?;
    row("finished", deployment.text("finished_at"))?;
    for key in ["files", "bytes", "queue_position"] {
        row(
            key,
            &deployment.rest.get(key).and_then(Value::as_u64).map(|n| n.to_string()).unwrap_or_default(),
        )?;
    }
    if let Some(error) = &deployment.error {
        row("error", &format!("{} ({})", error.message, error.code))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn logs(config: &ConfigArgs, args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    if args.follow && !args.client.json {
        let ended = super::follow::follow(&connection, &args.id).await?;
        tell(verdict(&ended))?;
        return Ok(if ended.state == "ready" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut log = connection.log(&args.id, 0, args.follow).await?;
    while let Some(event) = log.next().await? {
        match event {
            LogEvent::Line(_, whole) if args.client.json => print(whole.to_string())?,
            LogEvent::Line(line, _) => print(line.text)?,
            LogEvent::End(whole) => {
                print(whole.to_string())?;
                let ready = whole["state"].as_str() == Some("ready");
                return Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
    }
    anyhow::ensure!(!args.follow, "the log broke off before the deployment ended: follow it again");
    Ok(ExitCode::SUCCESS)
}

pub async fn cancel(config: &ConfigArgs, args: &OneArgs) -> anyhow::Result<ExitCode> {
    let deployment = act(config, args, "cancel").await?;
    if !args.client.json {
        tell(match deployment.state.as_str() {
            "canceled" => "Canceled.".to_owned(),
            state if deployment.is_ended() => format!("It had ended before: {state}."),
            state => format!("It is being stopped; just now it is {state}."),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn promote(config: &ConfigArgs, args: &OneArgs) -> anyhow::Result<ExitCode> {
    let deployment = act(config, args, "promote").await?;
    if !args.client.json {
        moved(&Connection::open(config, &args.client)?, &deployment).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(config: &ConfigArgs, args: &OneArgs, action: &str) -> anyhow::Result<Deployment> {
    let connection = Connection::open(config, &args.client)?;
    let deployment: Deployment =
        connection.post(&["deployments", &args.id, action], &json!({}), None).await?;
    if args.client.json {
        print(serde_json::to_string(&deployment)?)?;
    }
    Ok(deployment)
}

pub async fn rollback(config: &ConfigArgs, args: &RollbackArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let body = args.to.as_ref().map_or_else(|| json!({}), |to| json!({"to": to}));
    let deployment: Deployment =
        connection.post(&["projects", &args.project, "rollback"], &body, None).await?;
    if args.client.json {
        print(serde_json::to_string(&deployment)?)?;
    } else {
        moved(&connection, &deployment).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn moved(connection: &Connection, deployment: &Deployment) -> anyhow::Result<()> {
    let project: Value = connection.get(&["projects", &deployment.project], &[]).await?;
    tell(format!("Production of {} shows {} now.", deployment.project, deployment.id))?;
    print(project["url"].as_str().unwrap_or(&deployment.url))
}

pub async fn open(config: &ConfigArgs, args: &OneArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let deployment: Deployment = connection.get(&["deployments", &args.id], &[]).await?;
    if args.client.json {
        print(serde_json::to_string(&deployment)?)?;
    } else {
        print(&deployment.url)?;
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started = std::process::Command::new(opener)
        .arg(&deployment.url)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    if started.is_err() {
        tell(format!("No browser could be started ({opener} is missing): open the address above."))?;
    }
    Ok(ExitCode::SUCCESS)
}
