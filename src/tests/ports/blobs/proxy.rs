//! A proxy before the S3 server of the tests, which spoils requests as it is told. One request a
//! connection; each is remembered.

use crate::support::services;
use gv::adapters::blobs::s3::S3Blobs;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Nothing,
    /// Answered with this status and code, without the server.
    Answered(u16, &'static str),
    /// Taken, and never answered.
    Silence,
    /// The server gets half of its body, and then both lose the connection.
    CutRequest,
    /// The server does it, and half of the answer's body comes back.
    CutAnswer,
    /// The server does it, and nothing comes back.
    LostAnswer,
    /// Everything goes through, after a while.
    Slow(Duration),
    /// Its condition is not looked at.
    Unconditional,
}

type Choice = dyn FnMut(&str) -> Fault + Send;

pub struct Proxy {
    endpoint: String,
    server: String,
    /// The heads of all requests so far.
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// `choice` is asked about each request, by its head.
    pub async fn start(choice: impl FnMut(&str) -> Fault + Send + 'static) -> Self {
        let server = services::blobs_url().expect("GV_TEST_BLOBS_URL: run this by scripts/with-services");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let choice: Arc<Mutex<Choice>> = Arc::new(Mutex::new(choice));
        let (remembered, upstream) = (Arc::clone(&seen), authority(&server));
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let (choice, seen, upstream) =
                    (Arc::clone(&choice), Arc::clone(&remembered), upstream.clone());
                tokio::spawn(async move { pass(client, &upstream, &choice, &seen).await });
            }
        });
        Self { endpoint, server, seen, task }
    }

    /// The storage as it is seen through the proxy, and as it is: the same prefix.
    pub fn connect(&self) -> (S3Blobs, S3Blobs) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let through = with_endpoint(&self.server, &self.endpoint);
        let storage = |url: &str| S3Blobs::connect(url, None, None).unwrap();
        (storage(&through), storage(&self.server))
    }

    /// The heads of the requests so far that contain all of these.
    pub fn seen(&self, parts: &[&str]) -> Vec<String> {
        let all = self.seen.lock().unwrap();
        all.iter().filter(|head| parts.iter().all(|part| head.contains(part))).cloned().collect()
    }
}

fn with_endpoint(url: &str, endpoint: &str) -> String {
    let mut url = Url::parse(url).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let pairs = pairs.into_iter().map(|(name, value)| match name.as_str() {
        "endpoint" => (name, endpoint.to_owned()),
        _ => (name, value),
    });
    let pairs: Vec<_> = pairs.collect();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url.into()
}

fn authority(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    let endpoint = url.query_pairs().find(|(name, _)| name == "endpoint").unwrap().1.into_owned();
    Url::parse(&endpoint).unwrap().authority().to_owned()
}

async fn pass(
    mut client: TcpStream,
    upstream: &str,
    choice: &Mutex<Choice>,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let (head, mut body) = read_head(&mut client).await?;
    let fault = (choice.lock().unwrap())(&head);
    seen.lock().unwrap().push(head.clone());
    let len = content_length(&head);
    let wanted = if fault == Fault::CutRequest { len / 2 } else { len };
    while body.len() < wanted {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    body.truncate(wanted);
    match fault {
        Fault::Answered(status, code) => {
            let document = format!("<Error><Code>{code}</Code><Message>by the proxy</Message></Error>");
            let answer = format!(
                "HTTP/1.1 {status} no\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}",
                document.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fault::Silence => return std::future::pending().await,
        Fault::Slow(time) => tokio::time::sleep(time).await,
        Fault::Unconditional if head.contains("\r\nif-") => {
            let tag = put_plainly(&head, &body).await;
            let answer =
                format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return client.write_all(answer.as_bytes()).await;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    let head = head.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    if fault == Fault::CutRequest {
        return server.shutdown().await;
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match fault {
        Fault::LostAnswer => Ok(()),
        Fault::CutAnswer => {
            let head = find(&answer, b"\r\n\r\n").unwrap() + 4;
            client.write_all(&answer[..head + (answer.len() - head) / 2]).await
        }
        _ => client.write_all(&answer).await,
    }
}

/// The same object, stored by rust-s3's own client without the condition. Its tag.
async fn put_plainly(head: &str, body: &[u8]) -> String {
    let path = head.split(' ').nth(1).unwrap().strip_prefix("/gv-test").unwrap();
    let stored = bucket().put_object(path, body).await.unwrap();
    stored.headers().remove("etag").unwrap()
}

/// The bucket of the tests, by rust-s3 itself.
pub fn bucket() -> Box<s3::Bucket> {
    let url = std::env::var("GV_TEST_BLOBS_URL").unwrap();
    let region =
        s3::Region::Custom { region: "us-east-1".into(), endpoint: format!("http://{}", authority(&url)) };
    let credentials = s3::creds::Credentials::from_env().unwrap();
    s3::Bucket::new("gv-test", region, credentials).unwrap().with_path_style()
}

/// The head, and what came of the body with it.
async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes).unwrap(), body));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn content_length(head: &str) -> usize {
    let line = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |len| len.parse().unwrap())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
