//! What rules do with a finished answer: its fields are set, replaced and taken away, and it says
//! which fields of the request it depends on.
//!
//! Which rules are for a request is `domain::routing`'s. Start with [`dress`].

use crate::domain::routing::request::Fields;
use crate::domain::routing::resolve::Answer;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, VARY};

/// The fields of a request, as rules look at them.
pub struct RequestFields<'r>(pub &'r HeaderMap);

impl Fields for RequestFields<'_> {
    fn values(&self, name: &str) -> Vec<&str> {
        self.0.get_all(name).filter_map(|value| value.to_str().ok()).collect()
    }
}

pub fn dress(response: &mut HttpResponse, answer: &Answer<'_>) {
    let is_refused =
        matches!(response.status(), StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE);
    let headers = response.headers_mut();
    // Fields of rules are for what a site shows.
    for edit in answer.edits.iter().filter(|_| !is_refused) {
        let Ok(name) = HeaderName::from_bytes(edit.name.as_bytes()) else { continue };
        // What an answer depends on is added to, never hidden.
        if name != VARY {
            headers.remove(&name);
        }
        for value in &edit.values {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(name.clone(), value);
            }
        }
    }
    if let Some(list) = answer.varies.list() {
        if let Ok(list) = HeaderValue::try_from(list) {
            headers.append(VARY, list);
        }
        keep_private(headers);
    }
}

/// One visitor's answer is not another's: caches between them must not hold it.
fn keep_private(headers: &mut HeaderMap) {
    let old = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
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
    if let Ok(new) = HeaderValue::try_from(new) {
        headers.insert(CACHE_CONTROL, new);
    }
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
            let mut headers = HeaderMap::new();
            if !old.is_empty() {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(old));
            }
            keep_private(&mut headers);
            assert_eq!(headers.get(CACHE_CONTROL).unwrap(), new, "{old}");
        }
    }
}
