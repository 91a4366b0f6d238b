//! Whatever a visitor asks by HTTP/2, the answer is that of HTTP/1.1.

use super::Secure;
use crate::edge::{Answer, Running, noise};
use gv::domain::coding::Coding;
use gv::domain::host::HostKind;
use gv::domain::routing::compile::{Settings, compile};
use gv::domain::routing::sources::Sources;
use std::time::Duration;

/// What both must say alike: fields of the connection belong to HTTP/1.1.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>) {
    let mut fields = answer.lasting_fields();
    fields.retain(|(name, _)| name != "connection");
    (answer.status, fields)
}

async fn asked_by_http_1(edge: &Running, method: &str, path: &str, fields: &[&str]) -> Answer {
    let mut answer = edge.ask(method, path, fields).await;
    if method == "HEAD" {
        answer.body.clear();
    }
    answer
}

/// Asks everything by both, twice, so that the second answers are from memory.
async fn both_say_the_same(secure: &Secure, asked: &[(&str, &str, &[&str])]) {
    let client = secure.client().await;
    for (method, path, fields) in asked {
        // As warm as what is compared with it.
        asked_by_http_1(&secure.edge, method, path, fields).await;
        for _ in 0..2 {
            let first = asked_by_http_1(&secure.edge, method, path, fields).await;
            let second = client.ask(method, "blog.localhost", path, fields).await;
            let case = format!("{method} {} {fields:?}", &path[..path.len().min(60)]);
            assert_eq!(told(&first), told(&second), "{case}");
            assert!(first.body == second.body, "{case}");
            assert!(second.field("date").ends_with(" GMT"), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_pages_conditions_ranges_and_codings_are_the_same_by_http_2() {
    let secure = Secure::start().await;
    let (large, paged) = (noise(9 * 1024 * 1024, 1), noise(300 * 1024, 2));
    let files: [(&str, &[u8]); 6] = [
        ("index.html", b"<h1>home</h1>"),
        ("404.html", b"lost"),
        ("a b.txt", b"space"),
        ("empty", b""),
        ("large", &large),
        ("paged", &paged),
    ];
    let codings: [(Coding, &[u8]); 2] = [(Coding::Brotli, b"in brotli"), (Coding::Gzip, b"in gzip")];
    let manifest = secure.edge.publish_coded(&files, &codings).await;
    let tag = secure.edge.get("/").await.field("etag").to_owned();
    let (if_none_match, if_match) = (format!("If-None-Match: {tag}"), "If-Match: \"other\"".to_owned());
    let paths: Vec<String> =
        manifest.files.iter().map(|(path, _)| format!("/{}", path.replace(' ', "%20"))).collect();
    let mut asked: Vec<(&str, &str, &[&str])> = Vec::new();
    for path in &paths {
        asked.push(("GET", path, &[]));
        asked.push(("HEAD", path, &[]));
    }
    let conditions = [[&*if_none_match], [&*if_match]];
    let by_fields: [&[&str]; 8] = [
        &["Accept-Encoding: br"],
        &["Accept-Encoding: zstd, gzip;q=0.5"],
        &["Accept-Encoding: br", "Range: bytes=1-3"],
        &["Range: bytes=-2"],
        &["Range: bytes=100-"],
        &["Range: bytes=0-1,3-4"],
        &conditions[0],
        &conditions[1],
    ];
    asked.extend(by_fields.map(|fields| ("GET", "/", fields)));
    asked.extend([("GET", "/paged", &["Range: bytes=1000-200000"] as &[&str])]);
    asked.extend([("GET", "/large", &["Range: bytes=1000000-8000000"] as &[&str])]);
    for path in ["/nothing", "/index.html", "/%", "/%00", "/%2e%2e/", "//evil.example", "/?a=b", "/no?a=%0d"]
    {
        asked.push(("GET", path, &[]));
    }
    let long = format!("/{}", "x".repeat(20_000));
    asked.push(("GET", &long, &[]));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW", "TRACE"] {
        asked.push((method, "/", &[]));
        asked.push((method, "/nothing", &[]));
    }
    both_say_the_same(&secure, &asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_the_same_by_http_2() {
    let secure = Secure::start().await;
    let redirects = "/old/*  /new/:splat  302\n/hello  /de.html  200!  Language=de\n/members  /in.html  200!  Cookie=member\n";
    let headers = "/*\n  X-Frame-Options: DENY\n  Set-Cookie: a=b\n";
    let sources = Sources {
        headers: Some(headers.to_owned()),
        redirects: Some(redirects.to_owned()),
        ..Sources::default()
    };
    let rules = compile(&sources, Settings::default()).unwrap().rules;
    let files: [(&str, &[u8]); 4] =
        [("hello.html", b"hello"), ("de.html", b"hallo"), ("members.html", b"out"), ("in.html", b"in")];
    secure.edge.publish_with(("blog.localhost", 1, HostKind::Production), &files, &rules).await;
    both_say_the_same(
        &secure,
        &[
            ("GET", "/old/a?b=c", &[]),
            ("POST", "/old/a", &[]),
            ("GET", "/hello", &["Accept-Language: de"]),
            ("GET", "/hello", &["Accept-Language: en"]),
            ("GET", "/members", &["Cookie: a=b; member=1"]),
            ("GET", "/members", &[]),
        ],
    )
    .await;
    // As browsers send them by HTTP/2.
    let crumbs = ["Cookie: a=b", "Cookie: member=1"];
    let member = secure.client().await.ask("GET", "blog.localhost", "/members", &crumbs).await;
    assert_eq!(member.text(), "in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_the_site_and_another_host_beside_it_is_refused() {
    let secure = Secure::start().await;
    secure.edge.publish_files(&[("index.html", b"home")]).await;
    let client = secure.client().await;
    for (authority, fields, status) in [
        ("blog.localhost", &[] as &[&str], 200),
        ("BLOG.localhost.:8443", &[], 200),
        ("blog.localhost", &["Host: blog.localhost"], 200),
        ("blog.localhost", &["Host: other"], 400),
        ("other", &["Host: blog.localhost"], 400),
        ("blog.localhost", &["Host: blog.localhost", "Host: other"], 400),
        ("me@blog.localhost", &[], 400),
        ("other.localhost", &["X-Forwarded-Host: blog.localhost"], 404),
        ("127.0.0.1", &[], 404),
    ] {
        let answer = client.ask("GET", authority, "/", fields).await;
        assert_eq!(answer.status, status, "{authority} {fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_http_1_by_tls_gets_it_and_browsers_get_http_2() {
    let secure = Secure::start().await;
    for (offered, taken) in [
        (&[&b"h2"[..], b"http/1.1"] as &[&[u8]], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[], None),
    ] {
        let stream = secure.connect(offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), taken, "{offered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_answers_come_whole_beside_each_other_and_past_a_stop() {
    let secure = Secure::start().await;
    let files: Vec<(String, Vec<u8>)> =
        (0..12).map(|n| (format!("f{n}"), noise(if n % 2 == 0 { 9 << 20 } else { 400 << 10 }, n))).collect();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    secure.edge.publish_files(&named).await;
    let client = secure.client().await;
    let mut heads = Vec::new();
    for (name, _) in &files {
        heads.push(client.send("GET", "blog.localhost", &format!("/{name}"), &[]).await.unwrap());
    }
    secure.edge.stop.cancel();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let bodies = heads.into_iter().map(|head| tokio::spawn(super::answer(head)));
    for (body, (name, bytes)) in bodies.collect::<Vec<_>>().into_iter().zip(&files) {
        assert!(body.await.unwrap().body == *bytes, "{name}");
    }
    let ended = tokio::time::timeout(Duration::from_secs(20), secure.edge.serving).await;
    ended.expect("the connection keeps the edge from ending").unwrap().unwrap();
    assert!(client.send("GET", "blog.localhost", "/f0", &[]).await.is_err(), "it was told to go away");
}
