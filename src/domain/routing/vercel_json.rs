//! `vercel.json`: cleanUrls, trailingSlash, redirects, rewrites, headers, with `has` and `missing`
//! (the schema of `@vercel/routing-utils` 6.6, and Next.js for the conditions).
//!
//! Unlike the other files, one that is wrong fails the deployment, with its position: so it is on
//! vercel. Start with [`parse`].

use crate::domain::routing::conditions::{Comparison, Condition, Guard, Test};
use crate::domain::routing::headers::{self, TOO_MANY_NAMES, name_of, value_of};
use crate::domain::routing::javascript::{Names, translated};
use crate::domain::routing::json_node::Node;
use crate::domain::routing::matcher::Matcher;
use crate::domain::routing::path_to_regexp;
use crate::domain::routing::pattern::Pattern;
use crate::domain::routing::rules::{Edit, HeaderRule, MAX_WEIGHT, Place, Rule, Weighs};
use crate::domain::routing::sources::{Lines, Note, Refused, VERCEL_JSON, shown, tell};
use crate::domain::routing::target::{Syntax, Target, Template};
use crate::domain::routing::vercel_destination::unknown_name;
use crate::domain::text::Invalid;
use std::collections::BTreeMap;

/// Limits of the schema.
const MAX_RULES: usize = 2_048;
const MAX_HEADERS: usize = 1_024;
const MAX_CONDITIONS: usize = 16;
const MAX_VARIABLES: usize = 64;
const MAX_TEXT: usize = 4_096;
const MAX_VALUE: usize = 32_768;
/// gv's own: each costs more than others do.
const MAX_BACKTRACKING: usize = 100;

/// What makes a `vercel.json` one that has rules.
const RULES: [&str; 6] = ["cleanUrls", "trailingSlash", "redirects", "rewrites", "headers", "routes"];
/// What asks for servers, which gv does not have.
const SERVERS: [&str; 6] = ["routes", "functions", "middleware", "crons", "builds", "images"];

#[derive(Debug, Default, PartialEq)]
pub struct Vercel {
    /// Whether there is anything about routing in it.
    pub has_rules: bool,
    pub clean_urls: bool,
    pub trailing_slash: Option<bool>,
    pub redirects: Vec<Rule>,
    pub rewrites: Vec<Rule>,
    pub headers: Vec<HeaderRule>,
}

/// Whether a `vercel.json` has rules; one that is no JSON counts as if it had, and fails later.
pub fn has_rules(text: &str) -> bool {
    let text = without_mark(text);
    let lines = Lines::of(text);
    let fields = Node::root(text, &lines).and_then(|root| root.object(VERCEL_JSON));
    fields.map_or(true, |fields| fields.keys().any(|key| RULES.contains(&key.as_str())))
}

pub fn parse(text: &str, notes: &mut Vec<Note>) -> Result<Vercel, Refused> {
    let text = without_mark(text);
    let lines = Lines::of(text);
    let root = Node::root(text, &lines)?;
    let fields = root.object(VERCEL_JSON)?;
    let mut found =
        Vercel { has_rules: fields.keys().any(|key| RULES.contains(&key.as_str())), ..Vercel::default() };
    let mut others = Vec::new();
    for (key, node) in &fields {
        match key.as_str() {
            "cleanUrls" => found.clean_urls = node.flag(key)?,
            "trailingSlash" => found.trailing_slash = Some(node.flag(key)?),
            "redirects" => found.redirects = rules(*node, key, redirect, notes)?,
            "rewrites" => found.rewrites = rules(*node, key, rewrite, notes)?,
            "headers" => found.headers = rules(*node, key, header, notes)?,
            server if SERVERS.contains(&server) => {
                tell(
                    notes,
                    Note::warning(VERCEL_JSON, Some(node.line()), format!("{key} is not supported: ignored")),
                );
            }
            "$schema" => {}
            other => others.push(other),
        }
    }
    if !others.is_empty() {
        let others = shown(&others.join(", "));
        tell(notes, Note::info(format!("{VERCEL_JSON}: not about routing, and not used: {others}.")));
    }
    if let Some(node) = fields.get("headers") {
        check_names(*node, &found.headers)?;
    }
    let rules = found.redirects.iter().chain(&found.rewrites).map(|rule| (&rule.source, &rule.guard));
    let rules = rules.chain(found.headers.iter().map(|rule| (&rule.source, &rule.guard)));
    let backtracking: usize =
        rules.map(|(source, guard)| usize::from(source.is_backtracking()) + guard.backtracking()).sum();
    if backtracking > MAX_BACKTRACKING {
        return Err(
            root.refuse(format!("{backtracking} patterns look ahead: at most {MAX_BACKTRACKING} may"))
        );
    }
    Ok(found)
}

