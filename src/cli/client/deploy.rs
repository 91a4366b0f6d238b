//! `gv deploy`: submit, follow, print the URL.

use super::connection::{Connection, Deployment};
use super::follow::{follow, verdict};
use super::{ClientArgs, print, tell};
use crate::cli::ConfigArgs;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The Git repository's https:// or http:// URL; else the origin of the checkout you are in.
    pub repo_url: Option<String>,
    /// A branch, tag or commit; else the repository's default branch.
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// The project; made when missing. Else the one of this repository.
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Deploy to production. That is the default, except with --ref, which makes a preview.
    #[arg(long)]
    pub prod: bool,
    /// Return once the deployment is accepted, not when it is ready.
    #[arg(long)]
    pub no_wait: bool,
    /// Build even where the same was built before, and where it would be skipped.
    #[arg(long)]
    pub force: bool,
    /// Build without what earlier builds left in caches.
    #[arg(long)]
    pub no_cache: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

pub async fn deploy(config: &ConfigArgs, args: &DeployArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, &args.client)?;
    let repo_url = match &args.repo_url {
        Some(url) => url.clone(),
        None => origin_here()?,
    };
    let deployment = submit(&connection, &request(args, &repo_url)).await?;
    tell(format!("Deploying {repo_url} as {} ({})", deployment.project, deployment.id))?;
    if args.no_wait {
        return finish(&connection, args, &deployment).await;
    }
    let ended = tokio::select! {
        ended = follow(&connection, &deployment.id) => ended?,
        _ = tokio::signal::ctrl_c() => {
            tell(format!("\nIt goes on without you: gv logs {0} --follow, or gv cancel {0}", deployment.id))?;
            return Ok(ExitCode::from(130));
        }
    };
    tell(verdict(&ended))?;
    finish(&connection, args, &ended).await
}

fn request(args: &DeployArgs, repo_url: &str) -> Value {
    let production = args.prod || args.reference.is_none();
    let mut body = json!({"repo_url": repo_url, "target": if production { "production" } else { "preview" }});
    for (key, wanted) in [("force", args.force), ("no_cache", args.no_cache)] {
        if wanted {
            body[key] = true.into();
        }
    }
    for (key, value) in [("ref", &args.reference), ("project", &args.project)] {
        if let Some(value) = value {
            body[key] = value.as_str().into();
        }
    }
    body
}

/// Submits once, however often the connection has to be tried.
async fn submit(connection: &Connection, body: &Value) -> anyhow::Result<Deployment> {
    let key = format!("cli-{:032x}", rand::random::<u128>());
    let mut attempt = 0;
    loop {
        let outcome = connection.post(&["deployments"], body, Some(&key)).await;
        attempt += 1;
        match outcome {
            Err(error) if attempt < 3 && is_passing(&error) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether the server did not answer, or said that it cannot just now.
fn is_passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<super::Failure>() {
        Some(failure) => failure.status.is_server_error(),
        None => error.chain().any(|cause| {
            cause
                .downcast_ref::<reqwest::Error>()
                .is_some_and(|error| !error.is_connect() && !error.is_builder())
        }),
    }
}

async fn finish(
    connection: &Connection,
    args: &DeployArgs,
    deployment: &Deployment,
) -> anyhow::Result<ExitCode> {
    let failed = matches!(deployment.state.as_str(), "failed" | "canceled") && !deployment.is_skipped();
    if args.client.json {
        print(serde_json::to_string(deployment)?)?;
    } else if !failed && !deployment.is_skipped() {
        print(address(connection, deployment).await?)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The production address for what went to production, else the deployment's own.
async fn address(connection: &Connection, deployment: &Deployment) -> anyhow::Result<String> {
    if deployment.target != "production" {
        return Ok(deployment.url.clone());
    }
    // Its own address is right as well, should the project not be told.
    let project: Value = connection.get(&["projects", &deployment.project], &[]).await.unwrap_or_default();
    Ok(project["url"].as_str().unwrap_or(&deployment.url).to_owned())
}

/// The URL of `origin` in the checkout around the present folder, as https where it is ssh.
fn origin_here() -> anyhow::Result<String> {
    let advice = "name the repository: gv deploy https://example.com/team/site.git";
    let Ok(repository) = gix::discover(".") else { bail!("this folder is in no Git checkout; {advice}") };
    let remote = repository.find_default_remote(gix::remote::Direction::Fetch);
    let remote =
        remote.and_then(Result::ok).with_context(|| format!("this checkout has no remote; {advice}"))?;
    let url = remote.url(gix::remote::Direction::Fetch).context("the remote has no URL")?;
    let text = url.to_bstring().to_string();
    let https = https_form(&text).with_context(|| format!("{text} is not cloned by gv; {advice}"))?;
    Ok(https)
}

/// `git@host:path` and `ssh://git@host/path` as `https://host/path`; http URLs without credentials.
fn https_form(url: &str) -> Option<String> {
    if let Ok(mut parsed) = url::Url::parse(url)
        && matches!(parsed.scheme(), "http" | "https" | "ssh")
    {
        if parsed.scheme() == "ssh" {
            return Some(format!("https://{}{}", parsed.host_str()?, parsed.path()));
        }
        parsed.set_username("").ok()?;
        parsed.set_password(None).ok()?;
        return Some(parsed.to_string());
    }
    let (host, path) = url.split_once(':')?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let plain = !host.is_empty() && !host.contains('/') && !path.starts_with("//");
    plain.then(|| format!("https://{host}/{}", path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_that_came_by_ssh_is_deployed_by_https() {
        for (from, to) in [
            ("git@example.com:team/site.git", "https://example.com/team/site.git"),
            ("ssh://git@example.com/team/site.git", "https://example.com/team/site.git"),
            ("https://user:token@example.com/site", "https://example.com/site"),
            ("http://127.0.0.1:3000/site.git", "http://127.0.0.1:3000/site.git"),
        ] {
            assert_eq!(https_form(from).as_deref(), Some(to));
        }
        assert_eq!(https_form("/srv/git/site.git"), None);
        assert_eq!(https_form("file:///srv/git/site.git"), None);
    }
}
