//! HTTP as the specification's section 7 has it: codings, their tags and ranges, what varies. What of
//! it is pure rules is tested in `domain::http`; connections and framing are in `front`.

use super::{Answer, Running};
use gv::domain::coding::Coding;
use gv::domain::host::HostKind;
use gv::domain::manifest::Manifest;
use gv::domain::routing::compile::{Settings, compile};
use gv::domain::routing::sources::Sources;
use gv::ports::blobs::Key;

const PAGE: &[u8] = b"<h1>the page, as it is</h1>";
const BROTLI: &[u8] = b"in brotli";
const ZSTD: &[u8] = b"in zstandard";
const GZIP: &[u8] = b"in gzip";

/// A site whose page and 404.html are also kept in all codings. What the codings hold is not for the
/// edge to know.
async fn coded(edge: &Running) -> Manifest {
    edge.publish_coded(
        &[("index.html", PAGE), ("404.html", PAGE), ("photo.jpg", b"photo")],
        &[(Coding::Brotli, BROTLI), (Coding::Zstd, ZSTD), (Coding::Gzip, GZIP)],
    )
    .await
}

async fn accepting(edge: &Running, method: &str, path: &str, codings: &str) -> Answer {
    edge.ask(method, path, &[&format!("Accept-Encoding: {codings}")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_gets_the_best_coding_that_it_takes_each_with_a_tag_of_its_own() {
    let edge = Running::start().await;
    let manifest = coded(&edge).await;
    let (_, entry) = manifest.files.get("index.html").unwrap();
    let digest = &entry.digest.to_string()[..32];
    let tag_of = |coding| {
        let check = entry.codings.get(coding).unwrap().check.to_string();
        format!("\"{digest}-{coding}-{}\"", &check[..8])
    };
    // Twice: the second is from memory.
    for _ in 0..2 {
        for (codings, body, coding, tag) in [
            ("gzip, deflate, br, zstd", BROTLI, "br", tag_of(Coding::Brotli)),
            ("GZIP, ZSTD;q=0.9", GZIP, "gzip", tag_of(Coding::Gzip)),
            ("zstd, gzip", ZSTD, "zstd", tag_of(Coding::Zstd)),
            ("br;q=0, *", ZSTD, "zstd", tag_of(Coding::Zstd)),
            ("deflate, br;q=0", PAGE, "", format!("\"{digest}\"")),
            ("*;q=0", PAGE, "", format!("\"{digest}\"")),
            ("", PAGE, "", format!("\"{digest}\"")),
        ] {
            let answer = accepting(&edge, "GET", "/", codings).await;
            assert_eq!((answer.status, &*answer.body), (200, body), "{codings}");
            assert_eq!(
                (answer.field("content-encoding"), answer.field("etag")),
                (coding, &*tag),
                "{codings}"
            );
            assert_eq!(answer.field("vary"), "Accept-Encoding", "{codings}");
            assert_eq!(answer.field("content-length"), body.len().to_string());
            assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
            let head = accepting(&edge, "HEAD", "/", codings).await;
            assert_eq!(head.lasting_fields(), edge.warm_fields("/", codings).await, "{codings}");
        }
    }
    assert_eq!(&*edge.get("/").await.body, PAGE, "nothing is coded for who does not ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_coded_does_not_vary() {
    let edge = Running::start().await;
    coded(&edge).await;
    let photo = accepting(&edge, "GET", "/photo.jpg", "br").await;
    assert_eq!((photo.field("vary"), photo.field("content-encoding")), ("", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_about_the_coding_that_would_be_sent() {
    let edge = Running::start().await;
    coded(&edge).await;
    let plain = edge.get("/").await.field("etag").to_owned();
    let brotli = accepting(&edge, "GET", "/", "br").await.field("etag").to_owned();
    for (codings, tag, status) in [
        ("br", &brotli, 304),
        ("br", &plain, 200),
        ("gzip", &brotli, 200),
        ("identity", &plain, 304),
        ("identity", &brotli, 200),
    ] {
        let fields = [format!("Accept-Encoding: {codings}"), format!("If-None-Match: {tag}")];
        let answer = edge.ask("GET", "/", &[&fields[0], &fields[1]]).await;
        assert_eq!(answer.status, status, "{codings} {tag}");
        assert_eq!(answer.field("vary"), "Accept-Encoding");
        if status == 304 {
            assert_eq!((answer.field("etag"), answer.field("content-encoding")), (&**tag, ""));
            assert_eq!((answer.field("content-length"), answer.body.len()), ("", 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_of_the_file_as_it_is() {
    let edge = Running::start().await;
    coded(&edge).await;
    for _ in 0..2 {
        let part = edge.ask("GET", "/", &["Accept-Encoding: br", "Range: bytes=4-7"]).await;
        assert_eq!((part.status, &*part.body, part.field("content-encoding")), (206, &PAGE[4..8], ""));
        assert_eq!(part.field("content-range"), format!("bytes 4-7/{}", PAGE.len()));
        assert_eq!((part.field("content-length"), part.field("vary")), ("4", "Accept-Encoding"));
        assert_eq!(part.field("etag"), edge.get("/").await.field("etag"));
        let several = edge.ask("GET", "/", &["Range: bytes=0-1,4-5"]).await;
        assert_eq!((several.status, &*several.body), (200, PAGE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_what_is_missing_is_coded_too_and_answers_no_conditions() {
    let edge = Running::start().await;
    coded(&edge).await;
    for _ in 0..2 {
        let lost =
            edge.ask("GET", "/no", &["Accept-Encoding: br", "If-None-Match: *", "Range: bytes=0-1"]).await;
        assert_eq!((lost.status, &*lost.body), (404, PAGE), "a range is not coded");
        let lost = accepting(&edge, "GET", "/no", "br").await;
        assert_eq!((lost.status, &*lost.body, lost.field("etag")), (404, BROTLI, ""));
        assert_eq!((lost.field("vary"), lost.field("cache-control")), ("Accept-Encoding", "no-store"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_that_is_lost_or_wrong_costs_bytes_and_not_the_page() {
    let edge = Running::start().await;
    let manifest = coded(&edge).await;
    let (_, entry) = manifest.files.get("index.html").unwrap();
    let key = |coding| {
        let check = entry.codings.get(coding).unwrap().check;
        Key::coded(manifest.account, &entry.digest, &check, coding)
    };
    edge.remove(&key(Coding::Brotli)).await;
    edge.store(&key(Coding::Gzip), b"IN GZIP").await;
    for codings in ["br", "gzip"] {
        let answer = accepting(&edge, "GET", "/", codings).await;
        assert_eq!(
            (answer.status, &*answer.body, answer.field("content-encoding")),
            (200, PAGE, ""),
            "{codings}"
        );
    }
    assert_eq!(&*accepting(&edge, "GET", "/", "zstd").await.body, ZSTD);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_rules_are_in_ready_answers_and_conditions_are_asked_each_time() {
    let edge = Running::start().await;
    let headers = "/*\n  X-Frame-Options: DENY\n";
    let redirects = "/hello  /de.html  200!  Language=de\n";
    let sources = Sources {
        headers: Some(headers.to_owned()),
        redirects: Some(redirects.to_owned()),
        ..Sources::default()
    };
    let rules = compile(&sources, Settings::default()).unwrap().rules;
    let files: [(&str, &[u8]); 3] = [("hello.html", b"hello"), ("de.html", b"hallo"), ("a.txt", b"a")];
    edge.publish_with(("blog.localhost", 1, HostKind::Production), &files, &rules).await;
    for _ in 0..3 {
        let german = edge.ask("GET", "/hello", &["Accept-Language: de"]).await;
        let english = edge.ask("GET", "/hello", &["Accept-Language: en"]).await;
        assert_eq!((german.text(), english.text()), ("hallo", "hello"));
        let same = edge.ask("GET", "/a.txt", &["If-None-Match: *"]).await;
        assert_eq!((same.status, same.field("x-frame-options")), (304, "DENY"));
        assert_eq!(edge.get("/a.txt?x=1").await.field("x-frame-options"), "DENY");
    }
}
