//! Which placeholders a destination of `vercel.json` names. One that neither the source nor `has` gives
//! a value to is a mistake, which fails a deployment there (`@vercel/routing-utils` 6.6,
//! `checkPatternSyntax`).
//!
//! Start with [`unknown_name`].

use crate::domain::routing::path_to_regexp::names_in;
use percent_encoding::percent_decode_str;

/// The first name that is not among `known`, of the host, the path and the values of the query.
/// `known` has groups without a name by their numbers, as [`names_in`] does not: any stands for all.
pub fn unknown_name(destination: &str, known: &[String]) -> Option<String> {
    for part in parts(destination) {
        // What is no pattern is text, and nothing behind it is looked at.
        let names = names_in(&part).ok()?;
        let unknown = names.into_iter().find(|name| match name {
            Some(name) => !known.contains(name),
            None => !known.iter().any(|one| one.starts_with('#')),
        });
        if let Some(name) = unknown {
            return Some(name.unwrap_or_else(|| "(...)".to_owned()));
        }
    }
    None
}

fn parts(destination: &str) -> Vec<String> {
    let rest = destination.split('#').next().unwrap_or_default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+.-".contains(c));
    let rest = match scheme {
        Some(end) if end > 0 && rest[end..].starts_with(':') => &rest[end + 1..],
        _ => rest,
    };
    let (host, path) = match rest.strip_prefix("//").filter(|_| scheme != Some(0)) {
        Some(behind) => behind.split_at(behind.find('/').unwrap_or(behind.len())),
        None => ("", rest),
    };
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let mut parts = vec![host.to_owned(), path.to_owned()];
    let mut seen: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Of a name that stands there twice the first value is looked at.
        if !seen.contains(&name) {
            seen.push(name);
            parts.push(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_host_path_and_query_must_be_known() {
        let known = ["a".to_owned(), "#1".to_owned()];
        for (destination, expected) in [
            ("/x/:a", None),
            ("/x/:a*/(.*)", None),
            ("/:b", Some("b")),
            ("/:aa", Some("aa")),
            ("/x:y", Some("y")),
            ("https://:b.example/", Some("b")),
            ("https://e.example:81/:a", None),
            ("https://e.example/:b", Some("b")),
            ("/x?y=:b", Some("b")),
            ("/x?y=:a&y=:b&z=%3Ac", Some("c")),
            ("/x?t=10:30", Some("30")),
            ("/x?u=https://e.example:8/", None),
            ("/x#:b", None),
            ("/\\:b", None),
            ("/100%/$1/:", None),
            ("mailto:x", None),
            (":a*", None),
            ("$1", None),
            ("", None),
        ] {
            assert_eq!(unknown_name(destination, &known).as_deref(), expected, "{destination}");
        }
        assert_eq!(unknown_name("/(.*)", &[]).as_deref(), Some("(...)"));
    }
}
