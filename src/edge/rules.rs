//! What rules do with a finished answer: its fields are set, replaced and taken away, and it says
//! which fields of the request it depends on.
//!
//! Which rules are for a request is `domain::routing`'s. Start with [`dress`].

use crate::domain::routing::resolve::Answer;
use crate::edge::field_list::FieldList;

/// Fields of rules are for what a site shows, not for the edge's own refusals.
pub fn dress(fields: &mut FieldList, answer: &Answer<'_>) {
    for edit in &answer.edits {
        // What an answer depends on is added to, never hidden.
        if edit.name == "vary" {
            fields.extend_list("Vary", &edit.values.join(", "));
            continue;
        }
        fields.remove(&edit.name);
        for value in &edit.values {
            fields.append(edit.name.clone(), value.clone());
        }
    }
    if let Some(list) = answer.varies.list() {
        fields.extend_list("Vary", &list);
        keep_private(fields);
    }
}

/// One visitor's answer is not another's: caches between them must not hold it.
fn keep_private(fields: &mut FieldList) {
    let old = fields.get("Cache-Control").unwrap_or_default();
    let directives = old.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let is = |directive: &str, name: &str| {
        directive.split('=').next().is_some_and(|known| known.trim().eq_ignore_ascii_case(name))
    };
    if directives.clone().any(|directive| is(directive, "no-store")) {
        return;
    }
    let kept = directives
        .filter(|directive| !["public", "private", "s-maxage"].iter().any(|name| is(directive, name)));
    let new = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    fields.set("Cache-Control", new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_for_one_visitor_is_held_by_no_shared_cache() {
        for (old, new) in [
            ("public, max-age=0, must-revalidate", "private, max-age=0, must-revalidate"),
            ("Public, S-MaxAge=60, max-age=5", "private, max-age=5"),
            ("private", "private"),
            ("max-age=5", "private, max-age=5"),
            ("no-store", "no-store"),
            ("", "private"),
        ] {
            let mut fields = FieldList::default();
            if !old.is_empty() {
                fields.set("Cache-Control", old);
            }
            keep_private(&mut fields);
            assert_eq!(fields.get("cache-control"), Some(new), "{old}");
        }
    }
}
