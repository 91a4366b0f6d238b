//! `netlify.toml`: its redirects and headers, beside those of `_redirects` and `_headers`, and the
//! folder that is published (docs.netlify.com, "File-based configuration").
//!
//! What cannot be used is left out, with a note that says why. Start with [`parse`].

use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::headers::{self, name_of, value_of};
use crate::domain::routing::redirects::{self, Written, make};
use crate::domain::routing::rules::{Edit, HeaderRule, Place, Rule};
use crate::domain::routing::sources::{Lines, NETLIFY_TOML, Note, position, tell};
use crate::domain::routing::target::{Syntax, Template};
use crate::domain::settings::RelativeDir;
use crate::domain::text::Invalid;
use serde::Deserialize;
use toml::{Spanned, Table, Value};

/// Fields of a redirect that are read, or that mean nothing without a proxy.
const REDIRECT_KEYS: [&str; 7] = ["from", "to", "status", "force", "query", "conditions", "headers"];

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    redirects: Vec<Spanned<Value>>,
    #[serde(default)]
    headers: Vec<Spanned<Value>>,
    #[serde(default)]
    edge_functions: Option<Value>,
    #[serde(default)]
    plugins: Option<Value>,
    #[serde(default)]
    functions: Option<Value>,
    #[serde(default)]
    context: Option<Value>,
}

/// `[build] publish`: the folder of the site, as it was written.
pub fn publish(text: &str) -> Option<String> {
    of_build(text, "publish")
}

/// `[build] base`: the folder of the project, relative and normal.
pub fn base(text: &str) -> Option<String> {
    let base = of_build(text, "base")?;
    RelativeDir::parse(base.trim_start_matches('/')).ok().map(|dir| dir.as_str().to_owned())
}

fn of_build(text: &str, key: &str) -> Option<String> {
    let document: Table = toml::from_str(text).ok()?;
    Some(document.get("build")?.get(key)?.as_str()?.to_owned())
}

/// Adds what there is to what `_redirects` and `_headers` had.
pub fn parse(
    text: &str,
    redirects: &mut redirects::Collected,
    headers: &mut headers::Collected,
    notes: &mut Vec<Note>,
) {
    let document: Document = match toml::from_str(text) {
        Ok(document) => document,
        Err(error) => return notes.push(unreadable(text, &error)),
    };
    let lines = Lines::of(text);
    let place = |entry: &Spanned<Value>| Place {
        file: NETLIFY_TOML.to_owned(),
        line: lines.line(entry.span().start),
    };
    for entry in &document.redirects {
        let place = place(entry);
        if redirects.is_full() {
            refuse(notes, &place, &Invalid::new("and those after it are over the limit, too"));
            break;
        }
        match redirect(entry.get_ref(), place.clone(), notes) {
            Ok(rule) => redirects.push(rule, notes),
            Err(why) => refuse(notes, &place, &why),
        }
    }
    for entry in &document.headers {
        let place = place(entry);
        if headers.is_full() {
            refuse(notes, &place, &Invalid::new("and those after it are over the limit, too"));
            break;
        }
        match header(entry.get_ref(), &place, notes) {
            Ok(rule) => headers.push(rule, notes),
            Err(why) => refuse(notes, &place, &why),
        }
    }
    for (name, value) in [
        ("edge_functions", document.edge_functions),
        ("functions", document.functions),
        ("plugins", document.plugins),
        ("context", document.context),
    ] {
        if value.is_some() {
            notes.push(Note::warning(NETLIFY_TOML, None, format!("{name} is not supported: ignored")));
        }
    }
}

fn unreadable(text: &str, error: &toml::de::Error) -> Note {
    let at = error.span().map(|span| position(text, span.start));
    let message = format!("{}: the whole file is ignored", first_line(error.message()));
    let note = Note::warning(NETLIFY_TOML, at.map(|(line, _)| line), message);
    Note { column: at.map(|(_, column)| column), ..note }
}

fn refuse(notes: &mut Vec<Note>, place: &Place, why: &Invalid) {
    tell(notes, Note::warning(&place.file, Some(place.line), format!("{why}: this rule is ignored")));
}

