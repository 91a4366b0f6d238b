//! The rule files of a repository: found, read, and compiled for the manifest. What they mean is
//! `domain::routing`'s.
//!
//! Start with [`RuleFiles`].

use crate::domain::routing::compile::{Compiled, Settings, compile};
use crate::domain::routing::dialect::{Dialect, choose};
use crate::domain::routing::netlify_toml;
use crate::domain::routing::sources::{
    CLOUDFLARE_PROJECT, CLOUDFLARE_PUBLISHED, HEADERS, NETLIFY_TOML, Note, REDIRECTS, Refused, Sources,
    VERCEL_JSON,
};
use crate::domain::routing::vercel_json;
use crate::domain::settings::{BuildSettings, RelativeDir};
use crate::worker::inside::{Inside, TEXT_BYTES, join};

/// What was found, and what of it cannot be read.
#[derive(Debug, Default)]
pub struct RuleFiles {
    sources: Sources,
    problems: Vec<Note>,
}

impl RuleFiles {
    /// Those at the root of a project: `vercel.json`, `netlify.toml`, `wrangler.*`.
    pub fn of_project(repository: &Inside, root: &str) -> Self {
        let mut found = Self::default();
        found.sources.vercel_json = found.read(repository, root, VERCEL_JSON);
        found.sources.netlify_toml = found.read(repository, root, NETLIFY_TOML);
        if root != "." && found.sources.netlify_toml.is_none() {
            // At the top of a repository it may be about the project in a folder.
            let top = repository.text(NETLIFY_TOML);
            found.sources.netlify_toml = top.filter(|text| netlify_toml::base(text).as_deref() == Some(root));
        }
        let is_there = |name: &&&str| repository.is_file(&join(root, name));
        found.sources.cloudflare_file =
            CLOUDFLARE_PROJECT.iter().find(is_there).map(|name| (*name).to_owned());
        found
    }

    /// With those in the folder that is published: `_redirects`, `_headers`.
    pub fn with_published(mut self, repository: &Inside, folder: &str) -> Self {
        self.sources.redirects = self.read(repository, folder, REDIRECTS);
        self.sources.headers = self.read(repository, folder, HEADERS);
        let is_there = |name: &&&str| repository.stat(&join(folder, name)).is_ok();
        let found = CLOUDFLARE_PUBLISHED.iter().find(is_there).map(|name| (*name).to_owned());
        self.sources.cloudflare_file = self.sources.cloudflare_file.take().or(found);
        self
    }

    pub fn compile(&self, settings: Settings) -> Result<Compiled, Refused> {
        let mut compiled = compile(&self.sources, settings)?;
        compiled.notes.extend(self.problems.iter().cloned());
        Ok(compiled)
    }

    /// Whose language the project's own files speak; those that a build publishes are not known yet.
    pub fn dialect(&self, settings: Settings) -> Option<Dialect> {
        if settings.routing.is_none() && self.sources.vercel_json.is_some() {
            return Some(Dialect::Vercel);
        }
        let has_rules = self.sources.vercel_json.as_deref().is_some_and(vercel_json::has_rules);
        Some(choose(settings.routing, &self.sources, has_rules).0)
    }

    /// The folder of the site as a `netlify.toml` names it, relative to the project, where Netlify's
    /// rules count.
    pub fn publish(&self, settings: Settings) -> Option<RelativeDir> {
        let has_rules = self.sources.vercel_json.as_deref().is_some_and(vercel_json::has_rules);
        let (dialect, _) = choose(settings.routing, &self.sources, has_rules);
        let toml = self.sources.netlify_toml.as_deref().filter(|_| dialect == Dialect::Netlify)?;
        RelativeDir::parse(&netlify_toml::publish(toml)?).ok()
    }

    fn read(&mut self, repository: &Inside, folder: &str, name: &str) -> Option<String> {
        let path = join(folder, name);
        if !repository.is_file(&path) {
            return None;
        }
        let text = repository.text(&path);
        if text.is_none() {
            let why = format!("is no UTF-8 text of at most {} MiB: ignored", TEXT_BYTES / 1024 / 1024);
            self.problems.push(Note::warning(name, None, why));
        }
        text
    }
}

impl From<&BuildSettings> for Settings {
    fn from(settings: &BuildSettings) -> Self {
        Self { routing: settings.routing, spa: settings.spa }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Inside) {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let inside = Inside::open(folder.path()).unwrap();
        (folder, inside)
    }

    #[test]
    fn files_are_read_where_their_hosts_read_them() {
        let (_folder, inside) = files(&[
            ("web/netlify.toml", b"[build]\npublish = \"site\"\n"),
            ("vercel.json", b"{\"cleanUrls\": true}"),
            ("_redirects", b"/no /no\n"),
            ("web/dist/_redirects", b"/a /b\n"),
            ("web/dist/_worker.js/index.js", b""),
        ]);
        assert_eq!(RuleFiles::of_project(&inside, "docs").sources.netlify_toml, None);
        let found = RuleFiles::of_project(&inside, "web");
        assert_eq!(found.publish(Settings::default()).unwrap().as_str(), "site");
        let plain = Settings { routing: Some(Dialect::Plain), spa: None };
        assert_eq!(found.publish(plain), None);
        let found = found.with_published(&inside, "web/dist");
        assert_eq!(found.sources.vercel_json, None);
        assert_eq!(found.sources.redirects.as_deref(), Some("/a /b\n"));
        assert_eq!(found.sources.cloudflare_file.as_deref(), Some("_worker.js"));
        assert_eq!(found.compile(Settings::default()).unwrap().rules.redirects.len(), 1);
    }

    #[test]
    fn a_netlify_toml_above_counts_for_the_folder_that_it_names() {
        let (_folder, inside) = files(&[("netlify.toml", b"[build]\nbase = \"/web/\"\n"), ("web/x", b"")]);
        assert!(RuleFiles::of_project(&inside, "web").sources.netlify_toml.is_some());
        assert_eq!(RuleFiles::of_project(&inside, "docs").sources.netlify_toml, None);
    }

    #[test]
    fn what_is_no_text_is_told() {
        let (_folder, inside) = files(&[("_headers", b"/*\n X: \xff")]);
        let notes = RuleFiles::of_project(&inside, ".").with_published(&inside, ".");
        let notes = notes.compile(Settings::default()).unwrap().notes;
        assert!(notes.iter().any(|note| note.to_string().starts_with("Warning: _headers: is no UTF-8")));
    }
}
