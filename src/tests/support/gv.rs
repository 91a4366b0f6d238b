//! A real `gv up` of its own for each test: the binary, ports that were free, an empty data folder
//! and an empty database. Ended when dropped, with everything below it.

use super::database::{TestDatabase, fresh_url};
use super::services::Services;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a test waits for at most, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a test asks and looks at, over HTTP.
pub struct Gv {
    home: Home,
    settings: Settings,
    child: Child,
    pub api: String,
    pub edge: String,
    pub ops: String,
    /// The owner's.
    pub token: String,
    pub client: Client,
}

/// What outlives a process.
struct Home {
    folder: TempDir,
    database: Arc<TestDatabase>,
    services: Arc<Services>,
}

/// How a test's gv differs from the defaults.
#[derive(Clone, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    pub fn set(mut self, variable: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.0.push((variable.to_owned(), value));
        self
    }

    /// Git servers on loopback that may be cloned from.
    pub fn allow(self, address: &str) -> Self {
        self.set("GV_SOURCE__ALLOW", address)
    }
}

impl Gv {
    pub async fn start(settings: Settings) -> Self {
        let home = Home {
            folder: tempfile::tempdir().unwrap(),
            database: Arc::new(fresh_url().await),
            services: Arc::new(Services::fresh()),
        };
        Self::start_in(home, settings)
    }

    /// Another process, with a data folder of its own, on the same database, blobs and whatever
    /// else is shared.
    pub fn start_beside(&self) -> Self {
        let home = Home {
            folder: tempfile::tempdir().unwrap(),
            database: self.home.database.clone(),
            services: self.home.services.clone(),
        };
        Self::start_in(home, self.settings.clone())
    }

    fn start_in(home: Home, settings: Settings) -> Self {
        let (child, ready) = spawn_up(&home, &settings);
        let mut gv = Self {
            home,
            settings,
            child,
            api: String::new(),
            edge: String::new(),
            ops: String::new(),
            token: String::new(),
            client: client(),
        };
        gv.learn(&ready);
        gv
    }

    fn learn(&mut self, ready: &Value) {
        assert_eq!(ready["event"], "ready");
        let url = |name: &str| ready[name].as_str().unwrap().to_owned();
        (self.api, self.edge, self.ops) = (url("api"), url("edge"), url("ops"));
        let owner = std::fs::read(self.data_dir().join("owner-token.json")).unwrap();
        let owner: Value = serde_json::from_slice(&owner).unwrap();
        self.token = owner["token"].as_str().unwrap().to_owned();
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end that follows.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "gv does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for an end that somebody else brings about.
    pub async fn wait_until_dead(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "gv lives on:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The next life of a process that has ended, in the same data folder.
    pub fn start_again(&mut self) {
        let (child, ready) = spawn_up(&self.home, &self.settings);
        self.child = child;
        self.learn(&ready);
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.folder.path().join("data")
    }

    pub fn work_dir(&self) -> PathBuf {
        self.data_dir().join("work")
    }

    /// What it wrote to standard error, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_path(&self.home)).unwrap_or_default()
    }

    /// A call of the API as the owner.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/api/v1{path}", self.api))
    }

    pub async fn get(&self, path: &str) -> Value {
        json_of(self.call(Method::GET, path).send().await.unwrap(), StatusCode::OK).await
    }

    pub async fn post(&self, path: &str, body: &Value, expected: u16) -> Value {
        let response = with_json(self.call(Method::POST, path), body).send().await.unwrap();
        json_of(response, StatusCode::from_u16(expected).unwrap()).await
    }

    /// Submits, and returns the deployment as it was accepted.
    pub async fn submit(&self, body: Value) -> Value {
        self.post("/deployments", &body, 201).await
    }

