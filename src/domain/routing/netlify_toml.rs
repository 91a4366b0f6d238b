//! `netlify.toml`: its redirects and headers, beside those of `_redirects` and `_headers`, and the
//! folder that is published (docs.netlify.com, "File-based configuration").
//!
//! What cannot be used is left out, with a note that says why. Start with [`parse`].

use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::headers::{self, name_of, value_of};
use crate::domain::routing::redirects::{self, Written, make};
use crate::domain::routing::rules::{Edit, HeaderRule, Place, Rule};
use crate::domain::routing::sources::{Lines, NETLIFY_TOML, Note, position, shown, tell};
use crate::domain::routing::target::{Syntax, Template};
use crate::domain::settings::RelativeDir;
use crate::domain::text::Invalid;
use std::borrow::Cow;
use toml::de::{DeString, DeTable, DeValue};
use toml::{Spanned, Table};

/// Fields of a redirect that are read, or that mean nothing without a proxy.
const REDIRECT_KEYS: [&str; 7] = ["from", "to", "status", "force", "query", "conditions", "headers"];

/// What needs more than files.
const UNSUPPORTED: [&str; 4] = ["edge_functions", "functions", "plugins", "context"];

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
    let document = match DeTable::parse(text) {
        Ok(document) => document.into_inner(),
        Err(error) => return notes.push(unreadable(text, &error)),
    };
    let mut told = Told { lines: Lines::of(text), notes };
    for entry in told.entries(&document, "redirects") {
        if redirects.is_full() {
            told.refuse(entry.span().start, &over_the_limit());
            break;
        }
        match redirect(entry, &mut told) {
            Ok(rule) => redirects.push(rule, told.notes),
            Err(wrong) => told.refuse(wrong.at.unwrap_or(entry.span().start), &wrong.why),
        }
    }
    for entry in told.entries(&document, "headers") {
        if headers.is_full() {
            told.refuse(entry.span().start, &over_the_limit());
            break;
        }
        match header(entry, &mut told) {
            Ok(rule) => headers.push(rule, told.notes),
            Err(wrong) => told.refuse(wrong.at.unwrap_or(entry.span().start), &wrong.why),
        }
    }
    for name in UNSUPPORTED {
        if document.get(name).is_some() {
            told.notes.push(Note::warning(NETLIFY_TOML, None, format!("{name} is not supported: ignored")));
        }
    }
}

fn over_the_limit() -> Invalid {
    Invalid::new("and those after it are over the limit, too")
}

fn unreadable(text: &str, error: &toml::de::Error) -> Note {
    let at = error.span().map(|span| position(text, span.start));
    let message = format!("{}: the whole file is ignored", first_line(error.message()));
    let note = Note::warning(NETLIFY_TOML, at.map(|(line, _)| line), message);
    Note { column: at.map(|(_, column)| column), ..note }
}

/// The notes of this file, each at its line.
struct Told<'n> {
    lines: Lines,
    notes: &'n mut Vec<Note>,
}

impl Told<'_> {
    fn place(&self, offset: usize) -> Place {
        Place { file: NETLIFY_TOML.to_owned(), line: self.lines.line(offset) }
    }

    fn warn(&mut self, offset: usize, message: String) {
        tell(self.notes, Note::warning(NETLIFY_TOML, Some(self.lines.line(offset)), message));
    }

    fn refuse(&mut self, offset: usize, why: &Invalid) {
        self.warn(offset, format!("{why}: this rule is ignored"));
    }

    /// The tables of a name, or none where it is something else.
    fn entries<'d, 't>(&mut self, document: &'d DeTable<'t>, name: &str) -> &'d [Spanned<DeValue<'t>>] {
        let Some(value) = document.get(name) else { return &[] };
        match value.get_ref().as_array() {
            Some(array) => array,
            None => {
                self.warn(value.span().start, format!("{name} is no array of tables: ignored"));
                &[]
            }
        }
    }
}

/// What is wrong with a rule, and where; `None`: with the whole of it.
struct Wrong {
    at: Option<usize>,
    why: Invalid,
}

impl From<Invalid> for Wrong {
    fn from(why: Invalid) -> Self {
        Self { at: None, why }
    }
}

/// Says of a field what is wrong with it.
fn wrong(field: &Spanned<DeValue<'_>>, why: impl Into<Cow<'static, str>>) -> Wrong {
    Wrong { at: Some(field.span().start), why: Invalid::new(why) }
}

fn table_of<'v, 't>(entry: &'v Spanned<DeValue<'t>>) -> Result<&'v DeTable<'t>, Invalid> {
    entry.get_ref().as_table().ok_or_else(|| Invalid::new("is no table"))
}

