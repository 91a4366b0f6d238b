//! Section 6: `vercel.json`.

use super::Site;
use crate::domain::routing::compile::{Settings, compile};
use crate::domain::routing::sources::Sources;

fn refused(json: &str) -> String {
    let sources = Sources { vercel_json: Some(json.to_owned()), ..Sources::default() };
    compile(&sources, Settings::default()).unwrap_err().to_string()
}

fn redirect(rule: &str, target: &str) -> String {
    Site::vercel(&[], &format!(r#"{{"redirects": [{rule}]}}"#)).ask(target)
}

#[test]
fn clean_urls_and_trailing_slash_go_by_308() {
    let files = ["index.html", "about.html", "docs/index.html", "file.txt", ".well-known/x"];
    let site = |json| Site::vercel(&files, json);
    site(r#"{"cleanUrls": true}"#).check(&[
        ("/about.html", "308 /about"),
        ("/docs/index.html", "308 /docs"),
        ("/docs/index", "308 /docs"),
        ("/index.html", "308 /"),
        ("/nothing.html", "308 /nothing"),
        ("/nothing/index", "308 /nothing"),
        ("/about", "200 about.html"),
        ("/docs", "200 docs/index.html"),
        ("/docs/", "200 docs/index.html"),
    ]);
    site(r#"{"trailingSlash": false}"#).check(&[
        ("/docs/", "308 /docs"),
        ("/docs", "200 docs/index.html"),
        ("/x/y/", "308 /x/y"),
        ("/", "200 index.html"),
    ]);
    site(r#"{"trailingSlash": true}"#).check(&[
        ("/docs", "308 /docs/"),
        ("/docs/", "200 docs/index.html"),
        ("/file.txt", "200 file.txt"),
        ("/file.txt/", "308 /file.txt"),
        ("/.well-known/x", "200 .well-known/x"),
        ("/.well-known/acme", "404"),
        ("/", "200 index.html"),
    ]);
    site(r#"{"cleanUrls": true, "trailingSlash": true}"#).check(&[
        ("/about.html", "308 /about/"),
        ("/about", "308 /about/"),
        ("/about/", "200 about.html"),
        ("/docs/index.html", "308 /docs/"),
        ("/index.html", "308 /"),
    ]);
    site(r#"{"cleanUrls": true, "trailingSlash": false}"#).check(&[
        ("/about/", "308 /about"),
        ("/about.html", "308 /about"),
        ("/docs/index", "308 /docs"),
    ]);
    site(r#"{"redirects": []}"#)
        .check(&[("/docs", "200 docs/index.html"), ("/docs/", "200 docs/index.html")]);
}

