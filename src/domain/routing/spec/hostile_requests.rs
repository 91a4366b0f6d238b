//! Section 8: hostile requests, as far as rules have a part in it. Paths are `request_path`'s, what
//! is on the wire is the edge's.

use super::{LISTED, Site};
use crate::domain::request_path::RequestPath;
use crate::domain::routing::compile::{Settings, compile};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::sources::Sources;
use std::time::{Duration, Instant};

#[test]
fn no_location_leaves_the_site_unless_the_rule_names_another_host() {
    for dialect in LISTED {
        let site =
            Site::redirects(dialect, &[], "/go/* /:splat\n/to/:x /:x\n/h/:x https://:x.example.com/\n");
        let moved = |to: &str| format!("{} {to}", if dialect == Dialect::Cloudflare { 302 } else { 301 });
        for (target, to) in [
            ("/go//evil.example", "/evil.example"),
            ("/go///evil.example", "/evil.example"),
            ("/go/%5Cevil.example", "/%5Cevil.example"),
            ("/go/\\evil.example", "/%5Cevil.example"),
            ("/go/%5C%5Cevil.example", "/%5C%5Cevil.example"),
            ("/go/./%2e/evil.example", "/evil.example"),
            ("/go/https://evil.example", "/https:/evil.example"),
            ("/go/a\"b'<c>", "/a%22b%27%3Cc%3E"),
            ("/to/%09", "400"),
            ("/h/evil.example%2F", "404"),
            ("/h/evil.example%23", "404"),
            ("/h/a@b", "404"),
            ("/h/a:80", "404"),
        ] {
            let Ok(_) = RequestPath::parse(target) else {
                assert_eq!(to, "400");
                continue;
            };
            let expected = if to == "404" { to.to_owned() } else { moved(to) };
            assert_eq!(site.ask(target), expected, "{dialect} {target}");
        }
        let slash = site.ask("/go/%2F%2Fevil.example");
        let expected = if dialect == Dialect::Netlify { "/evil.example" } else { "/%2F%2Fevil.example" };
        assert_eq!(slash, moved(expected), "{dialect}");
    }
}

#[test]
fn vercels_redirects_do_not_leave_it_either() {
    let site = Site::vercel(
        &["docs/index.html"],
        r#"{"cleanUrls": true, "trailingSlash": true, "redirects": [
            {"source": "/go/:p*", "destination": "/:p*"}]}"#,
    );
    site.check(&[
        ("//evil.example/docs", "308 /evil.example/docs/"),
        ("//evil.example/docs.html", "308 /evil.example/docs/"),
        ("/%5Cevil", "308 /%5Cevil/"),
    ]);
    let site = Site::vercel(
        &[],
        r#"{"redirects": [{"source": "/go/:p*", "destination": ":p*"}, {"source": "/one/(.*)", "destination": "$1"}]}"#,
    );
    site.check(&[
        ("/one///evil.example", "308 /evil.example"),
        ("/go//evil.example", "308 /evil.example"),
        ("/go/%2F/evil", "308 /%2F/evil"),
    ]);
}

#[test]
fn a_query_cannot_end_the_field_that_it_stands_in() {
    for dialect in LISTED {
        let site = Site::redirects(dialect, &[], "/a /b 302\n");
        assert_eq!(site.ask("/a?x=\r\nSet-Cookie: a=b"), "302 /b?x=%0D%0ASet-Cookie:%20a=b", "{dialect}");
    }
}

#[test]
fn encoded_slashes_are_data_when_a_rewrite_opens_a_file() {
    for dialect in LISTED {
        let site = Site::redirects(dialect, &["a/b.html", "404.html"], "/w/* /:splat 200\n/v/:x /:x 200\n");
        site.check(&[
            ("/w/a/b", "200 a/b.html"),
            ("/v/a%2Fb", "404 404.html"),
            ("/w/../../a/b.html", &{
                let shown = matches!(dialect, Dialect::Netlify);
                if shown { "200 a/b.html".to_owned() } else { "308 /a/b".to_owned() }
            }),
        ]);
        // In a splat Netlify decodes them; they lead nowhere but to files of the site.
        let expected = if dialect == Dialect::Netlify { "200 a/b.html" } else { "404 404.html" };
        assert_eq!(site.ask("/w/x%2F..%2Fa%2Fb"), expected, "{dialect}");
    }
}

