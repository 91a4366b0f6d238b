//! What a project says about its build: in the request and its own settings, in `gv.toml`, and in
//! the files that it keeps for other hosts. One source after the other, each key from the first
//! that says it (docs/builds.md has the order).
//!
//! Nothing is recognised here; that is `worker::presets`'. Start with [`read`].

mod gv_toml;
mod netlify;
mod vercel;

use crate::domain::deployment::Target;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::sources::{NETLIFY_TOML, VERCEL_JSON};
use crate::domain::settings::{BuildSettings, CommandLine, NodeVersion, RelativeDir, Variables};
use crate::worker::inside::{Inside, join};
use std::collections::BTreeMap;
use std::ops::Range;

pub const GV_TOML: &str = "gv.toml";
pub const SETTINGS: &str = "the deployment's settings";

/// A value, and who said it: the end of a sentence that begins with "by".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<T> {
    pub value: T,
    pub by: &'static str,
}

/// All that was said, the first of each kind.
#[derive(Debug, Default)]
pub struct Declared {
    pub root_dir: Option<Said<RelativeDir>>,
    pub install_command: Option<Said<CommandLine>>,
    pub build_command: Option<Said<CommandLine>>,
    pub output_dir: Option<Said<RelativeDir>>,
    /// A preset's slug or alias, or `None` for none of them.
    pub framework: Option<Said<Option<String>>>,
    pub node_version: Option<Said<NodeVersion>>,
    pub environment: BTreeMap<String, Said<String>>,
    /// Run before anything else; when it ends well, there is nothing to deploy.
    pub ignore_command: Option<Said<CommandLine>>,
    /// Patterns of paths whose change is worth a deployment; empty: every path is.
    pub watch: Vec<String>,
    /// For the log: what of it is not followed.
    pub notes: Vec<String>,
}

impl Declared {
    /// These, with `later`'s where these say nothing.
    fn or(mut self, later: Self) -> Self {
        self.root_dir = self.root_dir.or(later.root_dir);
        self.install_command = self.install_command.or(later.install_command);
        self.build_command = self.build_command.or(later.build_command);
        self.output_dir = self.output_dir.or(later.output_dir);
        self.framework = self.framework.or(later.framework);
        self.node_version = self.node_version.or(later.node_version);
        self.ignore_command = self.ignore_command.or(later.ignore_command);
        for (name, value) in later.environment {
            self.environment.entry(name).or_insert(value);
        }
        if self.watch.is_empty() {
            self.watch = later.watch;
        }
        self.notes.extend(later.notes);
        self
    }

    fn says_anything(&self) -> bool {
        self.install_command.is_some()
            || self.build_command.is_some()
            || self.output_dir.is_some()
            || self.framework.is_some()
            || self.ignore_command.is_some()
            || !self.environment.is_empty()
    }

    pub fn root(&self) -> &str {
        self.root_dir.as_ref().map_or(".", |dir| dir.value.as_str())
    }
}

impl From<&BuildSettings> for Declared {
    fn from(settings: &BuildSettings) -> Self {
        Self {
            root_dir: said(settings.root_dir.clone(), SETTINGS),
            install_command: said(settings.install_command.clone(), SETTINGS),
            build_command: said(settings.build_command.clone(), SETTINGS),
            output_dir: said(settings.output_dir.clone(), SETTINGS),
            node_version: said(settings.node_version.clone(), SETTINGS),
            ..Self::default()
        }
    }
}

fn said<T>(value: Option<T>, by: &'static str) -> Option<Said<T>> {
    value.map(|value| Said { value, by })
}

