//! Section 5: `_headers`, and the headers of `netlify.toml`.

use super::{LISTED, Site};
use crate::domain::routing::dialect::Dialect::{self, Cloudflare, Netlify, Plain};

/// The fields of an answer, without cloudflare's own.
fn fields(dialect: Dialect, headers: &str, target: &str) -> Vec<String> {
    let own = ["access-control-allow-origin=*", "referrer-policy=strict-origin-when-cross-origin"];
    let mut fields = Site::headers(dialect, headers).fields(target);
    fields.retain(|field| !own.contains(&field.as_str()));
    fields
}

fn check(dialect: Dialect, headers: &str, target: &str, expected: &[&str]) {
    assert_eq!(fields(dialect, headers, target), expected, "{dialect}: {headers:?} with {target}");
}

#[test]
fn all_hosts_agree() {
    for dialect in LISTED {
        for (headers, target, expected) in [
            ("/*\n  X-A: b", "/", &["x-a=b"][..]),
            ("/*\nX-A: b", "/a", &["x-a=b"]),
            ("# why\n\n/a\n\n  # more\n  X-A:   b c  \n", "/a", &["x-a=b c"]),
            ("/a\n  X-A: \"b\": c:d", "/a", &["x-a=\"b\": c:d"]),
            ("/a\n  X-A: b\n  x-a: c", "/a", &["x-a=b, c"]),
            ("/a\n  Set-Cookie: a=1, 2\n  Set-Cookie: b=2", "/a", &["set-cookie=a=1, 2", "set-cookie=b=2"]),
            ("/a\n  X-A: b\n/*\n  X-B: c", "/a", &["x-a=b", "x-b=c"]),
            ("/a\n  X-A: b\n/a\n  X-B: c", "/a", &["x-a=b", "x-b=c"]),
            ("/a\n  X-A: b", "/a?query=1", &["x-a=b"]),
            ("/a\n  X-A: b", "/b", &[]),
            ("/nothing\n  X-A: b", "/nothing", &["x-a=b"]),
            ("/a\n  X-A: b\n  ! X-A", "/a", &["-x-a"]),
            ("/*\n  X-A: b\n/a\n  ! X-A", "/a", &["-x-a"]),
            ("/a\n  ! X-Content-Type-Options", "/a", &["-x-content-type-options"]),
            ("/a\n  Cache-Control: max-age=60", "/a", &["cache-control=max-age=60"]),
            ("/a\n  X-A: :unknown", "/a", &["x-a=:unknown"]),
        ] {
            check(dialect, headers, target, expected);
        }
    }
}

#[test]
fn where_they_differ() {
    let twice = "/*\n  X-A: one\n/a\n  X-A: two";
    check(Netlify, twice, "/a", &["x-a=two"]);
    check(Plain, twice, "/a", &["x-a=two"]);
    check(Cloudflare, twice, "/a", &["x-a=one, two"]);
    // Two blocks of one pattern are two rules, in their order.
    let same = "/*\n  X-A: one\n  X-B: b\n/a\n  X-A: two\n/*\n  X-A: three\n  X-C: c";
    check(Netlify, same, "/a", &["x-a=three", "x-b=b", "x-c=c"]);
    check(Plain, same, "/a", &["x-a=three", "x-b=b", "x-c=c"]);
    check(Cloudflare, same, "/a", &["x-a=one, two, three", "x-b=b", "x-c=c"]);
    // What the server would have sent is replaced, not joined.
    check(
        Cloudflare,
        "/a\n  Access-Control-Allow-Origin: https://a.example",
        "/a",
        &["access-control-allow-origin=https://a.example"],
    );
    let filled = "/p/:id/*\n  X-A: :id-:splat\n  Link: </x>; rel=\":other\"";
    check(Netlify, filled, "/p/5/y/z", &["x-a=:id-:splat", "link=</x>; rel=\":other\""]);
    for dialect in [Cloudflare, Plain] {
        check(dialect, filled, "/p/5/y/z", &["x-a=5-y/z", "link=</x>; rel=\":other\""]);
    }
    for (dialect, expected) in [(Netlify, &["x-a=b"][..]), (Plain, &["x-a=b"]), (Cloudflare, &[])] {
        check(dialect, "/none\n  X-A: b", "/none/", expected);
    }
}

