//! What a person types. `mod.rs` is the command tree; `server.rs` has the roles and what an
//! operator does, `client/` what a developer does over the API.

mod check;
mod client;
mod config;
mod demo;
mod doctor;
mod health;
mod init;
mod memory;
mod question;
mod secrets;
mod server;
mod user;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Vercel for static sites, on your own machines.
///
/// Give gv a Git URL: it clones, builds, stores and serves the site at its own address, keeps every
/// deployment, and rolls back at once.
#[derive(Debug, Parser)]
#[command(name = "gv", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  gv up --demo                                  everything on this machine, and a first site
  gv deploy https://github.com/team/site.git    deploy, follow the log, print the URL
  gv logs dpl_... --follow                      what a build says, live
  gv rollback my-site                           back to the deployment before, at once";

#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file; else GV_CONFIG, else config/gv.toml where there is one.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run api, worker and edge in one process on embedded backends: nothing to install.
    Up(server::UpArgs),
    /// Run the api role: the HTTP API on production backends.
    Api,
    /// Run the worker role: clone, build, upload.
    Worker,
    /// Run the edge role: serve sites.
    Edge,
    /// Bring the database to this binary's schema.
    Migrate(server::MigrateArgs),
    /// Ask the gv process on this machine how it is; exit 1 when it is not well. For health checks.
    ///
    /// Without a role: whichever process listens at `ops.listen`. With one, a process of another role there
    /// is not well either.
    #[command(after_help = health::EXPLAINED)]
    Health(health::HealthArgs),
    /// Read the rule files of a folder (redirects, rewrites, headers) without deploying it.
    ///
    /// Says whose rules they are and why, and what of them is ignored. Exit code 1: a deployment
    /// would fail.
    Check(check::CheckArgs),
    /// Try out everything that gv stands on, and say what is wrong and what helps; exit 1 when
    /// something is broken.
    #[command(after_help = doctor::EXPLAINED)]
    Doctor(doctor::DoctorArgs),
    /// Look after people's accounts, straight on the database: an operator's hand.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Look at the configuration, or make a signing key.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make a key to seal variables and tokens by, or seal everything by a new one.
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    #[command(flatten)]
    Client(client::ClientCommand),
}

impl Command {
    fn runs_for_long(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Api | Self::Worker | Self::Edge)
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // Builds run below a guard, which is this binary again; it must stay small and start at once.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "guard") {
        return crate::adapters::executor::guard::main();
    }
    memory::give_back_what_is_freed();
    let cli = Cli::parse();
    let ended = if init::is_first() && cli.command.runs_for_long() { init::run() } else { run(cli) };
    match ended {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("the TLS provider was set up twice");
    }
    match cli.command {
        Command::Config(command) => config::run(&cli.config, &command),
        Command::Secrets(command) => secrets::run(&cli.config, &command),
        Command::Up(args) => server::up(&cli.config, &args),
        Command::Api => server::role(&cli.config, server::Role::Api),
        Command::Worker => server::role(&cli.config, server::Role::Worker),
        Command::Edge => server::role(&cli.config, server::Role::Edge),
        Command::Migrate(args) => server::migrate(&cli.config, &args),
        Command::Doctor(args) => doctor::doctor(&cli.config, &args),
        Command::User(command) => user::run(&cli.config, command),
        Command::Check(args) => check::check(&args),
        Command::Health(args) => health::health(&cli.config, &args),
        Command::Client(command) => client::run(&cli.config, command),
    }
}

#[expect(clippy::print_stderr, reason = "a person at a terminal reads it")]
fn complain(error: &anyhow::Error) {
    eprintln!("gv: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_explains_itself() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let id = arg.get_id().as_str();
                assert!(
                    id == "help" || id == "version" || arg.get_help().is_some(),
                    "{} {id}",
                    command.get_name()
                );
            }
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                assert!(sub.get_about().is_some(), "{} {}", command.get_name(), sub.get_name());
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
