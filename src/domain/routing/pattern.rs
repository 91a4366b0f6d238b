//! The sources of rules, in the form that the edge compares paths with: compiled when the site is
//! deployed, whatever dialect they were written in.
//!
//! Here too: the reading of sources with `*` and `:name`, as `_redirects` and `_headers` have them
//! (`path_to_regexp` reads vercel's). Paths are compared in decoded form, segment by segment; the
//! values of placeholders stay encoded as they came. Start with [`Pattern`].

use crate::domain::request_path::{RequestPath, pattern_text_of};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::matcher::{Budget, Matcher, escaped};
use crate::domain::routing::target::Values;
use crate::domain::text::Invalid;
use serde::{Deserialize, Serialize};

/// Which paths a rule is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// As it was written.
    pub source: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Test {
    /// These paths.
    Exact(Vec<String>),
    Matches {
        /// What every path begins with that matches: compared first, since it is cheap.
        prefix: String,
        regex: Matcher,
        /// What the groups are called, in order.
        names: Vec<String>,
    },
}

/// What the splat is called in targets.
pub const SPLAT: &str = "splat";

impl Pattern {
    pub fn exact(source: &str, paths: Vec<String>) -> Self {
        Self { source: source.to_owned(), test: Test::Exact(paths) }
    }

    /// `regex` is for decoded paths and has a group for each of `names`; `prefix` is what every path
    /// begins with that it matches.
    pub fn matching(source: &str, regex: &str, prefix: String, names: Vec<String>) -> Result<Self, Invalid> {
        let test = Test::Matches { prefix, regex: Matcher::new(regex)?, names };
        Ok(Self { source: source.to_owned(), test })
    }

    /// Reads a source of `_redirects` or `_headers`: a path in which `*` is the splat and `:name` a
    /// segment, or a part of one.
    pub fn parse(source: &str, dialect: Dialect) -> Result<Self, Invalid> {
        if !source.starts_with('/') {
            return Err(Invalid::new("must begin with a slash"));
        }
        Reading::new(source, dialect).pattern()
    }

    /// A path that it is for, each placeholder being something that stands nowhere else. `None`: it has
    /// none.
    pub fn example(&self) -> Option<String> {
        if !self.is_dynamic() {
            return None;
        }
        let (mut path, mut rest, mut count) = (String::new(), self.source.as_str(), 0);
        while let Some(c) = rest.chars().next() {
            let behind = &rest[c.len_utf8()..];
            let name = &behind[..name_at(behind)];
            let is_name = c == ':' && self.names().iter().any(|known| known == name);
            if c == '*' || is_name {
                count += 1;
                path.push_str(&format!("0example{count}"));
                rest = if is_name { &behind[name.len()..] } else { behind };
            } else {
                path.push(c);
                rest = behind;
            }
        }
        Some(path)
    }

    /// The paths that it is for, where it has neither placeholders nor a splat.
    pub fn exact_paths(&self) -> Option<&[String]> {
        match &self.test {
            Test::Exact(paths) => Some(paths),
            Test::Matches { .. } => None,
        }
    }

    /// Whether no path can be what it is for, since none begins so.
    pub fn is_for_none(&self) -> bool {
        self.exact_paths().is_some_and(|paths| paths.iter().all(|path| !path.starts_with('/')))
    }

    pub fn is_dynamic(&self) -> bool {
        matches!(self.test, Test::Matches { .. })
    }

    pub fn is_backtracking(&self) -> bool {
        matches!(&self.test, Test::Matches { regex, .. } if regex.is_backtracking())
    }

    /// The first `:name` in it that begins a segment and is text all the same, since more stands beside
    /// it: netlify's placeholders are whole segments.
    pub fn name_as_text(&self) -> Option<&str> {
        let names = self.source.match_indices("/:").map(|(at, _)| &self.source[at + 2..]);
        let names = names.map(|behind| &behind[..name_at(behind)]).filter(|name| !name.is_empty());
        names.into_iter().find(|name| !self.names().iter().any(|known| known == name))
    }