#[test]
fn what_netlify_toml_says_of_the_paths_of_a_headers_file_counts() {
    let sources = crate::domain::routing::sources::Sources {
        headers: Some("/*\n  X-Frame-Options: DENY\n  X-A: b\n".into()),
        netlify_toml: Some("[[headers]]\nfor = \"/*\"\nvalues = {X-Frame-Options = \"SAMEORIGIN\"}\n".into()),
        ..Default::default()
    };
    let site = Site::new(&["index.html"], &sources, Default::default());
    assert_eq!(site.fields("/"), ["x-frame-options=SAMEORIGIN", "x-a=b"]);
}

#[test]
fn fields_are_set_on_redirects_in_cloudflare_alone() {
    for (dialect, expected) in [(Netlify, &[][..]), (Plain, &[]), (Cloudflare, &["x-a=b"])] {
        let sources = crate::domain::routing::sources::Sources {
            redirects: Some("/old /new 301".into()),
            headers: Some("/old\n  X-A: b".into()),
            ..Default::default()
        };
        let site = Site::new(&["index.html"], &sources, super::routing(dialect));
        assert_eq!(site.ask("/old"), "301 /new");
        assert_eq!(site.fields("/old"), expected, "{dialect}");
    }
}

#[test]
fn patterns_go_by_the_requested_path_after_a_rewrite_too() {
    for dialect in LISTED {
        let sources = crate::domain::routing::sources::Sources {
            redirects: Some("/shown /a 200".into()),
            headers: Some("/shown\n  X-A: shown\n/a\n  X-A: file".into()),
            ..Default::default()
        };
        let site = Site::new(&["a.html"], &sources, super::routing(dialect));
        assert_eq!(site.ask("/shown"), "200 a.html");
        assert!(site.fields("/shown").contains(&"x-a=shown".to_owned()), "{dialect}");
    }
}

#[test]
fn patterns_with_a_host_count_in_cloudflare_and_plain() {
    let headers = "https://:project.pages.example/*\n  X-Robots-Tag: noindex\n  X-P: :project\n";
    for dialect in [Cloudflare, Plain] {
        let site = Site::headers(dialect, headers);
        let on = |host: &str| {
            let host = format!("host: {host}");
            site.answer_with("/a", &[&host], |answer| {
                answer.edits.iter().any(|edit| edit.name == "x-p" && edit.values == ["my-site"])
            })
        };
        assert!(on("my-site.pages.example"), "{dialect}");
        assert!(!on("my-site.example") && !on("a.my-site.pages.example"), "{dialect}");
    }
    let site = Site::headers(Netlify, headers);
    assert_eq!(site.warnings().len(), 1, "what belongs to a refused rule is not told line by line");
}

#[test]
fn what_cannot_be_a_field_is_ignored_and_told() {
    for line in ["X-A", "X-A:", ": b", "X A: b", "X-Ä: b", "X-A: a\u{7}b", "X-A: a\u{0}b"] {
        for dialect in LISTED {
            let site = Site::headers(dialect, &format!("/*\n  {line}\n  X-B: c"));
            assert!(site.fields("/").contains(&"x-b=c".to_owned()), "{line:?}");
            assert!(site.warnings()[0].starts_with("Warning: _headers:2: "), "{:?}", site.warnings());
        }
    }
    assert!(Site::headers(Plain, "X-A: b\n/*\n X-B: c").warned("_headers:1: belongs to no path"));
    assert!(Site::headers(Plain, "/a\n/b\n X-B: c").warned("_headers:1: sets no field"));
    let long = format!("/*\n  X-A: {}", "x".repeat(2_000));
    assert!(Site::headers(Plain, &long).warned("2000 characters"));
}

#[test]
fn some_fields_never_come_from_rules() {
    for name in [
        "Accept-Ranges",
        "Age",
        "Allow",
        "Alt-Svc",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Range",
        "Date",
        "Keep-Alive",
        "Location",
        "Server",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Proxy-Authenticate",
        "proxy-anything",
        "ETag",
        "Cache-Status",
        "X-Gv-Deployment",
    ] {
        for dialect in LISTED {
            for line in [format!("/*\n  {name}: 3"), format!("/*\n  ! {name}")] {
                let site = Site::headers(dialect, &line);
                assert!(site.warned(&format!("sets {}", name.to_lowercase())), "{name}");
            }
        }
        let json = format!(
            r#"{{"headers": [{{"source": "/(.*)", "headers": [{{"key": "{name}", "value": "3"}}]}}]}}"#
        );
        assert!(Site::vercel(&[], &json).warned(&format!("sets {}", name.to_lowercase())), "{name}");
        let toml = format!("[[headers]]\nfor = \"/*\"\n[headers.values]\n{name} = \"3\"\n");
        assert!(Site::netlify(&[], &toml).warned(&format!("sets {}", name.to_lowercase())), "{name}");
    }
}

