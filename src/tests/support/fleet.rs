//! A fleet of real processes, as an operator runs it: any number of `gv api`, `gv worker` and
//! `gv edge` on one PostgreSQL, RabbitMQ, Redis and S3, each of which they reach through a proxy
//! that can go wrong.
//!
//! Needs the servers that `scripts/with-services` starts. Start with [`Fleet::start`], then
//! [`Member`]. Everything ends when it is dropped.

use super::account::{Account, PATIENCE, id_of};
use super::chance::seeded;
use super::database::{TestDatabase, fresh_url};
use super::fault_proxy::{FaultProxy, Mode};
use super::git::{GitServer, Repository};
use super::process::{Process, Settings, command};
use super::rabbitmq::TestQueue;
use super::redis::RedisServer;
use super::s3_proxy::S3Proxy;
use super::services;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::RequestBuilder;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use url::Url;

/// Short, so that what takes a lease takes seconds.
pub const LEASE: Duration = Duration::from_secs(4);

/// Where the sites of a fleet are said to be; nobody listens there, since tests name an edge.
const PUBLIC_PORT: u16 = 8000;

pub struct Fleet {
    // First: they end before what they use is gone.
    pub apis: Vec<Member>,
    pub workers: Vec<Member>,
    pub edges: Vec<Member>,
    /// Calls the first api.
    account: Account,
    pub services: Services,
    pub git: GitServer,
    pub chance: StdRng,
    settings: Settings,
    folder: TempDir,
}

/// How many processes of each role a fleet begins with.
#[derive(Clone, Copy)]
pub struct Size {
    pub apis: usize,
    pub workers: usize,
    pub edges: usize,
}

impl Deref for Fleet {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

impl Fleet {
    pub async fn start(size: Size) -> Self {
        Self::start_with(size, Settings::default()).await
    }

    pub async fn start_with(size: Size, settings: Settings) -> Self {
        let mut chance = seeded();
        let (git, services) = (GitServer::start().await, Services::start(&mut chance).await);
        let settings = base(&services, &git).and(&settings);
        let folder = tempfile::tempdir().unwrap();
        let mut migrate = command();
        let migrated = migrate.envs(settings.variables()).env("HOME", folder.path()).arg("migrate").output();
        let migrated = migrated.unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let account = Account::new(vec![folder.path().join("api-0.log")]);
        let (apis, workers, edges) = (Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { apis, workers, edges, account, services, git, chance, settings, folder };
        for _ in 0..size.apis {
            fleet.add_api();
        }
        for _ in 0..size.workers {
            fleet.add_worker(&Settings::default());
        }
        for _ in 0..size.edges {
            fleet.add_edge();
        }
        fleet.account.token = fleet.account.account("ada@example.com").await;
        fleet
    }

    pub fn add_api(&mut self) {
        self.apis.push(self.member("api", self.apis.len(), &Settings::default()));
        self.account.api = self.apis[0].url();
    }

    /// `settings` go over the fleet's.
    pub fn add_worker(&mut self, settings: &Settings) {
        self.workers.push(self.member("worker", self.workers.len(), settings));
        let logs = self.workers.iter().map(|worker| worker.log.clone());
        self.account.logs = std::iter::once(self.apis[0].log.clone()).chain(logs).collect();
    }

    pub fn add_edge(&mut self) {
        self.edges.push(self.member("edge", self.edges.len(), &Settings::default()));
    }

    /// The first api's next life is at another port.
    pub fn restart_api(&mut self) {
        self.apis[0].start();
        self.account.api = self.apis[0].url();
    }

    /// Submits what lies in a repository, into the project of that name.
    pub async fn submit_site(&self, repository: &Repository, project: &str) -> String {
        let body = json!({"repo_url": repository.url(), "project": project});
        id_of(&self.submit(body).await)
    }

    /// Deploys files as they are; returns the deployment when it is ready.
    pub async fn publish(&self, project: &str, files: &[(&str, &str)]) -> Value {
        let repository =
            self.git.repository(&format!("{project}-{:08x}", rand::random::<u32>()), files).await;
        self.deploy(json!({"repo_url": repository.url(), "project": project})).await
    }

    fn member(&self, role: &'static str, number: usize, settings: &Settings) -> Member {
        let home = self.folder.path().join(format!("{role}-{number}"));
        std::fs::create_dir(&home).unwrap();
        let log = home.with_extension("log");
        let settings = self.settings.clone().and(settings);
        let mut member = Member { role, home, log, settings, process: None };
        member.start();
        member
    }
}

/// One process of a fleet, over all its lives.
pub struct Member {
    role: &'static str,
    home: PathBuf,
    log: PathBuf,
    settings: Settings,
    process: Option<Process>,
}

impl Member {
    /// Its next life, in the same data folder.
    pub fn start(&mut self) {
        let mut command = command();
        command.env("HOME", &self.home).env("GV_DATA_DIR", self.home.join("data"));
        command.envs(self.settings.variables()).arg(self.role);
        self.process = Some(Process::start(command, &self.log));
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it was killed and not started again")
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGSTOP, SIGCONT, SIGTERM.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_alive)
    }

    /// SIGTERM; how it ended, and after how long.
    pub async fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut process = self.process.take().expect("it was killed and not started again");
        let began = Instant::now();
        process.signal(Signal::TERM);
        let ended = tokio::task::spawn_blocking(move || process.wait_for_end(PATIENCE)).await.unwrap();
        (ended, began.elapsed())
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        self.process().url(self.role)
    }

