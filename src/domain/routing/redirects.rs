//! `_redirects`: one rule a line, as Netlify and Cloudflare read them (the table of what they agree
//! on and where they differ is the project's `edge-routing` specification, section 4).
//!
//! A line that cannot be used is left out, with a note that says why. Start with [`parse`]; what
//! holds for a rule wherever it was written is [`make`]'s.

use crate::domain::request_path::RequestPath;
use crate::domain::routing::conditions::{Condition, Guard, Test};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::lines;
use crate::domain::routing::matcher::Budget;
use crate::domain::routing::pattern::{HostPattern, Pattern, SPLAT, is_name};
use crate::domain::routing::rules::{MAX_WEIGHT, Place, Rule, Weighs};
use crate::domain::routing::sources::{Note, REDIRECTS, shown, tell};
use crate::domain::routing::target::{Syntax, Target, Values};
use crate::domain::text::Invalid;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// How many rules a site may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub plain: usize,
    pub dynamic: usize,
}

pub fn limits(dialect: Dialect) -> Limits {
    match dialect {
        Dialect::Cloudflare => Limits { plain: 2_000, dynamic: 100 },
        // Netlify has a bound on its compiled form alone.
        Dialect::Netlify => Limits { plain: 10_000, dynamic: 2_000 },
        Dialect::Plain | Dialect::Vercel => Limits { plain: 2_000, dynamic: 1_000 },
    }
}

/// A rule in pieces, wherever it was written.
#[derive(Debug, Default)]
pub struct Written<'t> {
    pub from: &'t str,
    /// `name=value`; a value that begins with `:` is bound to that name.
    pub query: Vec<(String, String)>,
    pub to: Option<&'t str>,
    pub status: Option<u16>,
    pub forced: bool,
    /// `Language`, `Country`, `Cookie`, `Role`, each with its values.
    pub conditions: Vec<(String, Vec<String>)>,
}

/// The rules of a site, as they come in: what stands twice or is over a limit is left out.
#[derive(Debug)]
pub struct Collected {
    rules: Vec<Rule>,
    seen: HashSet<(String, String)>,
    limits: Limits,
    plain: usize,
    dynamic: usize,
    weight: u64,
    is_full: bool,
}

/// So many rules over a limit end the reading: each costs time, and none counts.
const TOO_MANY: usize = 100;

impl Collected {
    pub fn new(dialect: Dialect) -> Self {
        let limits = limits(dialect);
        let (rules, seen) = (Vec::new(), HashSet::new());
        Self { rules, seen, limits, plain: 0, dynamic: 0, weight: 0, is_full: false }
    }

    pub fn push(&mut self, rule: Rule, notes: &mut Vec<Note>) {
        tell_of_text(&rule.source, &rule.place, notes);
        let mut ignore = |why: String| {
            tell(notes, Note::warning(&rule.place.file, Some(rule.place.line), why));
        };
        let identity = (rule.describe(), format!("{:?}{:?}", rule.host, rule.guard));
        if self.seen.contains(&identity) {
            return ignore("stands twice: dropped".to_owned());
        }
        let (count, limit, kind) = if rule.source.is_dynamic() {
            (&mut self.dynamic, self.limits.dynamic, "with placeholders or splats")
        } else {
            (&mut self.plain, self.limits.plain, "without placeholders")
        };
        *count += 1;
        self.is_full |= *count > limit + TOO_MANY;
        if *count == limit + 1 {
            ignore(format!("is over the limit of {limit} rules {kind}: it and those after it are ignored"));
        }
        if *count > limit {
            return;
        }
        self.weight += rule.weight();
        if self.weight > MAX_WEIGHT {
            self.is_full = true;
            return ignore(
                "makes the patterns too large together: it and those after it are ignored".to_owned(),
            );
        }
        self.seen.insert(identity);
        self.rules.push(rule);
    }

    /// Nothing more will be taken.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    pub fn into_rules(self) -> Vec<Rule> {
        self.rules
    }
}

/// A name that stands for nothing is told: the rule does less than it looks like.
pub fn tell_of_text(source: &Pattern, place: &Place, notes: &mut Vec<Note>) {
    if let Some(name) = source.name_as_text() {
        let why = format!(
            "{} has text beside :{}, which netlify then reads as it stands",
            shown(&source.source),
            shown(name)
        );
        tell(notes, Note::warning(&place.file, Some(place.line), why));
    }
}

/// Reads a whole file.
pub fn parse(text: &str, dialect: Dialect, into: &mut Collected, notes: &mut Vec<Note>) {
    lines::read(REDIRECTS, text, notes, |line, place, notes| {
        if into.is_full() {
            return Ok(ControlFlow::Break(()));
        }
        into.push(rule(line, dialect, place)?, notes);
        Ok(ControlFlow::Continue(()))
    });
}

