//! A registry of npm packages on loopback, whose packages are made by the test: what it answers has
//! the form of the real one, and it can be away, lie or be slow.
//!
//! Start with [`Registry::start`], then [`Registry::publish`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Registry {
    address: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    address: String,
    packages: HashMap<String, Vec<Version>>,
    is_down: bool,
    /// Paths, in the order in which they were asked for.
    asked: Vec<String>,
}

struct Version {
    number: String,
    archive: Vec<u8>,
    integrity: Option<String>,
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State { address: address.clone(), ..State::default() }));
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new(); // ends its connections with itself
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(answer(stream, shared.clone()));
            }
        });
        Self { address, state, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}/npm/", self.address)
    }

    /// Publishes a version whose archive has these files, all of which may be run.
    pub fn publish(&self, package: &str, version: &str, files: &[(&str, &str)]) {
        let archive = archive(files);
        let integrity = Some(format!("sha512-{}", STANDARD.encode(Sha512::digest(&archive))));
        self.add(package, Version { number: version.to_owned(), archive, integrity });
    }

    /// Publishes a version with a digest that its archive does not have, or with none.
    pub fn publish_falsely(&self, package: &str, version: &str, integrity: Option<&str>) {
        let integrity = integrity.map(str::to_owned);
        self.add(
            package,
            Version { number: version.to_owned(), archive: archive(&[("package.json", "{}")]), integrity },
        );
    }

    fn add(&self, package: &str, version: Version) {
        self.state.lock().unwrap().packages.entry(package.to_owned()).or_default().push(version);
    }

    /// From now on connections are closed without an answer, or no more.
    pub fn be_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// How often a path with this end was asked for.
    pub fn asked(&self, end: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// The body of an answer; `None`: there is no such thing.
    fn find(&self, path: &str) -> Option<Vec<u8>> {
        let path = path.strip_prefix("/npm/")?.replace("%2F", "/");
        if let Some((package, file)) = path.split_once("/-/") {
            let versions = self.packages.get(package)?;
            return versions.iter().find(|v| file == format!("{}.tgz", v.number)).map(|v| v.archive.clone());
        }
        let versions = self.packages.get(&path)?.iter().map(|version| {
            let tarball = format!("http://{}/npm/{path}/-/{}.tgz", self.address, version.number);
            let mut dist = json!({ "tarball": tarball });
            if let Some(integrity) = &version.integrity {
                dist["integrity"] = integrity.as_str().into();
            }
            (version.number.clone(), json!({ "name": path, "version": version.number, "dist": dist }))
        });
        let versions: serde_json::Map<String, Value> = versions.collect();
        Some(json!({ "name": path, "versions": versions }).to_string().into_bytes())
    }
}

async fn answer(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match (&mut stream).take(8 * 1024).read_line(&mut line).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line);
    }
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let found = {
        let mut state = state.lock().unwrap();
        if state.is_down {
            return;
        }
        state.asked.push(path.clone());
        state.find(&path)
    };
    let (status, body) = found.map_or(("404 Not Found", b"{}".to_vec()), |body| ("200 OK", body));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, format!("package/{path}"), text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}
