//! The rule files of a repository: found, read, and compiled for the manifest. What they mean is
//! `domain::routing`'s.
//!
//! Start with [`RuleFiles`].

use crate::domain::routing::compile::{Compiled, Settings, compile};
use crate::domain::routing::dialect::{Dialect, choose};
use crate::domain::routing::netlify_toml;
use crate::domain::routing::sources::{
    CLOUDFLARE_PROJECT, CLOUDFLARE_PUBLISHED, HEADERS, NETLIFY_TOML, Note, REDIRECTS, Refused, Severity,
    Sources, VERCEL_JSON, position,
};
use crate::domain::routing::vercel_json;
use crate::domain::settings::{BuildSettings, RelativeDir};
use crate::worker::inside::{Inside, TEXT_BYTES, TooLong, join};

/// What was found, and what of it cannot be read.
#[derive(Debug, Default)]
pub struct RuleFiles {
    sources: Sources,
    problems: Vec<Note>,
    /// Why the `vercel.json` cannot be read: where its rules count, there are none to go by.
    refused: Option<Refused>,
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
        if let Some(refused) = self.refused.as_ref().filter(|_| self.speaks_vercel(settings)) {
            return Err(refused.clone());
        }
        let mut compiled = compile(&self.sources, settings)?;
        compiled.notes.extend(self.problems.iter().cloned());
        Ok(compiled)
    }

    /// Whose language the project's own files speak; those that a build publishes are not known yet.
    pub fn dialect(&self, settings: Settings) -> Option<Dialect> {
        let is_there = self.sources.vercel_json.is_some() || self.refused.is_some();
        if settings.routing.is_none() && is_there {
            return Some(Dialect::Vercel);
        }
        let has_rules = self.sources.vercel_json.as_deref().is_some_and(vercel_json::has_rules);
        Some(choose(settings.routing, &self.sources, has_rules).0)
    }

    /// The folder of the site as a `netlify.toml` names it, relative to the project, where Netlify's
    /// rules count.
    pub fn publish(&self, settings: Settings) -> Option<RelativeDir> {
        if self.refused.is_some() && self.speaks_vercel(settings) {
            return None;
        }
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
        let too_long = || format!("is larger than {} MiB", TEXT_BYTES / 1024 / 1024);
        let (why, at) = match repository.bytes(&path) {
            None => ("cannot be read".to_owned(), None),
            Some(Err(TooLong)) => (too_long(), None),
            Some(Ok(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => return Some(text),
                // Their lines stand for themselves: those that are no text are refused one by one.
                Err(error) if matches!(name, REDIRECTS | HEADERS) => {
                    return Some(String::from_utf8_lossy(error.as_bytes()).into_owned());
                }
                Err(error) => {
                    let valid = error.utf8_error().valid_up_to();
                    let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
                    ("is no UTF-8 text".to_owned(), Some(position(&before, before.len())))
                }
            },
        };
        let (line, column) = at.map_or((None, None), |(line, column)| (Some(line), Some(column)));
        if name == VERCEL_JSON {
            let file = Some(name.to_owned());
            self.refused =
                Some(Refused(Note { severity: Severity::Error, file, line, column, message: why }));
        } else {
            let note = Note::warning(name, line, format!("{why}: the whole file is ignored"));
            self.problems.push(Note { column, ..note });
        }
        None
    }

    /// Whether vercel's rules are the ones that count, where its file is there.
    fn speaks_vercel(&self, settings: Settings) -> bool {
        matches!(settings.routing, None | Some(Dialect::Vercel))
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

    fn read(given: &[(&str, &[u8])], settings: Settings) -> Result<Compiled, Refused> {
        let (_folder, inside) = files(given);
        RuleFiles::of_project(&inside, ".").with_published(&inside, ".").compile(settings)
    }

    fn told(compiled: &Compiled) -> Vec<String> {
        compiled.notes.iter().skip(1).map(ToString::to_string).collect()
    }

    #[test]
    fn lines_that_are_no_text_are_refused_and_the_others_count() {
        let given: [(&str, &[u8]); 2] = [
            ("_headers", b"# caf\xe9\n/*\n  X-A: b\n  X-B: \xff\n/\xff\n  X-C: d\n/a\n  X-D: \xc3\xa9\n"),
            ("_redirects", b"# caf\xe9 menu\n/a /b\n/caf\xe9 /c\n/d /e\n"),
        ];
        let compiled = read(&given, Settings::default()).unwrap();
        let notes = told(&compiled);
        assert_eq!(notes.len(), 3, "{notes:?}");
        for (note, start) in notes.iter().zip(["_redirects:3", "_headers:4", "_headers:5"]) {
            assert!(note.starts_with(&format!("Warning: {start}: has bytes that are no UTF-8")), "{note}");
        }
        let rules = compiled.rules;
        assert_eq!(rules.redirects.len(), 2);
        // What belongs to a path that is no text belongs to no other.
        let names: Vec<_> =
            rules.headers.iter().flat_map(|rule| &rule.edits).map(|edit| &*edit.name).collect();
        assert_eq!(names, ["x-a", "x-d"]);
    }

    #[test]
    fn what_is_too_large_is_told_from_what_is_no_text() {
        let large = vec![b'#'; TEXT_BYTES as usize + 1];
        let compiled = read(&[("_headers", &large)], Settings::default()).unwrap();
        assert_eq!(told(&compiled), ["Warning: _headers: is larger than 2 MiB: the whole file is ignored"]);
        let compiled = read(&[("netlify.toml", b"a = 1\nb = \"\xff\"\n")], Settings::default()).unwrap();
        assert_eq!(
            told(&compiled),
            ["Warning: netlify.toml:2:6: is no UTF-8 text: the whole file is ignored"]
        );
    }

    #[test]
    fn a_vercel_json_that_cannot_be_read_fails_a_deployment_where_it_counts() {
        let large = vec![b' '; TEXT_BYTES as usize + 1];
        for (bytes, why) in [
            (&b"{\"redirects\": [],\n\"x\": \"\xff\"}"[..], "vercel.json:2:7: is no UTF-8 text"),
            (&large, "vercel.json: is larger than 2 MiB"),
        ] {
            let given = [("vercel.json", bytes), ("netlify.toml", b"[build]\npublish = \"site\"\n")];
            for routing in [None, Some(Dialect::Vercel)] {
                let settings = Settings { routing, spa: None };
                assert_eq!(read(&given, settings).unwrap_err().to_string(), why);
                let (_folder, inside) = files(&given);
                let found = RuleFiles::of_project(&inside, ".");
                assert_eq!((found.dialect(settings), found.publish(settings)), (Some(Dialect::Vercel), None));
            }
            let settings = Settings { routing: Some(Dialect::Plain), spa: None };
            assert_eq!(read(&given, settings).unwrap().rules.dialect, Dialect::Plain);
        }
    }
}
