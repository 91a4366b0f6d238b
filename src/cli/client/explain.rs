//! `gv explain`: which rule or file answers a request, and why the others did not.

use super::connection::Connection;
use super::{ClientArgs, print};
use crate::cli::ConfigArgs;
use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use url::Url;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The URL that a visitor asks for; or a deployment, such as dpl_01k..., with a path behind it.
    #[arg(value_name = "URL|ID")]
    pub what: String,
    /// The path, where the deployment is named by its id.
    pub path: Option<String>,
    /// A field of the request, such as "Accept-Language: de".
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Deserialize, Serialize)]
struct Explanation {
    dialect: String,
    path: String,
    status: u16,
    file: Option<String>,
    location: Option<String>,
    headers: Vec<Field>,
    vary: Option<String>,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Field {
    name: String,
    value: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Step {
    what: String,
    taken: bool,
    because: String,
}

pub async fn explain(config: &ConfigArgs, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let url = Url::parse(&args.what).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let (id, path, host) = match &url {
        Some(url) => {
            let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
            (deployment_at(url).await?, path.to_owned(), url.host_str().map(str::to_owned))
        }
        None => (args.what.clone(), args.path.clone().unwrap_or_else(|| "/".to_owned()), None),
    };
    let connection = Connection::open(config, &args.client)?;
    let mut query = vec![("path", path.as_str())];
    query.extend(host.as_deref().map(|host| ("host", host)));
    query.extend(args.headers.iter().map(|header| ("header", header.as_str())));
    let explanation: Explanation = connection.get(&["deployments", &id, "explain"], &query).await?;
    if args.client.json {
        print(serde_json::to_string(&explanation)?)?;
    } else {
        show(&explanation)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which deployment a URL shows, as the edge itself says.
async fn deployment_at(url: &Url) -> anyhow::Result<String> {
    let host = url.host_str().context("the URL has no host")?;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("gv/", env!("CARGO_PKG_VERSION")))
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none());
    if host == "localhost" || host.ends_with(".localhost") {
        // RFC 6761, 6.3: loopback, whether or not the system's resolver knows it.
        let port = url.port_or_known_default().unwrap_or(80);
        builder = builder.no_proxy().resolve(host, SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let response = builder.build()?.head(url.clone()).send().await?;
    let id = response.headers().get("x-gv-deployment").and_then(|id| id.to_str().ok());
    id.map(str::to_owned).with_context(|| format!("{url} shows no deployment of gv"))
}

fn show(explanation: &Explanation) -> anyhow::Result<()> {
    let Explanation { dialect, path, status, .. } = explanation;
    let what = match (&explanation.location, &explanation.file) {
        (Some(location), _) => format!("redirect to {location}"),
        (None, Some(file)) => file.clone(),
        (None, None) => "a page of gv's own".to_owned(),
    };
    print(format!("{path}: {status}, {what} (as {dialect})"))?;
    for Field { name, value } in &explanation.headers {
        print(match value {
            Some(value) => format!("  {name}: {value}"),
            None => format!("  {name} is taken away"),
        })?;
    }
    if let Some(vary) = &explanation.vary {
        print(format!("  depends on {vary}"))?;
    }
    for Step { what, taken, because } in &explanation.steps {
        print(format!("{} {what}: {because}", if *taken { "->" } else { "  " }))?;
    }
    Ok(())
}
