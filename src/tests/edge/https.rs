//! Visitors who come without TLS are sent to it, and told to stay.

use super::tls::certificate;
use super::{Answer, HOUR, Running, Secured};
use gv::domain::host::HostKind;
use gv::domain::routing::compile::{Settings, compile};
use gv::domain::routing::sources::Sources;
use gv::edge::EdgeSettings;
use gv::tls::https::Elsewhere;

const HSTS: &str = "strict-transport-security";

/// With clients that speak HTTP/1.1 and HTTP/2, and where both find it.
async fn edge(https_redirect: Option<u16>, hsts_max_age_s: u64) -> (Running, [reqwest::Client; 2], String) {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let cert = reqwest::Certificate::from_pem(&std::fs::read(&files.cert).unwrap()).unwrap();
    let settings = EdgeSettings { pointer_ttl: HOUR, hsts_max_age_s, ..EdgeSettings::default() };
    let (files, elsewhere) = (Some(files.certificate().unwrap()), https_redirect.map(Elsewhere));
    let edge = Running::with_tls(settings, Secured { files, elsewhere, ..Secured::default() }).await;
    let headers = "/own/*\n  Strict-Transport-Security: max-age=5\n/never/*\n  ! Strict-Transport-Security\n";
    let sources = Sources { headers: Some(headers.to_owned()), ..Sources::default() };
    let rules = compile(&sources, Settings::default()).unwrap().rules;
    let files: [(&str, &[u8]); 3] =
        [("index.html", b"home"), ("own/index.html", b"own"), (".well-known/acme-challenge/x", b"token")];
    edge.publish_with(("blog.localhost", 1, HostKind::Production), &files, &rules).await;
    let address = edge.tls_address.unwrap();
    let client = || {
        let builder = reqwest::Client::builder().tls_certs_only([cert.clone()]);
        builder.resolve("blog.localhost", address).redirect(reqwest::redirect::Policy::none())
    };
    let clients = [client().http1_only().build().unwrap(), client().build().unwrap()];
    (edge, clients, format!("https://blog.localhost:{}", address.port()))
}

async fn by_tls(client: &reqwest::Client, method: &str, url: String, fields: &[(&str, &str)]) -> Answer {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = fields
        .iter()
        .fold(client.request(method, url), |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let fields = answer.headers().iter();
    let fields = fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    Answer { status: answer.status().as_u16(), fields, body: answer.bytes().await.unwrap().to_vec() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_by_http_is_sent_to_the_same_address_by_https() {
    let (edge, clients, url) = edge(Some(8443), 0).await;
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        let sent = edge.ask(method, "/a%20b?c=d", &[]).await;
        assert_eq!((sent.status, sent.field("location")), (308, "https://blog.localhost:8443/a%20b?c=d"));
        assert_eq!((sent.field("content-length"), sent.body.len(), sent.field(HSTS)), ("0", 0, ""));
    }
    // By actix-web.
    let unusual =
        "POST /x HTTP/1.1\r\nHost: Blog.localhost:80\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    let sent = edge.send(unusual.as_bytes()).await;
    assert_eq!((sent.status, sent.field("location")), (308, "https://blog.localhost:8443/x"));
    assert_eq!(edge.host("unknown.localhost").await.status, 308);
    assert_eq!(edge.host("a b").await.status, 400);
    assert_eq!(edge.ask("TRACE", "/", &[]).await.status, 405);
    for client in &clients {
        assert_eq!(by_tls(client, "GET", url.clone(), &[]).await.text(), "home");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_certificate_authorities_ask_for_by_http_is_answered() {
    let (edge, ..) = edge(Some(443), 0).await;
    assert_eq!(edge.get("/.well-known/acme-challenge/x").await.text(), "token");
    assert_eq!(edge.get("/.well-known/acme-challenge/none").await.status, 404);
    assert_eq!(
        edge.get("/.well-known/other").await.field("location"),
        "https://blog.localhost/.well-known/other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_stay_with_tls_by_tls_alone_and_a_sites_own_word_wins() {
    let (edge, clients, url) = edge(None, 86_400).await;
    let etag = edge.get("/").await.field("etag").to_owned();
    for client in clients.iter().chain(&clients) {
        for (method, path, fields, status) in [
            ("GET", "/", &[] as &[(&str, &str)], 200),
            ("HEAD", "/", &[], 200),
            ("GET", "/", &[("if-none-match", &*etag)], 304),
            ("GET", "/", &[("range", "bytes=0-1")], 206),
            ("GET", "//index.html", &[], 308),
            ("GET", "/none", &[], 404),
            ("POST", "/", &[], 405),
        ] {
            let answer = by_tls(client, method, format!("{url}{path}"), fields).await;
            assert_eq!((answer.status, answer.field(HSTS)), (status, "max-age=86400"), "{method} {path}");
            let plain: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
            let plain = edge.ask(method, path, &plain).await;
            assert_eq!((plain.status, plain.field(HSTS)), (status, ""), "{method} {path}");
        }
        for fields in [&[] as &[(&str, &str)], &[("range", "bytes=0-1")], &[("if-none-match", "*")]] {
            let own = by_tls(client, "GET", format!("{url}/own/"), fields).await;
            let said: Vec<_> =
                own.fields.iter().filter(|(name, _)| name == HSTS).map(|(_, value)| &**value).collect();
            assert_eq!(said, ["max-age=5"], "{fields:?}");
        }
    }
}
