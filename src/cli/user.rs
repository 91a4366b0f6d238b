//! `gv user`: people's accounts, by the hand of an operator, who has the database.

use super::config::load_or_explain;
use super::{ConfigArgs, question};
use crate::app::administration::{Administration, random_password};
use crate::config::layers::Outside;
use crate::domain::account::{DisplayName, Email, Password, User};
use crate::wiring;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account. Where auth.registration is closed, this is how people get one.
    Add(AddArgs),
    /// List all accounts.
    List {
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Keep an account out at once: its sessions end, and neither its password nor its tokens open
    /// anything until it is enabled again. Its sites go on being served.
    Disable {
        /// The account's e-mail address.
        email: Email,
    },
    /// Let a disabled account in again: its password and its personal tokens work, its ended sessions
    /// stay ended.
    Enable {
        /// The account's e-mail address.
        email: Email,
    },
    /// Give an account another password, and end its sessions.
    ResetPassword(ResetArgs),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// What its owner signs in with.
    pub email: Email,
    /// The owner's name.
    #[arg(long)]
    pub name: Option<DisplayName>,
    #[command(flatten)]
    pub password: PasswordArgs,
}

#[derive(Debug, Args)]
pub struct ResetArgs {
    /// The account's e-mail address.
    pub email: Email,
    /// Delete its personal tokens too, those of `gv login` among them.
    #[arg(long)]
    pub revoke_tokens: bool,
    #[command(flatten)]
    pub password: PasswordArgs,
}

#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Make a password and print it, once. Without this it is asked for, or read from the first line
    /// of standard input where that is no terminal.
    #[arg(long)]
    pub generate: bool,
}

pub fn run(args: &ConfigArgs, command: UserCommand) -> anyhow::Result<ExitCode> {
    let config = load_or_explain(&Outside::of_process(args.config.clone()))?.config;
    // Before the database is asked, so that nothing waits for a person who types.
    let password = match &command {
        UserCommand::Add(AddArgs { password, .. })
        | UserCommand::ResetPassword(ResetArgs { password, .. }) => Some(password.choose()?),
        _ => None,
    };
    super::server::runtime()?.block_on(async {
        let administration = wiring::administration(&config).await?;
        match (command, password) {
            (UserCommand::Add(args), Some(password)) => add(&administration, args, &password).await,
            (UserCommand::ResetPassword(args), Some(password)) => {
                reset(&administration, &args, &password).await
            }
            (UserCommand::List { json }, _) => list(&administration, json).await,
            (UserCommand::Disable { email }, _) => {
                known(&email, administration.disable(&email).await?)?;
                tell(&format!("{email} is kept out: its sessions have ended."))
            }
            (UserCommand::Enable { email }, _) => {
                known(&email, administration.enable(&email).await?)?;
                tell(&format!("{email} may sign in again."))
            }
            (UserCommand::Add(_) | UserCommand::ResetPassword(_), None) => {
                anyhow::bail!("no password was given")
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A password, and whether it is to be printed.
struct Chosen {
    password: Password,
    is_generated: bool,
}

impl PasswordArgs {
    fn choose(&self) -> anyhow::Result<Chosen> {
        let password = if self.generate {
            random_password()?
        } else {
            let text = question::ask_new_password()?;
            Password::parse(&text).map_err(|invalid| anyhow::anyhow!("the password {invalid}"))?
        };
        Ok(Chosen { password, is_generated: self.generate })
    }
}

async fn add(administration: &Administration, args: AddArgs, chosen: &Chosen) -> anyhow::Result<()> {
    let made = administration.add(args.email.clone(), args.name, chosen.password.clone()).await?;
    let email = args.email;
    made.with_context(|| format!("{email} has an account already: gv user reset-password {email}"))?;
    tell(&format!("{email} has an account."))?;
    show(chosen)
}

async fn reset(administration: &Administration, args: &ResetArgs, chosen: &Chosen) -> anyhow::Result<()> {
    let email = &args.email;
    let password = chosen.password.clone();
    let reset = administration.reset_password(email, password, args.revoke_tokens).await?;
    known(email, reset.is_some())?;
    let tokens = match reset {
        Some(count) if args.revoke_tokens => format!(", and {count} personal tokens were deleted"),
        _ => "; its personal tokens go on working".to_owned(),
    };
    tell(&format!("{email} has another password. Its sessions have ended{tokens}."))?;
    show(chosen)
}

async fn list(administration: &Administration, as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let mut users = Vec::new();
        administration
            .list(|user| {
                users.push(view(&user)?);
                Ok::<_, anyhow::Error>(())
            })
            .await?;
        writeln!(out, "{}", Value::Array(users))?;
    } else {
        administration
            .list(|user| {
                let name = user.name.as_ref().map_or("", DisplayName::as_str);
                let since = user.created_at.format(format_description!("[year]-[month]-[day]"))?;
                let state = if user.disabled_at.is_some() { "disabled" } else { "enabled" };
                writeln!(out, "{:<32} {state:<9} {since}  {}  {name}", user.email.as_str(), user.id)?;
                Ok::<_, anyhow::Error>(())
            })
            .await?;
    }
    Ok(out.flush()?)
}

fn view(user: &User) -> anyhow::Result<Value> {
    let time = |at: OffsetDateTime| at.format(&Rfc3339);
    Ok(json!({
        "id": user.id.to_string(),
        "email": user.email,
        "name": user.name,
        "created_at": time(user.created_at)?,
        "disabled_at": user.disabled_at.map(time).transpose()?,
        "has_password": user.password_hash.is_some(),
    }))
}

fn known(email: &Email, found: bool) -> anyhow::Result<()> {
    anyhow::ensure!(found, "{email} has no account here: gv user list");
    Ok(())
}

/// What was made by lot is known to nobody else: it alone goes to standard output.
fn show(chosen: &Chosen) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if chosen.is_generated {
        writeln!(out, "{}", chosen.password.expose())?;
    }
    Ok(out.flush()?)
}

fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr().lock(), "{line}")?)
}
