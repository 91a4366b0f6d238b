//! Section 4: `_redirects`, and the redirects of `netlify.toml`.

use super::{LISTED, Site};
use crate::domain::routing::dialect::Dialect::{self, Cloudflare, Netlify, Plain};

/// One line, one request, what is answered.
fn row(dialect: Dialect, line: &str, target: &str, expected: &str) {
    let files = ["index.html", "page.html", "x/index.html", "gone.html"];
    let site = Site::redirects(dialect, &files, line);
    assert_eq!(site.ask(target), expected, "{dialect}: {line:?} with {target}");
}

/// 301, or 302 where that is the default.
fn moved(dialect: Dialect, to: &str) -> String {
    format!("{} {to}", if dialect == Cloudflare { 302 } else { 301 })
}

#[test]
fn both_hosts_agree() {
    for dialect in LISTED {
        for (line, target, to) in [
            ("/a /b", "/a", "/b"),
            ("/a\t \t/b", "/a", "/b"),
            ("  /a /b  ", "/a", "/b"),
            ("# /a /x\n\n/a /b", "/a", "/b"),
            ("/a /b # why", "/a", "/b"),
            ("/a /first\n/a /second", "/a", "/first"),
            ("/a/* /dynamic\n/a/b /plain", "/a/b", "/dynamic"),
            ("/z/* /dynamic\n/a/b /plain", "/a/b", "/plain"),
            ("/a/* /n/:splat", "/a/b/c", "/n/b/c"),
            ("/a/* /n/:splat", "/a/", "/n/"),
            ("/a/*/z /n/:splat", "/a/b/c/z", "/n/b/c"),
            ("/p/:id /n/:id?id=:id", "/p/5", "/n/5?id=5"),
            ("/p/:id https://:id.example.com/", "/p/five", "https://five.example.com/"),
            ("/p/:id /n/:other", "/p/5", "/n/:other"),
            ("/a /b", "/a?q=1&r=%20", "/b?q=1&r=%20"),
            ("/a /b?own=1", "/a?q=1", "/b?own=1"),
            ("/a /b#part", "/a?q=1", "/b?q=1#part"),
            ("/a https://example.com/x", "/a", "https://example.com/x"),
            ("/a/* /n/:splat", "/a/a%20b/caf%C3%A9", "/n/a%20b/caf%C3%A9"),
            ("/café /b", "/caf%C3%A9", "/b"),
            ("/caf%C3%A9 /b", "/caf%c3%a9", "/b"),
            ("/a /café", "/a", "/caf%C3%A9"),
        ] {
            row(dialect, line, target, &moved(dialect, to));
        }
        for status in [301, 302, 303, 307, 308] {
            row(dialect, &format!("/a /b {status}"), "/a", &format!("{status} /b"));
        }
        row(dialect, "/a /page.html 200", "/a", "200 page.html");
        row(dialect, "/a /page 200", "/a?x=1", "200 page.html");
        // A rewrite to nothing is 404.
        row(dialect, "/a /nothing 200", "/a", "404");
        row(dialect, "/A /b", "/a", if dialect == Cloudflare { "200 index.html" } else { "404" });
    }
}

#[test]
fn what_is_impossible_is_ignored() {
    for dialect in LISTED {
        for line in [
            "/a",
            "/a /b 999",
            "/a /b 100",
            "/a /b 304",
            "/a /b 999999",
            "a /b",
            "/a b",
            "/a //evil.example",
            "/a javascript:x 301",
            "/*/x/* /b",
        ] {
            let site = Site::redirects(dialect, &[], line);
            assert_eq!(site.ask("/a"), "404", "{dialect} {line}");
            let warnings = site.warnings();
            assert!(
                warnings.len() == 1 && warnings[0].starts_with("Warning: _redirects:1: "),
                "{warnings:?}"
            );
        }
    }
}

