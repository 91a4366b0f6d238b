//! What header rules make of an answer's fields, over all rules that are for its path (the
//! project's `edge-routing` specification, section 5).

use crate::domain::routing::dialect::Dialect;
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

/// Of one answer: no client takes more.
const MAX_FIELDS: usize = 128;
/// Of values that are joined into one field, in bytes.
const MAX_JOINED: usize = 64 * 1024;

/// Fields as they are put together.
pub struct Fields {
    dialect: Dialect,
    edits: Vec<FieldEdit>,
    /// How many of `edits` are the server's own, which rules replace.
    own: Vec<String>,
}

impl Fields {
    pub fn new(dialect: Dialect, is_redirect: bool) -> Self {
        let mut fields = Self { dialect, edits: Vec::new(), own: Vec::new() };
        if dialect == Dialect::Cloudflare && !is_redirect {
            for (name, value) in
                [("access-control-allow-origin", "*"), ("referrer-policy", "strict-origin-when-cross-origin")]
            {
                fields.own.push(name.to_owned());
                fields.edits.push(FieldEdit { name: name.to_owned(), values: vec![value.to_owned()] });
            }
        }
        fields
    }

    /// A name that a rule has twice has both values; of two rules, the later replaces the earlier,
    /// but in cloudflare they are joined.
    pub fn apply(&mut self, rule: &HeaderRule, values: &Values<'_>) {
        let mut set_here: Vec<&str> = Vec::new();
        for edit in &rule.edits {
            let name = edit.name.as_str();
            let Some(template) = &edit.value else {
                self.replace(name, Vec::new());
                continue;
            };
            if self.edits.len() >= MAX_FIELDS {
                return;
            }
            let value = template.fill(values);
            let adds = match self.dialect {
                Dialect::Cloudflare => !self.own.iter().any(|own| own == name),
                // Its headers are an object: the later of two equal keys counts.
                Dialect::Vercel => set_here.contains(&name) && name == "set-cookie",
                Dialect::Netlify | Dialect::Plain => set_here.contains(&name),
            };
            set_here.push(name);
            self.own.retain(|own| own != name);
            if adds { self.join(name, value) } else { self.replace(name, vec![value]) }
        }
    }

    fn replace(&mut self, name: &str, values: Vec<String>) {
        match self.edits.iter_mut().find(|edit| edit.name == name) {
            Some(edit) => edit.values = values,
            None => self.edits.push(FieldEdit { name: name.to_owned(), values }),
        }
    }

    fn join(&mut self, name: &str, value: String) {
        let Some(edit) = self.edits.iter_mut().find(|edit| edit.name == name) else {
            return self.replace(name, vec![value]);
        };
        let is_full = edit.values.len() >= MAX_FIELDS;
        match edit.values.last_mut() {
            // Cookies may hold commas: each is a field (RFC 6265, 3).
            Some(last) if name != "set-cookie" && last.len() + value.len() > MAX_JOINED => {}
            Some(last) if name != "set-cookie" => {
                last.push_str(", ");
                last.push_str(&value);
            }
            _ if is_full => {}
            _ => edit.values.push(value),
        }
    }

    pub fn finish(self) -> Vec<FieldEdit> {
        self.edits
    }
}
