//! `gv doctor`: what is wrong between gv and what it stands on, and what helps.

use super::ConfigArgs;
use crate::config::layers::Outside;
use crate::config::load::load;
use crate::wiring::doctor::{Finding, Role, Verdict, examine, invalid};
use clap::Args;
use console::Style;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Examine what this role needs, and no more: an edge has no credentials of the database, say.
    /// Else all that is configured.
    #[arg(long, value_enum, value_name = "ROLE")]
    pub role: Option<Role>,
    /// Print JSON: [{"check", "ok", "verdict", "detail", "remedy"}].
    #[arg(long)]
    pub json: bool,
}

/// What stands at the end of `gv doctor --help`.
pub const EXPLAINED: &str = "What is examined, and for which role:
  configuration  valid, secrets, signing keys, registration     all
  database       reached, clock, migrations, a row written      api, worker
  queue          declare, publish, confirm, consume, delete;    api, worker
                 whether a worker listens
  cache          held, given back, removed; a notice heard;     all
                 what happens when it is full
  storage        an object stored, read, replaced under a       all; an edge's keys
                 condition, deleted; clock                      need only to read
  domain         whether names below it resolve                 api, edge
  sandbox        how builds are held                            worker
  programs       node and npm on PATH                           worker
  memory         edge.memory_mb and what there is               edge
  disk           room and rights in each folder                 worker, edge

Run it where the role runs, as its user and with its configuration. Each part has 10 s; nothing is
left behind. Exit code 1: something is broken. What is doubtful works, and may not be meant so.";

pub fn doctor(args: &ConfigArgs, doctor: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let outside = Outside::of_process(args.config.clone());
    let findings = match load(&outside) {
        Err(problems) => invalid(&problems),
        Ok(loaded) => {
            let runtime = super::server::runtime()?;
            let findings = runtime.block_on(examine(&loaded, outside.file.as_deref(), doctor.role));
            // A folder or a name server that hangs keeps nobody here.
            runtime.shutdown_background();
            findings
        }
    };
    let mut out = std::io::stdout().lock();
    if doctor.json {
        let report: Vec<Value> = findings.iter().map(view).collect();
        writeln!(out, "{}", Value::Array(report))?;
    } else {
        let is_terminal = out.is_terminal();
        for finding in &findings {
            writeln!(out, "{} {}: {}", mark(finding.verdict, is_terminal), finding.check, finding.detail)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(out, "{:9} -> {remedy}", "")?;
            }
        }
        writeln!(out, "{}", summary(&findings))?;
    }
    out.flush()?;
    Ok(if findings.iter().all(is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_ok(finding: &Finding) -> bool {
    finding.verdict != Verdict::Broken
}

fn view(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "ok": is_ok(finding),
        "verdict": finding.verdict,
        "detail": finding.detail,
        "remedy": finding.remedy,
    })
}

fn mark(verdict: Verdict, is_terminal: bool) -> String {
    if !is_terminal {
        return format!("{:<9}", word(verdict));
    }
    let (sign, style) = match verdict {
        Verdict::Well => ("✓", Style::new().green()),
        Verdict::Doubtful => ("!", Style::new().yellow()),
        Verdict::Broken => ("✗", Style::new().red().bold()),
        Verdict::Skipped => ("-", Style::new().dim()),
    };
    // As wide as the words, so that remedies stand below what they belong to.
    style.apply_to(format!("{sign:>9}")).to_string()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Well => "well",
        Verdict::Doubtful => "doubtful",
        Verdict::Broken => "broken",
        Verdict::Skipped => "skipped",
    }
}

fn summary(findings: &[Finding]) -> String {
    let counted = [Verdict::Well, Verdict::Doubtful, Verdict::Broken, Verdict::Skipped].map(|verdict| {
        let count = findings.iter().filter(|finding| finding.verdict == verdict).count();
        (count > 0).then(|| format!("{count} {}", word(verdict)))
    });
    let counted: Vec<String> = counted.into_iter().flatten().collect();
    format!("{} checks: {}", findings.len(), counted.join(", "))
}
