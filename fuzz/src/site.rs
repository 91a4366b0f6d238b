//! A small site with the rules of one input, and what holds for each of its answers.
//!
//! Start with [`Site::compile`], then [`Site::ask`].

use crate::domain::id::DeploymentId;
use crate::domain::manifest::Manifest;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::answer_fields::MAX_NAMES;
use crate::domain::routing::compile::{Settings, compile};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::headers::name_of;
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::{Answer, Outcome, resolve};
use crate::domain::routing::rules::Rules;
use crate::domain::routing::sources::{Note, Refused, Sources};
use crate::domain::routing::trace::Trace;
use serde_json::json;

pub const DEPLOYMENT: &str = "dpl_00000000000000000001";
const FILES: [&str; 9] = [
    "index.html",
    "404.html",
    "a.html",
    "a/404.html",
    "a/b.html",
    "b",
    "docs/index.html",
    ".well-known/x",
    "caf\u{e9}.html",
];
/// Asked of every site, beside what its own rules name.
const PATHS: [&str; 8] = ["/", "/a", "/a/b/", "/a.html", "/docs", "//docs/%2e%2e/x", "/caf%C3%A9", "/a%2Fb"];

/// Longer inputs are left out: they find nothing that shorter ones do not, and cost their square.
pub const MAX_INPUT: usize = 4_096;
/// Paths up to so many bytes are cheap to compare with whatever a small file has.
const CHEAP_PATH: usize = 200;

pub struct Site {
    pub manifest: Manifest,
    pub notes: Vec<Note>,
}

/// What is asked beside the path.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    pub host: String,
    pub query: Option<String>,
    pub fields: Vec<(String, String)>,
}

impl Site {
    /// With rules that were read, written into a manifest and read back, as a deployment's are.
    pub fn compile(sources: &Sources, routing: Option<Dialect>) -> Result<Self, Refused> {
        let compiled = compile(sources, Settings { routing, spa: None })?;
        assert!(compiled.notes.len() <= 600, "{} notes", compiled.notes.len());
        for note in &compiled.notes {
            let text = note.to_string();
            assert!(text.len() < 40_000 && !text.contains(['\n', '\r', '\0']), "{text:?}");
        }
        let written = serde_json::to_string(&compiled.rules).unwrap();
        let rules: Rules = serde_json::from_str(&written).unwrap();
        assert_eq!(rules, compiled.rules, "what was written is read back");
        let mut manifest = manifest();
        manifest.rules = rules;
        Ok(Self { manifest, notes: compiled.notes })
    }

    /// Asks for a few paths, those that its rules are for, and `target`.
    pub fn ask_around(&self, target: &str) {
        let rules = &self.manifest.rules;
        let sources = rules.redirects.iter().chain(rules.rewrites.iter()).map(|rule| &rule.source);
        let sources = sources.chain(rules.headers.iter().map(|rule| &rule.source));
        let sources = sources.map(|source| source.source.as_str()).take(20);
        for target in PATHS.into_iter().chain(sources).chain([target]) {
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query.to_owned())),
                None => (target, None),
            };
            let visitor = Visitor { host: "blog.example".to_owned(), query, fields: Vec::new() };
            self.ask(path, &visitor);
        }
    }

    /// Asks, and checks that what is answered can be sent. `None`: the path is none.
    pub fn ask(&self, path: &str, visitor: &Visitor) -> Option<Answer<'_>> {
        let path = RequestPath::parse(path).ok()?;
        let Visitor { host, query, fields } = visitor;
        let asked = Asked { host, path: &path, query: query.as_deref(), fields };
        let answer = resolve(&self.manifest, &asked, &mut Trace::off());
        self.check_outcome(&answer, &path);
        check_fields(&answer);
        assert!(!answer.is_general || answer.varies.is_empty());
        Some(answer)
    }

    /// The same answer with an explanation, unless that was too much: then the budget went elsewhere.
    pub fn check_explained(&self, path: &str, visitor: &Visitor, answer: &Answer<'_>) {
        let Ok(path) = RequestPath::parse(path) else { return };
        let Visitor { host, query, fields } = visitor;
        let asked = Asked { host, path: &path, query: query.as_deref(), fields };
        let mut trace = Trace::on();
        let explained = resolve(&self.manifest, &asked, &mut trace);
        if explained.outcome != Outcome::TooCostly {
            assert_eq!(explained, *answer, "looking does not change what is seen");
        }
        assert!(!trace.steps().is_empty());
    }

    fn check_outcome(&self, answer: &Answer<'_>, path: &RequestPath<'_>) {
        match &answer.outcome {
            Outcome::File(found) => self.check_file(&found.path.to_string()),
            Outcome::Page { status, found } => {
                self.check_file(&found.path.to_string());
                assert!((200..600).contains(status), "{status}");
            }
            Outcome::Moved { status, location, .. } => {
                assert!((300..400).contains(status), "{status}");
                check_location(location);
                assert!(!answer.is_general, "a redirect may carry the query along");
            }
            Outcome::Nothing { status } => assert!((400..600).contains(status), "{status}"),
            Outcome::TooCostly => assert!(!self.is_cheap(path), "{} costs too much", path.sent()),
        }
    }

    /// Rules of a small file, none of them with many groups, are within the budget of a short path.
    fn is_cheap(&self, path: &RequestPath<'_>) -> bool {
        let rules = &self.manifest.rules;
        let mut names = rules.redirects.iter().map(|rule| rule.source.names().len());
        let mut more = rules.headers.iter().map(|rule| rule.source.names().len());
        // vercel's patterns may be anything: these are bounded by the budget, not by their length.
        rules.dialect != Dialect::Vercel
            && path.sent().len() <= CHEAP_PATH
            && names.all(|names| names <= 8)
            && more.all(|names| names <= 8)
    }

    fn check_file(&self, path: &str) {
        assert!(FILES.contains(&path), "{path} is no file of the site");
    }
}