    /// Waits until a deployment is in one of these states (an ended one ends the wait too).
    pub async fn wait_for(&self, id: &str, states: &[&str]) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let deployment = self.get(&format!("/deployments/{id}")).await;
            let state = deployment["state"].as_str().unwrap();
            if states.contains(&state) {
                return deployment;
            }
            let ended = matches!(state, "ready" | "failed" | "canceled");
            assert!(!ended && Instant::now() < deadline, "{id} is {deployment}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_until_ended(&self, id: &str) -> Value {
        self.wait_for(id, &["ready", "failed", "canceled"]).await
    }

    /// Submits, waits, and expects it to become ready.
    pub async fn deploy(&self, body: Value) -> Value {
        let id = id_of(&self.submit(body).await);
        let deployment = self.wait_until_ended(&id).await;
        assert_eq!(deployment["state"], "ready", "{deployment}\n{}", self.deployment_log(&id).await);
        deployment
    }

    /// Submits what must fail, and returns its `error.code` and message.
    pub async fn deploy_failing(&self, body: Value) -> (String, String) {
        let id = id_of(&self.submit(body).await);
        let deployment = self.wait_until_ended(&id).await;
        assert_eq!(deployment["state"], "failed", "{deployment}");
        let text = |key: &str| deployment["error"][key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    pub async fn deployment_log(&self, id: &str) -> String {
        let path = format!("/deployments/{id}/logs");
        self.call(Method::GET, &path).send().await.unwrap().text().await.unwrap()
    }

    /// A request to the edge for a host, which may be given as the URL of a site.
    pub fn site(&self, host: &str, path: &str) -> RequestBuilder {
        let host = host.strip_prefix("http://").unwrap_or(host);
        self.client.get(format!("{}{path}", self.edge)).header("host", host)
    }

    pub async fn page(&self, host: &str, path: &str) -> (u16, String) {
        let response = self.site(host, path).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The sum of a metric's series whose labels contain all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text =
            self.client.get(format!("{}/metrics", self.ops)).send().await.unwrap().text().await.unwrap();
        let series = text.lines().filter_map(|line| line.rsplit_once(' '));
        let wanted = series.filter(|(series, _)| {
            series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
        });
        wanted.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// Runs a client command beside this process, as its owner.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_command(args).output().unwrap()
    }

    pub fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.env("GV_DATA_DIR", self.data_dir()).env("HOME", self.home.folder.path()).args(args);
        command
    }

    /// A new account: its access token.
    pub async fn account(&self, email: &str) -> String {
        let body = json!({"email": email, "password": "correct horse battery"});
        let response = with_json(self.anonymous(Method::POST, "/auth/register"), &body).send().await.unwrap();
        let answer = json_of(response, StatusCode::CREATED).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Gv {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub fn id_of(deployment: &Value) -> String {
    deployment["id"].as_str().unwrap().to_owned()
}

pub fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// The JSON of an answer that must have this status.
pub async fn json_of(response: Response, expected: StatusCode) -> Value {
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, expected, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A client that follows no redirects.
pub fn client() -> Client {
    // The first of a process's clients brings the TLS provider; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The binary, in an environment of its own and away from the checkout's configuration.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gv"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn log_path(home: &Home) -> PathBuf {
    home.folder.path().join("gv.log")
}

fn spawn_up(home: &Home, settings: &Settings) -> (Child, Value) {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log_path(home)).unwrap();
    let mut command = command();
    for listener in ["API", "EDGE", "OPS"] {
        command.env(format!("GV_{listener}__LISTEN"), "127.0.0.1:0");
    }
    command
        .env("HOME", home.folder.path())
        .env("GV_DATA_DIR", home.folder.path().join("data"))
        .env("GV_DATABASE__URL", &home.database.url)
        .envs(home.services.environment())
        // Accounts are made by the dozen here.
        .env("GV_AUTH__ATTEMPTS_PER_MIN", "1000")
        .env("GV_LOG__LEVEL", "gv=debug,info")
        .envs(settings.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .arg("up")
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let log = || std::fs::read_to_string(log_path(home)).unwrap_or_default();
    let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}\n{}", log()));
    (child, ready)
}
