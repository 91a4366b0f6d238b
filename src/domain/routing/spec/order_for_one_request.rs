//! Section 2: the order for one request.

use super::{LISTED, Site, routing};
use crate::domain::manifest::SitePath;
use crate::domain::routing::compile::Settings;
use crate::domain::routing::dialect::Dialect;
use crate::domain::routing::sources::Sources;

#[test]
fn vercel_redirects_win_over_files_and_files_over_rewrites() {
    let site = Site::vercel(
        &["a.html", "b.html", "c.html", "404.html"],
        r#"{"cleanUrls": true,
            "redirects": [{"source": "/a", "destination": "/moved"}, {"source": "/b.html", "destination": "/x"}],
            "rewrites": [{"source": "/b", "destination": "/c"}, {"source": "/d", "destination": "/c"}]}"#,
    );
    site.check(&[
        ("/a", "308 /moved"),
        ("/b", "200 b.html"),
        ("/d", "200 c.html"),
        // cleanUrls come before redirects.
        ("/b.html", "308 /b"),
        ("/e", "404 404.html"),
        ("/x/y/e", "404 404.html"),
    ]);
}

#[test]
fn netlify_and_plain_let_files_win_unless_a_rule_is_forced() {
    for dialect in [Dialect::Netlify, Dialect::Plain] {
        let site = Site::redirects(
            dialect,
            &["a.html", "b.html", "404.html", "x/404.html", "x/y.html"],
            "/a /moved\n/b /moved 301!\n/gone /moved\n/x/:y /moved\n",
        );
        site.check(&[
            ("/a", "200 a.html"),
            ("/b", "301 /moved"),
            ("/gone", "301 /moved"),
            ("/x/y", "200 x/y.html"),
            ("/x/z", "301 /moved"),
        ]);
        let nearest = if dialect == Dialect::Plain { "404 x/404.html" } else { "404 404.html" };
        assert_eq!(site.ask("/x/y/z"), nearest, "{dialect}");
    }
}

#[test]
fn an_explanation_says_of_each_rule_why_it_did_nothing() {
    for dialect in [Dialect::Netlify, Dialect::Plain] {
        let site = Site::redirects(
            dialect,
            &["about.html", "rew.html"],
            "/rew /x\n/about /x\nhttps://other.example/about /x\n/gone/* /x 301!\n/* /x\n",
        );
        let of_file = "it is not forced, and a file is there";
        assert_eq!(
            site.explain("/about", None)[..5],
            [
                "_redirects:1: /rew is not for this path".to_owned(),
                format!("_redirects:2: {of_file}"),
                "_redirects:3: it is for another host".to_owned(),
                "_redirects:4: /gone/* is not for this path".to_owned(),
                format!("_redirects:5: {of_file}"),
            ],
            "{dialect}"
        );
    }
}

#[test]
fn netlify_walks_its_list_once() {
    // The first that matches is taken, and it is not forced: the forced one behind it never counts.
    let site = Site::redirects(Dialect::Netlify, &["a.html"], "/a /first\n/* /second 301!\n");
    site.check(&[("/a", "200 a.html"), ("/b", "301 /second")]);
}

#[test]
fn cloudflare_rules_win_always() {
    let site =
        Site::redirects(Dialect::Cloudflare, &["a.html", "b.html", "404.html"], "/a /moved\n/c /b 200\n");
    site.check(&[("/a", "302 /moved"), ("/c", "200 b.html"), ("/a.html", "308 /a"), ("/x", "404 404.html")]);
}

#[test]
fn cloudflare_shows_the_nearest_404_html_and_without_one_a_single_page_app() {
    let none = Sources::default();
    let site = Site::new(&["index.html", "x/404.html"], &none, routing(Dialect::Cloudflare));
    site.check(&[("/x/y", "404 x/404.html"), ("/y/z", "200 index.html"), ("/y", "200 index.html")]);
    let site = Site::new(&["index.html", "404.html"], &none, routing(Dialect::Cloudflare));
    site.check(&[("/y", "404 404.html")]);
    let site = Site::new(&["a.html"], &none, routing(Dialect::Cloudflare));
    site.check(&[("/y", "404")]);
    let settings = Settings { routing: Some(Dialect::Cloudflare), spa: Some(false) };
    Site::new(&["index.html"], &none, settings).check(&[("/y", "404")]);
}

#[test]
fn a_rule_does_not_lead_to_another() {
    for dialect in LISTED {
        let site = Site::redirects(dialect, &["c.html"], "/a /b 200\n/b /c 200\n");
        let missing = "404";
        site.check(&[("/a", missing), ("/b", "200 c.html")]);
    }
}

#[test]
fn without_a_404_html_a_built_in_page_answers() {
    for dialect in [Dialect::Vercel, Dialect::Netlify, Dialect::Plain] {
        let site = Site::new(&["index.html"], &Sources::default(), routing(dialect));
        assert_eq!(site.ask("/x"), "404", "{dialect}");
    }
}

#[test]
fn spa_gives_the_shell_in_every_dialect() {
    for dialect in Dialect::ALL {
        let settings = |spa| Settings { routing: Some(dialect), spa };
        let files = ["index.html", "404.html", "a.js"];
        let site = Site::new(&files, &Sources::default(), settings(Some(true)));
        site.check(&[("/users/5", "200 index.html"), ("/a.js", "200 a.js")]);
        let site = Site::new(&files, &Sources::default(), settings(None));
        site.check(&[("/users/5", "404 404.html")]);
    }
}

#[test]
fn what_a_framework_says_about_unknown_paths_counts_in_plain_alone() {
    for dialect in Dialect::ALL {
        for spa in [None, Some(false)] {
            let settings = Settings { routing: Some(dialect), spa };
            let mut site = Site::new(&["index.html", "404.html"], &Sources::default(), settings);
            site.manifest.spa_fallback = SitePath::parse("index.html").ok();
            let is_shell = dialect == Dialect::Plain && spa.is_none();
            let expected = if is_shell { "200 index.html" } else { "404 404.html" };
            assert_eq!(site.ask("/users/5"), expected, "{dialect} {spa:?}");
        }
    }
}
