//! Sections 2 and 4: what an answer depends on beside its path, and that it depends on nothing that it
//! does not name.

use super::{LISTED, Site, routing};
use crate::domain::request_path::RequestPath;
use crate::domain::routing::dialect::Dialect::{self, Netlify, Plain, Vercel};
use crate::domain::routing::request::Asked;
use crate::domain::routing::resolve::{Answer, Outcome, resolve};
use crate::domain::routing::sources::Sources;
use crate::domain::routing::trace::Trace;
use proptest::prelude::*;

/// What an answer varies by, and whether it is general: `cookie`, `general`, `-`.
fn dependence(site: &Site, target: &str, fields: &[&str]) -> String {
    site.answer_with(target, fields, |answer| match answer.varies.list() {
        Some(list) => list,
        None if answer.is_general => "general".to_owned(),
        None => "-".to_owned(),
    })
}

#[test]
fn a_file_depends_on_no_condition_of_a_rule_that_it_wins_over() {
    for dialect in [Netlify, Plain] {
        let files = ["a.html", "b.html", "c.html"];
        for (rules, expected) in [
            ("/a /x Cookie=c", "general"),
            ("/* /x Cookie=c", "general"),
            ("https://other.example/a /x", "general"),
            ("/a q=1 /x", "general"),
            // A forced rule for the path behind it is hidden while it holds.
            ("/a /x Cookie=c\n/a /y 302!", "cookie"),
            ("/a /x Cookie=c\n/* /y 302! Language=de", "cookie, accept-language"),
            ("/a /y 302! Language=de\n/a /x Cookie=c", "accept-language, cookie"),
            // Not for this path, before the other, or hidden by one that asks for nothing.
            ("/a /x Cookie=c\n/b /y 302!", "general"),
            ("/b /y 302!\n/a /x Cookie=c", "general"),
            ("/a /x Cookie=c\n/a /z\n/a /y 302!", "general"),
            ("/a /z\n/a /y 302! Cookie=c", "general"),
            ("https://other.example/a /x\n/a /y 302!", "-"),
            ("/a /y 302!", "-"),
        ] {
            let site = Site::redirects(dialect, &files, rules);
            assert_eq!(dependence(&site, "/a", &[]), expected, "{dialect} {rules:?}");
        }
        let site = Site::redirects(dialect, &files, "/a /x Cookie=c\n/a /y 302!");
        site.check(&[("/a", "302 /y")]);
        assert_eq!(site.ask_with("/a", &["cookie: c=1"]), "200 a.html", "the forced one is hidden");
        // Where no file is, every condition on the way counts.
        let site = Site::redirects(dialect, &files, "/gone /x Cookie=c\n");
        assert_eq!(dependence(&site, "/gone", &[]), "cookie");
    }
}

#[test]
fn an_answer_is_general_where_nothing_but_its_path_was_looked_at() {
    for dialect in LISTED {
        let site = Site::redirects(dialect, &["a.html", "404.html"], "/r /a 302\n/w /a 200\n");
        for (target, expected) in
            [("/a", "general"), ("/a?q=1", "general"), ("/w", "general"), ("/none", "general"), ("/r", "-")]
        {
            assert_eq!(dependence(&site, target, &[]), expected, "{dialect} {target}");
        }
    }
    let moved = Site::redirects(Plain, &["a.html"], "");
    assert_eq!(dependence(&moved, "/a.html", &[]), "-", "its location has the query");
    let site = Site::vercel(
        &["a", "b", "c"],
        r#"{"redirects": [{"source": "/a", "destination": "/x", "missing": [{"type": "query", "key": "q"}]}],
            "headers": [{"source": "/b", "has": [{"type": "host", "value": "x"}], "headers": [{"key": "x-a", "value": "b"}]},
                        {"source": "/(.*)", "headers": [{"key": "x-b", "value": "$1"}]}]}"#,
    );
    for (target, expected) in [("/a?q=1", "-"), ("/b", "-"), ("/c", "general"), ("/none", "general")] {
        assert_eq!(dependence(&site, target, &[]), expected, "{target}");
    }
    for dialect in [Plain, Dialect::Cloudflare] {
        let site = Site::headers(dialect, "https://other.example/a\n X-A: b\n");
        assert_eq!(dependence(&site, "/a", &[]), "-", "{dialect}");
        assert_eq!(dependence(&site, "/none", &[]), "general", "{dialect}");
    }
    let costly = Site::vercel(
        &[],
        r#"{"redirects": [{"source": "/:a((?:[a-z]{0,40}){1,12})1", "destination": "/b"}]}"#,
    );
    assert_eq!(dependence(&costly, &format!("/{}", "a".repeat(7_900)), &[]), "-", "it was not compared");
}