/// An answer may have the fields of all rules.
fn check_names(node: Node<'_>, rules: &[HeaderRule]) -> Result<(), Refused> {
    let mut names = headers::Names::default();
    for (member, rule) in node.array("headers", MAX_RULES)?.into_iter().zip(rules) {
        if let Some(edit) = rule.edits.iter().find(|edit| !names.take(&edit.name)) {
            return Err(member.refuse(format!("{} {TOO_MANY_NAMES}", edit.name)));
        }
    }
    Ok(())
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

type Fields<'a> = BTreeMap<String, Node<'a>>;
/// `None`: the rule is left out, as a note says.
type Read<T> = for<'a> fn(Node<'a>, &str, &mut Vec<Note>) -> Result<Option<T>, Refused>;

fn rules<T: Weighs>(
    node: Node<'_>,
    name: &str,
    read: Read<T>,
    notes: &mut Vec<Note>,
) -> Result<Vec<T>, Refused> {
    let (mut found, mut weight) = (Vec::new(), 0);
    for (at, member) in node.array(name, MAX_RULES)?.into_iter().enumerate() {
        let Some(rule) = read(member, &format!("{name}[{at}]"), notes)? else { continue };
        weight += rule.weight();
        if weight > MAX_WEIGHT {
            return Err(member.refuse(format!("{name} has rules that are too large together")));
        }
        found.push(rule);
    }
    Ok(found)
}

fn redirect(node: Node<'_>, name: &str, notes: &mut Vec<Note>) -> Result<Option<Rule>, Refused> {
    let known = ["source", "destination", "permanent", "statusCode", "has", "missing", "env"];
    let fields = node.strict_object(name, &known)?;
    let permanent = fields.get("permanent").map(|node| node.flag("permanent")).transpose()?;
    let code = fields.get("statusCode").map(|node| status_code(*node)).transpose()?;
    let status = match (code, permanent) {
        (Some(code), _) => code,
        (None, None | Some(true)) => 308,
        (None, Some(false)) => 307,
    };
    let Some(rule) = rule(node, &fields, name, status, notes)? else { return Ok(None) };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        warn(notes, node, format!("{name} has the statusCode {status}, which is no redirect: ignored"));
        return Ok(None);
    }
    Ok(Some(rule))
}

fn rewrite(node: Node<'_>, name: &str, notes: &mut Vec<Note>) -> Result<Option<Rule>, Refused> {
    let known = [
        "source",
        "destination",
        "has",
        "missing",
        "statusCode",
        "env",
        "respectOriginCacheControl",
        "transforms",
    ];
    let fields = node.strict_object(name, &known)?;
    // About servers behind a rewrite, which there are none of.
    for key in ["respectOriginCacheControl", "transforms"] {
        if let Some(node) = fields.get(key) {
            warn(
                notes,
                *node,
                format!("{name} has {key}, which is not supported: only this field is ignored"),
            );
        }
    }
    let status = fields.get("statusCode").map_or(Ok(200), |node| status_code(*node))?;
    if fields.get("destination").is_some_and(Node::is_object) {
        source(node, &fields, name)?;
        guard(&fields)?;
        warn(notes, node, format!("{name} leads to a service, which gv has none of: ignored"));
        return Ok(None);
    }
    let Some(rule) = rule(node, &fields, name, status, notes)? else { return Ok(None) };
    if rule.target.leaves_site() {
        // A server that fetches what a repository names would read the operator's own network.
        warn(notes, node, format!("{name} shows another site's content, which gv does not fetch: ignored"));
        return Ok(None);
    }
    if !matches!(status, 200 | 400..=599) {
        warn(notes, node, format!("{name} has the statusCode {status}, which no page has here: ignored"));
        return Ok(None);
    }
    Ok(Some(rule))
}

fn status_code(node: Node<'_>) -> Result<u16, Refused> {
    let number = node.number("statusCode")?;
    if number.fract() != 0.0 || !(100.0..=999.0).contains(&number) {
        return Err(node.refuse("statusCode must be a whole number from 100 to 999"));
    }
    Ok(number as u16)
}