fn redirect(entry: &Spanned<DeValue<'_>>, told: &mut Told<'_>) -> Result<Rule, Wrong> {
    let table = table_of(entry)?;
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        let why = match name {
            "headers" => "is for proxies, which gv is not",
            known if REDIRECT_KEYS.contains(&known) => continue,
            _ => "is not supported",
        };
        told.warn(key.span().start, format!("{} {why}: ignored", shown(name)));
    }
    let status = match table.get("status") {
        None => None,
        Some(field) => match field.get_ref() {
            DeValue::Integer(number) => {
                let number = u16::from_str_radix(number.as_str(), number.radix()).ok();
                Some(number.ok_or_else(|| wrong(field, "has a status that none can have"))?)
            }
            _ => return Err(wrong(field, "has a status that is no number")),
        },
    };
    let forced = match table.get("force") {
        None => false,
        Some(field) => {
            let force = field.get_ref().as_bool();
            force.ok_or_else(|| wrong(field, "has a force that is neither true nor false"))?
        }
    };
    let written = Written {
        from: text_of(table, "from")?.ok_or_else(|| Invalid::new("has no from"))?,
        query: query(table)?,
        to: text_of(table, "to")?,
        status,
        forced,
        conditions: conditions(table)?,
    };
    Ok(make(&written, Dialect::Netlify, told.place(entry.span().start))?)
}

fn text_of<'v>(table: &'v DeTable<'_>, key: &str) -> Result<Option<&'v str>, Wrong> {
    let Some(field) = table.get(key) else { return Ok(None) };
    field.get_ref().as_str().map(Some).ok_or_else(|| wrong(field, format!("has a {key} that is no text")))
}

fn query(table: &DeTable<'_>) -> Result<Vec<(String, String)>, Wrong> {
    let Some(query) = table.get("query") else { return Ok(Vec::new()) };
    let pairs = query.get_ref().as_table().ok_or_else(|| wrong(query, "has a query that is no table"))?;
    let pair = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let text = value.get_ref().as_str();
        let text = text.ok_or_else(|| wrong(value, "has a query whose values are no texts"))?;
        Ok((name.get_ref().to_string(), text.to_owned()))
    };
    pairs.iter().map(pair).collect()
}

fn conditions(table: &DeTable<'_>) -> Result<Vec<(String, Vec<String>)>, Wrong> {
    let Some(conditions) = table.get("conditions") else { return Ok(Vec::new()) };
    let pairs = conditions.get_ref().as_table();
    let pairs = pairs.ok_or_else(|| wrong(conditions, "has conditions that are no table"))?;
    pairs.iter().map(|(name, value)| Ok((name.get_ref().to_string(), list(value)?))).collect()
}

/// Texts in an array, or between commas.
fn list(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Wrong> {
    let no_text = || wrong(value, "has a list of what are no texts");
    match value.get_ref() {
        DeValue::String(text) => Ok(text.split(',').map(|one| one.trim().to_owned()).collect()),
        DeValue::Array(array) => {
            array.iter().map(|one| one.get_ref().as_str().map(str::to_owned).ok_or_else(no_text)).collect()
        }
        _ => Err(no_text()),
    }
}

fn header(entry: &Spanned<DeValue<'_>>, told: &mut Told<'_>) -> Result<HeaderRule, Wrong> {
    let table = table_of(entry)?;
    let source = text_of(table, "for")?.ok_or_else(|| Invalid::new("has no for"))?;
    let mut rule = headers::rule(source, Dialect::Netlify, told.place(entry.span().start))?;
    let values = table.get("values").and_then(|values| values.get_ref().as_table());
    for (name, value) in values.ok_or_else(|| Invalid::new("has no values"))? {
        match edits(name.get_ref(), value.get_ref()) {
            Ok(edits) => rule.edits.extend(edits),
            Err(why) => told.warn(name.span().start, format!("{}: {why}: ignored", shown(name.get_ref()))),
        }
    }
    Ok(rule)
}

/// Arrays, and lists over several lines, are one list; cookies stay apart.
fn edits(name: &str, value: &DeValue<'_>) -> Result<Vec<Edit>, Invalid> {
    let name = name_of(name)?;
    let no_text = || Invalid::new("has a value that is no text");
    let one_line = |text: &str| {
        let lines = text.lines().map(|line| line.trim().trim_end_matches(',').trim_end());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let values: Vec<String> = match value {
        DeValue::String(text) => vec![one_line(text)],
        DeValue::Array(array) => {
            let texts: Option<Vec<String>> =
                array.iter().map(|one| one.get_ref().as_str().map(one_line)).collect();
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