/// Of the site without rules. By its oldest form in JSON, which is read for ever.
pub fn manifest() -> Manifest {
    let deployment: DeploymentId = DEPLOYMENT.parse().unwrap();
    Manifest::decode(manifest_json().as_bytes(), deployment).unwrap()
}

pub fn manifest_json() -> String {
    let digest = "0".repeat(64);
    let files: serde_json::Map<_, _> = FILES
        .iter()
        .map(|path| ((*path).to_owned(), json!({"digest": digest, "size": 5, "type": "text/html"})))
        .collect();
    let id = |prefix: &str| DEPLOYMENT.replace("dpl_", prefix);
    let (account, project) = (id("usr_"), id("prj_"));
    let manifest = json!({
        "version": 2, "deployment": DEPLOYMENT, "account": account, "project": project, "files": files,
    });
    manifest.to_string()
}

/// It ends no field, and leads to the site itself or to an absolute address of http or https.
fn check_location(location: &str) {
    let is_safe = |byte: u8| byte.is_ascii_graphic() && !b"\\\"'<>`".contains(&byte);
    assert!(location.bytes().all(is_safe), "{location:?}");
    let is_path = location.starts_with('/') && !location.starts_with("//");
    assert!(is_path || location.starts_with("https://") || location.starts_with("http://"), "{location:?}");
    assert!(location.len() < 600_000, "{} bytes of Location", location.len());
}

/// Fields that a rule may set, with values that end no line, and not without end.
fn check_fields(answer: &Answer<'_>) {
    assert!(answer.edits.len() <= MAX_NAMES + 3, "{} fields", answer.edits.len());
    for (at, edit) in answer.edits.iter().enumerate() {
        assert_eq!(name_of(&edit.name).as_ref(), Ok(&edit.name));
        assert!(
            !answer.edits[..at].iter().any(|other| other.name == edit.name),
            "{} is there twice",
            edit.name
        );
        let is_text = |value: &String| !value.chars().any(|c| c.is_control() && c != '\t');
        assert!(edit.values.iter().all(is_text), "{edit:?}");
        // The last one of an answer that was too large is past the bound.
        assert!(edit.values.iter().map(String::len).sum::<usize>() <= 256 * 1024 + 64 * 1024, "{edit:?}");
    }
}

/// The first line, in words, and what is below it.
pub fn head(text: &str) -> (Vec<&str>, &str) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    (first.split(' ').collect(), rest)
}

/// One of the dialects that read lists, by the first letter.
pub fn listed(word: &str) -> Dialect {
    match word.bytes().next() {
        Some(b'n') => Dialect::Netlify,
        Some(b'c') => Dialect::Cloudflare,
        _ => Dialect::Plain,
    }
}
