//! What a developer types: each command is a few calls of the API, and a way to show the answer.
//!
//! What a program may want goes to standard output, everything else to standard error. Start with
//! [`deploy`]; `connection.rs` knows the API, `session.rs` who is asking.

pub mod connection;
mod deploy;
mod env;
mod explain;
mod follow;
mod session;
mod show;

use super::ConfigArgs;
use clap::{Args, Subcommand};
use connection::Failure;
use std::io::Write;
use std::process::ExitCode;

#[derive(Clone, Debug, Default, Args)]
pub struct ClientArgs {
    /// The API's root; else what `gv login` kept, else a `gv up` on this machine.
    #[arg(long, env = "GV_API_URL", value_name = "URL")]
    pub api: Option<String>,
    /// A personal token; else what `gv login` kept, else the owner's of a `gv up` on this machine.
    #[arg(long, env = "GV_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Sign in, and keep a token in your configuration folder.
    Login(session::LoginArgs),
    /// Forget the token that `gv login` kept, here and on the server.
    Logout(#[command(flatten)] ClientArgs),
    /// Show who you are, and where.
    Whoami(#[command(flatten)] ClientArgs),
    /// Deploy a repository and follow the log; the URL alone goes to standard output.
    ///
    /// Exit code 0: ready; 1: failed or canceled; 2: wrong usage.
    Deploy(deploy::DeployArgs),
    /// List deployments, newest first.
    List(show::ListArgs),
    /// Show one deployment.
    Inspect(show::OneArgs),
    /// Print a deployment's log.
    Logs(show::LogsArgs),
    /// Tell which rule or file answers a request, and why the others did not.
    Explain(explain::ExplainArgs),
    /// List, set and delete a project's variables.
    #[command(subcommand)]
    Env(env::EnvCommand),
    /// Stop a deployment that has not ended.
    Cancel(show::OneArgs),
    /// Open a deployment in the browser.
    Open(show::OneArgs),
    /// Point production at a deployment that is ready; nothing is built.
    Promote(show::OneArgs),
    /// Point production at the deployment before, or at the one given; nothing is built.
    Rollback(show::RollbackArgs),
}

pub fn run(config: &ConfigArgs, command: ClientCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            ClientCommand::Login(args) => session::login(config, args).await,
            ClientCommand::Logout(args) => session::logout(config, &args).await,
            ClientCommand::Whoami(args) => session::whoami(config, &args).await,
            ClientCommand::Deploy(args) => deploy::deploy(config, &args).await,
            ClientCommand::List(args) => show::list(config, &args).await,
            ClientCommand::Inspect(args) => show::inspect(config, &args).await,
            ClientCommand::Logs(args) => show::logs(config, &args).await,
            ClientCommand::Explain(args) => explain::explain(config, &args).await,
            ClientCommand::Env(command) => env::run(config, &command).await,
            ClientCommand::Cancel(args) => show::cancel(config, &args).await,
            ClientCommand::Open(args) => show::open(config, &args).await,
            ClientCommand::Promote(args) => show::promote(config, &args).await,
            ClientCommand::Rollback(args) => show::rollback(config, &args).await,
        }
    });
    // A reader that has seen enough (`gv list | head`) is no failure.
    match outcome {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) if error.downcast_ref::<Failure>().is_some_and(Failure::is_wrong_usage) => {
            super::complain(&error);
            Ok(ExitCode::from(2))
        }
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A line on standard output: what was asked for.
fn print(line: impl AsRef<str>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", line.as_ref())?;
    Ok(out.flush()?)
}

/// A line on standard error: what a person wants to know meanwhile.
fn tell(line: impl AsRef<str>) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr().lock(), "{}", line.as_ref())?)
}
