//! Section 3: static files. The plain dialect's table is beside `files`.

use super::{Site, routing};
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::sources::Sources;

const FILES: [&str; 7] =
    ["index.html", "about.html", "docs/index.html", "app.js", "data", "data.html", ".well-known/x"];

#[test]
fn a_path_is_answered_by_the_table_of_its_dialect() {
    // vercel, vercel with cleanUrls, netlify, cloudflare, plain
    let columns = [
        Site::vercel(&FILES, r#"{"redirects": []}"#),
        Site::vercel(&FILES, r#"{"cleanUrls": true}"#),
        Site::new(&FILES, &Sources::default(), routing(Dialect::Netlify)),
        Site::new(&FILES, &Sources::default(), {
            let mut settings = routing(Dialect::Cloudflare);
            settings.spa = Some(false);
            settings
        }),
        Site::new(&FILES, &Sources::default(), routing(Dialect::Plain)),
    ];
    let about = "200 about.html";
    let docs = "200 docs/index.html";
    let home = "200 index.html";
    for (path, expected) in [
        ("/about", ["404", about, about, about, about]),
        ("/about.html", [about, "308 /about", about, "308 /about", "308 /about"]),
        ("/about/", ["404", "404", about, "308 /about", "308 /about"]),
        ("/docs", [docs, docs, docs, "308 /docs/", "308 /docs/"]),
        ("/docs/", [docs; 5]),
        ("/", [home; 5]),
        ("/index.html", [home, "308 /", home, "308 /", "308 /"]),
        ("/index", ["404", "308 /", home, "308 /", "308 /"]),
        ("/app.js", ["200 app.js"; 5]),
        ("/App.js", ["404"; 5]),
        ("/ABOUT", ["404"; 5]),
        ("/data", ["200 data"; 5]),
        ("/data.html", ["200 data.html", "308 /data", "200 data.html", "200 data.html", "200 data.html"]),
        ("/.well-known/x", ["200 .well-known/x"; 5]),
        ("/.well-known/", ["404"; 5]),
        ("/.well-known", ["404"; 5]),
    ] {
        for (site, expected) in columns.iter().zip(expected) {
            assert_eq!(site.ask(path), expected, "{} {path}", site.manifest.rules.dialect);
        }
    }
}

#[test]
fn vercels_trailing_slash_false_takes_every_slash_away() {
    let site = Site::vercel(&FILES, r#"{"cleanUrls": true, "trailingSlash": false}"#);
    site.check(&[
        ("/about/", "308 /about"),
        ("/docs/", "308 /docs"),
        ("/docs", "200 docs/index.html"),
        ("/", "200 index.html"),
    ]);
}

#[test]
fn redirects_to_where_a_file_is_shown_keep_the_query() {
    for dialect in [Dialect::Cloudflare, Dialect::Plain] {
        let site = Site::new(&FILES, &Sources::default(), routing(dialect));
        site.check(&[("/about.html?a=1", "308 /about?a=1"), ("/docs?a=%2F", "308 /docs/?a=%2F")]);
    }
    let site = Site::vercel(&FILES, r#"{"cleanUrls": true, "trailingSlash": true}"#);
    site.check(&[("/about.html?a=1", "308 /about/?a=1"), ("/docs?b", "308 /docs/?b")]);
}
