//! Following a deployment to its end: lines as they come, a spinner with the step and the elapsed
//! time on a terminal, and a new connection wherever one breaks.

use super::connection::{Connection, Deployment, LogEvent, LogLine};
use anyhow::Context;
use console::{Style, style};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Connections that may break in a row before following is given up.
const MAX_BREAKS: u32 = 30;

/// Where lines of a log go: above a spinner on a terminal, plainly elsewhere.
pub struct Display {
    spinner: Option<ProgressBar>,
}

impl Display {
    pub fn new() -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self { spinner: None });
        }
        let spinner = ProgressBar::new_spinner();
        spinner.set_style(ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}")?);
        spinner.enable_steady_tick(Duration::from_millis(100));
        Ok(Self { spinner: Some(spinner) })
    }

    pub fn step(&self, words: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(words.to_owned());
        }
    }

    pub fn line(&self, line: &LogLine) -> anyhow::Result<()> {
        let Some(spinner) = &self.spinner else {
            return Ok(writeln!(std::io::stderr().lock(), "{}", line.text)?);
        };
        let tint = if line.stream == "system" { Style::new().cyan() } else { Style::new() };
        spinner.println(tint.apply_to(&line.text).to_string());
        self.step(words_of(&line.step));
        Ok(())
    }

    pub fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn words_of(step: &str) -> &str {
    match step {
        "queue" => "Waiting",
        "clone" => "Cloning",
        "build" => "Building",
        "upload" => "Uploading",
        other => other,
    }
}

/// Shows the log until the deployment has ended, and returns it as it then is.
pub async fn follow(connection: &Connection, id: &str) -> anyhow::Result<Deployment> {
    let display = Display::new()?;
    display.step("Waiting");
    let outcome = follow_on(connection, id, &display).await;
    display.end();
    outcome
}

async fn follow_on(connection: &Connection, id: &str, display: &Display) -> anyhow::Result<Deployment> {
    let mut after = 0;
    let mut breaks = 0;
    loop {
        let before = after;
        let followed = match follow_once(connection, id, display, &mut after).await {
            // The api may be replaced between the log's end and this question.
            Ok(true) => connection.get::<Deployment>(&["deployments", id], &[]).await.map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        if after > before {
            breaks = 0;
        }
        match followed {
            Ok(Some(deployment)) if deployment.is_ended() => return Ok(deployment),
            Ok(_) => {}
            Err(error)
                if error
                    .downcast_ref::<super::Failure>()
                    .is_some_and(|failure| failure.status.is_client_error()) =>
            {
                return Err(error);
            }
            Err(error) if breaks == MAX_BREAKS => {
                return Err(error).context("lost the connection; the deployment goes on");
            }
            Err(_) => breaks += 1,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Whether the log said that the deployment has ended.
async fn follow_once(
    connection: &Connection,
    id: &str,
    display: &Display,
    after: &mut u64,
) -> anyhow::Result<bool> {
    let mut log = connection.log(id, *after, true).await?;
    while let Some(event) = log.next().await? {
        match event {
            LogEvent::Line(line, _) => {
                *after = line.seq;
                display.line(&line)?;
            }
            LogEvent::End(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// How it ended, in a line for people.
pub fn verdict(deployment: &Deployment) -> String {
    match (deployment.state.as_str(), &deployment.error) {
        ("ready", _) => style("Ready.").green().for_stderr().to_string(),
        (state, Some(error)) => {
            format!(
                "{} {} ({})",
                style(format!("The deployment {state}:")).red().for_stderr(),
                error.message,
                error.code
            )
        }
        (state, None) => style(format!("The deployment was {state}.")).yellow().for_stderr().to_string(),
    }
}