#[test]
fn a_thousand_rules_count() {
    let text: String = (0..1_003).map(|at| format!("/a{at}\n  X-A: b\n")).collect();
    for dialect in LISTED {
        let site = Site::headers(dialect, &text);
        assert!(site.fields("/a999").contains(&"x-a=b".to_owned()));
        assert!(!site.fields("/a1000").contains(&"x-a=b".to_owned()));
        assert_eq!(site.warnings().len(), 1);
    }
}

#[test]
fn a_thousand_rules_may_have_many_fields_each() {
    let text: String = (0..701).map(|at| format!("/a{at}\n  X-A: b\n  X-B: c\n  X-C: d\n")).collect();
    for dialect in LISTED {
        let site = Site::headers(dialect, &text);
        let fields = site.fields("/a700");
        assert!(fields.ends_with(&["x-a=b".into(), "x-b=c".into(), "x-c=d".into()]), "{fields:?}");
        assert_eq!(site.warnings(), [""; 0]);
    }
    let wide: String = (0..200).map(|at| format!("  X-{at}: b\n")).collect();
    let site = Site::headers(Plain, &format!("/*\n{wide}/a\n  X-199: c\n  X-Frame-Options: DENY\n"));
    let fields = site.fields("/a");
    assert_eq!((fields.len(), &*fields[199], &*fields[200]), (201, "x-199=c", "x-frame-options=DENY"));
}

#[test]
fn what_is_over_a_limit_is_told_with_its_place() {
    let wide: String = (0..1_025).map(|at| format!("  X-{at}: b\n")).collect();
    let site = Site::headers(Plain, &format!("/*\n{wide}/a\n  X-0: c\n  X-Last: d\n"));
    assert_eq!(site.fields("/a").len(), 1_024);
    assert!(site.warned("_headers:1: x-1024 is one field too many"), "{:?}", site.warnings());
    assert!(site.warned("_headers:1027: x-last is one field too many"), "{:?}", site.warnings());
    let large: String = (0..900).map(|at| format!("/a{at}\n{}", "  X-A: b\n".repeat(60))).collect();
    let sources = crate::domain::routing::sources::Sources {
        headers: Some(large),
        netlify_toml: Some("\n[[headers]]\nfor = \"/x\"\nvalues = {X-B = \"c\"}\n".to_owned()),
        ..Default::default()
    };
    let site = Site::new(&[], &sources, super::routing(Netlify));
    let warnings = site.warnings();
    assert!(warnings[0].starts_with("Warning: _headers:") && warnings[0].contains("over the limit"));
    assert!(warnings[1].starts_with("Warning: netlify.toml:2: and those after it"), "{warnings:?}");
    // An answer cannot be sent with a part of what its rules say.
    let joined = format!("/*\n{}", format!("  X-A: {}\n", "b".repeat(1_900)).repeat(150));
    assert_eq!(Site::headers(Plain, &joined).ask("/a"), "too costly");
}

#[test]
fn netlify_toml_has_strings_arrays_and_lists_over_lines() {
    let site = Site::netlify(
        &["index.html"],
        r#"
[[headers]]
for = "/*"
  [headers.values]
  X-Frame-Options = "DENY"
  Cache-Control = '''
    max-age=0,
    no-cache,
    no-store'''
  Link = ["</a>; rel=preload", "</b>; rel=preload"]
  Set-Cookie = ["a=1", "b=2"]
  X-Number = 5
[[headers]]
values = {A = "b"}
"#,
    );
    let mut fields = site.fields("/");
    fields.sort();
    assert_eq!(
        fields,
        [
            "cache-control=max-age=0, no-cache, no-store",
            "link=</a>; rel=preload, </b>; rel=preload",
            "set-cookie=a=1",
            "set-cookie=b=2",
            "x-frame-options=DENY",
        ]
    );
    assert!(site.warned("netlify.toml:12: X-Number"), "{:?}", site.warnings());
    assert!(site.warned("netlify.toml:13: has no for"), "{:?}", site.warnings());
}