    /// What its groups are called, in order.
    pub fn names(&self) -> &[String] {
        match &self.test {
            Test::Exact(_) => &[],
            Test::Matches { names, .. } => names,
        }
    }

    /// What the edge needs for it in memory, in bytes, about.
    pub fn weight(&self) -> u64 {
        let test = match &self.test {
            Test::Exact(paths) => paths.iter().map(|path| path.len() as u64).sum(),
            Test::Matches { regex, .. } => regex.bytes(),
        };
        200 + self.source.len() as u64 + test
    }

    /// The values of the groups, where the path matches.
    pub fn find<'p>(&'p self, path: &'p RequestPath<'_>, budget: &mut Budget) -> Option<Values<'p>> {
        let text = path.pattern_text();
        let mut values = Values::default();
        match &self.test {
            Test::Exact(paths) => paths.iter().any(|one| one == text).then_some(values),
            Test::Matches { prefix, regex, names } => {
                if !text.starts_with(prefix.as_str()) {
                    return None;
                }
                let groups = regex.find(text, budget)?;
                for (name, group) in names.iter().zip(groups.into_iter().skip(1)) {
                    values.add(name, group.map_or("", |group| path.sent_part(group)));
                }
                Some(values)
            }
        }
    }
}

/// The host of an absolute source, in lower case. `:name` stands for a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostPattern {
    regex: Matcher,
    pub names: Vec<String>,
}

impl HostPattern {
    pub fn parse(host: &str) -> Result<Self, Invalid> {
        let (mut regex, mut names) = ("^".to_owned(), Vec::new());
        for (at, label) in host.split('.').enumerate() {
            if at > 0 {
                regex.push_str("\\.");
            }
            match label.strip_prefix(':').filter(|name| is_name(name)) {
                Some(name) => {
                    regex.push_str("([^.]+)");
                    names.push(name.to_owned());
                }
                None if !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') => {
                    regex.push_str(&escaped(&label.to_lowercase()));
                }
                None => return Err(Invalid::new("has a host that none can have")),
            }
        }
        regex.push('$');
        Ok(Self { regex: Matcher::new(&regex)?, names })
    }

    /// Whether a host, in lower case and without port, is this one.
    pub fn find<'h>(&'h self, host: &str, budget: &mut Budget, values: &mut Values<'h>) -> bool {
        let Some(groups) = self.regex.find(host, budget) else { return false };
        for (name, group) in self.names.iter().zip(groups.into_iter().skip(1)) {
            values.add_text(name, group.and_then(|group| host.get(group)).unwrap_or_default());
        }
        true
    }
}

/// A letter, then letters, digits and `_`.
pub fn is_name(text: &str) -> bool {
    name_at(text) == text.len() && !text.is_empty()
}

/// How long the name is that `text` begins with, in bytes.
pub fn name_at(text: &str) -> usize {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

struct Reading<'s> {
    source: &'s str,
    /// Netlify and plain: a slash at the end does not matter.
    is_loose: bool,
    /// Netlify: a placeholder or splat is a whole segment.
    is_whole: bool,
    regex: String,
    prefix: Option<String>,
    names: Vec<String>,
}

impl<'s> Reading<'s> {
    fn new(source: &'s str, dialect: Dialect) -> Self {
        let is_loose = matches!(dialect, Dialect::Netlify | Dialect::Plain);
        let is_whole = dialect == Dialect::Netlify;
        Self { source, is_loose, is_whole, regex: "^".to_owned(), prefix: None, names: Vec::new() }
    }

