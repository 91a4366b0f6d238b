//! The use cases above the ports, on real adapters: a database, a folder of objects, and the bell,
//! cache, live logs and notices of one process or of two that share nothing but the former.
//!
//! Start with [`house`], which makes the [`Process`] that a test works with.

mod logs;
mod logs_without_live;
mod publish;
mod restore;
mod submit;
mod sweep;

use crate::support::database::{TestDatabase, fresh};
use gv::adapters::blobs::filesystem::FilesystemBlobs;
use gv::adapters::cache::local::LocalCache;
use gv::adapters::cache::local_logs::LocalLogs;
use gv::adapters::cache::local_notices::LocalNotices;
use gv::adapters::clock::SystemClock;
use gv::adapters::queue::local::LocalQueue;
use gv::app::accounts::Accounts;
use gv::app::signing::SigningKeys;
use gv::app::submit::SubmitRequest;
use gv::app::{App, Policy};
use gv::domain::account::{Email, User};
use gv::domain::deployment::{BuildOptions, Deployment, Target};
use gv::domain::host::{Hostname, Names, Pointer, Scheme, SiteUrls};
use gv::domain::id::{DeploymentId, UserId};
use gv::domain::project::ProjectName;
use gv::domain::repo::{Commit, RepoUrl};
use gv::domain::settings::{BuildSettings, Variables};
use gv::ports::blobs::{Body, Key};
use gv::ports::clock::Clock;
use gv::ports::database::Database;
use gv::ports::deployments::{Claim, Submitted};
use gv::ports::traces::Tracer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes on the slowest machine: what does not happen until then does
/// not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one `gv up` has: a database and objects that others share, and what is its own.
struct Process {
    app: Arc<App>,
    account: UserId,
    database: Arc<dyn Database>,
    shared: Arc<Shared>,
}

/// Gone with the last process.
struct Shared {
    database: TestDatabase,
    folder: TempDir,
}

/// A process on a database and a folder of its own, with an account.
async fn house() -> Process {
    let (place, database) = fresh().await;
    let shared = Arc::new(Shared { database: place, folder: tempfile::tempdir().unwrap() });
    let account = new_account(&database, "ada@example.com").await;
    let database: Arc<dyn Database> = Arc::new(database);
    Process { app: new_app(Arc::clone(&database), shared.folder.path()), account, database, shared }
}

async fn new_account(database: &dyn Database, email: &str) -> UserId {
    let now = SystemClock.now();
    let user = User {
        id: UserId::new(now, &mut rand::rng()),
        email: Email::parse(email).unwrap(),
        name: None,
        password_hash: None,
        created_at: now,
        disabled_at: None,
    };
    database.insert_user(&user).await.unwrap();
    user.id
}

fn new_app(database: Arc<dyn Database>, folder: &Path) -> Arc<App> {
    let keys = SigningKeys::parse(&[SigningKeys::generate()]).unwrap();
    Arc::new(App {
        accounts: Arc::new(Accounts::new(keys)),
        secrets: crate::support::database::keys(),
        database,
        queue: Arc::new(LocalQueue::new()),
        cache: Arc::new(LocalCache::new(1 << 20)),
        live_logs: Arc::new(LocalLogs::new(4 << 20)),
        notices: Arc::new(LocalNotices::new()),
        blobs: Arc::new(FilesystemBlobs::open(folder).unwrap()),
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(None, Arc::new(SystemClock)),
        policy: Policy {
            names: Names { domain: Hostname::parse("example.com").unwrap() },
            site_urls: SiteUrls { scheme: Scheme::Https, port: None },
            lease: Duration::from_secs(2),
            account_builds: u32::MAX,
            account_queued: u32::MAX,
            supersede_running: false,
            max_attempts: 3,
            pointer_lifetime: Duration::from_secs(5),
            skew_protection: Duration::from_secs(86_400),
            log_bytes: 1 << 20,
            access_token_lifetime: Duration::from_secs(900),
            refresh_token_lifetime: Duration::from_secs(86_400),
        },
    })
}

fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).unwrap()
}

fn request(repo: &str) -> SubmitRequest {
    SubmitRequest {
        repo_url: RepoUrl::parse(repo).unwrap(),
        reference: None,
        project: None,
        target: Target::Production,
        settings: BuildSettings::default(),
        env: Variables::default(),
        options: BuildOptions::default(),
        git_token: None,
    }
}

const BLOG: &str = "https://git.example.com/ada/blog.git";

impl Process {
    /// Another process on the same database and the same objects.
    fn another(&self) -> Self {
        let database: Arc<dyn Database> = Arc::new(self.shared.database.connect());
        let (shared, account) = (Arc::clone(&self.shared), self.account);
        Self { app: new_app(Arc::clone(&database), shared.folder.path()), account, database, shared }
    }

    async fn submit(&self, request: SubmitRequest) -> Deployment {
        match self.app.submit(self.account, request, None).await.unwrap() {
            Submitted::New(deployment) => deployment,
            other => panic!("not submitted: {other:?}"),
        }
    }

    async fn take(&self, id: DeploymentId) -> Deployment {
        match self
            .database
            .claim(id, "worker", self.app.policy.lease, self.app.clock.now(), u32::MAX)
            .await
            .unwrap()
        {
            Claim::Taken(deployment) => *deployment,
            other => panic!("not taken: {other:?}"),
        }
    }

    async fn advance(&self, next: Deployment) -> Deployment {
        self.database.advance(next).await.unwrap().expect("nobody else writes")
    }

    /// What a worker does once it has the output, in short.
    async fn make_ready(&self, held: Deployment) -> Deployment {
        let now = self.app.clock.now();
        let commit = Commit { id: "1".repeat(40), message: "A change".into(), branch: Some("main".into()) };
        let held = self.advance(held.build(now, commit).unwrap()).await;
        let held = self.advance(held.upload(now).unwrap()).await;
        for key in [Key::manifest(held.id), Key::source(held.account, held.id), Key::log(held.id)] {
            self.app.blobs.put(&key, Body::Bytes("content".into())).await.unwrap();
        }
        assert!(self.app.go_live(&held, None).await.unwrap());
        self.advance(held.finish(now, 1, 7).unwrap()).await
    }

    async fn deploy(&self, request: SubmitRequest) -> Deployment {
        let waiting = self.submit(request).await;
        self.make_ready(self.take(waiting.id).await).await
    }

    async fn published(&self, host: &str) -> Option<Pointer> {
        let key = Key::host(&Hostname::parse(host).unwrap());
        let object = self.app.blobs.get(&key, 1 << 16).await.unwrap()?;
        Some(serde_json::from_slice(&object.bytes).unwrap())
    }

    /// The deployment that visitors of a host see.
    async fn shown(&self, host: &str) -> Option<DeploymentId> {
        self.published(host).await.and_then(|pointer| pointer.target).map(|target| target.deployment)
    }

    /// The names of all objects but the hosts'.
    fn content(&self) -> Vec<String> {
        let folders =
            ["blobs", "manifests", "sources", "logs"].map(|name| self.shared.folder.path().join(name));
        let files = folders.into_iter().filter(|folder| folder.exists()).flat_map(walkdir::WalkDir::new);
        let files = files.map(Result::unwrap).filter(|entry| entry.file_type().is_file());
        let mut names: Vec<_> = files.map(|entry| entry.path().display().to_string()).collect();
        names.sort();
        names
    }

    async fn projects(&self) -> Vec<String> {
        let projects = self.database.list_projects(self.account, None, 100).await.unwrap();
        projects.into_iter().map(|project| project.name.to_string()).collect()
    }
}