/// What is right for vercel, and not done here.
fn warn(notes: &mut Vec<Note>, node: Node<'_>, message: String) {
    tell(notes, Note::warning(VERCEL_JSON, Some(node.line()), message));
}

fn rule(
    node: Node<'_>,
    fields: &Fields<'_>,
    name: &str,
    status: u16,
    notes: &mut Vec<Note>,
) -> Result<Option<Rule>, Refused> {
    let source = source(node, fields, name)?;
    let guard = guard(fields)?;
    let names: Vec<String> = source.names().iter().cloned().chain(guard.names()).collect();
    let destination = required(node, fields, name, "destination")?;
    let target_text = destination.text("destination", MAX_TEXT)?;
    if let Some(unknown) = unknown_name(&target_text, &names) {
        return Err(destination.refuse(format!(
            "destination names {}, which neither source nor has gives a value to",
            shown(&unknown)
        )));
    }
    let variables = fields.get("env").map(|env| variables(*env)).transpose()?;
    if is_for_none(&source, node, name, notes) {
        return Ok(None);
    }
    let target = match Target::parse(&target_text, Syntax::Vercel, &names) {
        Ok(target) => target,
        Err(why) => {
            warn(notes, destination, format!("{name} {why}: ignored"));
            return Ok(None);
        }
    };
    if let Some(variables) = variables {
        let takes = |name: &String| {
            target_text.contains(&format!("${name}")) || target_text.contains(&format!("${{{name}}}"))
        };
        if variables.iter().any(takes) {
            warn(
                notes,
                node,
                format!("{name} leads to the value of a variable, which is not supported: ignored"),
            );
            return Ok(None);
        }
        warn(notes, node, format!("{name} has env, which is not supported: only this field is ignored"));
    }
    let place = Place { file: VERCEL_JSON.to_owned(), line: node.line() };
    Ok(Some(Rule { place, host: None, source, guard, target, target_text, status, forced: false }))
}

/// Names of variables that a destination may have as `$NAME`.
fn variables(node: Node<'_>) -> Result<Vec<String>, Refused> {
    node.array("env", MAX_VARIABLES)?.iter().map(|one| one.text("env", MAX_TEXT)).collect()
}

fn required<'a>(node: Node<'a>, fields: &Fields<'a>, name: &str, key: &str) -> Result<Node<'a>, Refused> {
    fields.get(key).copied().ok_or_else(|| node.refuse(format!("{name} has no {key}")))
}

fn source(node: Node<'_>, fields: &Fields<'_>, name: &str) -> Result<Pattern, Refused> {
    let source = required(node, fields, name, "source")?;
    let text = source.text("source", MAX_TEXT)?;
    path_to_regexp::pattern(&text).map_err(|why| source.refuse(format!("source {why}")))
}

/// Whether no path fits a source, which is told.
fn is_for_none(source: &Pattern, node: Node<'_>, name: &str, notes: &mut Vec<Note>) -> bool {
    let is_for_none = source.is_for_none();
    if is_for_none {
        let text = format!("{name} has a source that begins with no slash, which no path does: ignored");
        warn(notes, node, text);
    }
    is_for_none
}

fn header(node: Node<'_>, name: &str, notes: &mut Vec<Note>) -> Result<Option<HeaderRule>, Refused> {
    let fields = node.strict_object(name, &["source", "headers", "has", "missing"])?;
    let source = source(node, &fields, name)?;
    let guard = guard(&fields)?;
    if is_for_none(&source, node, name, notes) {
        return Ok(None);
    }
    let names: Vec<String> = source.names().iter().cloned().chain(guard.names()).collect();
    let mut edits = Vec::new();
    for pair in required(node, &fields, name, "headers")?.array("headers", MAX_HEADERS)? {
        let pair_fields = pair.strict_object("a header", &["key", "value"])?;
        let key = required(pair, &pair_fields, "a header", "key")?;
        let value = required(pair, &pair_fields, "a header", "value")?;
        let text = value.text("value", MAX_VALUE)?;
        let key_text = key.text("key", MAX_TEXT)?;
        match (name_of(&key_text), value_of(&text)) {
            (Ok(name), Ok(value)) => {
                let value = Template::parse(value, Syntax::VercelField, &names);
                edits.push(Edit { name, value: Some(value) });
            }
            (Err(why), _) | (_, Err(why)) => {
                tell(notes, Note::warning(VERCEL_JSON, Some(key.line()), format!("{name} {why}: ignored")));
            }
        }
    }
    let place = Place { file: VERCEL_JSON.to_owned(), line: node.line() };
    Ok(Some(HeaderRule { place, host: None, source, guard, edits }))
}

