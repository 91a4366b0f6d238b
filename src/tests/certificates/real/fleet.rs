//! Edges and apis above one storage, and who they get certificates from. The authority looks for proofs of
//! hosts at one process alone, so that a visitor of another shows that any can answer for any.

use crate::support::database::{TestDatabase, fresh_url};
use crate::support::free_port::free_port;
use crate::support::name_server::NameServer;
use crate::support::pebble::{Pebble, World};
use crate::support::process::{Process, Settings, command};
use crate::support::services::Services;
use gv::domain::digest::Digest;
use gv::domain::host::{HostKind, Hostname, Pointer, PointerTarget};
use gv::domain::id::{DeploymentId, ProjectId, UserId};
use gv::domain::manifest::{Codings, FileTable, Manifest, NewEntry, SitePath};
use gv::domain::routing::rules::Rules;
use gv::ports::blobs::{Body, Key};
use reqwest::tls::TlsInfo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use time::OffsetDateTime;

pub const PATIENCE: Duration = Duration::from_secs(60);
const SECRET_KEY: &str = crate::support::database::SECRET_KEY;

pub struct Fleet {
    // First: they end before what they use is gone.
    pub edges: Vec<Member>,
    pub apis: Vec<Member>,
    pub pebble: Pebble,
    pub names: NameServer,
    services: Services,
    settings: Settings,
    folder: TempDir,
    _database: TestDatabase,
}

pub struct Member {
    process: Process,
    pub tls: SocketAddr,
    ops: String,
    ports: (u16, u16),
}

/// How many there are.
#[derive(Clone, Copy)]
pub struct Size {
    pub edges: usize,
    pub apis: usize,
}

/// Where the authority looks for proofs.
#[derive(Clone, Copy)]
pub enum Prover {
    Edge(usize),
    Api(usize),
    /// Plain and by TLS.
    At(u16, u16),
}

/// What a visitor gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub status: u16,
    pub text: String,
    /// DER.
    pub certificate: Vec<u8>,
}

impl Fleet {
    /// Two edges; certificates hold for so long.
    pub async fn start(life: Duration, settings: Settings) -> Self {
        Self::start_with(life, |_| settings).await
    }

    /// With settings that know the name server.
    pub async fn start_with(life: Duration, settings: impl FnOnce(&NameServer) -> Settings) -> Self {
        Self::start_with_proofs_at(life, None, settings).await
    }

    /// The authority looks for proofs at `ports` (plain, TLS), else at the second edge's.
    pub async fn start_with_proofs_at(
        life: Duration,
        ports: Option<(u16, u16)>,
        settings: impl FnOnce(&NameServer) -> Settings,
    ) -> Self {
        let prover = ports.map_or(Prover::Edge(1), |(plain, tls)| Prover::At(plain, tls));
        Self::start_of(life, Size { edges: 2, apis: 0 }, prover, settings).await
    }

    pub async fn start_of(
        life: Duration,
        size: Size,
        prover: Prover,
        settings: impl FnOnce(&NameServer) -> Settings,
    ) -> Self {
        let names = NameServer::start();
        let ports = |count: usize| (0..count).map(|_| (free_port(), free_port())).collect::<Vec<_>>();
        let (of_edges, of_apis) = (ports(size.edges), ports(size.apis));
        let (http_port, tls_port) = match prover {
            Prover::Edge(number) => of_edges[number],
            Prover::Api(number) => of_apis[number],
            Prover::At(plain, tls) => (plain, tls),
        };
        let pebble = Pebble::start(&World { dns: names.address(), http_port, tls_port, life }).await;
        let (services, database) = (Services::fresh(), fresh_url().await);
        let mut base = base(&services, &pebble);
        if size.apis > 0 {
            base = base.and(&with_apis(&database));
        }
        let settings = base.and(&settings(&names));
        let folder = tempfile::tempdir().unwrap();
        let (edges, apis) = (Vec::new(), Vec::new());
        let mut fleet = Self { edges, apis, pebble, names, services, settings, folder, _database: database };
        for ports in of_edges {
            fleet.edges.push(fleet.member("edge", ports, fleet.edges.len()));
        }
        for ports in of_apis {
            fleet.apis.push(fleet.member("api", ports, fleet.apis.len()));
        }
        fleet
    }

    fn member(&self, role: &str, ports: (u16, u16), number: usize) -> Member {
        let section = role.to_uppercase();
        let listen = [
            (format!("GV_{section}__LISTEN"), format!("127.0.0.1:{}", ports.0)),
            (format!("GV_{section}__TLS_LISTEN"), format!("127.0.0.1:{}", ports.1)),
        ];
        let process = self.process(role, &format!("{role}-{number}"), listen);
        let tls = process.url(&format!("{role}_tls")).trim_start_matches("https://").parse().unwrap();
        Member { tls, ops: process.url("ops"), process, ports }
    }

    /// A process of this role, in a folder of its own.
    pub fn process(
        &self,
        role: &str,
        name: &str,
        more: impl IntoIterator<Item = (String, String)>,
    ) -> Process {
        let home = self.folder.path().join(name);
        std::fs::create_dir_all(&home).unwrap();
        let mut command = command();
        command.envs(self.settings.variables()).env("HOME", &home).env("GV_DATA_DIR", home.join("data"));
        command.envs(more).arg(role);
        Process::start(command, &home.with_extension("log"))
    }

