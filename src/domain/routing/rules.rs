//! The rules of a deployment as they lie in its manifest: compiled, in the order in which they are
//! tried. Nothing here knows how a dialect writes them.
//!
//! Patterns lie there as text and are made ready when a manifest is read, bounded by
//! [`matcher`](crate::domain::routing::matcher). Start with [`Rules`].

use crate::domain::routing::conditions::Guard;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::pattern::{HostPattern, Pattern};
use crate::domain::routing::target::{Target, Template};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    pub dialect: Dialect,
    /// Unknown paths show `/index.html` with 200, in every dialect; `Some(false)`: in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spa: Option<bool>,
    /// vercel: pages go without `.html`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean_urls: bool,
    /// vercel: all pages end with a slash, or none; `None`: both forms work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trailing_slash: Option<bool>,
    /// vercel's `redirects`; `_redirects` and all of netlify's, rewrites among them.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub redirects: List<Rule>,
    /// vercel's `rewrites`, which files win over.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub rewrites: List<Rule>,
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub headers: List<HeaderRule>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            dialect: Dialect::Plain,
            spa: None,
            clean_urls: false,
            trailing_slash: None,
            redirects: List::default(),
            rewrites: List::default(),
            headers: List::default(),
        }
    }
}

impl Rules {
    /// What they take in memory, in bytes, about.
    pub fn weight(&self) -> u64 {
        let rules = self.redirects.iter().chain(self.rewrites.iter()).map(Weighs::weight);
        rules.chain(self.headers.iter().map(Weighs::weight)).sum()
    }
}

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A redirect, a rewrite, or a page with a status of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub place: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    pub source: Pattern,
    #[serde(default, skip_serializing_if = "Guard::is_empty")]
    pub guard: Guard,
    pub target: Target,
    /// The target as it was written.
    pub target_text: String,
    pub status: u16,
    /// It wins over a file that is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

impl Rule {
    pub fn is_redirect(&self) -> bool {
        (300..400).contains(&self.status)
    }

    /// Whether it asks a request for nothing beside its path.
    pub fn is_for_all(&self) -> bool {
        self.host.is_none() && self.guard.is_empty()
    }

    /// As a person reads it.
    pub fn describe(&self) -> String {
        let forced = if self.forced { "!" } else { "" };
        format!("{} -> {} {}{forced}", self.source.source, self.target_text, self.status)
    }
}

/// Header fields for the answers to some paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderRule {
    pub place: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    pub source: Pattern,
    #[serde(default, skip_serializing_if = "Guard::is_empty")]
    pub guard: Guard,
    /// In the order in which they were written.
    pub edits: Vec<Edit>,
}

/// What a rule does with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// In lower case.
    pub name: String,
    /// `None`: what was set so far is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Template>,
}

/// The most that the rules of one kind may take in memory, in bytes, about: a thousand ordinary ones
/// take a quarter of it or less.
pub const MAX_WEIGHT: u64 = 12 * 1024 * 1024;

/// What a rule takes in memory, in bytes, about.
pub trait Weighs {
    fn weight(&self) -> u64;
}

impl Weighs for Rule {
    fn weight(&self) -> u64 {
        300 + self.source.weight() + self.guard.weight() + self.target.weight()
    }
}

impl Weighs for HeaderRule {
    fn weight(&self) -> u64 {
        let edit = |edit: &Edit| {
            200 + edit.name.len() as u64 + edit.value.as_ref().map_or(0, |template| template.weight())
        };
        let edits: u64 = self.edits.iter().map(edit).sum();
        200 + self.source.weight() + self.guard.weight() + edits
    }
}

/// What a list can be searched by.
pub trait HasSource {
    fn source(&self) -> &Pattern;
}

impl HasSource for Rule {
    fn source(&self) -> &Pattern {
        &self.source
    }
}

impl HasSource for HeaderRule {
    fn source(&self) -> &Pattern {
        &self.source
    }
}

/// Rules in their order, with an index of those that are for one path alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    from = "Vec<T>",
    into = "Vec<T>",
    bound(serialize = "T: Clone + Serialize", deserialize = "T: HasSource + Deserialize<'de>")
)]
pub struct List<T> {
    rules: Vec<T>,
    exact: HashMap<String, Vec<u32>>,
    dynamic: Vec<u32>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { rules: Vec::new(), exact: HashMap::new(), dynamic: Vec::new() }
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl<T: HasSource> From<Vec<T>> for List<T> {
    fn from(rules: Vec<T>) -> Self {
        let (mut exact, mut dynamic) = (HashMap::<String, Vec<u32>>::new(), Vec::new());
        for (at, rule) in (0..).zip(&rules) {
            match rule.source().exact_paths() {
                Some(paths) => {
                    for path in paths {
                        exact.entry(path.clone()).or_default().push(at);
                    }
                }
                None => dynamic.push(at),
            }
        }
        Self { rules, exact, dynamic }
    }
}

impl<T> From<List<T>> for Vec<T> {
    fn from(list: List<T>) -> Self {
        list.rules
    }
}

impl<T> List<T> {
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.rules.iter()
    }

    /// Those that could be for a path, in their order, with their numbers.
    pub fn candidates<'l>(&'l self, pattern_text: &str) -> impl Iterator<Item = (usize, &'l T)> + use<'l, T> {
        let mut exact = self.exact.get(pattern_text).map_or(&[][..], Vec::as_slice).iter().peekable();
        let mut dynamic = self.dynamic.iter().peekable();
        std::iter::from_fn(move || {
            let next = match (exact.peek(), dynamic.peek()) {
                (Some(one), Some(other)) if one < other => exact.next(),
                (Some(_), None) => exact.next(),
                _ => dynamic.next(),
            };
            let at = *next? as usize;
            self.rules.get(at).map(|rule| (at, rule))
        })
    }
}
