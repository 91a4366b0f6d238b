//! What a site's rules make of what a visitor gets, on the wire. What the rules mean is tested
//! beside them, in `domain::routing::spec`.

use super::Running;
use gv::domain::host::HostKind;
use gv::domain::manifest::FileEntry;
use gv::domain::routing::compile::{Settings, compile};
use gv::domain::routing::dialect::Dialect;
use gv::domain::routing::rules::Rules;
use gv::domain::routing::sources::Sources;

fn rules(dialect: Dialect, redirects: &str, headers: &str) -> Rules {
    let sources = Sources {
        redirects: Some(redirects.to_owned()),
        headers: Some(headers.to_owned()),
        ..Sources::default()
    };
    compile(&sources, Settings { routing: Some(dialect), spa: None }).unwrap().rules
}

fn vercel(json: &str) -> Rules {
    let sources = Sources { vercel_json: Some(json.to_owned()), ..Sources::default() };
    compile(&sources, Settings::default()).unwrap().rules
}

async fn site(rules: &Rules) -> Running {
    let edge = Running::start().await;
    let files: [(&str, &[u8]); 5] = [
        ("index.html", b"home"),
        ("page.html", b"page"),
        ("gone.html", b"gone"),
        ("404.html", b"lost"),
        ("_redirects", b"secret"),
    ];
    edge.publish_with(("blog.localhost", 1, HostKind::Production), &files, rules).await;
    edge
}

const LISTED: [Dialect; 3] = [Dialect::Netlify, Dialect::Cloudflare, Dialect::Plain];