#[test]
fn a_site_of_costly_patterns_holds_nobody() {
    let rules: Vec<String> = (0..20)
        .map(|at| format!(r#"{{"source": "/:a((?:[a-z]{{0,40}}){{1,12}}){at}", "destination": "/b"}}"#))
        .collect();
    let site = Site::vercel(&[], &format!(r#"{{"redirects": [{}]}}"#, rules.join(",")));
    let began = Instant::now();
    let answer = site.ask(&format!("/{}", "a".repeat(7_000)));
    assert_eq!(answer, "too costly");
    // Twice: with and without an explanation. An unoptimised build is some thirty times slower.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[test]
fn fields_and_redirects_of_rules_that_look_ahead_are_there_on_long_paths_too() {
    let site = Site::vercel(
        &["index.html"],
        r#"{"rewrites": [{"source": "/(.*)", "destination": "/index.html"}],
            "headers": [{"source": "/((?!embed/).*)", "headers": [{"key": "X-Frame-Options", "value": "DENY"}]}]}"#,
    );
    let login = Site::vercel(
        &["index.html"],
        r#"{"redirects": [{"source": "/((?!login).*)", "destination": "/login", "permanent": false,
                           "missing": [{"type": "cookie", "key": "auth", "value": "(?!x).*"}]}],
            "rewrites": [{"source": "/(.*)", "destination": "/index.html"}]}"#,
    );
    for length in [1, 2_046, 2_047, 2_048, 4_000, 8_000, 15_000] {
        let path = format!("/{}", "a".repeat(length));
        assert_eq!(site.ask(&path), "200 index.html", "{length}");
        assert_eq!(site.fields(&path), ["x-frame-options=DENY"], "{length}");
        assert_eq!(login.ask(&path), "307 /login", "{length}");
        assert_eq!(login.ask_with(&path, &["cookie: auth=1"]), "200 index.html", "{length}");
    }
    let long_cookie = format!("cookie: auth={}", "a".repeat(20_000));
    assert_eq!(login.ask_with("/a", &[&long_cookie]), "too costly");
}

#[test]
fn what_look_ahead_cannot_decide_is_refused_and_never_shown_without_the_rule() {
    for kind in [
        r#""headers": [{"source": "/((?:(?!embed).)*)", "headers": [{"key": "X-Frame-Options", "value": "DENY"}]}]"#,
        r#""redirects": [{"source": "/((?:(?!embed).)*)", "destination": "/login"}]"#,
        r#""redirects": [{"source": "/:a*", "destination": "/login", "has": [{"type": "query", "key": "q", "value": "(?:(?!x).)*"}]}]"#,
        r#""redirects": [{"source": "/:a*", "destination": "/login", "missing": [{"type": "query", "key": "q", "value": {"re": "^(?:(?!x).)*$"}}]}]"#,
    ] {
        let rewrite = r#""rewrites": [{"source": "/(.*)", "destination": "/index.html"}]"#;
        let site = Site::vercel(&["index.html"], &format!("{{{kind}, {rewrite}}}"));
        let long = "a".repeat(6_000);
        assert_eq!(site.ask(&format!("/{long}?q={long}")), "too costly", "{kind}");
        assert_ne!(site.ask("/a?q=a"), "too costly", "{kind}");
        let said = site.explain(&format!("/{long}"), Some(&format!("q={long}"))).join("\n");
        assert!(said.contains("would cost too much") && !said.contains("is not for this path"), "{said}");
    }
}

#[test]
fn rules_that_are_too_large_together_are_told_while_they_are_read() {
    let large = |at: usize| format!("/{at}((?:[a-z]{{0,60}}){{1,20}})");
    let rules: Vec<String> =
        (0..400).map(|at| format!(r#"{{"source": "{}", "destination": "/b"}}"#, large(at))).collect();
    let sources = Sources {
        vercel_json: Some(format!(r#"{{"redirects": [{}]}}"#, rules.join(","))),
        ..Sources::default()
    };
    let refused = compile(&sources, Settings::default()).unwrap_err().to_string();
    assert!(refused.contains("too large together"), "{refused}");
    // A file of nothing but splats, of which a hundred count, is not read to its end.
    let lines: String = (0..100_000).map(|at| format!("/{at}/* /b\n")).collect();
    let began = Instant::now();
    let site = Site::redirects(Dialect::Cloudflare, &["404.html"], &lines);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    site.check(&[("/99/x", "302 /b"), ("/100/x", "404 404.html")]);
}
