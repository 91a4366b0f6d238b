//! The rule files of a repository, as text, and what reading them came to: [`Note`]s for the
//! deployment's log.
//!
//! Nobody is served these files ([`is_rule_file`]). Start with [`Sources`].

use serde::Serialize;
use std::fmt;

/// What was found. `None`: there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// At the root of the project.
    pub vercel_json: Option<String>,
    /// At the root of the project.
    pub netlify_toml: Option<String>,
    /// The name of the first file that only Cloudflare's hosts read.
    pub cloudflare_file: Option<String>,
    /// In the folder that is published.
    pub redirects: Option<String>,
    /// In the folder that is published.
    pub headers: Option<String>,
}

/// Files that only Cloudflare reads: at the root of the project, then in the published folder.
pub const CLOUDFLARE_PROJECT: [&str; 3] = ["wrangler.toml", "wrangler.json", "wrangler.jsonc"];
pub const CLOUDFLARE_PUBLISHED: [&str; 2] = ["_routes.json", "_worker.js"];
pub const VERCEL_JSON: &str = "vercel.json";
pub const NETLIFY_TOML: &str = "netlify.toml";
pub const REDIRECTS: &str = "_redirects";
pub const HEADERS: &str = "_headers";

/// Whether a path of a site, relative and decoded, is one that hosts read and never serve.
pub fn is_rule_file(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    // A worker may be a folder.
    first == "_worker.js"
        || [VERCEL_JSON, NETLIFY_TOML, REDIRECTS, HEADERS].contains(&path)
        || CLOUDFLARE_PROJECT.contains(&path)
        || CLOUDFLARE_PUBLISHED.contains(&path)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Fails the deployment.
    Error,
    /// Something that was written is not done.
    Warning,
    Info,
}

/// Something to say about a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub severity: Severity,
    /// `None`: about the whole.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in characters.
    pub column: Option<u32>,
    pub message: String,
}

impl Note {
    pub fn info(message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, file: None, line: None, column: None, message: message.into() }
    }

    pub fn warning(file: &str, line: Option<u32>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            file: Some(file.to_owned()),
            line,
            column: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("Warning: ")?;
        }
        if let Some(file) = &self.file {
            f.write_str(file)?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// What is wrong with a `vercel.json`: it fails the deployment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub Note);

/// How many notes are held: a file of a million bad lines is not a log.
const MAX_HELD: usize = 5_000;

/// Adds a note, while there is room.
pub fn tell(notes: &mut Vec<Note>, note: Note) {
    if notes.len() < MAX_HELD {
        notes.push(note);
    }
}

/// Where the lines of a text begin, to find many places in it.
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of a place, from 1.
    pub fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

/// Line and column of a place in a text, from 1, the column in characters.
pub fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// A piece of a rule file for the log: short, on one line.
pub fn shown(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
    if line.len() < text.len() { format!("{line}...") } else { line }
}
