//! What header rules make of an answer's fields, over all rules that are for its path (the
//! project's `edge-routing` specification, section 5).

use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::matcher::Budget;
use crate::domain::routing::rules::HeaderRule;
use crate::domain::routing::target::Values;

/// What is done with a field that the server would send, or would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldEdit {
    /// In lower case.
    pub name: String,
    /// In its place. Empty: it is taken away.
    pub values: Vec<String>,
}

/// Different fields of one answer, and so of all rules of a site: what vercel's schema lets one rule
/// have. Whoever compiles rules holds them to it.
pub const MAX_NAMES: usize = 1_024;
/// Names and values of one answer, in bytes: no client takes more.
const MAX_BYTES: usize = 256 * 1024;
/// What setting a field costs, in steps of the budget, beside looking for its name and copying.
const STEPS: u64 = 20;

/// Fields as they are put together.
pub struct Fields {
    dialect: Dialect,
    entries: Vec<Entry>,
    /// Rules that were applied so far.
    rules: u32,
    bytes: usize,
}

struct Entry {
    edit: FieldEdit,
    /// The number of the rule that set it last; 0: none did.
    set_by: u32,
    /// The server's own, which rules replace.
    is_own: bool,
}

/// The fields together are more than an answer can have: it must not be sent with a part of them.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Fields {
    pub fn new(dialect: Dialect, is_redirect: bool) -> Self {
        let mut fields = Self { dialect, entries: Vec::new(), rules: 0, bytes: 0 };
        if dialect == Dialect::Cloudflare && !is_redirect {
            for (name, value) in
                [("access-control-allow-origin", "*"), ("referrer-policy", "strict-origin-when-cross-origin")]
            {
                let edit = FieldEdit { name: name.to_owned(), values: vec![value.to_owned()] };
                fields.entries.push(Entry { edit, set_by: 0, is_own: true });
            }
        }
        fields
    }

    /// A name that a rule has twice has both values; of two rules, the later replaces the earlier,
    /// but in cloudflare they are joined. What it costs is `budget`'s, which may be spent by it.
    pub fn apply(
        &mut self,
        rule: &HeaderRule,
        values: &Values<'_>,
        budget: &mut Budget,
    ) -> Result<(), TooMany> {
        self.rules += 1;
        for edit in &rule.edits {
            let value = edit.value.as_ref().map(|template| template.fill(values));
            let length = value.as_ref().map_or(0, String::len) as u64;
            if !budget.spend(STEPS + self.entries.len() as u64 / 4 + length / 32) {
                return Ok(());
            }
            let at = self.place_of(&edit.name);
            match value {
                Some(value) => self.set(at, value),
                None => self.empty(at),
            }
            if self.bytes > MAX_BYTES || self.entries.len() > MAX_NAMES + OWN_NAMES {
                return Err(TooMany);
            }
        }
        Ok(())
    }

    fn place_of(&mut self, name: &str) -> usize {
        let known = self.entries.iter().position(|entry| entry.edit.name == name);
        known.unwrap_or_else(|| {
            let edit = FieldEdit { name: name.to_owned(), values: Vec::new() };
            self.bytes += edit.name.len();
            self.entries.push(Entry { edit, set_by: 0, is_own: false });
            self.entries.len() - 1
        })
    }

    fn set(&mut self, at: usize, value: String) {
        let Some(entry) = self.entries.get(at) else { return };
        let is_cookie = entry.edit.name == "set-cookie";
        let is_set_here = entry.set_by == self.rules;
        let adds = match self.dialect {
            Dialect::Cloudflare => !entry.is_own,
            // Its headers are an object: the later of two equal keys counts.
            Dialect::Vercel => is_set_here && is_cookie,
            Dialect::Netlify | Dialect::Plain => is_set_here,
        };
        if !adds {
            self.empty(at);
        }
        let Some(entry) = self.entries.get_mut(at) else { return };
        (entry.set_by, entry.is_own) = (self.rules, false);
        self.bytes += value.len() + BESIDE_VALUE;
        match entry.edit.values.last_mut() {
            // Cookies may hold commas: each is a field (RFC 6265, 3).
            Some(last) if !is_cookie => {
                last.push_str(", ");
                last.push_str(&value);
            }
            _ => entry.edit.values.push(value),
        }
    }

    fn empty(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at).filter(|entry| !entry.edit.values.is_empty()) else {
            return;
        };
        let values = std::mem::take(&mut entry.edit.values);
        let bytes: usize = values.iter().map(|value| value.len() + BESIDE_VALUE).sum();
        // Those that were joined to one have more beside them than is counted here.
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub fn finish(self) -> Vec<FieldEdit> {
        self.entries.into_iter().map(|entry| entry.edit).collect()
    }
}

/// The server's own fields, which rules may replace.
const OWN_NAMES: usize = 2;
/// What stands beside a value: its name again, a colon, a comma, the line's end; about.
const BESIDE_VALUE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::routing::headers::rule;
    use crate::domain::routing::rules::{Edit, Place};
    use crate::domain::routing::target::{Syntax, Template};

    fn sets(fields: impl IntoIterator<Item = (String, String)>) -> HeaderRule {
        let place = Place { file: "_headers".to_owned(), line: 1 };
        let edit = |(name, value): (String, String)| Edit {
            name,
            value: Some(Template::parse(&value, Syntax::Colon, &[])),
        };
        HeaderRule {
            edits: fields.into_iter().map(edit).collect(),
            ..rule("/*", Dialect::Plain, place).unwrap()
        }
    }

    fn apply(dialect: Dialect, rules: &[HeaderRule]) -> (Result<(), TooMany>, Vec<FieldEdit>) {
        let mut fields = Fields::new(dialect, false);
        let mut budget = Budget::default();
        let applied = rules.iter().try_for_each(|rule| fields.apply(rule, &Values::default(), &mut budget));
        assert!(!budget.is_spent());
        (applied, fields.finish())
    }

    #[test]
    fn as_many_fields_are_set_as_vercels_schema_lets_a_rule_have() {
        let many = |count: usize| sets((0..count).map(|at| (format!("x-{at}"), "b".to_owned())));
        let (applied, fields) = apply(Dialect::Vercel, &[many(MAX_NAMES)]);
        assert_eq!((applied, fields.len()), (Ok(()), MAX_NAMES));
        assert_eq!(apply(Dialect::Vercel, &[many(MAX_NAMES + OWN_NAMES + 1)]).0, Err(TooMany));
    }

    #[test]
    fn what_is_replaced_takes_no_room_and_what_is_joined_does() {
        let long = || sets([("x-a".to_owned(), "b".repeat(60_000))]);
        let rules: Vec<HeaderRule> = (0..50).map(|_| long()).collect();
        for dialect in [Dialect::Vercel, Dialect::Netlify, Dialect::Plain] {
            assert_eq!(apply(dialect, &rules).0, Ok(()), "{dialect}");
        }
        assert_eq!(apply(Dialect::Cloudflare, &rules[..4]).0, Ok(()));
        assert_eq!(apply(Dialect::Cloudflare, &rules).0, Err(TooMany), "a part of it is never sent");
        let cookies = (0..20_000).map(|at| ("set-cookie".to_owned(), format!("a{at}=b")));
        assert_eq!(apply(Dialect::Plain, &[sets(cookies)]).0, Err(TooMany));
    }
}