/// Reads all sources. A `gv.toml` that cannot be understood fails the deployment, and so does a `netlify.toml` that
/// is no TOML (`domain::routing` says the same of a `vercel.json`); else files of other hosts are followed as far
/// as they can be.
pub fn read(repository: &Inside, settings: &BuildSettings, target: Target) -> Result<Declared, Failure> {
    let asked = Declared::from(settings);
    let at_top = gv_toml::read(repository, ".")?;
    let netlify = |folder: &str| {
        let text = repository.text(&join(folder, NETLIFY_TOML))?;
        Some(netlify::parse(&text, target))
    };
    let readable = |folder: &str| netlify(folder)?.ok();
    // Only the files at the top of a repository can say where the project is.
    let named = asked.root_dir.clone().or_else(|| at_top.as_ref()?.root_dir.clone());
    let named = named.or_else(|| readable(".").filter(|_| speaks(settings, Dialect::Netlify))?.root_dir);
    let root = named.as_ref().map_or(".", |dir| dir.value.as_str()).to_owned();
    let mut found = asked.or(Declared { root_dir: named, ..Declared::default() });
    let own = if root == "." { None } else { gv_toml::read(repository, &root)? };
    // A file at the top of a repository of many projects is about the one that it names.
    let at_top = at_top.filter(|file| root == "." || file.names(&root));
    for file in [own, at_top].into_iter().flatten() {
        found = found.or(file.declared());
    }
    let vercel = repository.text(&join(&root, VERCEL_JSON)).map(|text| vercel::parse(&text));
    let netlify = netlify(&root).or_else(|| {
        let names_it = |file: &Declared| file.root_dir.as_ref().is_some_and(|dir| dir.value.as_str() == root);
        readable(".").filter(names_it).map(Ok)
    });
    let vercel = vercel.filter(|_| speaks(settings, Dialect::Vercel));
    let netlify = netlify.filter(|_| speaks(settings, Dialect::Netlify));
    // Two hosts' settings are never mixed: each was written without the other in mind.
    let other = match vercel {
        Some(file) if file.says_anything() => Some(file),
        // What nobody can read was to say something: to publish a repository as it lies there is none of it.
        vercel => match netlify.transpose().map_err(invalid)? {
            Some(file) if file.says_anything() => Some(file),
            // Of files that say nothing which can be followed, what is wrong with them is told.
            file => {
                found.notes.extend(vercel.into_iter().chain(file).flat_map(|file| file.notes));
                None
            }
        },
    };
    if let Some(file) = other {
        found = found.or(Declared { root_dir: None, ..file });
    }
    Ok(found)
}

/// Whether the files of a host count, where the person named the host.
fn speaks(settings: &BuildSettings, dialect: Dialect) -> bool {
    settings.routing.is_none_or(|named| named == dialect)
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, message)
}

/// `:7`, of what begins at a span; nothing where nobody knows.
fn line_of(text: &str, span: Option<Range<usize>>) -> String {
    let line = span.map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

/// Variables that a file sets. Names that a shell cannot hold are told and left out.
fn environment(
    pairs: impl IntoIterator<Item = (String, String)>,
    by: &'static str,
    notes: &mut Vec<String>,
) -> BTreeMap<String, Said<String>> {
    let mut kept = BTreeMap::new();
    for (name, value) in pairs.into_iter().take(Variables::MAX_COUNT) {
        let pair = BTreeMap::from([(name.clone(), value.clone())]);
        match Variables::parse(pair) {
            Ok(_) => {
                kept.insert(name, Said { value, by });
            }
            Err(why) => notes.push(format!("Warning: {by}: the environment {why}: left out.")),
        }
    }
    kept
}

/// A note that a value of another host's file is of a kind that it cannot have.
fn wrong_kind(key: &str, wanted: &str, by: &'static str) -> String {
    format!("Warning: {by}: {key} is not {wanted}: it is not followed.")
}

/// A value of another host's file, or a note that it is not followed.
fn lenient<T, E: std::fmt::Display>(
    text: Option<&str>,
    key: &str,
    by: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
    notes: &mut Vec<String>,
) -> Option<Said<T>> {
    match parse(text?) {
        Ok(value) => Some(Said { value, by }),
        Err(why) => {
            notes.push(format!("Warning: {by}: {key} {why}: it is not followed."));
            None
        }
    }
}

#[cfg(test)]
mod tests;