fn guard(fields: &Fields<'_>) -> Result<Guard, Refused> {
    let conditions = |key: &str| match fields.get(key) {
        Some(node) => node.array(key, MAX_CONDITIONS)?.into_iter().map(condition).collect(),
        None => Ok(Vec::new()),
    };
    Ok(Guard { has: conditions("has")?, missing: conditions("missing")? })
}

fn condition(node: Node<'_>) -> Result<Condition, Refused> {
    let fields = node.strict_object("a condition", &["type", "key", "value"])?;
    let type_node = required(node, &fields, "a condition", "type")?;
    let kind = type_node.text("type", 20)?;
    let value = fields.get("value").copied();
    if kind == "host" {
        let value = required(node, &fields, "a condition on the host", "value")?;
        return Ok(Condition::Host(test(Some(value), "host")?));
    }
    let key = required(node, &fields, "a condition", "key")?.text("key", MAX_TEXT)?;
    match kind.as_str() {
        "header" => {
            let test = test(value, &key)?;
            Ok(Condition::Header(key.to_ascii_lowercase(), test))
        }
        "cookie" => Ok(Condition::Cookie(key.clone(), test(value, &key)?)),
        "query" => Ok(Condition::Query(key.clone(), test(value, &key)?)),
        _ => Err(type_node.refuse("type must be header, cookie, query or host")),
    }
}

fn test(value: Option<Node<'_>>, key: &str) -> Result<Test, Refused> {
    let Some(node) = value else {
        let is_word = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        // Where it is no word, only letters count in what a destination calls it.
        let letters = || key.chars().filter(char::is_ascii_alphabetic).collect();
        return Ok(Test::Present(if is_word { key.to_owned() } else { letters() }));
    };
    if node.is_object() {
        return comparisons(node).map(Test::Compare);
    }
    let text = node.text("value", MAX_TEXT)?;
    whole(node, &text).map(Test::Matches)
}

/// A pattern for the whole of a value.
fn whole(node: Node<'_>, text: &str) -> Result<Matcher, Refused> {
    pattern(text)
        .and_then(|text| Matcher::new(&format!("^(?:{text})$")))
        .map_err(|why| node.refuse(format!("value {why}")))
}

/// As it is written for vercel, for the engines here.
fn pattern(text: &str) -> Result<String, Invalid> {
    translated(text, Names::Keep)
        .map_err(|why| Invalid::new(format!("is no pattern that can be used: it {why}")))
}

fn comparisons(node: Node<'_>) -> Result<Vec<Comparison>, Refused> {
    let known = ["eq", "neq", "inc", "ninc", "pre", "suf", "re", "gt", "gte", "lt", "lte"];
    let fields = node.strict_object("value", &known)?;
    if fields.is_empty() {
        return Err(node.refuse("value compares with nothing"));
    }
    let texts = |node: &Node<'_>, key: &str| {
        node.array(key, MAX_RULES)?.iter().map(|one| text_or_number(one, key)).collect::<Result<Vec<_>, _>>()
    };
    fields
        .iter()
        .map(|(key, node)| {
            Ok(match key.as_str() {
                "eq" => Comparison::Equals(text_or_number(node, key)?),
                "neq" => Comparison::Differs(text_or_number(node, key)?),
                "inc" => Comparison::OneOf(texts(node, key)?),
                "ninc" => Comparison::NoneOf(texts(node, key)?),
                "pre" => Comparison::Begins(node.text(key, MAX_TEXT)?),
                "suf" => Comparison::Ends(node.text(key, MAX_TEXT)?),
                "re" => {
                    let text = node.text(key, MAX_TEXT)?;
                    let matcher = pattern(&text).and_then(|text| Matcher::new(&text));
                    let matcher = matcher.map_err(|why| node.refuse(format!("re {why}")))?;
                    Comparison::Matches(matcher)
                }
                "gt" => Comparison::Above(node.number(key)?),
                "gte" => Comparison::AtLeast(node.number(key)?),
                "lt" => Comparison::Below(node.number(key)?),
                _ => Comparison::AtMost(node.number(key)?),
            })
        })
        .collect()
}

fn text_or_number(node: &Node<'_>, name: &str) -> Result<String, Refused> {
    if node.is_text() {
        node.text(name, MAX_TEXT)
    } else {
        node.number(name).map(|number| number.to_string())
    }
}