#[tokio::test(flavor = "multi_thread")]
async fn rules_redirect_any_method_and_all_else_is_for_get_and_head() {
    let edge = site(&rules(Dialect::Plain, "/old /new 301\n/seen /page 200\n", "")).await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
        let answer = edge.ask(method, "/old?a=1", &[]).await;
        assert_eq!((answer.status, answer.field("location")), (301, "/new?a=1"), "{method}");
    }
    // A file that is shown elsewhere, a rewrite and what is missing are for reading.
    for path in ["/page.html", "/seen", "/", "/nothing"] {
        let answer = edge.ask("POST", path, &[]).await;
        assert_eq!((answer.status, answer.field("allow")), (405, "GET, HEAD"), "{path}");
    }
    for method in ["TRACE", "OPTIONS"] {
        let answer = edge.ask(method, "/old", &[]).await;
        assert_eq!(
            (answer.status, answer.field("location")),
            (if method == "TRACE" { 405 } else { 204 }, "")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_show_a_file_and_rules_give_pages_a_status() {
    let edge =
        site(&rules(Dialect::Netlify, "/seen /page 200\n/was /gone.html 410\n/void /nothing 200\n", ""))
            .await;
    let seen = edge.get("/seen").await;
    assert_eq!((seen.status, seen.text()), (200, "page"));
    let etag = format!("If-None-Match: {}", seen.field("etag"));
    assert_eq!(edge.ask("GET", "/seen", &[&etag]).await.status, 304);
    let part = edge.ask("GET", "/seen", &["Range: bytes=0-1"]).await;
    assert_eq!((part.status, part.text()), (206, "pa"));
    let gone = edge.ask("GET", "/was", &["Range: bytes=0-1"]).await;
    assert_eq!((gone.status, gone.text(), gone.field("cache-control")), (410, "gone", "no-store"));
    let void = edge.get("/void").await;
    assert_eq!((void.status, void.text()), (404, "lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_rules_are_on_200_304_206_head_and_404() {
    let headers = "/*\n  X-A: b\n  Cache-Control: public, max-age=60\n  Content-Type: text/x-own\n  ! X-Content-Type-Options\n  Set-Cookie: a=1\n  Set-Cookie: b=2, 3\n";
    for dialect in LISTED {
        let edge = site(&rules(dialect, "/old /new 301\n", headers)).await;
        let whole = edge.get("/").await;
        let etag = format!("If-None-Match: {}", whole.field("etag"));
        for (method, path, fields, status) in [
            ("GET", "/", &[][..], 200),
            ("HEAD", "/", &[], 200),
            ("GET", "/", &[etag.as_str()], 304),
            ("GET", "/", &["Range: bytes=0-0"], 206),
            ("GET", "/nothing", &[], 404),
            ("HEAD", "/nothing?query=1", &[], 404),
        ] {
            let answer = edge.ask(method, path, fields).await;
            assert_eq!(answer.status, status, "{dialect} {method} {path}");
            assert_eq!(answer.field("x-a"), "b");
            assert_eq!(answer.field("cache-control"), "public, max-age=60");
            assert_eq!(answer.field("x-content-type-options"), "");
            assert_eq!(answer.field("content-type"), "text/x-own");
            let cookies: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "set-cookie").collect();
            assert_eq!(
                cookies.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
                ["a=1", "b=2, 3"]
            );
            let lines = answer.fields.iter().filter(|(name, _)| name == "cache-control").count();
            assert_eq!(lines, 1, "it takes the place of the server's own");
        }
        let moved = edge.get("/old").await;
        let on_redirects = if dialect == Dialect::Cloudflare { "b" } else { "" };
        assert_eq!((moved.status, moved.field("x-a")), (301, on_redirects), "{dialect}");
        assert_eq!(edge.ask("GET", "/", &["Range: bytes=99-"]).await.field("x-a"), "", "{dialect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_has_the_fields_of_its_host() {
    for dialect in Dialect::ALL {
        let edge = site(&rules(dialect, "", "")).await;
        let answer = edge.get("/").await;
        assert_eq!(answer.field("x-content-type-options"), "nosniff", "{dialect}");
        let own =
            if dialect == Dialect::Cloudflare { ["*", "strict-origin-when-cross-origin"] } else { [""; 2] };
        assert_eq!(
            [answer.field("access-control-allow-origin"), answer.field("referrer-policy")],
            own,
            "{dialect}"
        );
        assert_eq!(edge.get("/_redirects").await.status, 404, "{dialect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_a_visitor_says_so_and_is_not_shared() {
    let edge = site(&rules(Dialect::Plain, "/ /de 302! Language=de\n/ /page 200! Cookie=beta\n", "")).await;
    for (fields, status, text) in [
        (&["Accept-Language: de-DE, en"][..], 302, ""),
        (&["Accept-Language: en", "Cookie: a=b; beta=1"], 200, "page"),
        (&[], 200, "home"),
    ] {
        let answer = edge.ask("GET", "/", fields).await;
        assert_eq!((answer.status, answer.text()), (status, text));
        let of_the_page = if status == 200 { "Accept-Encoding, " } else { "" };
        assert_eq!(answer.field("vary"), format!("{of_the_page}accept-language, cookie"), "{fields:?}");
        assert_eq!(answer.field("cache-control"), "private, max-age=0, must-revalidate", "{fields:?}");
    }
    assert_eq!(edge.get("/page").await.field("vary"), "Accept-Encoding");
    let json = r#"{"rewrites": [{"source": "/x", "has": [{"type": "header", "key": "X-Beta"}], "destination": "/page.html"}],
        "headers": [{"source": "/x", "headers": [{"key": "Vary", "value": "X-Own"}, {"key": "Cache-Control", "value": "public, s-maxage=9, max-age=5"}]}]}"#;
    let edge = site(&vercel(json)).await;
    let answer = edge.ask("GET", "/x", &["x-beta: 1"]).await;
    assert_eq!((answer.status, answer.text()), (200, "page"));
    assert_eq!(answer.field("cache-control"), "private, max-age=5");
    assert_eq!(answer.field("vary"), "Accept-Encoding, X-Own, x-beta");
    assert_eq!(edge.get("/x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn vercels_clean_urls_go_before_everything() {
    let edge = site(&vercel(r#"{"cleanUrls": true, "trailingSlash": false}"#)).await;
    for (path, location) in [("/page.html?a=1", "/page?a=1"), ("/page/", "/page"), ("/index", "/")] {
        let answer = edge.get(path).await;
        assert_eq!((answer.status, answer.field("location")), (308, location), "{path}");
    }
    assert_eq!(edge.get("/page").await.text(), "page");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_location_of_a_rule_leaves_the_site_or_its_line() {
    for dialect in LISTED {
        let edge = site(&rules(
            dialect,
            "/go/* /:splat 302\n/away https://example.com/:x 302\n",
            "/*\n  X-P: :splat\n",
        ))
        .await;
        for (path, location) in [
            ("/go//evil.example", "/evil.example"),
            ("/go///evil.example?x=//y", "/evil.example?x=//y"),
            ("/go/%5Cevil.example", "/%5Cevil.example"),
            ("/go/\\evil.example", "/%5Cevil.example"),
            ("/go/a?x=%0d%0aSet-Cookie:a=b", "/a?x=%0d%0aSet-Cookie:a=b"),
            ("/away", "https://example.com/:x"),
        ] {
            let answer = edge.get(path).await;
            assert_eq!((answer.status, answer.field("location")), (302, location), "{dialect} {path}");
            assert_eq!(answer.field("set-cookie"), "");
        }
        assert_eq!(edge.get("/go/%0d%0aSet-Cookie:a=b").await.status, 400, "{dialect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_deployed_before_there_were_rules_is_served_as_ever() {
    let edge = Running::start().await;
    let manifest = edge.publish_files(&[("about.html", b"a"), ("404.html", b"lost")]).await;
    let file = |(path, entry): (&str, FileEntry<'_>)| {
        let FileEntry { digest, size, media_type, .. } = entry;
        (path.to_owned(), serde_json::json!({ "digest": digest, "size": size, "type": media_type }))
    };
    let json = serde_json::json!({
        "version": 1,
        "deployment": manifest.deployment,
        "account": manifest.account,
        "project": manifest.project,
        "files": manifest.files.iter().map(file).collect::<serde_json::Map<_, _>>(),
    });
    let key = gv::ports::blobs::Key::manifest(manifest.deployment);
    edge.store(&key, json.to_string().as_bytes()).await;
    assert_eq!(edge.get("/about").await.text(), "a");
    assert_eq!(edge.get("/about.html").await.field("location"), "/about");
    assert_eq!(edge.get("/x").await.text(), "lost");
}
