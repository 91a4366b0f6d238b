//! `gv explain`: which rule or file answers a request, and why the others did not.

use super::connection::Connection;
use super::{ClientArgs, print};
use crate::cli::ConfigArgs;
use crate::domain::request_path::RequestPath;
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
    let path = match &url {
        Some(url) => url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        None => args.path.clone().unwrap_or_else(|| "/".to_owned()),
    };
    // An address that no edge takes shows no deployment that could be asked.
    RequestPath::parse(path.split('?').next().unwrap_or(&path))
        .map_err(|why| anyhow::anyhow!("{path} is answered with 400: the path {why}"))?;
    let (id, host, kept) = match &url {
        Some(url) => {
            let shown = Shown::at(url).await?;
            (shown.present.clone(), url.host_str().map(str::to_owned), shown.kept())
        }
        None => (args.what.clone(), None, None),
    };
    let connection = Connection::open(config, &args.client)?;
    let mut query = vec![("path", path.as_str())];
    query.extend(host.as_deref().map(|host| ("host", host)));
    query.extend(args.headers.iter().map(|header| ("header", header.as_str())));
    let mut explanation: Explanation = connection.get(&["deployments", &id, "explain"], &query).await?;
    if let Some(kept) = kept {
        explanation.show_kept(&kept);
    }
    if args.client.json {
        print(serde_json::to_string(&explanation)?)?;
    } else {
        show(&explanation)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Explanation {
    /// The rules are the present deployment's; where it has lost the file, an earlier one's is shown,
    /// also in place of the page of a single-page app.
    fn show_kept(&mut self, kept: &Answered) {
        // Where the present one has a say, the other is one that was shown a moment ago.
        if self.location.is_some() || !(200..300).contains(&kept.status) {
            return;
        }
        let path = self.path.split('?').next().unwrap_or_default().to_owned();
        self.file = RequestPath::parse(&path).ok().and_then(|path| path.file().map(str::to_owned));
        self.status = 200;
        let because =
            format!("kept of an earlier deployment: {} has the file that is lost since", kept.deployment);
        self.steps.push(Step { what: "skew protection".to_owned(), taken: true, because });
    }
}

/// What a URL is answered with, and what its host shows else, as the edge itself says.
struct Shown {
    answered: Answered,
    /// The deployment whose rules count: what the root of the host shows.
    present: String,
}

struct Answered {
    status: u16,
    deployment: String,
}

impl Shown {
    async fn at(url: &Url) -> anyhow::Result<Self> {
        let answered = Answered::of(url).await?;
        let mut root = url.clone();
        root.set_path("/");
        root.set_query(None);
        let present = match (answered, Answered::of(&root).await?) {
            (Some(answered), Some(root)) => Some(Self { answered, present: root.deployment }),
            (Some(answered), None) => Some(Self { present: answered.deployment.clone(), answered }),
            (None, Some(root)) => Some(Self { present: root.deployment.clone(), answered: root }),
            (None, None) => None,
        };
        present.with_context(|| format!("{url} shows no deployment of gv"))
    }

    /// The answer that an earlier deployment gives, where it is one.
    fn kept(self) -> Option<Answered> {
        (self.answered.deployment != self.present).then_some(self.answered)
    }
}

impl Answered {
    /// `None`: no deployment of gv answers.
    async fn of(url: &Url) -> anyhow::Result<Option<Self>> {
        let response = client(url)?.head(url.clone()).send().await?;
        let id = response.headers().get("x-gv-deployment").and_then(|id| id.to_str().ok());
        Ok(id.map(|id| Self { status: response.status().as_u16(), deployment: id.to_owned() }))
    }
}

fn client(url: &Url) -> anyhow::Result<reqwest::Client> {
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
    Ok(builder.build()?)
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