fn redirect(entry: &Value, place: Place, notes: &mut Vec<Note>) -> Result<Rule, Invalid> {
    let table = entry.as_table().ok_or_else(|| Invalid::new("is no table"))?;
    let known = |key: &String| REDIRECT_KEYS.contains(&key.as_str());
    for key in table.keys().filter(|key| !known(key) || *key == "headers") {
        let why = if key == "headers" { "is for proxies, which gv is not" } else { "is not supported" };
        tell(notes, Note::warning(&place.file, Some(place.line), format!("{key} {why}: ignored")));
    }
    let status = match table.get("status") {
        None => None,
        Some(Value::Integer(number)) => {
            Some(u16::try_from(*number).map_err(|_| Invalid::new("has a status that none can have"))?)
        }
        Some(_) => return Err(Invalid::new("has a status that is no number")),
    };
    let forced = match table.get("force") {
        None => false,
        Some(Value::Boolean(force)) => *force,
        Some(_) => return Err(Invalid::new("has a force that is neither true nor false")),
    };
    let written = Written {
        from: text_of(table, "from")?.ok_or_else(|| Invalid::new("has no from"))?,
        query: query(table)?,
        to: text_of(table, "to")?,
        status,
        forced,
        conditions: conditions(table)?,
    };
    make(&written, Dialect::Netlify, place)
}

fn text_of<'t>(table: &'t Table, key: &str) -> Result<Option<&'t str>, Invalid> {
    match table.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Invalid::new(format!("has a {key} that is no text"))),
    }
}

fn query(table: &Table) -> Result<Vec<(String, String)>, Invalid> {
    let Some(query) = table.get("query") else { return Ok(Vec::new()) };
    let pairs = query.as_table().ok_or_else(|| Invalid::new("has a query that is no table"))?;
    let pair = |(name, value): (&String, &Value)| {
        let value = value.as_str().ok_or_else(|| Invalid::new("has a query whose values are no texts"))?;
        Ok((name.clone(), value.to_owned()))
    };
    pairs.iter().map(pair).collect()
}

fn conditions(table: &Table) -> Result<Vec<(String, Vec<String>)>, Invalid> {
    let Some(conditions) = table.get("conditions") else { return Ok(Vec::new()) };
    let pairs = conditions.as_table().ok_or_else(|| Invalid::new("has conditions that are no table"))?;
    pairs.iter().map(|(name, value)| Ok((name.clone(), list(value)?))).collect()
}

/// Texts in an array, or between commas.
fn list(value: &Value) -> Result<Vec<String>, Invalid> {
    let no_text = || Invalid::new("has a list of what are no texts");
    match value {
        Value::String(text) => Ok(text.split(',').map(|one| one.trim().to_owned()).collect()),
        Value::Array(array) => {
            array.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(no_text)).collect()
        }
        _ => Err(no_text()),
    }
}

fn header(entry: &Value, place: &Place, notes: &mut Vec<Note>) -> Result<HeaderRule, Invalid> {
    let table = entry.as_table().ok_or_else(|| Invalid::new("is no table"))?;
    let source = text_of(table, "for")?.ok_or_else(|| Invalid::new("has no for"))?;
    let mut rule = headers::rule(source, Dialect::Netlify, place.clone())?;
    let values = table.get("values").and_then(Value::as_table);
    for (name, value) in values.ok_or_else(|| Invalid::new("has no values"))? {
        match edits(name, value) {
            Ok(edits) => rule.edits.extend(edits),
            Err(why) => {
                tell(notes, Note::warning(&place.file, Some(place.line), format!("{name}: {why}: ignored")));
            }
        }
    }
    Ok(rule)
}

/// Arrays, and lists over several lines, are one list; cookies stay apart.
fn edits(name: &str, value: &Value) -> Result<Vec<Edit>, Invalid> {
    let name = name_of(name)?;
    let no_text = || Invalid::new("has a value that is no text");
    let one_line = |text: &str| {
        let lines = text.lines().map(|line| line.trim().trim_end_matches(',').trim_end());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let values: Vec<String> = match value {
        Value::String(text) => vec![one_line(text)],
        Value::Array(array) => {
            let texts: Option<Vec<String>> = array.iter().map(|one| one.as_str().map(one_line)).collect();
            let texts = texts.ok_or_else(no_text)?;
            if name == "set-cookie" { texts } else { vec![texts.join(", ")] }
        }
        _ => return Err(no_text()),
    };
    let edit = |value: String| {
        let value = Template::parse(value_of(&value)?, Syntax::Colon, &[]);
        Ok(Edit { name: name.clone(), value: Some(value) })
    };
    values.into_iter().map(edit).collect()
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