fn rule(line: &str, dialect: Dialect, place: Place) -> Result<Rule, Invalid> {
    let line = lines::bounded(line)?;
    let written = if dialect == Dialect::Cloudflare { three_fields(line)? } else { fields(line)? };
    make(&written, dialect, place)
}

/// Cloudflare: a source, a target, perhaps a status.
fn three_fields(line: &str) -> Result<Written<'_>, Invalid> {
    let fields: Vec<&str> = line
        .split_ascii_whitespace()
        .enumerate()
        .take_while(|(at, field)| *at < 2 || !field.starts_with('#'))
        .map(|(_, field)| field)
        .collect();
    let (from, to, status) = match fields[..] {
        [from, to] => (from, to, None),
        [from, to, status] => (from, to, Some(status)),
        [_] => return Err(Invalid::new("has no target")),
        _ => return Err(Invalid::new("has more than a source, a target and a status")),
    };
    let status = status.map(|status| {
        status.parse().map_err(|_| Invalid::new("has something that is no status in its third place"))
    });
    Ok(Written { from, to: Some(to), status: status.transpose()?, ..Written::default() })
}

/// Netlify and plain: query conditions before the target, a status and other conditions behind.
fn fields(line: &str) -> Result<Written<'_>, Invalid> {
    let mut fields = line.split_ascii_whitespace().peekable();
    let mut written = Written { from: fields.next().unwrap_or_default(), ..Written::default() };
    while let Some((name, value)) =
        fields.peek().filter(|field| !is_target(field)).and_then(|field| field.split_once('='))
    {
        written.query.push((name.to_owned(), value.to_owned()));
        fields.next();
    }
    written.to = fields.next_if(|field| is_target(field));
    let mut rest = fields.take_while(|field| !field.starts_with('#')).peekable();
    if let Some(field) = rest.peek().filter(|field| !field.contains('=')) {
        let digits = field.strip_suffix('!').unwrap_or(field);
        written.forced = digits.len() < field.len();
        let status = digits.parse().map_err(|_| {
            Invalid::new(match written.to {
                Some(_) => "has something that is no status behind its target",
                None => "has no target",
            })
        });
        written.status = Some(status?);
        rest.next();
    }
    for field in rest {
        let (name, values) = field
            .split_once('=')
            .ok_or_else(|| Invalid::new(format!("has {}, which is no condition", shown(field))))?;
        written.conditions.push((name.to_owned(), values.split(',').map(str::to_owned).collect()));
    }
    Ok(written)
}

fn is_target(field: &str) -> bool {
    field.starts_with('/')
        || field.contains("://") && !field.split("://").next().is_some_and(|scheme| scheme.contains('='))
}

/// Makes a rule of its pieces, or says why there can be none.
pub fn make(written: &Written<'_>, dialect: Dialect, place: Place) -> Result<Rule, Invalid> {
    let (host, path) = source(written.from, dialect)?;
    if dialect == Dialect::Netlify && (path == "/.netlify" || path.starts_with("/.netlify/")) {
        return Err(Invalid::new("is for /.netlify, which belongs to Netlify itself"));
    }
    let source = Pattern::parse(path, dialect)?;
    let status = written.status.unwrap_or(if dialect == Dialect::Cloudflare { 302 } else { 301 });
    check_status(status, dialect)?;
    let guard = guard(written, dialect)?;
    let mut names = source.names().to_vec();
    names.extend(guard.names());
    names.extend(host.iter().flat_map(|host| host.names.clone()));
    let splat_alone = format!("/:{SPLAT}");
    let to = match written.to {
        Some(to) => to,
        None if status == 200 && names.iter().any(|name| name == SPLAT) => &splat_alone,
        None => return Err(Invalid::new("has no target")),
    };
    let target = Target::parse(to, Syntax::Colon, &names)?;
    check_target(&target, path, to, status, dialect)?;
    let rule = Rule {
        place,
        host,
        source,
        guard,
        target,
        target_text: to.to_owned(),
        status,
        forced: written.forced || dialect == Dialect::Cloudflare,
    };
    if leads_to_itself(&rule) {
        return Err(Invalid::new(
            "leads to a path that it is for itself, where browsers would go round in circles",
        ));
    }
    Ok(rule)
}

