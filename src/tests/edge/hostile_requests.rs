//! What nobody should send: paths, hosts and framing that try to reach something else.

use super::{Answer, Running};

async fn site() -> Running {
    let edge = Running::start().await;
    edge.publish_files(&[
        ("index.html", b"home"),
        ("docs/index.html", b"docs"),
        ("evil.example/index.html", b"x"),
        ("a b.txt", b"space"),
        ("\u{fc}.txt", b"umlaut"),
    ])
    .await;
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_paths_are_400_and_no_path_leaves_the_site() {
    let edge = site().await;
    let long = format!("/{}", "x".repeat(7_990));
    let longer = format!("/{}", "x".repeat(20_000));
    let deep = "/..".repeat(1_000) + "/docs/";
    for (path, status) in [
        ("/a%20b.txt", 200),
        ("/docs//", 200),
        ("/./docs/../docs/", 200),
        ("/../../../docs/", 200),
        (&deep, 200),
        ("/%2e%2e/%2E%2e/docs/", 200),
        ("/..%2f..%2fetc/passwd", 404),
        ("/%2e%2e%5c%2e%2e%5cetc", 404),
        ("/docs%2Findex.html", 404),
        ("/docs\\index.html", 404),
        ("/%252e%252e/etc/passwd", 404),
        (&long, 404),
        (&longer, 414),
        ("/%", 400),
        ("/%zz", 400),
        ("/%00", 400),
        ("/index.html%00.txt", 400),
        ("/%0d%0aSet-Cookie:a=b", 400),
        ("/%ff%fe", 400),
        ("/\u{fc}.txt", 200),
        ("/%c3%bc.txt?q=\u{e9}", 200),
        ("/docs?q=<b>", 400),
        ("/docs/`", 400),
        ("*", 400),
    ] {
        assert_eq!(edge.get(path).await.status, status, "{}", &path[..path.len().min(60)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_leaves_the_site() {
    let edge = site().await;
    for (path, location) in [
        ("//evil.example", "/evil.example/"),
        ("///evil.example?q=//x", "/evil.example/?q=//x"),
        ("/.//evil.example", "/evil.example/"),
        ("/docs?a=%0d%0ab", "/docs/?a=%0d%0ab"),
        ("/docs?a=\u{e9}", "/docs/?a=%C3%A9"),
    ] {
        let answer = edge.get(path).await;
        assert_eq!((answer.status, answer.field("location")), (308, location), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_one_site_in_every_spelling_and_nothing_else_is() {
    let edge = site().await;
    for host in
        ["blog.localhost", "BLOG.LocalHost", "blog.localhost.", "blog.localhost:8000", "blog.localhost:"]
    {
        assert_eq!(edge.host(host).await.status, 200, "{host}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]:8000", "", "xblog.localhost", "blog.localhost.evil.example"]
    {
        assert_eq!(edge.host(host).await.status, 404, "{host}");
    }
    for host in
        ["blog localhost", "blog.localhost/x", "me@blog.localhost", "blog..localhost", "blog.localhost:x"]
    {
        assert_eq!(edge.host(host).await.status, 400, "{host}");
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: blog.localhost\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n", 400),
        ("GET http://blog.localhost/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n", 200),
        ("GET http://other/ HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: blog.localhost\r\nConnection: close\r\n\r\n", 404),
        ("GET / HTTP/1.0\r\nHost: blog.localhost\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 400),
    ] {
        assert_eq!(edge.send(request.as_bytes()).await.status, status, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_two_servers_could_read_in_two_ways_is_refused_or_ends_the_connection() {
    let edge = site().await;
    let smuggled = "GET /docs/ HTTP/1.1\r\nHost: blog.localhost\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: x\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: what\r\n",
        "Transfer-Encoding: chunked, what\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\0b\r\n",
        "No colon\r\n",
    ] {
        for method in ["POST", "GET"] {
            let head =
                format!("{method} / HTTP/1.1\r\nHost: blog.localhost\r\n{fields}\r\n0\r\n\r\n{smuggled}");
            let bytes = edge.exchange(head.as_bytes()).await;
            let answer = Answer::parse(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            assert!(matches!(answer.status, 400 | 405 | 501), "{method} {fields:?}: {text}");
            assert!(!text.contains("docs"), "the second request was answered: {method} {fields:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_contents_of_a_get_are_read_past() {
    let edge = site().await;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: blog.localhost\r\n{more}\r\n");
    let requests = [
        "\r\n".to_owned(),
        get("/", "Content-Length: 5\r\n") + "GET /",
        get("/docs/", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n",
        get("/a%20b.txt", "Connection: close\r\n"),
    ];
    let text = String::from_utf8(edge.exchange(requests.concat().as_bytes()).await).unwrap();
    let places: Vec<_> = ["\r\n\r\nhome", "\r\n\r\ndocs", "\r\n\r\nspace"].map(|body| text.find(body)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_or_too_large_fields_are_431() {
    let edge = site().await;
    let many = "X-A: b\r\n".repeat(200);
    let large = format!("X-A: {}\r\n", "b".repeat(200_000));
    for fields in [many, large] {
        let head = format!("GET / HTTP/1.1\r\nHost: blog.localhost\r\n{fields}Connection: close\r\n\r\n");
        assert_eq!(edge.send(head.as_bytes()).await.status, 431);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_beyond_ascii_is_read_as_browsers_escape_it_and_other_bytes_are_refused() {
    let edge = Running::start().await;
    edge.publish_files(&[("caf\u{e9}.html", b"coffee")]).await;
    assert_eq!(edge.get("/caf%C3%A9").await.text(), "coffee");
    assert_eq!(edge.get("/caf\u{e9}").await.text(), "coffee");
    for target in [&b"/caf\xe9"[..], b"/\xff", b"/a\x01b", b"/a\0b"] {
        let head =
            [b"GET ", target, b" HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n"].concat();
        assert_eq!(edge.send(&head).await.status, 400, "{target:?}");
    }
}
