//! The proxy between a client and a server that keeps what it is sent.

use super::*;
use crate::support::gv::client;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use rand::SeedableRng;
use reqwest::Client;
use std::collections::HashMap;

type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

async fn store(request: HttpRequest, objects: web::Data<Objects>, body: Bytes) -> HttpResponse {
    let key = request.path().to_owned();
    let mut objects = objects.lock().unwrap();
    if request.method() == "PUT" {
        objects.insert(key, body);
        return HttpResponse::Ok()
            .insert_header(("host-was", request.headers().get("host").unwrap().clone()))
            .finish();
    }
    let Some(bytes) = objects.get(&key).cloned() else { return HttpResponse::NotFound().finish() };
    if request.query_string() == "chunked" {
        let pieces: Vec<_> = bytes.chunks(1000).map(Bytes::copy_from_slice).map(Result::Ok).collect();
        return HttpResponse::Ok()
            .streaming(futures_util::stream::iter::<Vec<std::result::Result<_, Error>>>(pieces));
    }
    HttpResponse::Ok().body(bytes)
}

/// A server that keeps what it is sent, behind a proxy.
struct Stage {
    proxy: S3Proxy,
    client: Client,
    _server: AbortOnDropHandle<Result<()>>,
}

impl Stage {
    async fn set(seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let objects = web::Data::new(Objects::default());
        let app = move || {
            let limit = web::PayloadConfig::new(8 << 20);
            App::new().app_data(objects.clone()).app_data(limit).default_service(web::to(store))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap();
        let server = AbortOnDropHandle::new(tokio::spawn(server.run()));
        let proxy = S3Proxy::start(address, StdRng::seed_from_u64(seed)).await;
        Self { proxy, client: client(), _server: server }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.door.address())
    }

    async fn put(&self, path: &str, body: Vec<u8>) -> reqwest::Result<reqwest::Response> {
        self.client.put(self.url(path)).body(body).send().await
    }

    /// Its status and whole body.
    async fn get(&self, path: &str) -> reqwest::Result<(u16, Vec<u8>)> {
        let response = self.client.get(self.url(path)).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.bytes().await?.to_vec()))
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn requests_pass_unchanged_over_kept_connections_and_are_counted() {
    let stage = Stage::set(1).await;
    for round in 0..3 {
        let stored = stage.put("/b/one", noise(300_000)).await.unwrap();
        assert_eq!(stored.headers()["host-was"], stage.proxy.door.address().to_string());
        for path in ["/b/one", "/b/one?chunked"] {
            assert!(stage.get(path).await.unwrap() == (200, noise(300_000)), "{path} in round {round}");
        }
        assert_eq!(stage.get("/b/two").await.unwrap().0, 404);
        let head = stage.client.head(stage.url("/b/one")).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], "300000");
    }
    assert_eq!([stage.proxy.count("PUT", "/one"), stage.proxy.count("GET", "/b/")], [3, 9]);
    let first = stage.proxy.seen()[0].clone();
    assert_eq!((first.method.as_str(), first.path.as_str(), first.bytes), ("PUT", "/b/one", 300_000));
    stage.proxy.forget();
    assert!(stage.proxy.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_waits_to_be_asked_for_is_asked_for() {
    let stage = Stage::set(1).await;
    let mut stream = TcpStream::connect(stage.proxy.door.address()).await.unwrap();
    let head = b"PUT /b/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    stream.write_all(b"abc").await.unwrap();
    stream.read_line(&mut line).await.unwrap();
    line.clear();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    assert_eq!(stage.get("/b/x").await.unwrap().1, b"abc");
}

#[tokio::test]
async fn a_share_of_requests_is_told_to_slow_down_by_the_seed() {
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let stage = Stage::set(seed).await;
        stage.proxy.misbehave(Misbehaviour { busy: 0.3, ..Misbehaviour::default() });
        let mut statuses = Vec::new();
        for _ in 0..100 {
            let response = stage.put("/b/one", noise(2_000)).await.unwrap();
            statuses.push(response.status().as_u16());
            let text = response.text().await.unwrap();
            assert_eq!(text.contains("<Code>SlowDown</Code>"), statuses.last() == Some(&503));
        }
        let busy = statuses.iter().filter(|status| **status == 503).count();
        assert!((15..=45).contains(&busy), "{busy} of 100");
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn bodies_are_cut_half_way_and_nothing_of_them_is_kept() {
    let stage = Stage::set(1).await;
    stage.proxy.misbehave(Misbehaviour { cut_uploads: 1.0, ..Misbehaviour::default() });
    assert!(stage.put("/b/one", noise(1_000_000)).await.is_err());
    assert_eq!(stage.get("/b/one").await.unwrap().0, 404, "a request without a body passes");
    stage.proxy.misbehave(Misbehaviour::default());
    stage.put("/b/one", noise(1_000_000)).await.unwrap();
    stage.proxy.misbehave(Misbehaviour { cut_downloads: 1.0, ..Misbehaviour::default() });
    for path in ["/b/one", "/b/one?chunked"] {
        assert!(stage.get(path).await.is_err(), "{path}");
    }
    stage.proxy.misbehave(Misbehaviour::default());
    assert!(stage.get("/b/one").await.unwrap() == (200, noise(1_000_000)));
}