#[test]
fn redirects_have_a_status_by_permanent_or_status_code() {
    for (more, status) in [
        ("", 308),
        (r#", "permanent": true"#, 308),
        (r#", "permanent": false"#, 307),
        (r#", "statusCode": 301"#, 301),
        (r#", "permanent": false, "statusCode": 302"#, 302),
    ] {
        let rule = format!(r#"{{"source": "/a", "destination": "/b"{more}}}"#);
        assert_eq!(redirect(&rule, "/a"), format!("{status} /b"), "{rule}");
    }
}

#[test]
fn destinations_take_names_numbers_and_what_stands_beside_them() {
    for (source, destination, target, expected) in [
        ("/:a/:b", "/n/:b/:a", "/1/2", "308 /n/2/1"),
        ("/p/:path*", "/n/:path*", "/p/x/y", "308 /n/x/y"),
        ("/p/:path*", "/n/:path*", "/p", "308 /n/"),
        ("/p/(.*)", "/n/$1", "/p/x/y", "308 /n/x/y"),
        ("/(\\\\d+)-(.*)", "/$2/$1", "/5-x", "308 /x/5"),
        ("/u/:id", "https://:id.example.com/?u=:id#:id", "/u/ada", "308 https://ada.example.com/?u=ada#ada"),
        ("/p/:id(\\\\d+)", "/n/:id", "/p/12", "308 /n/12"),
        ("/p/:id(\\\\d+)", "/n/:id", "/p/x", "404"),
        ("/x", "/y", "/x/", "404"),
        ("/s/:v", "/n?v=:v", "/s/a%26b%20c", "308 /n?v=a%26b%20c"),
        ("/news/:slug?", "/n/:slug?", "/news/x?q=1", "308 /n/x?q=1"),
        ("/news/:slug?", "/n/:slug?", "/news", "308 /n/"),
        ("/((?!api/).*)", "/n/$1", "/blog/x", "308 /n/blog/x"),
        ("/((?!api/).*)", "/n/$1", "/api/x", "404"),
    ] {
        let rule = format!(r#"{{"source": "{source}", "destination": "{destination}"}}"#);
        assert_eq!(redirect(&rule, target), expected, "{rule} with {target}");
    }
}

#[test]
fn the_query_is_passed_on_and_the_destinations_wins_for_its_own_names() {
    let rule = r#"{"source": "/a", "destination": "/b?x=own&y"}"#;
    assert_eq!(redirect(rule, "/a?x=sent&z=1"), "308 /b?x=own&y&z=1");
    assert_eq!(redirect(r#"{"source": "/a", "destination": "/b#f"}"#, "/a?x=1"), "308 /b?x=1#f");
}

#[test]
fn a_rewrite_to_no_file_goes_on_with_the_later_ones_and_the_rewritten_path() {
    let site = Site::vercel(
        &["end.html", "index.html"],
        r#"{"rewrites": [
            {"source": "/late", "destination": "/end.html"},
            {"source": "/a", "destination": "/b"},
            {"source": "/b", "destination": "/c"},
            {"source": "/c", "destination": "/end.html"},
            {"source": "/z", "destination": "/late"},
            {"source": "/app/(.*)", "destination": "/index.html"}]}"#,
    );
    site.check(&[
        ("/a", "200 end.html"),
        ("/z", "404"),
        ("/app/users/5", "200 index.html"),
        ("/end.html", "200 end.html"),
    ]);
    let shell = Site::vercel(
        &["index.html", "a.js"],
        r#"{"rewrites": [{"source": "/(.*)", "destination": "/index.html"}]}"#,
    );
    shell.check(&[("/users/5", "200 index.html"), ("/a.js", "200 a.js"), ("/", "200 index.html")]);
}

#[test]
fn rewrites_to_other_hosts_and_what_needs_a_server_are_told_and_ignored() {
    let site = Site::vercel(
        &[],
        "{\"rewrites\": [{\"source\": \"/a\", \"destination\": \"https://x.example/\"}],\n \"routes\": [],\n\"functions\": {}, \"buildCommand\": \"x\"}",
    );
    assert_eq!(site.ask("/a"), "404");
    for warning in [
        "vercel.json:1: rewrites[0] shows another",
        "vercel.json:2: routes is not",
        "vercel.json:3: functions",
    ] {
        assert!(site.warned(warning), "{:?}", site.warnings());
    }
    assert!(site.notes.iter().any(|note| note.message.contains("not used: buildCommand")));
}

#[test]
fn what_is_valid_and_not_done_here_costs_its_rule_and_no_deployment() {
    let redirects = |rule: &str| {
        Site::vercel(
            &[],
            &format!("{{\"redirects\": [\n {rule},\n {{\"source\": \"/ok\", \"destination\": \"/b\"}}]}}"),
        )
    };
    for (rule, warning) in [
        (r#"{"source": "/a", "destination": "z"}"#, "leads neither to a path nor to a URL"),
        (r#"{"source": "/a", "destination": "?x=1"}"#, "leads neither"),
        (r##"{"source": "/a", "destination": "#x"}"##, "leads neither"),
        (r#"{"source": "/a", "destination": ""}"#, "leads neither"),
        (r#"{"source": "/a", "destination": "mailto:x"}"#, "leads neither"),
        (r#"{"source": "/a", "destination": "//e.example"}"#, "leads neither"),
        (r#"{"source": "/:a", "destination": "https://:a"}"#, "has a placeholder in its host"),
        (
            r#"{"source": "/a", "destination": "/b", "statusCode": 404}"#,
            "statusCode 404, which is no redirect",
        ),
        (r#"{"source": "/a", "destination": "/$A", "env": ["A"]}"#, "the value of a variable"),
        (r#"{"source": "a", "destination": "/b"}"#, "begins with no slash"),
    ] {
        let site = redirects(rule);
        site.check(&[("/a", "404"), ("/ok", "308 /b")]);
        let warnings = site.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].starts_with("Warning: vercel.json:2: redirects[0] "),
            "{warnings:?}"
        );
        assert!(warnings[0].contains(warning), "{warnings:?}");
    }
    let site = redirects(r#"{"source": "/a", "destination": "/c", "env": ["A"]}"#);
    site.check(&[("/a", "308 /c")]);
    assert!(site.warned("only this field is ignored"));

    let rewrite = |more: &str| {
        Site::vercel(
            &["c.html"],
            &format!(r#"{{"rewrites": [{{"source": "/a", "destination": "/c.html", {more}}}]}}"#),
        )
    };
    for (more, answer, count) in [
        (r#""statusCode": 200"#, "200 c.html", 0),
        (r#""statusCode": 404"#, "404 c.html", 0),
        (r#""statusCode": 503"#, "503 c.html", 0),
        (r#""statusCode": 301"#, "404", 1),
        (r#""env": ["A"]"#, "200 c.html", 1),
        (r#""respectOriginCacheControl": true"#, "200 c.html", 1),
        (r#""transforms": [{"type": "request.path", "op": "set", "args": "/x"}]"#, "200 c.html", 1),
    ] {
        let site = rewrite(more);
        assert_eq!((site.ask("/a").as_str(), site.warnings().len()), (answer, count), "{more}");
    }
    let service = r#"{"rewrites": [{"source": "/a", "destination": {"service": "x"}}]}"#;
    assert!(Site::vercel(&[], service).warned("vercel.json:1: rewrites[0] leads to a service"));
}

#[test]
fn patterns_are_javascripts() {
    for (source, target, answer) in [
        ("/:x([\\\\w-.]+)", "/a-b.c", "308 /n/a-b.c"),
        ("/:x([a-\\\\d]+)", "/a-5", "308 /n/a-5"),
        ("/:x(a{,3})", "/aaa", "404"),
        ("/:x(\\\\p{L}+)", "/é", "404"),
        ("/:y/:x", "/1/2", "308 /n/2"),
        ("/:x/:x", "/1/2", "308 /n/2"),
    ] {
        let rule = format!(r#"{{"source": "{source}", "destination": "/n/:x"}}"#);
        assert_eq!(redirect(&rule, target), answer, "{rule}");
    }
    let rule = |value: &str| {
        format!(
            r#"{{"source": "/a", "destination": "/b", "has": [{{"type": "query", "key": "q", "value": {value}}}]}}"#
        )
    };
    for (value, query, answer) in [
        (r#""[\\w-.]+""#, "a-b.c", "308 /b?q=a-b.c"),
        (r#""[\\w-.]+""#, "a,b", "404"),
        (r#""\\d{2""#, "5{2", "308 /b?q=5{2"),
        (r#"{"re": "^[\\w-.]+$"}"#, "a.b", "308 /b?q=a.b"),
    ] {
        let moved = redirect(&rule(value), &format!("/a?q={query}"));
        assert_eq!(moved.replace("%7B", "{"), answer, "{value}");
    }
    assert!(
        refused(&format!(r#"{{"redirects": [{}]}}"#, rule(r#""(a)\\1""#))).contains("refers back to a group")
    );
}

#[test]
fn every_header_rule_applies_and_for_one_name_the_later_counts() {
    let site = Site::vercel(
        &["a.html", "404.html"],
        r#"{"headers": [
            {"source": "/(.*)", "headers": [{"key": "X-A", "value": "one"}, {"key": "X-B", "value": "b"}]},
            {"source": "/:p", "headers": [{"key": "x-a", "value": "two :p"}, {"key": "Cache-Control", "value": "max-age=60"}]}],
           "redirects": [{"source": "/r", "destination": "/x"}],
           "rewrites": [{"source": "/w", "destination": "/a.html"}]}"#,
    );
    let expected = |p: &str| vec![format!("x-a=two {p}"), "x-b=b".into(), "cache-control=max-age=60".into()];
    assert_eq!(site.fields("/a.html"), expected("a.html"));
    assert_eq!(site.fields("/w"), expected("w"), "by the requested path");
    assert_eq!(site.fields("/nothing"), expected("nothing"), "on a 404 too");
    assert!(site.fields("/r").is_empty(), "not on redirects");
}

#[test]
fn has_and_missing_look_at_headers_cookies_the_query_and_the_host() {
    let answer = |conditions: &str, to: &str, target: &str, fields: &[&str]| {
        let rule = format!(r#"{{"redirects": [{{"source": "/a", "destination": "{to}", {conditions}}}]}}"#);
        let site = Site::vercel(&[], &rule);
        site.ask_with(target, fields)
    };
    let holds =
        |conditions: &str, target: &str, fields: &[&str]| answer(conditions, "/b", target, fields) != "404";
    for (conditions, target, fields, expected) in [
        (r#""has": [{"type": "header", "key": "X-Name"}]"#, "/a", &["x-name: 1"][..], true),
        (r#""has": [{"type": "header", "key": "X-Name"}]"#, "/a", &["x-name: "], false),
        (r#""has": [{"type": "header", "key": "X-Name"}]"#, "/a", &[], false),
        (r#""missing": [{"type": "header", "key": "X-Name"}]"#, "/a", &[], true),
        (r#""missing": [{"type": "header", "key": "X-Name"}]"#, "/a", &["X-Name: 1"], false),
        (
            r#""has": [{"type": "cookie", "key": "s", "value": "on|yes"}]"#,
            "/a",
            &["cookie: t=on; s=yes"],
            true,
        ),
        (r#""has": [{"type": "cookie", "key": "s", "value": "on"}]"#, "/a", &["cookie: s=once"], false),
        (r#""has": [{"type": "query", "key": "q", "value": "a.*"}]"#, "/a?q=a%20b", &[], true),
        (r#""has": [{"type": "query", "key": "q", "value": "a.*"}]"#, "/a?q=ba", &[], false),
        (r#""has": [{"type": "host", "value": "(www\\.)?blog\\.example"}]"#, "/a", &[], true),
        (r#""has": [{"type": "host", "value": "other"}]"#, "/a", &[], false),
        (r#""has": [{"type": "query", "key": "a"}, {"type": "query", "key": "b"}]"#, "/a?a=1", &[], false),
        (
            r#""missing": [{"type": "query", "key": "a"}, {"type": "query", "key": "b"}]"#,
            "/a?a=1",
            &[],
            false,
        ),
        (r#""has": [{"type": "query", "key": "n", "value": {"gte": 5, "lt": 7}}]"#, "/a?n=6", &[], true),
        (r#""has": [{"type": "query", "key": "n", "value": {"gte": 5, "lt": 7}}]"#, "/a?n=7", &[], false),
        (r#""has": [{"type": "query", "key": "n", "value": {"gt": 5}}]"#, "/a?n=x", &[], false),
        (r#""has": [{"type": "query", "key": "n", "value": {"eq": "x"}}]"#, "/a?n=x", &[], true),
        (r#""has": [{"type": "query", "key": "n", "value": {"eq": 5}}]"#, "/a?n=5", &[], true),
        (r#""has": [{"type": "query", "key": "n", "value": {"neq": "x"}}]"#, "/a?n=x", &[], false),
        (r#""has": [{"type": "query", "key": "n", "value": {"inc": ["x", "y"]}}]"#, "/a?n=y", &[], true),
        (r#""has": [{"type": "query", "key": "n", "value": {"ninc": ["x", "y"]}}]"#, "/a?n=y", &[], false),
        (
            r#""has": [{"type": "query", "key": "n", "value": {"pre": "ab", "suf": "yz"}}]"#,
            "/a?n=ab-yz",
            &[],
            true,
        ),
        (r#""has": [{"type": "query", "key": "n", "value": {"re": "^a+$"}}]"#, "/a?n=aaa", &[], true),
        (r#""has": [{"type": "query", "key": "n", "value": {"lte": 3}}]"#, "/a?n=4", &[], false),
    ] {
        assert_eq!(holds(conditions, target, fields), expected, "{conditions} {target} {fields:?}");
    }
    let named = r#""has": [{"type": "header", "key": "x", "value": "v-(?<v>.*)"}, {"type": "query", "key": "key"}, {"type": "header", "key": "x-name"}]"#;
    assert_eq!(
        answer(named, "/b/:v?k=:key&x=:xname", "/a?key=1%2F2", &["x: v-é/", "x-name: n&m"]),
        "308 /b/%C3%A9%2F?k=1%2F2&x=n%26m&key=1%2F2"
    );
    let named = r#""has": [{"type": "host", "value": ".*"}, {"type": "cookie", "key": "user_id"}, {"type": "header", "key": "x", "value": {"re": "^(?<r>.)"}}]"#;
    assert_eq!(
        answer(named, "/:host/:user_id/:r", "/a", &["x: rest", "cookie: user_id=5"]),
        "308 /blog.example/5/r"
    );
}

#[test]
fn answers_that_depend_on_fields_say_so() {
    let json = r#"{"headers": [{"source": "/a", "has": [{"type": "header", "key": "X-A"}, {"type": "cookie", "key": "c"}, {"type": "host", "value": "x"}],
        "headers": [{"key": "X-B", "value": "b"}]}]}"#;
    let site = Site::vercel(&["a"], json);
    assert_eq!(site.answer_with("/a", &[], |answer| answer.varies.list()).as_deref(), Some("x-a, cookie"));
    assert!(site.answer_with("/b", &[], |answer| answer.varies.is_empty()));
}

#[test]
fn an_invalid_file_is_refused_with_its_position() {
    for (json, expected) in [
        ("", "vercel.json:1:1: is not valid JSON"),
        ("[]", "vercel.json:1:1: vercel.json must be an object"),
        ("{\"cleanUrls\": 1}", "vercel.json:1:15: cleanUrls must be true or false"),
        ("{\n\"redirects\": {}}", "vercel.json:2:14: redirects must be an array"),
        ("{\"redirects\": [\n {}]}", "vercel.json:2:2: redirects[0] has no source"),
        ("{\"redirects\": [{\"source\": \"/a\"}]}", "redirects[0] has no destination"),
        (
            "{\"redirects\": [{\"source\": \"/a\", \"destination\": \"/b\",\n \"wat\": 1}]}",
            "vercel.json:2:9: redirects[0] has no field \"wat\"",
        ),
        (
            "{\"redirects\": [{\"source\": \"/a(\", \"destination\": \"/b\"}]}",
            "vercel.json:1:27: source has a ( whose )",
        ),
        (
            "{\"redirects\": [{\"source\": \"/((a+)+)b\", \"destination\": \"/b\"}]}",
            "has a group within a group",
        ),
        (
            "{\"redirects\": [{\"source\": \"/q/:a\",\n \"destination\": \"/:b\"}]}",
            "vercel.json:2:17: destination names b, which neither source nor has gives a value to",
        ),
        ("{\"rewrites\": [{\"source\": \"/q/:a\", \"destination\": \"/:aa\"}]}", "destination names aa"),
        (
            "{\"redirects\": [{\"source\": \"/a\", \"destination\": \"/b\", \"statusCode\": 20}]}",
            "statusCode must be a whole number from 100 to 999",
        ),
        (
            "{\"redirects\": [{\"source\": \"/a\", \"destination\": \"/b\", \"statusCode\": \"301\"}]}",
            "statusCode must be a number",
        ),
        (
            "{\"redirects\": [{\"source\": \"/a\", \"destination\": \"/b\", \"has\": [{\"type\": \"x\", \"key\": \"k\"}]}]}",
            "type must be header",
        ),
        (
            "{\"redirects\": [{\"source\": \"/a\", \"destination\": \"/b\", \"has\": [{\"type\": \"header\", \"key\": \"k\", \"value\": \"(\"}]}]}",
            "value is no pattern",
        ),
        ("{\"headers\": [{\"source\": \"/a\", \"headers\": [{\"key\": \"x\"}]}]}", "a header has no value"),
        ("{\"redirects\": [{\"source\": 5, \"destination\": \"/b\"}]}", "source must be a text"),
    ] {
        assert!(refused(json).contains(expected), "{json}: {}", refused(json));
    }
}

#[test]
fn the_schemas_limits_are_held() {
    let rule = r#"{"source": "/a", "destination": "/b"}"#;
    let many = format!(r#"{{"redirects": [{}]}}"#, vec![rule; 2_049].join(","));
    assert!(refused(&many).contains("at most 2048"));
    let fine = format!(r#"{{"redirects": [{}]}}"#, vec![rule; 2_048].join(","));
    assert_eq!(Site::vercel(&[], &fine).ask("/a"), "308 /b");
    let long = format!(r#"{{"redirects": [{{"source": "/{}", "destination": "/b"}}]}}"#, "a".repeat(4_096));
    assert!(refused(&long).contains("more than 4096"));
    let headers = vec![r#"{"key": "a", "value": "b"}"#; 1_025].join(",");
    let many = format!(r#"{{"headers": [{{"source": "/a", "headers": [{headers}]}}]}}"#);
    assert!(refused(&many).contains("at most 1024"));
    let value = "x".repeat(32_769);
    let long =
        format!(r#"{{"headers": [{{"source": "/a", "headers": [{{"key": "a", "value": "{value}"}}]}}]}}"#);
    assert!(refused(&long).contains("more than 32768"));
    let conditions = vec![r#"{"type": "query", "key": "a"}"#; 17].join(",");
    let many =
        format!(r#"{{"redirects": [{{"source": "/a", "destination": "/b", "has": [{conditions}]}}]}}"#);
    assert!(refused(&many).contains("at most 16"));
    let ahead: Vec<String> =
        (0..101).map(|at| format!(r#"{{"source": "/{at}/((?!x).*)", "destination": "/b"}}"#)).collect();
    assert!(refused(&format!(r#"{{"redirects": [{}]}}"#, ahead.join(","))).contains("at most 100"));
}

#[test]
fn as_many_fields_as_the_schema_allows_are_set_by_the_last_rule_too() {
    let five = (0..5).map(|at| format!(r#"{{"key": "X-{at}", "value": "b"}}"#)).collect::<Vec<_>>().join(",");
    let mut rules: Vec<String> =
        (0..450).map(|at| format!(r#"{{"source": "/{at}", "headers": [{five}]}}"#)).collect();
    rules.push(r#"{"source": "/(.*)", "headers": [{"key": "X-Frame-Options", "value": "DENY"}]}"#.to_owned());
    let site = Site::vercel(&["index.html"], &format!(r#"{{"headers": [{}]}}"#, rules.join(",")));
    assert_eq!(site.fields("/"), ["x-frame-options=DENY"]);
    assert_eq!(site.fields("/449").len(), 6);
    assert_eq!(site.warnings(), [""; 0]);
    assert!(site.notes[0].message.contains("In use: 451 rules for headers."), "{:?}", site.notes);
    let wide = |count: usize| {
        let fields: Vec<String> =
            (0..count).map(|at| format!(r#"{{"key": "X-{at}", "value": "b"}}"#)).collect();
        let more = r#"{"source": "/b", "headers": [{"key": "Y", "value": "c"}]}"#;
        format!("{{\"headers\": [{{\"source\": \"/a\", \"headers\": [{}]}},\n {more}]}}", fields.join(","))
    };
    assert_eq!(Site::vercel(&["a"], &wide(1_023)).fields("/a").len(), 1_023);
    assert!(refused(&wide(1_024)).starts_with("vercel.json:2:2: y is one field too many"));
}

#[test]
fn patterns_of_conditions_that_look_ahead_count_like_those_of_sources() {
    let conditions = |count: usize| {
        let one = r#"{"type": "query", "key": "a", "value": "(?!x).*"}, {"type": "host", "value": {"re": "^(?!x)"}}"#;
        let rule = |key: &str| format!(r#"{{"source": "/a", "destination": "/b", "{key}": [{one}]}}"#);
        let rules: Vec<String> = ["has", "missing"].into_iter().cycle().take(count / 2).map(rule).collect();
        format!(r#"{{"rewrites": [{}]}}"#, rules.join(","))
    };
    assert!(refused(&conditions(102)).contains("102 patterns look ahead: at most 100 may"));
    assert_eq!(Site::vercel(&[], &conditions(100)).ask("/x"), "404");
}

#[test]
fn values_of_fields_take_names_and_numbers() {
    let site = Site::vercel(
        &[],
        r#"{"headers": [
            {"source": "/a/(\\d+)/:name/(.*)", "headers": [{"key": "X-A", "value": "$1 :name $3 $4 $x \\$1 $"}]},
            {"source": "/b/:name", "headers": [{"key": "X-A", "value": "$1 $2"}]},
            {"source": "/c", "headers": [{"key": "X-A", "value": "$1"}]}]}"#,
    );
    assert_eq!(site.fields("/a/5/b/c%20d"), ["x-a=5 b c%20d $4 $x \\5 $"]);
    assert_eq!(site.fields("/b/x"), ["x-a=x $2"]);
    assert_eq!(site.fields("/c"), ["x-a=$1"]);
}

#[test]
fn names_that_are_not_known_stay_on_their_line_of_the_log() {
    let site = Site::vercel(&[], r#"{"redi\rects\n": [], "cleanUrls": true}"#);
    assert!(site.notes.iter().any(|note| note.message.contains("not used: redi ects")));
    assert!(site.notes.iter().all(|note| !note.message.contains(char::is_control)), "{:?}", site.notes);
}