    fn pattern(mut self) -> Result<Pattern, Invalid> {
        let source = self.source;
        let path = if self.is_loose && source.len() > 1 { source.trim_end_matches('/') } else { source };
        let mut rest = path;
        let mut literal = String::new();
        while let Some(c) = rest.chars().next() {
            if c == '*' {
                self.check_whole(&literal, &rest[1..])?;
                let is_last = rest.len() == 1;
                self.splat(&std::mem::take(&mut literal), is_last)?;
                rest = &rest[1..];
            } else if c == ':' && self.is_placeholder(&literal, &rest[1..]) {
                let len = name_at(&rest[1..]);
                self.literal(&std::mem::take(&mut literal));
                self.name(&rest[1..=len], "([^/]+)")?;
                rest = &rest[1 + len..];
            } else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if self.names.is_empty() {
            return Ok(Pattern::exact(source, self.exact(&literal)));
        }
        self.literal(&literal);
        // A splat at the end takes the slash itself.
        if self.is_loose && !path.ends_with('*') {
            self.regex.push_str("/?");
        }
        self.regex.push('$');
        Pattern::matching(source, &self.regex, self.prefix.unwrap_or_default(), self.names)
    }

    fn exact(&self, path: &str) -> Vec<String> {
        let path = pattern_text_of(&merged(path));
        if !self.is_loose || path == "/" {
            return vec![path];
        }
        vec![format!("{path}/"), path]
    }

    fn is_placeholder(&self, before: &str, behind: &str) -> bool {
        let len = name_at(behind);
        let is_whole = before.ends_with('/') && (behind.len() == len || behind[len..].starts_with('/'));
        len > 0 && (is_whole || !self.is_whole)
    }

    fn check_whole(&self, before: &str, behind: &str) -> Result<(), Invalid> {
        let is_whole = before.ends_with('/') && (behind.is_empty() || behind.starts_with('/'));
        if self.is_whole && !is_whole {
            return Err(Invalid::new("has text beside its *, which netlify does not match"));
        }
        Ok(())
    }

    fn splat(&mut self, before: &str, is_last: bool) -> Result<(), Invalid> {
        if self.names.iter().any(|name| name == SPLAT) {
            return Err(Invalid::new("has two splats: only one can be told by :splat"));
        }
        match before.strip_suffix('/').filter(|_| self.is_loose && is_last) {
            // `/blog/*` is for `/blog` too; `/*` is for everything.
            Some(folder) if !(folder.is_empty() && self.names.is_empty()) => {
                self.literal(folder);
                self.regex.push_str("(?:/");
                self.name(SPLAT, "(.*)")?;
                self.regex.push_str(")?");
                Ok(())
            }
            _ => {
                self.literal(before);
                self.name(SPLAT, "(.*)")
            }
        }
    }

    fn literal(&mut self, text: &str) {
        let text = pattern_text_of(&merged(text));
        self.regex.push_str(&escaped(&text));
        self.prefix.get_or_insert(text);
    }

    fn name(&mut self, name: &str, group: &str) -> Result<(), Invalid> {
        if self.names.iter().any(|known| known == name) {
            return Err(Invalid::new(format!("has :{name} twice")));
        }
        self.names.push(name.to_owned());
        self.regex.push_str(group);
        Ok(())
    }
}

/// As request paths are before they are compared: without `//`.
fn merged(text: &str) -> String {
    let mut merged = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None`, or the values in the order of the source.
    fn found(dialect: Dialect, source: &str, path: &str) -> Option<Vec<String>> {
        let pattern = Pattern::parse(source, dialect).unwrap();
        let path = RequestPath::parse(path).unwrap();
        let values = pattern.find(&path, &mut Budget::default())?;
        Some(pattern.names().iter().map(|name| values.get(name).unwrap().to_owned()).collect())
    }

    fn table(dialect: Dialect, rows: &[(&str, &str, Option<&[&str]>)]) {
        for (source, path, expected) in rows {
            let expected = expected.map(|values| values.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(found(dialect, source, path), expected, "{dialect:?}: {source} with {path}");
        }
    }

    #[test]
    fn splats_and_placeholders_are_what_every_dialect_agrees_on() {
        for dialect in [Dialect::Netlify, Dialect::Cloudflare, Dialect::Plain] {
            table(
                dialect,
                &[
                    ("/old", "/old", Some(&[])),
                    ("/old", "/Old", None),
                    ("/old", "/old/x", None),
                    ("/a/*", "/a/b/c", Some(&["b/c"])),
                    ("/a/*", "/a/", Some(&[""])),
                    ("/a/*", "/ab", None),
                    ("/a/*/z", "/a/b/c/z", Some(&["b/c"])),
                    ("/*", "/", Some(&[""])),
                    ("/*", "/x/", Some(&["x/"])),
                    ("/p/:id", "/p/5", Some(&["5"])),
                    ("/p/:id", "/p/", None),
                    ("/p/:id", "/p/5/6", None),
                    ("/:a/:b_2/x", "/1/2/x", Some(&["1", "2"])),
                    ("/p/:1", "/p/:1", Some(&[])),
                    ("/p/*", "/p/a%20b/caf%C3%A9", Some(&["a%20b/caf%C3%A9"])),
                    ("/caf%C3%A9", "/caf%c3%a9", Some(&[])),
                    ("/café", "/caf%C3%A9", Some(&[])),
                    ("/a.b", "/axb", None),
                    ("/a%2Fb", "/a/b", None),
                    ("/a%2Fb", "/a%2fb", Some(&[])),
                    ("/p/:id", "/p/a%2Fb", Some(&["a%2Fb"])),
                    ("/:splat/x", "/1/x", Some(&["1"])),
                ],
            );
        }
    }

    #[test]
    fn a_slash_at_the_end_matters_in_cloudflare_alone() {
        for dialect in [Dialect::Netlify, Dialect::Plain] {
            table(
                dialect,
                &[
                    ("/old", "/old/", Some(&[])),
                    ("/old/", "/old", Some(&[])),
                    ("/p/:id", "/p/5/", Some(&["5"])),
                    ("/blog/*", "/blog", Some(&[""])),
                    ("/a/*/z", "/a/b/z/", Some(&["b"])),
                ],
            );
        }
        table(
            Dialect::Cloudflare,
            &[
                ("/old", "/old/", None),
                ("/old/", "/old", None),
                ("/p/:id", "/p/5/", None),
                ("/blog/*", "/blog", None),
                ("/a/*/z", "/a/b/z/", None),
            ],
        );
    }

    #[test]
    fn text_beside_splats_and_placeholders_is_not_netlifys() {
        for dialect in [Dialect::Cloudflare, Dialect::Plain] {
            table(
                dialect,
                &[
                    ("/j/*.json", "/j/a/b.json", Some(&["a/b"])),
                    ("/:a.html", "/x.html", Some(&["x"])),
                    ("/:a-:b", "/1-2-3", Some(&["1-2", "3"])),
                    ("/x*", "/xyz", Some(&["yz"])),
                ],
            );
        }
        assert!(Pattern::parse("/j/*.json", Dialect::Netlify).is_err());
        table(Dialect::Netlify, &[("/:a.html", "/x.html", None), ("/:a.html", "/:a.html", Some(&[]))]);
    }

    #[test]
    fn two_splats_and_one_name_twice_are_refused() {
        for dialect in [Dialect::Netlify, Dialect::Cloudflare, Dialect::Plain] {
            for bad in ["/*/x/*", "/:a/:a", "/:splat/*", "x", ""] {
                assert!(Pattern::parse(bad, dialect).is_err(), "{dialect:?} {bad}");
            }
        }
    }

    #[test]
    fn two_slashes_are_one_before_any_rule_sees_them_in_netlify_too() {
        // Its own server keeps them in a splat, from where they would lead to another host.
        table(Dialect::Netlify, &[("/go/*", "/go//evil.example", Some(&["evil.example"]))]);
        table(Dialect::Cloudflare, &[("/go//*", "/go///x//y", Some(&["x/y"]))]);
    }

    #[test]
    fn hosts_are_compared_label_by_label() {
        let host = HostPattern::parse("Old.:name.example").unwrap();
        let mut values = Values::default();
        assert!(host.find("old.a-b.example", &mut Budget::default(), &mut values));
        assert_eq!(values.get("name"), Some("a-b"));
        for other in ["old.a.b.example", "old.example", "old.x.example.org"] {
            assert!(!host.find(other, &mut Budget::default(), &mut Values::default()), "{other}");
        }
        assert!(HostPattern::parse("a..b").is_err() && HostPattern::parse("*.b").is_err());
    }
}
