//! `_headers`: fields for the answers to some paths (the project's `edge-routing` specification,
//! section 5), and what holds for such fields wherever they were written.
//!
//! A line that cannot be used is left out, with a note that says why. Start with [`parse`].

use crate::domain::routing::answer_fields::MAX_NAMES;
use crate::domain::routing::conditions::Guard;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::lines;
use crate::domain::routing::pattern::{HostPattern, Pattern};
use crate::domain::routing::redirects::{host_and_path, tell_of_text};
use crate::domain::routing::rules::{Edit, HeaderRule, MAX_WEIGHT, Place, Weighs};
use crate::domain::routing::sources::{HEADERS, Note, tell};
use crate::domain::routing::target::{Syntax, Template};
use crate::domain::text::Invalid;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Of rules in a file.
pub const MAX_RULES: usize = 1_000;

/// What no rule sets: fields of the connection, of the framing and of the answer's own meaning
/// (the list of Netlify's documentation, and RFC 9110, 7.6.1).
const NEVER: [&str; 16] = [
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "keep-alive",
    "location",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What gv says about itself, and what its own conditional requests go by.
const OWN: [&str; 3] = ["cache-status", "etag", "x-gv-deployment"];

/// Reads a whole file.
pub fn parse(text: &str, dialect: Dialect, into: &mut Collected, notes: &mut Vec<Note>) {
    let mut open: Option<HeaderRule> = None;
    // Where no rule is open: what follows belongs to one that was refused, and not to none.
    let mut is_refused = false;
    lines::read(HEADERS, text, notes, |line, place, notes| {
        if into.is_full() {
            return Ok(ControlFlow::Break(()));
        }
        if opens_rule(line) {
            open.take().into_iter().for_each(|rule| into.push(rule, notes));
            is_refused = true;
            open = Some(rule(lines::bounded(line)?, dialect, place)?);
        } else if let Some(rule) = &mut open {
            let edit = edit(lines::bounded(line)?, rule, dialect)?;
            rule.edits.push(edit);
        } else if !is_refused {
            return Err(Invalid::new("belongs to no path"));
        }
        Ok(ControlFlow::Continue(()))
    });
    if let Some(rule) = open {
        into.push(rule, notes);
    }
}

fn opens_rule(line: &str) -> bool {
    ["/", "https://", "http://"].iter().any(|start| line.starts_with(start))
}

/// The names of all fields that the rules of a site set.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// Whether a name is known or there is room for it: an answer may have all of them.
    pub fn take(&mut self, name: &str) -> bool {
        if self.0.contains(name) {
            return true;
        }
        let has_room = self.0.len() < MAX_NAMES;
        if has_room {
            self.0.insert(name.to_owned());
        }
        has_room
    }
}

/// What is said of a name that [`Names`] did not take.
pub const TOO_MANY_NAMES: &str = "is one field too many: the rules of a site may set 1,024 different ones";

/// The rules of a site, as they come in and in their order, those for the same paths too: which of
/// two counts for a name is the dialect's. What sets nothing or is over a limit is left out.
#[derive(Debug, Default)]
pub struct Collected {
    rules: Vec<HeaderRule>,
    /// What they are for: so many different ones are possible.
    sources: HashSet<(String, String)>,
    names: Names,
    weight: u64,
    is_full: bool,
}

impl Collected {
    pub fn push(&mut self, mut rule: HeaderRule, notes: &mut Vec<Note>) {
        let place = rule.place.clone();
        tell_of_text(&rule.source, &place, notes);
        let mut ignore = |why: String| {
            tell(notes, Note::warning(&place.file, Some(place.line), why));
        };
        if self.is_full {
            return;
        }
        rule.edits.retain(|edit| {
            let is_possible = self.names.take(&edit.name);
            if !is_possible {
                ignore(format!("{} {TOO_MANY_NAMES}: ignored", edit.name));
            }
            is_possible
        });
        if rule.edits.is_empty() {
            return ignore("sets no field: ignored".to_owned());
        }
        let identity = (rule.source.source.clone(), format!("{:?}", rule.host));
        self.weight += rule.weight();
        self.sources.insert(identity);
        if self.weight > MAX_WEIGHT || self.sources.len() > MAX_RULES {
            self.is_full = true;
            return ignore(format!(
                "is over the limit of {MAX_RULES} rules, or makes them too large together: it and those \
                 after it are ignored"
            ));
        }
        self.rules.push(rule);
    }

    /// Nothing more will be taken.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    pub fn into_rules(self) -> Vec<HeaderRule> {
        self.rules
    }
}

/// A rule for the paths that `source` is for, without fields so far.
pub fn rule(source: &str, dialect: Dialect, place: Place) -> Result<HeaderRule, Invalid> {
    let (host, path) = match source.split_once("://") {
        Some((_, rest)) if !source.starts_with('/') => {
            if dialect == Dialect::Netlify {
                return Err(Invalid::new("is for a host, which Netlify does not know: a path is needed"));
            }
            let (host, path) = host_and_path(rest)?;
            (Some(host), path)
        }
        _ => (None, source),
    };
    let source = Pattern::parse(path, dialect)?;
    Ok(HeaderRule { place, host, source, guard: Guard::default(), edits: Vec::new() })
}

fn edit(line: &str, rule: &HeaderRule, dialect: Dialect) -> Result<Edit, Invalid> {
    if let Some(name) = line.strip_prefix('!') {
        return Ok(Edit { name: name_of(name.trim())?, value: None });
    }
    let (name, value) = line.split_once(':').ok_or_else(|| Invalid::new("has no colon"))?;
    let value = value_of(value.trim())?;
    let mut names: Vec<String> = Vec::new();
    if dialect != Dialect::Netlify {
        names.extend(rule.source.names().iter().cloned());
        names.extend(rule.host.iter().flat_map(|host: &HostPattern| host.names.clone()));
    }
    Ok(Edit { name: name_of(name.trim())?, value: Some(Template::parse(value, Syntax::Colon, &names)) })
}

/// The name of a field that a rule may set, in lower case.
pub fn name_of(name: &str) -> Result<String, Invalid> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(is_token) {
        return Err(Invalid::new("has no name that a field can have (RFC 9110, 5.1)"));
    }
    let name = name.to_ascii_lowercase();
    let is_proxys = ["proxy-", "x-accel-", "x-sendfile", "x-lighttpd-send-file", "x-reproxy-url"];
    let is_proxys = is_proxys.iter().any(|begin| name.starts_with(begin));
    if NEVER.contains(&name.as_str()) || OWN.contains(&name.as_str()) || is_proxys {
        return Err(Invalid::new(format!("sets {name}, which is the server's alone")));
    }
    Ok(name)
}

/// The value of a field: not empty, on one line.
pub fn value_of(value: &str) -> Result<&str, Invalid> {
    if value.is_empty() {
        return Err(Invalid::new("has an empty value"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Invalid::new("has control characters in its value"));
    }
    Ok(value)
}
