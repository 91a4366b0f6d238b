//! `gv check`: what gv makes of the rule files of a folder, without deploying it.

use crate::domain::routing::compile::Settings;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::sources::{HEADERS, Note, REDIRECTS, Severity};
use crate::domain::settings::RelativeDir;
use crate::worker::inside::{Inside, join};
use crate::worker::rules::RuleFiles;
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The project's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// The folder that is published, below DIR; else the first usual one that has rule files.
    #[arg(long, value_name = "DIR")]
    pub output: Option<RelativeDir>,
    /// Read the rules of this host: vercel, netlify, cloudflare, plain. Else what the files say.
    #[arg(long, value_name = "HOST")]
    pub routing: Option<Dialect>,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// Where `_redirects` and `_headers` lie, before or after a build.
const USUAL: [&str; 7] = [".", "dist", "build", "out", "public", "static", "_site"];

/// Exit code 1: a deployment of this folder would fail.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let dir = args.dir.canonicalize().with_context(|| format!("{} cannot be read", args.dir.display()))?;
    let project = Inside::open(&dir).with_context(|| format!("{} is no folder", args.dir.display()))?;
    let settings = Settings { routing: args.routing, spa: None };
    let files = RuleFiles::of_project(&project, ".");
    let named = args.output.clone().or_else(|| files.publish(settings));
    if let Some(output) = args.output.as_ref().filter(|output| !project.is_folder(output.as_str())) {
        anyhow::bail!("{output} is no folder in {}", args.dir.display());
    }
    let folder = named.map_or_else(|| usual(&project), |folder| folder.to_string());
    let (dialect, notes) = match files.with_published(&project, &folder).compile(settings) {
        Ok(compiled) => (Some(compiled.rules.dialect), compiled.notes),
        Err(refused) => (None, vec![refused.0]),
    };
    let fails = notes.iter().any(|note| note.severity == Severity::Error);
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = json!({ "ok": !fails, "dialect": dialect, "published": folder, "notes": notes });
        writeln!(out, "{report}")?;
    } else {
        notes.iter().try_for_each(|note| writeln!(out, "{}", line(note)))?;
    }
    out.flush()?;
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(note: &Note) -> String {
    if note.severity == Severity::Error { format!("Error: {note}") } else { note.to_string() }
}

fn usual(project: &Inside) -> String {
    let has_rules =
        |folder: &&str| [REDIRECTS, HEADERS].iter().any(|name| project.is_file(&join(folder, name)));
    USUAL.into_iter().find(has_rules).unwrap_or(".").to_owned()
}