/// A line of `_redirects`, in pieces that a few requests tell apart.
fn line() -> impl Strategy<Value = String> {
    let from = prop::sample::select(vec!["/a", "/b", "/*", "/:x", "https://one.example/*"]);
    let query = prop::sample::select(vec!["", "", " q=1", " q=:q"]);
    let to = prop::sample::select(vec!["/to", "/c", "/to/:splat", "https://:x.example.com/"]);
    let status = prop::sample::select(vec!["", " 302!", " 200", " 200!", " 404", " 404!"]);
    let condition = prop::sample::select(vec!["", "", " Cookie=k", " Language=de", " Cookie=k Language=de"]);
    (from, query, to, status, condition).prop_map(|(from, query, to, status, condition)| {
        let status = if status.is_empty() && !condition.is_empty() { " 301" } else { status };
        format!("{from}{query} {to}{status}{condition}\n")
    })
}

/// A rule of `vercel.json`, less its braces.
fn vercel_rule(more: &'static str) -> impl Strategy<Value = String> {
    let source = prop::sample::select(vec!["/a", "/b", "/(.*)", "/:x"]);
    let condition = prop::sample::select(vec![
        "",
        "",
        r#", "has": [{"type": "query", "key": "q", "value": "1"}]"#,
        r#", "missing": [{"type": "cookie", "key": "k"}]"#,
        r#", "has": [{"type": "host", "value": "one.*"}]"#,
        r#", "has": [{"type": "header", "key": "accept-language", "value": "(?<x>d).*"}]"#,
    ]);
    (source, condition)
        .prop_map(move |(source, condition)| format!(r#"{{"source": "{source}"{condition}, {more}}}"#))
}

fn vercel_json() -> impl Strategy<Value = String> {
    let list = |more| prop::collection::vec(vercel_rule(more), 0..3);
    let headers = list(r#""headers": [{"key": "x-a", "value": ":x $1"}]"#);
    let (redirects, rewrites) = (list(r#""destination": "/to""#), list(r#""destination": "/c""#));
    (redirects, rewrites, headers).prop_map(|(redirects, rewrites, headers)| {
        let (redirects, rewrites, headers) = (redirects.join(","), rewrites.join(","), headers.join(","));
        format!(r#"{{"redirects": [{redirects}], "rewrites": [{rewrites}], "headers": [{headers}]}}"#)
    })
}

/// Every way to ask for a path that the rules above tell apart.
fn each_request(mut take: impl FnMut(&str, Option<&str>, &Vec<(String, String)>)) {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for host in ["one.example", "two.example"] {
        for query in [None, Some("q=1"), Some("q=2&x=3")] {
            for cookie in [None, Some(field("cookie", "k=1"))] {
                for language in [None, Some(field("accept-language", "de"))] {
                    take(host, query, &cookie.iter().cloned().chain(language).collect());
                }
            }
        }
    }
}

fn ask<'m>(
    site: &'m Site,
    path: &str,
    host: &str,
    query: Option<&str>,
    fields: &Vec<(String, String)>,
) -> Answer<'m> {
    let path = RequestPath::parse(path).unwrap();
    let asked = Asked { host, path: &path, query, fields };
    let answer = resolve(&site.manifest, &asked, &mut Trace::off());
    assert_eq!(answer, resolve(&site.manifest, &asked, &mut Trace::on()));
    answer
}

const PATHS: [&str; 5] = ["/a", "/b", "/c", "/none", "/none/"];

/// Asks in every way: a general answer is the same in each, and one that names no field is the same
/// for all fields.
fn depends_on_what_it_says(site: &Site) -> Result<(), TestCaseError> {
    for path in PATHS {
        let mut answers = Vec::new();
        each_request(|host, query, fields| {
            answers.push((host.to_owned(), query.map(str::to_owned), ask(site, path, host, query, fields)));
        });
        for (host, query, answer) in &answers {
            for (other_host, other_query, other) in &answers {
                let is_same_address = (host, query) == (other_host, other_query);
                if answer.is_general || is_same_address && answer.varies.is_empty() {
                    prop_assert_eq!(answer, other, "{}", path);
                }
            }
        }
    }
    Ok(())
}

/// Its source, its condition, and whether it is forced.
type SimpleRule = (&'static str, &'static str, bool);

fn simple_rule() -> impl Strategy<Value = SimpleRule> {
    let from = prop::sample::select(vec!["/a", "/b", "/*"]);
    let condition = prop::sample::select(vec!["", "Cookie=k", "Language=de", "host"]);
    (from, condition, any::<bool>())
}

proptest! {
    #[test]
    fn nothing_else_changes_a_general_answer(
        lines in prop::collection::vec(line(), 0..5), dialect in prop::sample::select(LISTED.to_vec()),
    ) {
        let sources = Sources {
            redirects: Some(lines.concat()),
            headers: Some("/a\n  X-A: b\nhttps://one.example/b\n  X-A: c\n".to_owned()),
            ..Sources::default()
        };
        depends_on_what_it_says(&Site::new(&["a.html", "c.html", "404.html"], &sources, routing(dialect)))?;
    }

    #[test]
    fn nor_one_by_rules_of_vercel_json(json in vercel_json()) {
        let sources = Sources { vercel_json: Some(json), ..Sources::default() };
        depends_on_what_it_says(&Site::new(&["a", "c", "404.html"], &sources, routing(Vercel)))?;
    }

    /// The order of section 2, told in the plainest way: which rule is the first for a request.
    #[test]
    fn what_is_not_looked_at_would_not_have_changed_the_answer(
        rules in prop::collection::vec(simple_rule(), 0..6),
        dialect in prop::sample::select(vec![Netlify, Plain]),
    ) {
        let lines = rules.iter().enumerate().map(|(at, (from, condition, forced))| {
            let host = if *condition == "host" { "https://one.example" } else { "" };
            let condition = ["Cookie=k", "Language=de"].into_iter().find(|one| one == condition);
            format!("{host}{from} /{at} 302{} {}\n", if *forced { "!" } else { "" }, condition.unwrap_or(""))
        });
        let site = Site::redirects(dialect, &["a.html", "b.html"], &lines.collect::<String>());
        for path in ["/a", "/b", "/c"] {
            each_request(|host, query, fields| {
                let has = |name: &str| fields.iter().any(|(known, _)| known == name);
                let is_for = |(from, condition, _): &SimpleRule| {
                    let holds = match *condition {
                        "Cookie=k" => has("cookie"),
                        "Language=de" => has("accept-language"),
                        "host" => host == "one.example",
                        _ => true,
                    };
                    holds && (*from == path || *from == "/*")
                };
                let first = rules.iter().position(is_for).filter(|at| rules[*at].2 || path == "/c");
                let answer = ask(&site, path, host, None, fields);
                let told = match answer.outcome {
                    Outcome::File(found) => format!("/{}", found.path),
                    Outcome::Moved { location, .. } => location,
                    _ => "nothing".to_owned(),
                };
                let expected = match (first, path) {
                    (Some(at), _) => format!("/{at}"),
                    (None, "/c") => "nothing".to_owned(),
                    (None, _) => format!("{path}.html"),
                };
                assert_eq!(told, expected, "{path} {host} {query:?} {fields:?}");
            });
        }
    }
}