/// Whether a redirect is for its own target: another spelling of a fixed path, with or without a
/// slash at the end where that does not matter; or, whatever its placeholders stand for, a path in
/// which they stand for the same again.
fn leads_to_itself(rule: &Rule) -> bool {
    let (target, budget) = (&rule.target, &mut Budget::default());
    let is_own_host = match (target.fixed_host(), &rule.host) {
        _ if !target.leaves_site() => true,
        (Some(to), Some(from)) => from.names.is_empty() && from.find(&to, budget, &mut Values::default()),
        // Whose host it is, nobody knows here.
        _ => false,
    };
    let asks_for_query = rule.guard.has.iter().any(|one| matches!(one, Condition::Query(..)));
    // The target's own query may be one that the rule is not for.
    if !rule.is_redirect() || !is_own_host || asks_for_query && target.has_query() {
        return false;
    }
    let Some(example) = rule.source.example() else {
        let to = target.fixed_path();
        let to = to.as_deref().and_then(|path| RequestPath::parse(path).ok());
        return to.is_some_and(|path| rule.source.find(&path, budget).is_some());
    };
    let Ok(from) = RequestPath::parse(&example) else { return false };
    let Some(values) = rule.source.find(&from, budget) else { return false };
    let mut filled = values.clone();
    let conditions = rule.guard.names();
    let others = conditions.iter().chain(rule.host.iter().flat_map(|host| &host.names));
    others.for_each(|name| filled.add(name, "other"));
    let to = target.path_with(&filled);
    RequestPath::parse(&to).is_ok_and(|to| rule.source.find(&to, budget).as_ref() == Some(&values))
}

/// The host of an absolute source, and its path.
pub fn source(from: &str, dialect: Dialect) -> Result<(Option<HostPattern>, &str), Invalid> {
    let Some(rest) = from.strip_prefix("https://").or_else(|| from.strip_prefix("http://")) else {
        return Ok((None, from.split(['?', '#']).next().unwrap_or(from)));
    };
    if dialect == Dialect::Cloudflare {
        return Err(Invalid::new("has a source on a host: a path is needed"));
    }
    let (host, path) = host_and_path(rest)?;
    Ok((Some(host), path))
}

/// What is behind the scheme of an absolute source; its port says nothing.
pub fn host_and_path(rest: &str) -> Result<(HostPattern, &str), Invalid> {
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => authority,
    };
    Ok((HostPattern::parse(host)?, if path.is_empty() { "/" } else { path }))
}

fn check_status(status: u16, dialect: Dialect) -> Result<(), Invalid> {
    match (status, dialect) {
        (200 | 301 | 302 | 303 | 307 | 308, _) => Ok(()),
        (_, Dialect::Cloudflare) => Err(Invalid::new(format!(
            "has the status {status}: 200, 301, 302, 303, 307 and 308 are possible"
        ))),
        (400..=599, _) => Ok(()),
        _ => Err(Invalid::new(format!("has the status {status}, which no answer can have here"))),
    }
}

fn check_target(target: &Target, from: &str, to: &str, status: u16, dialect: Dialect) -> Result<(), Invalid> {
    let is_redirect = (300..400).contains(&status);
    if dialect == Dialect::Cloudflare && target.is_plain_http() {
        return Err(Invalid::new("leads to http://: Cloudflare takes https:// alone"));
    }
    if target.leaves_site() {
        // A server that fetches what a repository names would read the operator's own network.
        return if is_redirect {
            Ok(())
        } else {
            Err(Invalid::new("shows another site's content, which gv does not fetch: redirect to it"))
        };
    }
    let to_path = to.split(['?', '#']).next().unwrap_or(to);
    let is_index = to_path.ends_with("/index.html") || to_path.ends_with("/index");
    if dialect == Dialect::Cloudflare && (from.ends_with("/*") || from.ends_with('/')) && is_index {
        return Err(Invalid::new("leads to an index that leads back to it"));
    }
    if is_redirect && from == to {
        return Err(Invalid::new("leads to itself"));
    }
    Ok(())
}

fn guard(written: &Written<'_>, dialect: Dialect) -> Result<Guard, Invalid> {
    let mut has = Vec::new();
    for (name, value) in &written.query {
        if name.is_empty() {
            return Err(Invalid::new("has a condition without a name"));
        }
        let test = match value.strip_prefix(':').filter(|bound| is_name(bound)) {
            Some(bound) => Test::Bind(bound.to_owned()),
            None => Test::Equals(value.clone()),
        };
        has.push(Condition::Query(name.clone(), test));
    }
    for (name, values) in &written.conditions {
        let lower = || values.iter().map(|value| value.trim().to_ascii_lowercase()).collect::<Vec<_>>();
        has.push(match name.to_ascii_lowercase().as_str() {
            // The first two letters count: `en-GB` is asked for as `en`.
            "language" => Condition::Language(
                lower().iter().map(|language| language.chars().take(2).collect()).collect(),
            ),
            "country" if dialect == Dialect::Netlify => Condition::Country(lower()),
            "cookie" => Condition::AnyCookie(values.clone()),
            "country" => return Err(Invalid::new("asks for a country, which gv does not know of visitors")),
            "role" => return Err(Invalid::new("asks for a role, which gv does not know of visitors")),
            _ => return Err(Invalid::new(format!("has the unknown condition {}", shown(name)))),
        });
    }
    Ok(Guard { has, missing: Vec::new() })
}
