//! The project's `edge-routing` specification as tests, a file for each of its sections that rules
//! have a part in. Here: a site made of files, and what it answers, in a word.

mod compiled;
mod headers_file;
mod hostile_requests;
mod order_for_one_request;
mod redirects_file;
mod static_files;
mod vercel_json;
mod what_answers_depend_on;
mod which_files_count;

use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::manifest::{Codings, FileTable, Manifest, NewEntry, SitePath};
use crate::domain::request_path::RequestPath;
use crate::domain::routing::compile::{Compiled, Settings, compile};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::{Answer, Outcome, resolve};
use crate::domain::routing::sources::{Note, Severity, Sources};
use crate::domain::routing::trace::Trace;
use time::OffsetDateTime;

/// A site as it was deployed: its manifest has been written and read back.
struct Site {
    manifest: Manifest,
    notes: Vec<Note>,
}

impl Site {
    fn new(files: &[&str], sources: &Sources, settings: Settings) -> Self {
        let Compiled { rules, notes } = compile(sources, settings).unwrap();
        let mut rng = rand::rng();
        let now = OffsetDateTime::UNIX_EPOCH;
        let entry = |name: &str| NewEntry {
            digest: Digest::of(name.as_bytes()),
            size: name.len() as u64,
            media_type: "text/html; charset=utf-8".into(),
            codings: Codings::default(),
        };
        let manifest = Manifest {
            deployment: DeploymentId::new(now, &mut rng),
            account: UserId::new(now, &mut rng),
            project: ProjectId::new(now, &mut rng),
            spa_fallback: None,
            rules,
            files: FileTable::build(files.iter().map(|name| (SitePath::parse(name).unwrap(), entry(name))))
                .unwrap(),
        };
        let read = Manifest::decode(&manifest.encode(), manifest.deployment).unwrap();
        assert_eq!(read, manifest, "what was written is read back");
        Self { manifest: read, notes }
    }

    /// With these `_redirects`.
    fn redirects(dialect: Dialect, files: &[&str], redirects: &str) -> Self {
        let sources = Sources { redirects: Some(redirects.to_owned()), ..Sources::default() };
        Self::new(files, &sources, routing(dialect))
    }

    /// With these `_headers`.
    fn headers(dialect: Dialect, headers: &str) -> Self {
        let sources = Sources { headers: Some(headers.to_owned()), ..Sources::default() };
        Self::new(&["index.html", "a.html", "a/b.html", "404.html"], &sources, routing(dialect))
    }

    fn vercel(files: &[&str], json: &str) -> Self {
        let sources = Sources { vercel_json: Some(json.to_owned()), ..Sources::default() };
        Self::new(files, &sources, Settings::default())
    }

    fn netlify(files: &[&str], toml: &str) -> Self {
        let sources = Sources { netlify_toml: Some(toml.to_owned()), ..Sources::default() };
        Self::new(files, &sources, Settings::default())
    }

    /// `fields` are `name: value`.
    fn answer_with<T>(&self, target: &str, fields: &[&str], read: impl FnOnce(Answer<'_>) -> T) -> T {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|field| field.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let host = fields.iter().find(|(name, _)| name == "host").map_or("blog.example", |(_, host)| host);
        let path = RequestPath::parse(path).unwrap();
        let asked = Asked { host, path: &path, query, fields: &fields };
        let explained = resolve(&self.manifest, &asked, &mut Trace::on());
        let answer = resolve(&self.manifest, &asked, &mut Trace::off());
        assert_eq!(explained, answer, "looking does not change what is seen");
        read(answer)
    }

    /// `200 about.html`, `301 /x`, `404 404.html`, `404`.
    fn ask_with(&self, target: &str, fields: &[&str]) -> String {
        self.answer_with(target, fields, |answer| match answer.outcome {
            Outcome::File(found) => format!("200 {}", found.path),
            Outcome::Page { status, found } => format!("{status} {}", found.path),
            Outcome::Moved { status, location, .. } => format!("{status} {location}"),
            Outcome::Nothing { status } => status.to_string(),
            Outcome::TooCostly => "too costly".to_owned(),
        })
    }

    fn ask(&self, target: &str) -> String {
        self.ask_with(target, &[])
    }

    fn check(&self, rows: &[(&str, &str)]) {
        for (target, expected) in rows {
            assert_eq!(self.ask(target), *expected, "{}: {target}", self.manifest.rules.dialect);
        }
    }

    /// What an explanation says, a line for each step.
    fn explain(&self, target: &str, query: Option<&str>) -> Vec<String> {
        let path = RequestPath::parse(target).unwrap();
        let asked = Asked { host: "blog.example", path: &path, query, fields: &Vec::new() };
        let mut trace = Trace::on();
        resolve(&self.manifest, &asked, &mut trace);
        trace.steps().into_iter().map(|step| format!("{}: {}", step.what, step.because)).collect()
    }

    /// What rules make of the fields of an answer: `name=value`, `-name`.
    fn fields(&self, target: &str) -> Vec<String> {
        self.answer_with(target, &[], |answer| {
            let edits = answer.edits.iter();
            edits
                .flat_map(|edit| match edit.values.as_slice() {
                    [] => vec![format!("-{}", edit.name)],
                    values => values.iter().map(|value| format!("{}={value}", edit.name)).collect(),
                })
                .collect()
        })
    }

    /// The warnings, as they stand in the log.
    fn warnings(&self) -> Vec<String> {
        let warnings = self.notes.iter().filter(|note| note.severity == Severity::Warning);
        warnings.map(ToString::to_string).collect()
    }

    fn warned(&self, of: &str) -> bool {
        self.warnings().iter().any(|warning| warning.contains(of))
    }
}

fn routing(dialect: Dialect) -> Settings {
    Settings { routing: Some(dialect), spa: None }
}

const LISTED: [Dialect; 3] = [Dialect::Netlify, Dialect::Cloudflare, Dialect::Plain];
