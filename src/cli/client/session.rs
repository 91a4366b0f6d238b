//! Who is asking: `gv login`, `gv logout`, `gv whoami`, and where their token is kept.

use super::connection::Connection;
use super::{ClientArgs, print, tell};
use crate::cli::ConfigArgs;
use crate::cli::config::load_or_explain;
use crate::cli::question::{ask, ask_password};
use crate::config::layers::Outside;
use crate::wiring::data_dir::{OwnerSession, write_private};
use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where a `gv up` with the defaults answers.
const LOCAL_API: &str = "http://127.0.0.1:8080";

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The API's root.
    #[arg(long, env = "GV_API_URL", value_name = "URL", default_value = LOCAL_API)]
    pub api: String,
    /// Your e-mail address; asked for when left out. The password is always asked for (or read
    /// from standard input when that is no terminal).
    #[arg(long)]
    pub email: Option<String>,
    /// Make a new account.
    #[arg(long)]
    pub register: bool,
}

/// What `gv login` keeps, with mode 0600.
#[derive(Serialize, Deserialize)]
struct Session {
    api: String,
    token: String,
    /// The token's id, to take it back at logout.
    token_id: String,
}

pub struct Access {
    pub api: String,
    pub token: String,
}

fn session_path() -> anyhow::Result<PathBuf> {
    let folder =
        dirs::config_dir().context("this user has no configuration folder: set HOME or XDG_CONFIG_HOME")?;
    Ok(folder.join("gv").join("session.json"))
}

fn kept_session() -> anyhow::Result<Option<Session>> {
    let path = session_path()?;
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is not readable: remove it and run gv login", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// By arguments and environment, else by `gv login`, else by the `gv up` whose data folder the
/// configuration names. A token is only ever sent to the API that it is for.
pub fn find_access(config: &ConfigArgs, args: &ClientArgs) -> anyhow::Result<Access> {
    if let (Some(api), Some(token)) = (&args.api, &args.token) {
        return Ok(Access { api: api.clone(), token: token.clone() });
    }
    let kept = kept_session()?.map(|session| Access { api: session.api, token: session.token });
    let known = match kept {
        Some(kept) if args.api.as_ref().is_none_or(|api| same_root(api, &kept.api)) => Some(kept),
        _ => owner_access(config)?,
    };
    match (args.api.clone(), args.token.clone(), known) {
        (_, Some(token), known) => {
            Ok(Access { api: known.map_or(LOCAL_API.to_owned(), |known| known.api), token })
        }
        (Some(api), None, Some(known)) if same_root(&api, &known.api) => Ok(known),
        (Some(api), None, _) => bail!("not signed in at {api}: run gv login --api {api}"),
        (None, None, Some(known)) => Ok(known),
        (None, None, None) => bail!(
            "not signed in: run gv login, or start gv up on this machine (with another data folder than the \
             default, set GV_DATA_DIR to it)"
        ),
    }
}

fn same_root(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn owner_access(config: &ConfigArgs) -> anyhow::Result<Option<Access>> {
    let loaded = load_or_explain(&Outside::of_process(config.config.clone()))?;
    let owner = OwnerSession::read(&loaded.config.data_dir);
    Ok(owner.map(|owner| Access { api: owner.api, token: owner.token }))
}

#[derive(Deserialize)]
struct SignedIn {
    user: Person,
    access_token: String,
    refresh_token: String,
}

#[derive(Deserialize)]
struct Person {
    email: String,
}

#[derive(Deserialize)]
struct NewToken {
    id: String,
    token: String,
}

pub async fn login(_: &ConfigArgs, args: LoginArgs) -> anyhow::Result<ExitCode> {
    let email = match args.email {
        Some(email) => email,
        None => ask("E-mail")?,
    };
    let password = ask_password("Password")?;
    let route = if args.register { "register" } else { "login" };
    let body = json!({"email": email, "password": password});
    let signed_in: SignedIn = Connection::to(&args.api, None)?.post(&["auth", route], &body, None).await?;
    // A personal token outlives the access token and needs no rotation between processes.
    let connection = Connection::to(&args.api, Some(signed_in.access_token))?;
    let name = format!("gv login on {}", rustix::system::uname().nodename().to_string_lossy());
    let token: NewToken = connection.post(&["tokens"], &json!({"name": name}), None).await?;
    let refresh = json!({"refresh_token": signed_in.refresh_token});
    connection.post_empty(&["auth", "logout"], &refresh).await?;
    let session = Session { api: args.api, token: token.token, token_id: token.id };
    let path = session_path()?;
    write_private(&path, &serde_json::to_vec_pretty(&session)?)
        .with_context(|| format!("writing {}", path.display()))?;
    tell(format!("Signed in at {} as {}.", session.api, signed_in.user.email))?;
    Ok(ExitCode::SUCCESS)
}

pub async fn logout(_: &ConfigArgs, args: &ClientArgs) -> anyhow::Result<ExitCode> {
    let kept = kept_session()?.filter(|kept| args.api.as_ref().is_none_or(|api| same_root(api, &kept.api)));
    let Some(session) = kept else {
        tell("Not signed in.")?;
        return Ok(ExitCode::SUCCESS);
    };
    let connection = Connection::to(&session.api, Some(session.token))?;
    let revoked = connection.delete(&["tokens", &session.token_id]).await;
    std::fs::remove_file(session_path()?)?;
    match revoked {
        Ok(()) => tell(format!("Signed out of {}.", session.api))?,
        Err(error) => tell(format!("Forgot the token here; {} could not be told: {error:#}", session.api))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn whoami(config: &ConfigArgs, args: &ClientArgs) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config, args)?;
    let me: Value = connection.get(&["me"], &[]).await?;
    if args.json {
        print(me.to_string())?;
    } else {
        print(me["email"].as_str().unwrap_or_default())?;
        tell(format!("at {}", connection.root()))?;
    }
    Ok(ExitCode::SUCCESS)
}
