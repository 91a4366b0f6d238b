//! Section 1: which files count.

use super::{Site, routing};
use crate::domain::routing::compile::{Settings, compile};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::sources::Sources;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn everything() -> Sources {
    Sources {
        vercel_json: text(r#"{"redirects": [{"source": "/v", "destination": "/x"}]}"#),
        netlify_toml: text("[[redirects]]\nfrom = \"/n\"\nto = \"/x\"\n"),
        cloudflare_file: text("wrangler.toml"),
        redirects: text("/r /x\n"),
        headers: text("/*\n A: b\n"),
    }
}

fn dialect(sources: &Sources, settings: Settings) -> Dialect {
    compile(sources, settings).unwrap().rules.dialect
}

#[test]
fn the_dialect_is_the_first_of_setting_vercel_netlify_cloudflare_plain() {
    let mut sources = everything();
    for setting in Dialect::ALL {
        assert_eq!(dialect(&sources, routing(setting)), setting);
    }
    assert_eq!(dialect(&sources, Settings::default()), Dialect::Vercel);
    sources.vercel_json = text(r#"{"buildCommand": "make"}"#);
    assert_eq!(dialect(&sources, Settings::default()), Dialect::Netlify, "no rule is in vercel.json");
    sources.netlify_toml = None;
    assert_eq!(dialect(&sources, Settings::default()), Dialect::Cloudflare);
    sources.cloudflare_file = None;
    assert_eq!(dialect(&sources, Settings::default()), Dialect::Plain);
    assert_eq!(dialect(&Sources::default(), Settings::default()), Dialect::Plain);
}

#[test]
fn each_of_the_words_of_vercel_json_makes_it_count() {
    for rules in [
        r#"{"cleanUrls": false}"#,
        r#"{"trailingSlash": true}"#,
        r#"{"redirects": []}"#,
        r#"{"rewrites": []}"#,
        r#"{"headers": []}"#,
        r#"{"routes": []}"#,
    ] {
        let sources = Sources { vercel_json: text(rules), ..Sources::default() };
        assert_eq!(dialect(&sources, Settings::default()), Dialect::Vercel, "{rules}");
    }
}

#[test]
fn rules_of_a_dialect_that_was_not_chosen_are_not_mixed_in() {
    let site = |dialect| Site::new(&[], &everything(), routing(dialect));
    site(Dialect::Vercel).check(&[("/v", "308 /x"), ("/n", "404"), ("/r", "404")]);
    site(Dialect::Netlify).check(&[("/v", "404"), ("/n", "301 /x"), ("/r", "301 /x")]);
    site(Dialect::Cloudflare).check(&[("/v", "404"), ("/n", "404"), ("/r", "302 /x")]);
    site(Dialect::Plain).check(&[("/v", "404"), ("/n", "404"), ("/r", "301 /x")]);
    assert!(site(Dialect::Vercel).fields("/x").is_empty());
}

#[test]
fn the_log_names_what_was_used_what_was_ignored_and_every_line_that_was_refused() {
    let sources = Sources {
        netlify_toml: text(""),
        redirects: text("/a /b\n\n/bad\n/c nowhere 301\n"),
        cloudflare_file: text("wrangler.toml"),
        ..Sources::default()
    };
    let notes = compile(&sources, Settings::default()).unwrap().notes;
    let lines: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "Routing as netlify: there is a netlify.toml. In use: 1 redirect.",
            "Ignored: wrangler.toml: its rules are another host's.",
            "Warning: _redirects:3: has no target: ignored: /bad",
            "Warning: _redirects:4: has no target: ignored: /c nowhere 301",
        ]
    );
    let notes = compile(&everything(), Settings::default()).unwrap().notes;
    let lines: Vec<String> = notes.iter().map(ToString::to_string).collect();
    for name in ["netlify.toml", "_redirects", "_headers", "wrangler.toml"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("Ignored: {name}"))), "{lines:?}");
    }
}

#[test]
fn a_bad_line_never_fails_a_deployment_and_an_invalid_vercel_json_does() {
    let site = Site::netlify(&["index.html"], "[[redirects]\nfrom = 1");
    assert!(site.warned("netlify.toml:1:"), "{:?}", site.warnings());
    let of = |json: &str| {
        let sources = Sources { vercel_json: text(json), ..Sources::default() };
        compile(&sources, Settings::default()).unwrap_err().0.to_string()
    };
    assert_eq!(of("{\n  \"redirects\": [,]\n}"), "vercel.json:2:17: is not valid JSON: expected value");
    assert_eq!(
        of("{\"redirects\": [\n  {\"source\": \"/*\", \"destination\": \"/\"}]}"),
        "vercel.json:2:14: source has * behind nothing that repeats"
    );
    // Where another dialect is set, nobody reads it.
    let sources = Sources { vercel_json: text("{"), ..Sources::default() };
    assert!(compile(&sources, routing(Dialect::Plain)).is_ok());
}

#[test]
fn none_of_these_files_is_served() {
    let files = [
        "vercel.json",
        "netlify.toml",
        "wrangler.toml",
        "wrangler.json",
        "wrangler.jsonc",
        "_redirects",
        "_headers",
        "_routes.json",
        "_worker.js",
        "_worker.js/index.js",
        "index.html",
        "docs/_redirects",
    ];
    for dialect in Dialect::ALL {
        let site =
            Site::new(&files, &Sources::default(), Settings { routing: Some(dialect), spa: Some(true) });
        for file in &files[..10] {
            assert_eq!(site.ask(&format!("/{file}")), "404", "{dialect}: {file}");
        }
        assert_eq!(site.ask("/docs/_redirects"), "200 docs/_redirects", "it is a file like others there");
    }
}