#[test]
fn where_they_differ() {
    type Row = (&'static str, &'static str, [&'static str; 3]);
    // Netlify, Cloudflare, plain. Without a 404.html, Cloudflare shows index.html for nothing.
    let none = "200 index.html";
    let rows: [Row; 22] = [
        ("/a /b", "/a", ["301 /b", "302 /b", "301 /b"]),
        ("/page /b", "/page", ["200 page.html", "302 /b", "200 page.html"]),
        ("/page /b 301!", "/page", ["301 /b", "200 page.html", "301 /b"]),
        ("/page /gone 200!", "/page", ["200 gone.html", "200 page.html", "200 gone.html"]),
        ("/old /b", "/old/", ["301 /b", none, "301 /b"]),
        ("/old/ /b", "/old", ["301 /b", none, "301 /b"]),
        ("/p/:id /b/:id", "/p/5/", ["301 /b/5", none, "301 /b/5"]),
        ("/blog/* /b/:splat", "/blog", ["301 /b/", none, "301 /b/"]),
        ("/j/*.json /b/:splat", "/j/a.json", ["404", "302 /b/a", "301 /b/a"]),
        ("/j/:a.html /b/:a", "/j/x.html", ["404", "302 /b/x", "301 /b/x"]),
        ("/a /gone 404", "/a", ["404 gone.html", none, "404 gone.html"]),
        ("/a /gone.html 410", "/a", ["410 gone.html", none, "410 gone.html"]),
        ("/a /nothing 410", "/a", ["410", none, "410"]),
        ("/a id=:id /b/:id", "/a?x=1&id=5", ["301 /b/5?x=1&id=5", none, "301 /b/5?x=1&id=5"]),
        ("/a id=:id mode=dark /b/:id", "/a?mode=light&id=5", ["404", none, "404"]),
        ("/x/* 200", "/x/page", ["200 page.html", none, "200 page.html"]),
        ("/* /index.html 200", "/any/thing", ["200 index.html", none, "200 index.html"]),
        ("/x/* /x/index.html 200", "/x/y", ["200 x/index.html", none, "200 x/index.html"]),
        ("/a http://example.com/", "/a", ["301 http://example.com/", none, "301 http://example.com/"]),
        ("/a https://example.com/ 200", "/a", ["404", none, "404"]),
        ("/a/* /b/:splat", "/a/x%2Fy", ["301 /b/x/y", "302 /b/x%2Fy", "301 /b/x%2Fy"]),
        ("/a/* /b/:splat", "/a/x//y", ["301 /b/x/y", "302 /b/x/y", "301 /b/x/y"]),
    ];
    for (line, target, expected) in rows {
        for (dialect, expected) in LISTED.into_iter().zip(expected) {
            row(dialect, line, target, expected);
        }
    }
}

#[test]
fn an_absolute_source_is_for_its_host_alone() {
    for dialect in [Netlify, Plain] {
        let site = Site::redirects(
            dialect,
            &[],
            "https://old.example.com/* https://new.example.com/:splat\nhttp://:u.users.example:80/x /:u\n",
        );
        let ask = |host: &str, path: &str| site.ask_with(path, &[&format!("host: {host}")]);
        assert_eq!(ask("old.example.com", "/a/b"), "301 https://new.example.com/a/b");
        assert_eq!(ask("ada.users.example", "/x"), "301 /ada");
        assert_eq!(ask("blog.example", "/a/b"), "404");
    }
    assert!(Site::redirects(Cloudflare, &[], "https://old.example.com/* /x").warned("a source on a host"));
}

#[test]
fn language_and_cookie_are_conditions_and_what_fails_passes_on_to_the_next_rule() {
    for dialect in [Netlify, Plain] {
        let site = Site::redirects(
            dialect,
            &[],
            "/ /deutsch 302 Language=de,fr\n/ /beta 302 Cookie=beta,early\n/ /else 302\n",
        );
        for (fields, expected) in [
            (&["accept-language: de-AT,en;q=0.5"][..], "302 /deutsch"),
            (&["accept-language: FR"], "302 /deutsch"),
            (&["accept-language: en,de"], "302 /else"),
            (&["accept-language: en", "cookie: a=b; nf_lang=de"], "302 /deutsch"),
            (&["accept-language: de", "cookie: nf_lang=en"], "302 /else"),
            (&["cookie: early="], "302 /beta"),
            (&["cookie: xbeta=1"], "302 /else"),
            (&[], "302 /else"),
        ] {
            assert_eq!(site.ask_with("/", fields), expected, "{dialect} {fields:?}");
            // Whatever came of them: the answer depends on them.
            let varies = site.answer_with("/", fields, |answer| answer.varies.list());
            assert_eq!(varies.as_deref(), Some("accept-language, cookie"));
        }
        assert!(site.answer_with("/x", &[], |answer| answer.varies.is_empty()));
    }
    let site = Site::redirects(Netlify, &[], "/ /oz 302 Country=au,nz\n");
    assert_eq!(site.ask_with("/", &["cookie: nf_country=AU"]), "302 /oz");
    assert_eq!(site.ask("/"), "404", "gv does not know where visitors are");
    for line in ["/ /oz 302 Country=au", "/ /a 302 Role=admin", "/ /a 302 Weather=rain", "/ /a 302 what"] {
        assert_eq!(Site::redirects(Plain, &[], line).warnings().len(), 1, "{line}");
    }
    assert!(Site::redirects(Netlify, &[], "/ /a 302 Role=admin").warned("role"));
}

#[test]
fn rewrites_to_other_hosts_are_refused_with_a_warning() {
    for dialect in LISTED {
        for line in [
            "/a https://internal.example/ 200",
            "/a http://169.254.169.254/latest 200",
            "/a https://x.example/ 404",
        ] {
            let warnings = Site::redirects(dialect, &[], line).warnings();
            assert_eq!(warnings.len(), 1, "{dialect} {line}: {warnings:?}");
        }
    }
}

#[test]
fn limits_are_each_hosts_own() {
    for (dialect, plain, dynamic) in
        [(Cloudflare, 2_000, 100), (Plain, 2_000, 1_000), (Netlify, 10_000, 2_000)]
    {
        let mut text = String::new();
        for at in 0..plain + 3 {
            text.push_str(&format!("/a{at} /x\n"));
        }
        for at in 0..dynamic + 3 {
            text.push_str(&format!("/d{at}/* /y\n"));
        }
        let site = Site::redirects(dialect, &["404.html"], &text);
        site.check(&[
            (&format!("/a{}", plain - 1), &moved(dialect, "/x")),
            (&format!("/a{plain}"), "404 404.html"),
            (&format!("/d{}/", dynamic - 1), &moved(dialect, "/y")),
            (&format!("/d{dynamic}/"), "404 404.html"),
        ]);
        assert_eq!(site.warnings().len(), 2, "one for each kind: {:?}", site.warnings());
    }
    let long = format!("/a /{}", "x".repeat(2_000));
    for dialect in LISTED {
        assert!(Site::redirects(dialect, &[], &long).warned("2000 characters"));
    }
}

#[test]
fn what_leads_back_to_itself_is_ignored() {
    for dialect in LISTED {
        assert!(Site::redirects(dialect, &[], "/a /a 301").warned("leads to itself"));
    }
    for line in ["/* /index.html 200", "/x/* /x/index 200", "/x/ /x/index.html 302"] {
        assert!(Site::redirects(Cloudflare, &[], line).warned("leads back"), "{line}");
    }
}

#[test]
fn another_spelling_of_its_own_source_leads_in_circles() {
    for dialect in [Netlify, Plain] {
        for line in [
            "/app/ /app 301",
            "/app /app/ 302",
            "/app /app/ 301!",
            "/app /app?utm=1",
            "/app /app/#top",
            "/app /x/../app",
            "/app //app/",
            "/caf%C3%A9 /café/ 301",
            "/app /app/ 302 Language=de",
            "/app id=:id /app/ 301",
            "https://a.example/app https://A.example/app/ 301",
            "https://a.example/app /app/ 301",
        ] {
            let site = Site::redirects(dialect, &[], line);
            assert_eq!(site.warnings().len(), 1, "{dialect} {line}");
            site.check(&[("/app", "404"), ("/app/", "404")]);
        }
        for line in [
            "/app/ /app/x 301",
            "/app /App 301",
            "/app/ /app 200",
            "/app/ https://b.example/app 301",
            "https://a.example/app https://b.example/app 301",
            "https://:x.example/app https://b.example/app 301",
            // Its own query is one that the rule is not for.
            "/app old=1 /app?new=1 301",
            // The file that it leads to wins over it.
            "/* / 302",
        ] {
            let site = Site::redirects(dialect, &["index.html"], line);
            assert_eq!(site.warnings(), [""; 0], "{dialect} {line}");
        }
        let warning = &Site::redirects(dialect, &[], "/app/ /app 301").warnings()[0];
        assert_eq!(
            warning,
            "Warning: _redirects:1: leads to a path that it is for itself, where browsers would go round in \
             circles: ignored: /app/ /app 301"
        );
    }
    // Both spellings are two paths there.
    assert_eq!(Site::redirects(Cloudflare, &[], "/app/ /app 301").ask("/app/"), "301 /app");
    assert!(Site::redirects(Cloudflare, &[], "/caf%C3%A9 /café 301").warned("circles"));
}

#[test]
fn a_redirect_to_what_its_own_placeholders_stand_for_leads_in_circles() {
    for dialect in [Netlify, Plain] {
        for line in [
            "/p/:id /p/:id/ 301",
            "/p/:id/ /p/:id 302",
            "/s/* /s/:splat",
            "/s/* /s/:splat?utm=1 301!",
            "/:lang/* /:lang/:splat",
            "/* /:splat 301!",
            "/p/:a/:b /p/:a/:b/#top",
            "https://a.example/* https://A.example/:splat 301!",
            "http://:x.a.example/* /:splat",
            "/p/:id /p/:id/ 302 Language=de",
            "/p/:id id=:other /p/:id 301",
        ] {
            let site = Site::redirects(dialect, &[], line);
            assert_eq!(site.warnings().len(), 1, "{dialect} {line}");
            site.check(&[("/p/5", "404"), ("/s/x", "404")]);
        }
        for line in [
            "/p/:a/:b /p/:b/:a 301",
            "/docs/* /docs/new/:splat 301",
            "/docs/* /:splat 301",
            "/p/:id /p/:id/ 200",
            "/p/:id /q/:id 301",
            "/p/:id id=:other /p/:other 301",
            "https://a.example/* https://b.example/:splat 301!",
            "https://:x.a.example/* https://a.example/:splat 301!",
            "/p/:id id=:id2 /p/:id?x=1 301",
        ] {
            let site = Site::redirects(dialect, &["index.html"], line);
            assert_eq!(site.warnings(), [""; 0], "{dialect} {line}");
        }
    }
    assert!(Site::redirects(Cloudflare, &[], "/s/* /s/:splat").warned("circles"));
    assert_eq!(Site::redirects(Cloudflare, &[], "/p/:id /p/:id/").ask("/p/5"), "302 /p/5/");
}

#[test]
fn what_is_wrong_in_netlify_toml_is_told_at_its_own_line() {
    for (toml, warning) in [
        ("[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\nstatus = \"x\"\n", "4: has a status that is no number"),
        ("[[redirects]]\nfrom = \"/a\"\nstatus = 70000\nto = \"/b\"\n", "3: has a status that none"),
        ("[[redirects]]\nfrom = \"/a\"\nto = 5\n", "3: has a to that is no text"),
        ("[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n\nforce = 1\n", "5: has a force"),
        (
            "[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n[redirects.query]\nid = 5\n",
            "5: has a query whose values",
        ),
        ("\n[[redirects]]\nto = \"/b\"\n", "2: has no from"),
        ("redirects = 5\n", "1: redirects is no array of tables"),
        ("x = 1\nredirects = [5]\n", "2: is no table"),
        (
            "[[headers]]\nfor = \"/*\"\n[headers.values]\nX-A = \"b\"\nServer = \"c\"\n",
            "5: Server: sets server",
        ),
    ] {
        let site = Site::netlify(&[], toml);
        let warnings = site.warnings();
        assert!(
            warnings.len() == 1 && site.warned(&format!("netlify.toml:{warning}")),
            "{toml}: {warnings:?}"
        );
    }
    let site = Site::netlify(&[], "[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\nstatus = 0x12e\n");
    site.check(&[("/a", "302 /b")]);
}

#[test]
fn a_placeholder_that_netlify_reads_as_text_is_told() {
    for line in ["/k/:a.html /x", "/dash/:a-b /x", "/:ok/:a.html /x/:ok"] {
        let site = Site::redirects(Netlify, &[], line);
        let warnings = site.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("reads as it stands"), "{line}: {warnings:?}");
        assert!(Site::redirects(Plain, &[], line).warnings().is_empty(), "{line}");
    }
    for line in ["/a/:b /x/:b", "/Talk:Main /x", "/12:30 /x", "/:b/* /x"] {
        assert!(Site::redirects(Netlify, &[], line).warnings().is_empty(), "{line}");
    }
    let site = Site::headers(Netlify, "/k/:a.html\n  X-A: b\n");
    assert!(site.warned("_headers:1: /k/:a.html has text beside :a"), "{:?}", site.warnings());
}

#[test]
fn netlify_toml_has_the_same_rules_behind_those_of_redirects() {
    let toml = r#"
[build]
publish = "dist"

[[redirects]]
from = "/a"
to = "/toml"

[[redirects]]
from = "/page"
to = "/forced"
status = 302
force = true

[[redirects]]
from = "/q"
to = "/q/:id"
query = {id = ":id"}

[[redirects]]
from = "/l"
to = "/de"
conditions = {Language = ["de"], Cookie = "a,b"}

[[redirects]]
from = "/api/*"
to = "https://api.example.com/:splat"
status = 200
headers = {X-From = "Netlify"}

[[redirects]]
from = "/.netlify/x"
to = "/x"

[[redirects]]
to = "/nowhere"

[[redirects]]
from = "/signed"
to = "/x"
signed = "KEY"

[[redirects]]
from = "/same"
to = "/toml"
"#;
    let sources = crate::domain::routing::sources::Sources {
        netlify_toml: Some(toml.to_owned()),
        redirects: Some("/a /list\n/same /toml\n".to_owned()),
        ..Default::default()
    };
    let site = Site::new(&["page.html"], &sources, Default::default());
    site.check(&[
        ("/a", "301 /list"),
        ("/page", "302 /forced"),
        ("/q?id=5", "301 /q/5?id=5"),
        ("/q", "404"),
        ("/l", "404"),
        ("/api/x", "404"),
        ("/.netlify/x", "404"),
        ("/signed", "301 /x"),
    ]);
    assert_eq!(site.ask_with("/l", &["accept-language: de", "cookie: b=1"]), "301 /de");
    for warning in [
        "netlify.toml:25: shows another site's content",
        "netlify.toml:29: headers is for proxies",
        "netlify.toml:31: is for /.netlify",
        "netlify.toml:35: has no from",
        "netlify.toml:41: signed is not supported",
        "netlify.toml:43: stands twice",
    ] {
        assert!(site.warned(warning), "{warning}: {:#?}", site.warnings());
    }
    assert_eq!(crate::domain::routing::netlify_toml::publish(toml).as_deref(), Some("dist"));
}
