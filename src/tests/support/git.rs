//! A real Git server on loopback: `git http-backend` behind a small HTTP server.
//!
//! The server is written by hand because it must also misbehave: be silent, redirect, demand a
//! token, break off. Start with [`GitServer::start`], then [`GitServer::repository`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
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
                open.spawn(answer(stream, root.clone(), shared.clone()));
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
        let repository = Repository {
            url: self.url(&format!("{name}.git")),
            path: path.clone(),
            _folder: self.folder.clone(),
        };
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

/// A bare repository on the server.
pub struct Repository {
    url: String,
    path: PathBuf,
    _folder: Arc<TempDir>,
}

/// What one path of a commit is.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    File(&'a [u8]),
    Executable(&'a [u8]),
    Symlink(&'a str),
    /// A commit of another repository.
    Submodule(&'a str),
    Deleted,
}

impl Repository {
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Writes these files over what `main` has and gives the new commit's id.
    pub async fn commit(&self, files: &[(&str, &str)], message: &str) -> String {
        self.commit_on("main", files, message).await
    }

    pub async fn commit_on(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let contents: Vec<_> =
            files.iter().map(|(path, text)| (*path, Content::File(text.as_bytes()))).collect();
        self.commit_contents(branch, &contents, message.as_bytes()).await
    }

    pub async fn commit_contents(
        &self,
        branch: &str,
        contents: &[(&str, Content<'_>)],
        message: &[u8],
    ) -> String {
        let mut stream =
            format!("commit refs/heads/{branch}\ncommitter {AUTHOR} 1700000000 +0000\n").into_bytes();
        push_data(&mut stream, message);
        if self.resolve(&format!("refs/heads/{branch}")).await.is_some() {
            stream.extend(format!("from refs/heads/{branch}^0\n").bytes());
        }
        for (path, content) in contents {
            let (mode, data) = match content {
                Content::File(data) => ("100644", *data),
                Content::Executable(data) => ("100755", *data),
                Content::Symlink(target) => ("120000", target.as_bytes()),
                Content::Submodule(commit) => {
                    stream.extend(format!("M 160000 {commit} {path}\n").bytes());
                    continue;
                }
                Content::Deleted => {
                    stream.extend(format!("D {path}\n").bytes());
                    continue;
                }
            };
            stream.extend(format!("M {mode} inline {path}\n").bytes());
            push_data(&mut stream, data);
        }
        self.git_with(&["fast-import", "--quiet", "--force"], &stream).await;
        self.git(&["rev-parse", &format!("refs/heads/{branch}")]).await
    }

    /// A branch where `main` is.
    pub async fn branch(&self, name: &str) {
        self.git(&["branch", name, "main"]).await;
    }

    pub async fn delete_branch(&self, name: &str) {
        self.git(&["update-ref", "-d", &format!("refs/heads/{name}")]).await;
    }

    /// A lightweight tag where `main` is.
    pub async fn tag(&self, name: &str) {
        self.git(&["tag", name, "main"]).await;
    }

    pub async fn annotated_tag(&self, name: &str) {
        self.git(&["tag", "-a", "-m", "a release", name, "main"]).await;
    }

    pub async fn default_branch(&self, name: &str) {
        self.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{name}")]).await;
    }

    /// Writes an object without any check and gives its id: `blob` or `tree`.
    pub async fn object(&self, kind: &str, content: &[u8]) -> String {
        self.git_with(&["hash-object", "-t", kind, "-w", "--literally", "--stdin"], content).await
    }

    /// Writes a tree as it stands: mode, name, object id; forbidden and double names too.
    pub async fn raw_tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let mut tree = Vec::new();
        for (mode, name, id) in entries {
            tree.extend(format!("{mode} {name}\0").bytes());
            tree.extend((0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()));
        }
        self.object("tree", &tree).await
    }

    /// Puts a commit of this tree on `main`.
    pub async fn commit_tree(&self, tree: &str) -> String {
        let id = self.git(&["commit-tree", "-m", "Forged", tree]).await;
        self.git(&["update-ref", "refs/heads/main", &id]).await;
        id
    }

    pub async fn config(&self, key: &str, value: &str) {
        self.git(&["config", key, value]).await;
    }

    /// Runs git in this repository and gives what it prints, trimmed.
    pub async fn git(&self, args: &[&str]) -> String {
        self.git_with(args, b"").await
    }

    pub async fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        let output = run(args, &self.path, input).await;
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    async fn resolve(&self, name: &str) -> Option<String> {
        let output = git_command(&["rev-parse", "--verify", "-q", name], &self.path).output().await.unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

/// A repository that is built by its own script, without packages from anywhere.
pub fn built_by(script: &str) -> Vec<(String, String)> {
    let package = serde_json::json!({"name": "built", "private": true, "scripts": {"build": script}});
    vec![("package.json".to_owned(), package.to_string())]
}

pub fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect()
}

const AUTHOR: &str = "Ada <ada@example.com>";

fn push_data(stream: &mut Vec<u8>, data: &[u8]) {
    stream.extend(format!("data {}\n", data.len()).bytes());
    stream.extend(data);
    stream.push(b'\n');
}

/// Git without anybody's configuration, author or prompt.
fn git_command(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(folder);
    isolate(&mut command);
    command
}

fn isolate(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("GIT_") {
            command.env_remove(key);
        }
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_COMMITTER_NAME", "Ada")])
        .envs([("GIT_AUTHOR_EMAIL", "ada@example.com"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .kill_on_drop(true);
}

async fn run(args: &[&str], folder: &Path, input: &[u8]) -> Vec<u8> {
    let (ok, output, errors) = feed(git_command(args, folder), input).await;
    assert!(ok, "git {args:?}: {}", String::from_utf8_lossy(&errors));
    output
}

/// Runs `command` with this input: whether it succeeded, what it printed, its complaints.
async fn feed(mut command: Command, input: &[u8]) -> (bool, Vec<u8>, Vec<u8>) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A process that does not want its input may end before it has read it.
    let writing = async move {
        let _ = stdin.write_all(input).await;
    };
    let ((), output) = tokio::join!(writing, child.wait_with_output());
    let output = output.unwrap();
    (output.status.success(), output.stdout, output.stderr)
}

struct Request {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

async fn answer(stream: TcpStream, root: PathBuf, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut stream).await {
        let (mut reply, delay, cut) = {
            let mut state = state.lock().unwrap();
            let authorization = request.headers.get("authorization").cloned();
            let seen = Seen { method: request.method.clone(), target: request.target.clone(), authorization };
            state.requests.push(seen);
            if state.old {
                request.headers.remove("git-protocol");
            }
            if state.hangs {
                (None, Duration::MAX, None)
            } else {
                (refusal(&state, &request), state.delay, state.cut_bytes)
            }
        };
        tokio::time::sleep(delay).await;
        if reply.is_none() {
            reply = Some(backend(&root, &request).await);
        }
        let (head, body) = reply.unwrap();
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
        let sent = cut.map_or(body.len(), |cut| cut.min(body.len()));
        let reply = [head.as_bytes(), &body[..sent]].concat();
        if stream.write_all(&reply).await.is_err() || sent < body.len() {
            return;
        }
    }
}

/// What the server answers instead of asking git.
fn refusal(state: &State, request: &Request) -> Option<(String, Vec<u8>)> {
    if let Some(status) = state.status {
        return Some((format!("{status} As told"), Vec::new()));
    }
    for (from, to) in &state.redirects {
        if let Some(rest) = request.target.strip_prefix(from.as_str()) {
            return Some((format!("301 Moved Permanently\r\nLocation: {to}{rest}"), Vec::new()));
        }
    }
    let Some(token) = state.token.as_ref() else { return large(state, request) };
    let given = request.headers.get("authorization").and_then(|value| value.strip_prefix("Basic "));
    let given = given.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    if given.ends_with(format!(":{token}").as_bytes()) {
        return large(state, request);
    }
    Some(("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"".to_owned(), Vec::new()))
}

/// The batch API of Git LFS, and what it leads to.
fn large(state: &State, request: &Request) -> Option<(String, Vec<u8>)> {
    if let Some((_, oid)) = request.target.split_once("/large-objects/") {
        let found = state.large.get(oid);
        return Some(
            found
                .map_or(("404 Not Found".to_owned(), Vec::new()), |sent| ("200 OK".to_owned(), sent.clone())),
        );
    }
    let base = request.target.strip_suffix("/info/lfs/objects/batch")?;
    let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((request.method.as_str(), asked["operation"].as_str()), ("POST", Some("download")));
    let host = &request.headers["host"];
    let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
        let oid = object["oid"].as_str().unwrap();
        if state.large.contains_key(oid) {
            let href = format!("http://{host}{base}/large-objects/{oid}");
            serde_json::json!({"oid": oid, "size": object["size"], "actions": {"download": {"href": href}}})
        } else {
            serde_json::json!({"oid": oid, "error": {"code": 404, "message": "Object does not exist"}})
        }
    });
    let answer = serde_json::json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()});
    Some(("200 OK\r\nContent-Type: application/vnd.git-lfs+json".to_owned(), answer.to_string().into_bytes()))
}

/// Asks `git http-backend` (CGI, RFC 3875): the status line and headers, and the body.
async fn backend(root: &Path, request: &Request) -> (String, Vec<u8>) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let mut command = Command::new("git");
    command.arg("http-backend");
    isolate(&mut command);
    command
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("REMOTE_ADDR", "127.0.0.1");
    let (_, output, errors) = feed(command, &request.body).await;
    let Some(at) = output.windows(4).position(|window| window == b"\r\n\r\n") else {
        return ("500 Internal Server Error".to_owned(), errors);
    };
    let head = String::from_utf8_lossy(&output[..at]).into_owned();
    let (status, others): (Vec<&str>, Vec<&str>) = head.lines().partition(|line| line.starts_with("Status:"));
    let status = status.first().map_or("200 OK", |line| line["Status:".len()..].trim());
    let lines: Vec<&str> = std::iter::once(status).chain(others).collect();
    (lines.join("\r\n"), output[at + 4..].to_vec())
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let first = read_line(stream).await?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(stream).await?, 16).ok()?;
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk).await.ok()?;
            read_line(stream).await?;
            if size == 0 {
                break;
            }
            body.extend(chunk);
        }
    } else if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some(Request { method, target, headers, body })
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).await.ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}
