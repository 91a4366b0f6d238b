//! `gv up --demo`: deploys the sample site by the ordinary path and says where it is.

use super::client::connection::{Connection, Deployment};
use crate::wiring::data_dir::OwnerSession;
use anyhow::bail;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Submits, waits for the end, and prints the site's address on standard output.
pub async fn deploy(owner: OwnerSession, repo_url: String) {
    if let Err(error) = try_deploy(&owner, &repo_url).await {
        tracing::error!(error = format!("{error:#}"), "the demo could not be deployed");
    }
}

async fn try_deploy(owner: &OwnerSession, repo_url: &str) -> anyhow::Result<()> {
    let connection = Connection::to(&owner.api, Some(owner.token.clone()))?;
    let body = json!({"repo_url": repo_url, "project": "demo"});
    let mut deployment: Deployment = connection.post(&["deployments"], &body, None).await?;
    while !deployment.is_ended() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        deployment = connection.get(&["deployments", &deployment.id], &[]).await?;
    }
    if deployment.state != "ready" {
        bail!(
            "it is {}: {}",
            deployment.state,
            deployment.error.map(|error| error.message).unwrap_or_default()
        );
    }
    let project: Value = connection.get(&["projects", "demo"], &[]).await?;
    let url = project["url"].as_str().unwrap_or(&deployment.url);
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "  Your first site: {url}\n")?;
    } else {
        writeln!(out, "{}", json!({"event": "demo", "url": url, "deployment": deployment.id}))?;
    }
    Ok(out.flush()?)
}
