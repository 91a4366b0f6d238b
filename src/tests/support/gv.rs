//! A real `gv up` of its own for each test: the binary, ports that were free, an empty data folder
//! and an empty database. Ended when dropped, with everything below it.

pub use super::account::{PATIENCE, client, id_of, json_of, with_json};
pub use super::process::{Settings, command};

use super::account::Account;
use super::database::{TestDatabase, fresh_url};
use super::process::Process;
use super::services::Services;
use gv::ports::blobs::Blobs;
use reqwest::RequestBuilder;
use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a test asks and looks at, over HTTP: the owner's calls of the api (see [`Account`]) and
/// those of a visitor.
pub struct Gv {
    // First: it ends before what it uses is gone.
    process: Process,
    home: Home,
    settings: Settings,
    account: Account,
    pub edge: String,
    pub ops: String,
}

impl std::ops::Deref for Gv {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

/// What outlives a process.
struct Home {
    folder: TempDir,
    database: Arc<TestDatabase>,
    services: Arc<Services>,
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
        let log = home.folder.path().join("gv.log");
        let process = Process::start(up(&home, &settings), &log);
        let account = Account::new(vec![log]);
        let mut gv = Self { process, home, settings, account, edge: String::new(), ops: String::new() };
        gv.learn();
        gv
    }

    fn learn(&mut self) {
        (self.account.api, self.edge, self.ops) =
            (self.process.url("api"), self.process.url("edge"), self.process.url("ops"));
        let owner = std::fs::read(self.data_dir().join("owner-token.json")).unwrap();
        let owner: Value = serde_json::from_slice(&owner).unwrap();
        self.account.token = owner["token"].as_str().unwrap().to_owned();
    }

    /// Where one of its listeners is: `api`, `api_tls`, `edge`, `edge_tls` or `ops`.
    pub fn url(&self, listener: &str) -> String {
        self.process.url(listener)
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and the end that follows.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait_for_end(PATIENCE)
    }

    /// Waits for an end that somebody else brings about.
    pub async fn wait_until_dead(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.process.is_alive() {
            assert!(Instant::now() < deadline, "gv lives on:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The next life of a process that has ended, in the same data folder.
    pub fn start_again(&mut self) {
        let log = self.home.folder.path().join("gv.log");
        self.process = Process::start(up(&self.home, &self.settings), &log);
        self.learn();
    }

    /// The same, told something else.
    pub fn start_again_with(&mut self, settings: &Settings) {
        self.settings = self.settings.clone().and(settings);
        self.start_again();
    }

    /// What starts its next life.
    pub fn up_command(&self) -> Command {
        up(&self.home, &self.settings)
    }

    pub fn database(&self) -> &TestDatabase {
        &self.home.database
    }

    /// From here on calls are those of whom this token belongs to.
    pub fn act_as(&mut self, token: String) {
        self.account.token = token;
    }

    /// The objects that it works on.
    pub fn storage(&self) -> Box<dyn Blobs> {
        self.home.services.storage()
    }

    pub fn database_url(&self) -> &str {
        &self.home.database.url
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.folder.path().join("data")
    }

    pub fn work_dir(&self) -> PathBuf {
        self.data_dir().join("work")
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

    /// What an operator types beside this process: with its database, and away from its data folder's
    /// lock.
    pub fn operator_command(&self, args: &[&str]) -> Command {
        let mut command = self.cli_command(args);
        command.env("GV_DATABASE__URL", &self.home.database.url).envs(self.home.services.environment());
        command
    }

    pub fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.env("GV_DATA_DIR", self.data_dir()).env("HOME", self.home.folder.path()).args(args);
        command
    }
}

fn up(home: &Home, settings: &Settings) -> Command {
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
        // This machine's own Node.js builds, unless a test is about others.
        .env("GV_WORKER__REGISTRY", "")
        .envs(settings.variables())
        .arg("up");
    command
}