    /// Kills an edge and starts it again, with an empty memory.
    pub fn restart(&mut self, number: usize) {
        self.edges[number].process.kill();
        self.edges[number] = self.member("edge", self.edges[number].ports, number);
    }

    /// Makes a site of one page, as a worker would.
    pub async fn publish(&self, host: &str, text: &str) {
        let (now, mut rng) = (OffsetDateTime::UNIX_EPOCH, rand::rng());
        let (account, storage) = (UserId::new(now, &mut rng), self.services.storage());
        let digest = Digest::of(text.as_bytes());
        let entry = NewEntry {
            digest,
            size: text.len() as u64,
            media_type: "text/html; charset=utf-8".to_owned(),
            codings: Codings::default(),
        };
        let manifest = Manifest {
            deployment: DeploymentId::new(now, &mut rng),
            account,
            project: ProjectId::new(now, &mut rng),
            spa_fallback: None,
            rules: Rules::default(),
            files: FileTable::build([(SitePath::parse("index.html").unwrap(), entry)]).unwrap(),
        };
        let put = async |key: Key, bytes: Vec<u8>| {
            storage.put(&key, Body::Bytes(bytes.into())).await.unwrap();
        };
        put(Key::blob(account, &digest), text.as_bytes().to_vec()).await;
        put(Key::manifest(manifest.deployment), manifest.encode().to_vec()).await;
        let (deployment, project) = (manifest.deployment, manifest.project);
        let target = Some(PointerTarget { account, project, deployment });
        let host = Hostname::parse(host).unwrap();
        let pointer = Pointer {
            version: 1,
            host: host.clone(),
            kind: HostKind::Production,
            target,
            earlier: Vec::new(),
            trace: None,
            published_at: None,
        };
        put(Key::host(&host), serde_json::to_vec(&pointer).unwrap()).await;
    }

    /// What a browser is shown that trusts the authority alone; else why it is not.
    pub async fn visit(&self, edge: usize, host: &str) -> Result<Shown, String> {
        self.visit_at(self.edges[edge].tls, host).await
    }

    /// The same of whoever listens there.
    pub async fn visit_at(&self, address: SocketAddr, host: &str) -> Result<Shown, String> {
        let client = reqwest::Client::builder()
            .tls_certs_only([self.pebble.root.clone()])
            .tls_info(true)
            .resolve(host, address)
            .timeout(PATIENCE);
        let url = format!("https://{host}:{}/", address.port());
        let answer = client.build().unwrap().get(url).send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let info = answer.extensions().get::<TlsInfo>().unwrap();
        let certificate = info.peer_certificate().unwrap().to_vec();
        let status = answer.status().as_u16();
        Ok(Shown { status, text: answer.text().await.unwrap(), certificate })
    }

    /// The sum of a metric's series of an edge whose labels contain this.
    pub async fn metric(&self, edge: usize, name: &str, label: &str) -> f64 {
        metric_of(&self.edges[edge].ops, name, label).await
    }

    /// An object as it lies in storage.
    pub async fn stored(&self, key: &Key) -> Option<String> {
        let object = self.services.storage().get(key, 1 << 20).await.unwrap()?;
        Some(String::from_utf8(object.bytes.to_vec()).unwrap())
    }

    /// What everybody who could know says, for a test that fails.
    pub fn logs(&self) -> String {
        let members = self.edges.iter().chain(&self.apis);
        let members: Vec<String> = members.map(|member| member.process.log()).collect();
        format!("{}\n{}\n{}", members.join("\n"), self.pebble.log(), self.names.log())
    }
}

/// The same of whichever process has its operator's listener there.
pub async fn metric_of(ops: &str, name: &str, label: &str) -> f64 {
    let url = format!("{ops}/metrics");
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let series = text.lines().filter_map(|line| line.rsplit_once(' '));
    let wanted =
        series.filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label));
    wanted.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

/// Looks again and again until it is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn base(services: &Services, pebble: &Pebble) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in services.environment() {
        settings = settings.set(name, value);
    }
    let has_cache = settings.variables().any(|(name, _)| name == "GV_CACHE__URL");
    assert!(has_cache, "edges need what they share: run these tests by scripts/with-services");
    settings
        .set("GV_DOMAIN", crate::support::name_server::ZONE)
        .set("GV_OPS__LISTEN", "127.0.0.1:0")
        .set("GV_SECRETS__KEYS", SECRET_KEY)
        .set("GV_LOG__LEVEL", "gv=debug,info")
        .set("GV_EDGE__POINTER_TTL_S", 1)
        .set("GV_ACME__ENABLED", true)
        .set("GV_ACME__TERMS_AGREED", true)
        .set("GV_ACME__EMAIL", "operator@sites.example")
        .set("GV_ACME__DIRECTORY", pebble.directory())
        .set("GV_ACME__ROOT_CA", pebble.root_of_directory().to_str().unwrap())
        .set("GV_ACME__DNS_WAIT_S", 0)
}

/// What apis need besides, in a database that is up to date.
fn with_apis(database: &TestDatabase) -> Settings {
    let run = |command: &mut std::process::Command| {
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    run(command().env("GV_DATABASE__URL", &database.url).env("GV_DATA_DIR", "/nowhere").arg("migrate"));
    let key = run(command().args(["config", "keygen"]));
    Settings::default()
        .set("GV_DATABASE__URL", database.url.as_str())
        .set("GV_AUTH__SIGNING_KEYS", key.trim())
        // Edges have to know that the API has TLS.
        .set("GV_API__TLS_LISTEN", "127.0.0.1:0")
}
