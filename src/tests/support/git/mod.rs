//! A real Git server on loopback: `git http-backend` behind a small HTTP server.
//!
//! The server is written by hand because it must also misbehave: be silent, redirect, demand a
//! token, break off. Start with [`GitServer::start`], then [`GitServer::repository`]; what it answers
//! is in [`http`].

mod http;
mod repository;

pub use repository::{Content, Repository, borrowed, built_by};

use repository::run;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves the repositories of one folder until it is dropped.
pub struct GitServer {
    folder: Arc<TempDir>,
    address: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

/// How the server behaves, and what it has seen.
#[derive(Default)]
struct State {
    token: Option<String>,
    delay: Duration,
    hangs: bool,
    /// Answers end after so many bytes of their bodies.
    cut_bytes: Option<usize>,
    status: Option<u16>,
    /// Speaks the first version of the protocol whatever is asked for.
    old: bool,
    /// From a path's beginning to what takes its place.
    redirects: Vec<(String, String)>,
    /// What Git LFS keeps, by digest.
    large: HashMap<String, Vec<u8>>,
    requests: Vec<Seen>,
}

/// A request that the server was sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub authorization: Option<String>,
}

impl GitServer {
    pub async fn start() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let (root, shared) = (folder.path().to_owned(), state.clone());
        let accepting = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new(); // ends its connections with itself
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(http::answer(stream, root.clone(), shared.clone()));
            }
        });
        Self { folder, address, state, accepting }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// A repository whose branch `main` has one commit with these files.
    pub async fn repository(&self, name: &str, files: &[(&str, &str)]) -> Repository {
        let repository = self.empty_repository(name).await;
        repository.commit(files, "First commit").await;
        repository
    }

    pub async fn empty_repository(&self, name: &str) -> Repository {
        let path = self.folder.path().join(format!("{name}.git"));
        let url = self.url(&format!("{name}.git"));
        let repository = Repository::new(url, path.clone(), self.folder.clone());
        run(&["init", "-q", "--bare", "-b", "main", path.to_str().unwrap()], self.folder.path(), b"").await;
        repository
    }

    /// From now on only requests with this token as their password are answered.
    pub fn require_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// From now on `from` at the beginning of a path is redirected to `to`, a URL or a path.
    pub fn redirect(&self, from: &str, to: &str) {
        self.state.lock().unwrap().redirects.push((from.to_owned(), to.to_owned()));
    }

    /// From now on each answer waits so long.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// From now on requests are accepted and never answered.
    pub fn hang(&self) {
        self.state.lock().unwrap().hangs = true;
    }

    /// From now on bodies end after so many bytes.
    pub fn break_off_after(&self, bytes: usize) {
        self.state.lock().unwrap().cut_bytes = Some(bytes);
    }

    /// From now on every answer has this status.
    pub fn answer_with_status(&self, status: u16) {
        self.state.lock().unwrap().status = Some(status);
    }

    /// From now on the server speaks the protocol's first version only, as old ones do.
    pub fn speak_the_old_protocol(&self) {
        self.state.lock().unwrap().old = true;
    }

    /// Keeps a large file, and gives the pointer that stands for it in a repository. What is sent
    /// for it is `sent`.
    pub fn keep_large_as(&self, content: &[u8], sent: &[u8]) -> String {
        let oid: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        self.state.lock().unwrap().large.insert(oid.clone(), sent.to_owned());
        let size = content.len();
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
    }

    pub fn keep_large(&self, content: &[u8]) -> String {
        self.keep_large_as(content, content)
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn request_count(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