    /// Its role and number.
    pub fn name(&self) -> String {
        self.home.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Its operator's listener.
    pub fn ops(&self) -> String {
        self.process().url("ops")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A request to an edge for a host, which may be given as the URL of a site.
    pub fn site(&self, client: &reqwest::Client, host: &str, path: &str) -> RequestBuilder {
        let host = host.strip_prefix("http://").unwrap_or(host);
        client.get(format!("{}{path}", self.url())).header("host", host)
    }

    pub async fn page(&self, client: &reqwest::Client, host: &str, path: &str) -> (u16, String) {
        let response = self.site(client, host, path).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// What a fleet stands on, and the proxies before it.
pub struct Services {
    pub postgres: FaultProxy,
    pub rabbit: FaultProxy,
    pub redis: FaultProxy,
    pub s3: S3Proxy,
    pub redis_server: RedisServer,
    database: TestDatabase,
    /// Past the proxy.
    pub queue: TestQueue,
    blobs_url: Url,
}

impl Services {
    async fn start(chance: &mut StdRng) -> Self {
        const NEEDED: &str = "tests of a fleet need real servers: run them by scripts/with-services, which sets \
                              GV_TEST_DATABASE_URL, GV_TEST_QUEUE_URL and GV_TEST_BLOBS_URL";
        let database = fresh_url().await;
        let database_url = Url::parse(&database.url).unwrap();
        assert!(database_url.scheme().starts_with("postgres"), "{NEEDED}");
        let queue = TestQueue::fresh();
        let blobs_url = Url::parse(&services::blobs_url().expect(NEEDED)).unwrap();
        let redis_server = RedisServer::start();
        let endpoint = Url::parse(&endpoint(&blobs_url)).unwrap();
        let s3_chance = StdRng::seed_from_u64(chance.random());
        Self {
            postgres: FaultProxy::start(address(&database_url, 5432)),
            rabbit: FaultProxy::start(queue.broker()),
            redis: FaultProxy::start(format!("127.0.0.1:{}", redis_server.port())),
            s3: S3Proxy::start(address(&endpoint, 80), s3_chance).await,
            redis_server,
            database,
            queue,
            blobs_url,
        }
    }

    /// Another way to the same storage, for one process alone.
    pub async fn s3_beside(&self, chance: StdRng) -> (S3Proxy, Settings) {
        let endpoint = Url::parse(&endpoint(&self.blobs_url)).unwrap();
        let proxy = S3Proxy::start(address(&endpoint, 80), chance).await;
        let url = self.blobs_through(&proxy);
        (proxy, Settings::default().set("GV_BLOBS__URL", url))
    }

    fn blobs_through(&self, proxy: &S3Proxy) -> String {
        let mut url = self.blobs_url.clone();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(|(key, value)| match &*key {
            "endpoint" => (key, format!("http://{}", proxy.door.address())),
            _ => (key, value),
        }));
        url.into()
    }

    /// PostgreSQL, RabbitMQ, Redis and S3 at once.
    pub fn set_all(&self, mode: Mode) {
        for proxy in [&self.postgres, &self.rabbit, &self.redis, &self.s3.door] {
            proxy.set(mode);
        }
    }
}

/// What all processes of a fleet are told.
fn base(services: &Services, git: &GitServer) -> Settings {
    let through = |url: &Url, proxy: &FaultProxy| {
        let mut url = url.clone();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(proxy.address().port())).unwrap();
        String::from(url)
    };
    let keygen = command().args(["config", "keygen"]).output().unwrap();
    let mut settings = Settings::default()
        .allow(git.address())
        .set("GV_DATABASE__URL", through(&Url::parse(&services.database.url).unwrap(), &services.postgres))
        .set("GV_QUEUE__URL", services.queue.url_by_way_of(services.rabbit.address()))
        .set("GV_CACHE__URL", format!("redis://{}/0", services.redis.address()))
        .set("GV_BLOBS__URL", services.blobs_through(&services.s3))
        .set("GV_SECRETS__KEYS", super::database::SECRET_KEY)
        .set("GV_AUTH__SIGNING_KEYS", String::from_utf8(keygen.stdout).unwrap().trim())
        .set("GV_AUTH__ATTEMPTS_PER_MIN", "1000")
        .set("GV_WORKER__LEASE_S", LEASE.as_secs())
        // Its builds leave traces outside of their folders for tests to look at.
        .set("GV_WORKER__SANDBOX", "unsafe-none")
        .set("GV_EDGE__PUBLIC_SCHEME", "http")
        .set("GV_EDGE__PUBLIC_PORT", PUBLIC_PORT)
        .set("GV_LOG__LEVEL", "gv=debug,info")
        .set("GV_WORKER__REGISTRY", "");
    for listener in ["API", "EDGE", "OPS"] {
        settings = settings.set(&format!("GV_{listener}__LISTEN"), "127.0.0.1:0");
    }
    for (name, key) in services::object_storage_keys() {
        settings = settings.set(name, key);
    }
    settings
}

fn address(url: &Url, port: u16) -> String {
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(port))
}

/// Of an `s3://` URL.
fn endpoint(url: &Url) -> String {
    url.query_pairs().find(|(key, _)| key == "endpoint").expect("GV_TEST_BLOBS_URL: endpoint").1.into_owned()
}
