//! What a visitor of a site gets.

use super::{Running, noise};
use gv::domain::host::HostKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_with_its_type_its_tag_and_its_deployment() {
    let edge = Running::start().await;
    let manifest =
        edge.publish_files(&[("index.html", b"<h1>hi</h1>"), ("assets/a-BkT7aQ2x.js", b"1")]).await;
    let answer = edge.get("/").await;
    assert_eq!((answer.status, answer.text()), (200, "<h1>hi</h1>"));
    let (_, entry) = manifest.files.get("index.html").unwrap();
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "11"),
        ("cache-control", "public, max-age=0, must-revalidate"),
        ("etag", &format!("\"{}\"", &entry.digest.to_string()[..32])),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("cache-status", "gv-edge; fwd=miss; detail=storage"),
        ("x-gv-deployment", &manifest.deployment.to_string()),
        ("x-robots-tag", ""),
        ("server", "gv"),
    ] {
        assert_eq!(answer.field(name), value, "{name}");
    }
    assert_eq!(edge.get("/").await.field("cache-status"), "gv-edge; hit; detail=memory");
    let script = edge.get("/assets/a-BkT7aQ2x.js").await;
    assert_eq!(script.field("cache-control"), "public, max-age=31536000, immutable");
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_kept_from_search_engines() {
    let edge = Running::start().await;
    edge.publish(("blog-git-x.localhost", 1, HostKind::Branch), &[("index.html", b"x")]).await;
    let answer = edge.host("blog-git-x.localhost").await;
    assert_eq!((answer.status, answer.field("x-robots-tag")), (200, "noindex"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_one_address_and_what_is_missing_has_the_sites_own_page() {
    let edge = Running::start().await;
    edge.publish_files(&[("about.html", b"a"), ("docs/index.html", b"d"), ("404.html", b"lost")]).await;
    let moved = edge.get("/about.html?x=1").await;
    assert_eq!((moved.status, moved.field("location")), (308, "/about?x=1"));
    assert_eq!(edge.get("/docs").await.field("location"), "/docs/");
    assert_eq!(edge.get("/docs/").await.text(), "d");
    let lost = edge.ask("GET", "/docs/nothing", &["Range: bytes=0-0", "If-None-Match: *"]).await;
    assert_eq!((lost.status, lost.text(), lost.field("cache-control")), (404, "lost", "no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_the_fields_of_a_get_and_no_body() {
    let edge = Running::start().await;
    let large = noise(9 * 1024 * 1024, 1);
    let files: [(&str, &[u8]); 4] =
        [("index.html", b"hi"), ("large", &large), ("about.html", b"a"), ("x/404.html", b"lost")];
    edge.publish_files(&files).await;
    for path in ["/", "/large", "/about.html", "/x/y", "/nothing", "/%00"] {
        edge.get(path).await;
        let (get, head) = (edge.get(path).await, edge.ask("HEAD", path, &["Range: bytes=0-0"]).await);
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(head.status, get.status, "{path}");
        let mut fields = get.lasting_fields();
        if path == "/large" {
            // Nothing was streamed for it.
            fields.retain(|(name, _)| name != "cache-status");
        }
        let differing: Vec<_> = fields.iter().filter(|field| !head.fields.contains(field)).collect();
        assert!(differing.is_empty(), "{path}: {differing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_head_leaves_the_connection_usable() {
    let edge = Running::start().await;
    edge.publish_files(&[("index.html", b"hi")]).await;
    let head = "HEAD / HTTP/1.1\r\nHost: blog.localhost\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n";
    let bytes = edge.exchange(format!("{head}{head}{get}").as_bytes()).await;
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert!(text.ends_with("\r\n\r\nhi"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_ranges_are_answered_over_small_and_large_files() {
    let edge = Running::start().await;
    let large = noise(9 * 1024 * 1024 + 7, 2);
    let paged = noise(100 * 1024 + 3, 3);
    edge.publish_files(&[("small", b"0123456789"), ("paged", &paged), ("large", &large)]).await;
    for (path, bytes) in [("/small", &b"0123456789"[..]), ("/paged", &paged), ("/large", &large)] {
        let etag = edge.ask("HEAD", path, &[]).await.field("etag").to_owned();
        let part = edge.ask("GET", path, &["Range: bytes=2-5"]).await;
        assert_eq!((part.status, &part.body[..]), (206, &bytes[2..6]), "{path}");
        assert_eq!(part.field("content-range"), format!("bytes 2-5/{}", bytes.len()));
        let tail = edge.ask("GET", path, &["Range: bytes=-3", &format!("If-Range: {etag}")]).await;
        assert_eq!((tail.status, &tail.body[..]), (206, &bytes[bytes.len() - 3..]), "{path}");
        let whole = edge.ask("GET", path, &["Range: bytes=2-5", "If-Range: \"other\""]).await;
        assert!(whole.status == 200 && whole.body == bytes, "{path}");
        let beyond = edge.ask("GET", path, &["Range: bytes=999999999-"]).await;
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.field("content-range"), format!("bytes */{}", bytes.len()));
        let same = edge.ask("GET", path, &[&format!("If-None-Match: W/{etag}")]).await;
        assert_eq!((same.status, same.body.len(), same.field("etag")), (304, 0, etag.as_str()));
        assert_eq!(same.field("cache-control"), "public, max-age=0, must-revalidate");
        assert_eq!(edge.ask("GET", path, &["If-Match: \"other\""]).await.status, 412);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_get_and_head_read_files() {
    let edge = Running::start().await;
    edge.publish_files(&[("index.html", b"hi")]).await;
    let options = edge.ask("OPTIONS", "/", &[]).await;
    assert_eq!((options.status, options.field("allow")), (204, "GET, HEAD"));
    assert_eq!(edge.ask("OPTIONS", "*", &[]).await.status, 204);
    let mut tunnel = edge.connect().await;
    tunnel.write_all(b"CONNECT blog.localhost:80 HTTP/1.1\r\nHost: blog.localhost:80\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    tunnel.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 405", "no tunnel is opened");
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "get"] {
        let refused = edge.ask(method, "/", &[]).await;
        assert_eq!((refused.status, refused.field("allow")), (405, "GET, HEAD"), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_downloads_finish_and_closes_idle_connections() {
    let edge = Running::start().await;
    let large = noise(24 * 1024 * 1024, 3);
    edge.publish_files(&[("large", &large)]).await;
    let mut idle = edge.connect().await;
    idle.write_all(b"HEAD /large HTTP/1.1\r\nHost: blog.localhost\r\n\r\n").await.unwrap();
    let mut piece = [0; 1024];
    assert!(idle.read(&mut piece).await.unwrap() > 0);
    let mut download = edge.connect().await;
    download.write_all(b"GET /large HTTP/1.1\r\nHost: blog.localhost\r\n\r\n").await.unwrap();
    let begun = download.read(&mut piece).await.unwrap();
    edge.stop.cancel();
    assert_eq!(idle.read(&mut piece).await.unwrap(), 0, "an idle connection is closed");
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&large[large.len() - 4096..]));
    assert!(begun + rest.len() > large.len());
    edge.serving.await.unwrap().unwrap();
}
