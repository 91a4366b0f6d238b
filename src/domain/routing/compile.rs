//! From the rule files of a repository to the rules in its manifest, once, when it is deployed.
//! Start with [`compile`].

use crate::domain::routing::dialect::{Dialect, choose};
use crate::domain::routing::headers;
use crate::domain::routing::netlify_toml;
use crate::domain::routing::redirects;
use crate::domain::routing::rules::Rules;
use crate::domain::routing::sources::{
    HEADERS, NETLIFY_TOML, Note, REDIRECTS, Refused, Severity, Sources, VERCEL_JSON,
};
use crate::domain::routing::vercel_json::{self, Vercel};

/// How many warnings are told: a file of a hundred thousand bad lines is not a log.
const MAX_WARNINGS: usize = 500;

/// What a person said about routing, beside the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub routing: Option<Dialect>,
    pub spa: Option<bool>,
}

#[derive(Debug)]
pub struct Compiled {
    pub rules: Rules,
    /// For the deployment's log: what was used, what was ignored, what was refused and why.
    pub notes: Vec<Note>,
}

/// Reads whatever files the chosen dialect has. Only a `vercel.json` can be refused as a whole.
pub fn compile(sources: &Sources, settings: Settings) -> Result<Compiled, Refused> {
    let vercel_has_rules = sources.vercel_json.as_deref().is_some_and(vercel_json::has_rules);
    let (dialect, because) = choose(settings.routing, sources, vercel_has_rules);
    let mut rules = Rules { dialect, spa: settings.spa, ..Rules::default() };
    let mut found = Vec::new();
    if dialect == Dialect::Vercel {
        let text = sources.vercel_json.as_deref();
        let vercel =
            text.map_or_else(|| Ok(Vercel::default()), |text| vercel_json::parse(text, &mut found))?;
        rules.clean_urls = vercel.clean_urls;
        rules.trailing_slash = vercel.trailing_slash;
        rules.redirects = vercel.redirects.into();
        rules.rewrites = vercel.rewrites.into();
        rules.headers = vercel.headers.into();
    } else {
        let mut redirects = redirects::Collected::new(dialect);
        let mut headers = headers::Collected::default();
        if let Some(text) = &sources.redirects {
            redirects::parse(text, dialect, &mut redirects, &mut found);
        }
        if let Some(text) = &sources.headers {
            headers::parse(text, dialect, &mut headers, &mut found);
        }
        if let Some(text) = sources.netlify_toml.as_ref().filter(|_| dialect == Dialect::Netlify) {
            netlify_toml::parse(text, &mut redirects, &mut headers, &mut found);
        }
        rules.redirects = redirects.into_rules().into();
        rules.headers = headers.into_rules().into();
    }
    let mut notes = vec![Note::info(format!("Routing as {dialect}: {because}. {}", summary(&rules)))];
    notes.extend(unused(sources, dialect));
    notes.extend(shortened(found));
    Ok(Compiled { rules, notes })
}

fn summary(rules: &Rules) -> String {
    let counted = |count: usize, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let redirects = rules.redirects.iter().filter(|rule| rule.is_redirect()).count();
    let rewrites = rules.redirects.len() - redirects + rules.rewrites.len();
    let parts = [
        counted(redirects, "redirect", "redirects"),
        counted(rewrites, "rewrite", "rewrites"),
        counted(rules.headers.len(), "rule for headers", "rules for headers"),
        rules.clean_urls.then(|| "cleanUrls".to_owned()),
        rules.trailing_slash.map(|is_on| format!("trailingSlash {is_on}")),
        rules.spa.map(|is_on| format!("spa {is_on}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "No rules.".to_owned() } else { format!("In use: {}.", parts.join(", ")) }
}

/// The files that are there for another host.
fn unused(sources: &Sources, dialect: Dialect) -> Vec<Note> {
    let lists = dialect != Dialect::Vercel;
    let ignored = [
        (sources.vercel_json.is_some() && dialect != Dialect::Vercel, VERCEL_JSON),
        (sources.netlify_toml.is_some() && dialect != Dialect::Netlify, NETLIFY_TOML),
        (sources.redirects.is_some() && !lists, REDIRECTS),
        (sources.headers.is_some() && !lists, HEADERS),
    ];
    let mut notes: Vec<Note> = ignored
        .into_iter()
        .filter(|(is_ignored, _)| *is_ignored)
        .map(|(_, name)| Note::info(format!("Ignored: {name}, whose rules are not {dialect}'s.")))
        .collect();
    if let Some(name) = &sources.cloudflare_file {
        let why = match (dialect, name.as_str()) {
            (Dialect::Cloudflare, "_worker.js" | "_routes.json") => "functions are not supported",
            (Dialect::Cloudflare, _) => "it has no rules for files",
            _ => "its rules are another host's",
        };
        notes.push(Note::info(format!("Ignored: {name}: {why}.")));
    }
    notes
}

fn shortened(mut notes: Vec<Note>) -> Vec<Note> {
    let over = notes.len().saturating_sub(MAX_WARNINGS);
    if over > 0 {
        notes.truncate(MAX_WARNINGS);
        let message = format!("Warning: and {over} more lines like these are ignored.");
        notes.push(Note { severity: Severity::Info, ..Note::info(message) });
    }
    notes
}
