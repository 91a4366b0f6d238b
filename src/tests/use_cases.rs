//! The use cases above the ports, on real adapters: a database, a folder of objects, and the bell,
//! cache, live logs and notices of one process or of two that share nothing but the former.
//!
//! Start with [`house`], which makes the [`Process`]es that the tests work with. Submitting and
//! moving hosts are here, the sweeper too; logs are in `log_cases`.

use crate::support::database::{TestDatabase, fresh};
use futures_util::future::join_all;
use gv::adapters::blobs::filesystem::FilesystemBlobs;
use gv::adapters::cache::local::LocalCache;
use gv::adapters::cache::local_logs::LocalLogs;
use gv::adapters::cache::local_notices::LocalNotices;
use gv::adapters::clock::SystemClock;
use gv::adapters::queue::local::LocalQueue;
use gv::app::publish::Move;
use gv::app::submit::SubmitRequest;
use gv::app::{App, Policy};
use gv::domain::account::{Email, User};
use gv::domain::deployment::{Deployment, Failure, FailureCode, State, StateName, Target};
use gv::domain::digest::Digest;
use gv::domain::host::{Hostname, Names, Pointer, Scheme, SiteUrls};
use gv::domain::id::{DeploymentId, UserId};
use gv::domain::project::ProjectName;
use gv::domain::repo::{Commit, RepoUrl};
use gv::domain::secret::Secret;
use gv::domain::settings::{BuildSettings, Variables};
use gv::ports::blobs::{Blobs, Body, Key};
use gv::ports::clock::Clock;
use gv::ports::database::Database;
use gv::ports::deployments::{Claim, Deletion, IdempotencyKey, Submitted};
use gv::ports::notices::{Heard, Notice};
use gv::ports::projects::ProjectDeletion;
use rand::seq::SliceRandom;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on the slowest machine: what does not happen until then does
/// not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one `gv up` has: a database and objects that others share, and what is its own.
pub(crate) struct Process {
    pub(crate) app: Arc<App>,
    pub(crate) account: UserId,
    database: Arc<dyn Database>,
    shared: Arc<Shared>,
}

/// Gone with the last process.
struct Shared {
    database: TestDatabase,
    folder: TempDir,
}

/// A process on a database and a folder of its own, with an account.
pub(crate) async fn house() -> Process {
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
    };
    database.insert_user(&user).await.unwrap();
    user.id
}

fn new_app(database: Arc<dyn Database>, folder: &Path) -> Arc<App> {
    Arc::new(App {
        database,
        queue: Arc::new(LocalQueue::new()),
        cache: Arc::new(LocalCache::new(1 << 20)),
        live_logs: Arc::new(LocalLogs::new(4 << 20)),
        notices: Arc::new(LocalNotices::new()),
        blobs: Arc::new(FilesystemBlobs::open(folder).unwrap()),
        clock: Arc::new(SystemClock),
        policy: Policy {
            names: Names { domain: Hostname::parse("example.com").unwrap() },
            site_urls: SiteUrls { scheme: Scheme::Https, port: None },
            lease: Duration::from_secs(2),
            max_attempts: 3,
            pointer_lifetime: Duration::from_secs(5),
            log_bytes: 1 << 20,
            access_token_lifetime: Duration::from_secs(900),
            refresh_token_lifetime: Duration::from_secs(86_400),
        },
    })
}

pub(crate) fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).unwrap()
}

pub(crate) fn request(repo: &str) -> SubmitRequest {
    SubmitRequest {
        repo_url: RepoUrl::parse(repo).unwrap(),
        reference: None,
        project: None,
        target: Target::Production,
        settings: BuildSettings::default(),
        env: Variables::default(),
        git_token: None,
    }
}

pub(crate) const BLOG: &str = "https://git.example.com/ada/blog.git";

impl Process {
    /// Another process on the same database and the same objects.
    pub(crate) fn another(&self) -> Self {
        let database: Arc<dyn Database> = Arc::new(self.shared.database.connect());
        let (shared, account) = (Arc::clone(&self.shared), self.account);
        Self { app: new_app(Arc::clone(&database), shared.folder.path()), account, database, shared }
    }

    pub(crate) async fn submit(&self, request: SubmitRequest) -> Deployment {
        match self.app.submit(self.account, request, None).await.unwrap() {
            Submitted::New(deployment) => deployment,
            other => panic!("not submitted: {other:?}"),
        }
    }

    pub(crate) async fn take(&self, id: DeploymentId) -> Deployment {
        match self.database.claim(id, "worker", self.app.policy.lease, self.app.clock.now()).await.unwrap() {
            Claim::Taken(deployment) => *deployment,
            other => panic!("not taken: {other:?}"),
        }
    }

    pub(crate) async fn advance(&self, next: Deployment) -> Deployment {
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
        assert!(self.app.go_live(&held).await.unwrap());
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
        let files = walkdir::WalkDir::new(self.shared.folder.path()).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file());
        let path = |entry: walkdir::DirEntry| entry.path().display().to_string();
        let mut names: Vec<_> = files.map(path).filter(|path| !path.contains("/hosts/")).collect();
        names.sort();
        names
    }

    async fn projects(&self) -> Vec<String> {
        let projects = self.database.list_projects(self.account, None, 100).await.unwrap();
        projects.into_iter().map(|project| project.name.to_string()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_deployment_makes_its_project() {
    let gv = house().await;
    let first = gv.submit(request(BLOG)).await;
    let project = gv.database.find_project(gv.account, &name("blog")).await.unwrap().unwrap();
    assert_eq!((first.project, first.state.clone()), (project.id, State::Queued));
    assert_eq!(project.host.as_str(), "blog.example.com");
    assert_eq!(project.repo_url.unwrap().as_str(), BLOG);
    let second = gv.submit(request(BLOG)).await;
    assert_eq!(second.project, first.project);
    assert!(second.seq > first.seq);
    // The bell has rung for both.
    let mut bell = gv.app.queue.listen(2).await.unwrap();
    let heard = [bell.next().await.deployment, bell.next().await.deployment];
    assert!(heard.contains(&first.id) && heard.contains(&second.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_deployments_at_once_share_one_project() {
    let gv = house().await;
    let submitted = join_all((0..8).map(|_| gv.submit(request(BLOG)))).await;
    assert!(submitted.iter().all(|deployment| deployment.project == submitted[0].project));
    assert_eq!(gv.projects().await, ["blog"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_of_one_name_get_numbered_projects() {
    let gv = house().await;
    for owner in ["ada", "bob", "cleo"] {
        gv.submit(request(&format!("https://git.example.com/{owner}/blog.git"))).await;
    }
    assert_eq!(gv.projects().await, ["blog", "blog-2", "blog-3"]);
    gv.submit(request("https://git.example.com/bob/blog.git")).await;
    assert_eq!(gv.projects().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_project_is_used_whatever_its_repository() {
    let gv = house().await;
    let named = |repo| SubmitRequest { project: Some(name("site")), ..request(repo) };
    let submitted = join_all((0..4).map(|_| gv.submit(named(BLOG)))).await;
    let other = gv.submit(named("https://git.example.com/other.git")).await;
    assert!(submitted.iter().all(|deployment| deployment.project == other.project));
    assert_eq!(gv.projects().await, ["site"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_request_go_before_those_of_the_project() {
    let gv = house().await;
    let settings = |build: &str, output: Option<&str>| BuildSettings {
        build_command: Some(build.parse().unwrap()),
        output_dir: output.map(|dir| dir.parse().unwrap()),
        ..BuildSettings::default()
    };
    let new = gv::app::projects::NewProject {
        name: name("blog"),
        repo_url: None,
        settings: settings("make", Some("out")),
    };
    gv.app.create_project(gv.account, new).await.unwrap().unwrap();
    let submitted = gv.submit(SubmitRequest { settings: settings("just", None), ..request(BLOG) }).await;
    assert_eq!(submitted.settings, settings("just", Some("out")));
    // What one request says is not the project's from then on.
    assert_eq!(gv.submit(request(BLOG)).await.settings, settings("make", Some("out")));
}

fn key(request: &str) -> IdempotencyKey {
    IdempotencyKey { key: "once".into(), fingerprint: Digest::of(request.as_bytes()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twelve_submissions_with_one_key_one_is_stored() {
    let gv = house().await;
    let submitting = (0..12).map(|_| gv.app.submit(gv.account, request(BLOG), Some(key("a"))));
    let (mut new, mut repeated) = (Vec::new(), Vec::new());
    for submitted in join_all(submitting).await {
        match submitted.unwrap() {
            Submitted::New(deployment) => new.push(deployment),
            Submitted::Repeated(deployment) => repeated.push(deployment),
            Submitted::KeyTaken => panic!("it is the same request"),
        }
    }
    assert_eq!((new.len(), repeated.len()), (1, 11));
    assert!(repeated.iter().all(|deployment| deployment.id == new[0].id));
    assert_eq!(gv.projects().await, ["blog"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_leaves_no_project_behind() {
    let gv = house().await;
    gv.app.submit(gv.account, request(BLOG), Some(key("a"))).await.unwrap();
    let other = request("https://git.example.com/other.git");
    let submitted = gv.app.submit(gv.account, other, Some(key("b"))).await.unwrap();
    assert_eq!(submitted, Submitted::KeyTaken);
    assert_eq!(gv.projects().await, ["blog"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redeploying_submits_the_same_again() {
    let gv = house().await;
    let first = SubmitRequest {
        target: Target::Preview,
        reference: Some("v1".parse().unwrap()),
        git_token: Some(Secret::new("token-1")),
        ..request(BLOG)
    };
    let first = gv.deploy(first).await;
    let token = Some(Secret::new("token-2"));
    let again = gv.app.redeploy(gv.account, first.id, token.clone(), None).await.unwrap();
    let Some(Submitted::New(again)) = again else { panic!("not submitted: {again:?}") };
    assert_ne!(again.id, first.id);
    assert_eq!((again.project, again.target, &again.commit), (first.project, Target::Preview, &None));
    assert_eq!(again.source.reference, first.source.reference);
    assert_eq!(again.source.git_token, token);
    let stranger = new_account(&*gv.database, "bob@example.com").await;
    assert_eq!(gv.app.redeploy(stranger, first.id, None, None).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_deployment_is_canceled_at_once() {
    let gv = house().await;
    let waiting = gv.submit(request(BLOG)).await;
    let canceled = gv.app.cancel(gv.account, waiting.id).await.unwrap().unwrap();
    assert_eq!(canceled.state.name(), StateName::Canceled);
    assert_eq!(gv.app.cancel(gv.account, waiting.id).await.unwrap().unwrap(), canceled);
    let stranger = new_account(&*gv.database, "bob@example.com").await;
    assert_eq!(gv.app.cancel(stranger, waiting.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canceling_waits_for_the_worker_that_holds_it() {
    let gv = house().await;
    let held = gv.submit(request(BLOG)).await;
    let held = gv.take(held.id).await;
    let mut notices = gv.app.notices.subscribe().await.unwrap();
    let worker = async {
        let notice = Notice::CancelRequested { deployment: held.id };
        while notices.next().await != Heard::Notice(notice.clone()) {}
        let present = gv.database.find_deployment(gv.account, held.id).await.unwrap().unwrap();
        assert!(present.cancel_requested);
        gv.advance(present.cancel(gv.app.clock.now()).unwrap()).await
    };
    let (canceled, ended) = tokio::join!(gv.app.cancel(gv.account, held.id), worker);
    assert_eq!(canceled.unwrap().unwrap().state, ended.state);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_goes_live_is_shown_by_its_hosts() {
    let gv = house().await;
    let mut notices = gv.app.notices.subscribe().await.unwrap();
    let live = gv.deploy(request(BLOG)).await;
    let own = format!("blog-{}.example.com", live.id.body());
    for host in ["blog.example.com", "blog-git-main.example.com", own.as_str()] {
        let pointer = gv.published(host).await.unwrap();
        assert_eq!(pointer.target.as_ref().unwrap().deployment, live.id, "{host}");
        let host = Hostname::parse(host).unwrap();
        assert_eq!(gv.app.cache.pointer(&host).await.unwrap(), Some(pointer));
        let record = gv.database.find_host(&host).await.unwrap().unwrap();
        assert_eq!(record.published, record.revision);
        assert!(matches!(notices.next().await, Heard::Notice(Notice::HostMoved { .. })));
    }
    let preview = gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(live.id));
    assert_eq!(gv.shown("blog-git-main.example.com").await, Some(preview.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_submission_wins_whatever_finishes_first() {
    let gv = house().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let waiting = gv.submit(request(BLOG)).await;
        held.push(gv.take(waiting.id).await);
    }
    let newest = held[2].id;
    for i in [1, 2, 0] {
        let ready = gv.make_ready(held[i].clone()).await;
        let own = format!("blog-{}.example.com", ready.id.body());
        assert_eq!(gv.shown(&own).await, Some(ready.id));
    }
    assert_eq!(gv.shown("blog.example.com").await, Some(newest));
    assert_eq!(gv.shown("blog-git-main.example.com").await, Some(newest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_publishers_never_leave_an_older_pointer() {
    let gv = house().await;
    let other = gv.another();
    let ready = [gv.deploy(request(BLOG)).await, gv.deploy(request(BLOG)).await];
    let host = Hostname::parse("blog.example.com").unwrap();
    for _ in 0..3 {
        let mut records = Vec::new();
        for i in 0..12 {
            records.push(gv.database.point(&host, &ready[i % 2]).await.unwrap().unwrap());
        }
        let newest = records.last().unwrap().clone();
        records.shuffle(&mut rand::rng());
        let publishing = records.into_iter().enumerate().map(|(i, record)| {
            let process = if i % 2 == 0 { &gv } else { &other };
            process.app.publish_host(record)
        });
        for published in join_all(publishing).await {
            published.unwrap();
        }
        assert_eq!(gv.published("blog.example.com").await, Some(Pointer::from(&newest)));
        let record = gv.database.find_host(&host).await.unwrap().unwrap();
        assert_eq!(record.published, newest.revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_pointer_is_written_over() {
    let gv = house().await;
    let live = gv.deploy(request(BLOG)).await;
    let host = Hostname::parse("blog.example.com").unwrap();
    gv.app.blobs.put(&Key::host(&host), Body::Bytes("{".into())).await.unwrap();
    let record = gv.database.find_host(&host).await.unwrap().unwrap();
    gv.app.publish_host(record).await.unwrap();
    assert_eq!(gv.shown("blog.example.com").await, Some(live.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_and_rollback_move_a_pointer_and_nothing_else() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let preview = gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    let content = gv.content();
    assert!(!content.is_empty());
    let moved = gv.app.promote(gv.account, preview.id).await.unwrap();
    assert_eq!(moved, Move::Moved(Box::new(preview.clone())));
    assert_eq!(gv.shown("blog.example.com").await, Some(preview.id));
    let moved = gv.app.rollback(gv.account, &name("blog"), Some(first.id)).await.unwrap();
    assert_eq!(moved, Move::Moved(Box::new(first.clone())));
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
    assert_eq!(gv.content(), content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_goes_back_step_by_step_until_nothing_is_earlier() {
    let gv = house().await;
    let project = name("blog");
    let none = gv.app.rollback(gv.account, &project, None).await.unwrap();
    assert_eq!(none, Move::NotFound);
    let mut ready = Vec::new();
    for _ in 0..3 {
        ready.push(gv.deploy(request(BLOG)).await);
    }
    gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    for earlier in [&ready[1], &ready[0]] {
        let moved = gv.app.rollback(gv.account, &project, None).await.unwrap();
        assert_eq!(moved, Move::Moved(Box::new(earlier.clone())));
        assert_eq!(gv.shown("blog.example.com").await, Some(earlier.id));
    }
    let moved = gv.app.rollback(gv.account, &project, None).await.unwrap();
    assert_eq!(moved, Move::NothingEarlier);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_ready_and_ones_own_can_be_promoted() {
    let gv = house().await;
    let ready = gv.deploy(request(BLOG)).await;
    let waiting = gv.submit(request(BLOG)).await;
    assert_eq!(gv.app.promote(gv.account, waiting.id).await.unwrap(), Move::NotReady);
    let failure = Failure::new(FailureCode::BuildFailed, "it broke");
    let failed = gv.take(waiting.id).await.fail(gv.app.clock.now(), failure).unwrap();
    let failed = gv.advance(failed).await;
    let project = name("blog");
    let rollback = |to| gv.app.rollback(gv.account, &project, Some(to));
    assert_eq!(rollback(failed.id).await.unwrap(), Move::NotReady);
    let elsewhere = gv.deploy(request("https://git.example.com/other.git")).await;
    assert_eq!(rollback(elsewhere.id).await.unwrap(), Move::NotFound);
    let stranger = new_account(&*gv.database, "bob@example.com").await;
    assert_eq!(gv.app.promote(stranger, ready.id).await.unwrap(), Move::NotFound);
    assert_eq!(gv.app.rollback(stranger, &project, Some(ready.id)).await.unwrap(), Move::NotFound);
    assert_eq!(gv.shown("blog.example.com").await, Some(ready.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_submitted_before_a_promotion_does_not_take_production_back() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    gv.deploy(request(BLOG)).await;
    let slow = gv.submit(request(BLOG)).await;
    gv.app.promote(gv.account, first.id).await.unwrap();
    let slow = gv.make_ready(gv.take(slow.id).await).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
    assert_eq!(gv.shown("blog-git-main.example.com").await, Some(slow.id));
    let later = gv.deploy(request(BLOG)).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(later.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_deployment_is_out_of_view_and_its_objects_are_gone() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let content = gv.content();
    let preview = gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    let own = format!("blog-{}.example.com", preview.id.body());
    assert_eq!(gv.shown(&own).await, Some(preview.id));
    let deleted = gv.app.delete_deployment(gv.account, preview.id).await.unwrap();
    assert!(matches!(deleted, Deletion::Deleted(_)), "{deleted:?}");
    assert_eq!(gv.shown(&own).await, None);
    assert_eq!(gv.content(), content);
    let kept = gv.app.delete_deployment(gv.account, first.id).await.unwrap();
    assert_eq!(kept, Deletion::InProduction);
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_project_is_out_of_view_and_its_objects_are_gone() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    gv.deploy(request(BLOG)).await;
    let deleted = gv.app.delete_project(gv.account, &name("blog")).await.unwrap();
    assert!(matches!(deleted, ProjectDeletion::Deleted { .. }), "{deleted:?}");
    for host in ["blog.example.com", "blog-git-main.example.com"] {
        assert_eq!(gv.shown(host).await, None);
    }
    assert_eq!(gv.content(), Vec::<String>::new());
    assert_eq!(gv.database.find_deployment(gv.account, first.id).await.unwrap(), None);
    // The name is free again, and what it shows next is newer than that it showed nothing.
    let again = gv.deploy(request(BLOG)).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(again.id));
}

/// Sweeps while `work` goes on.
async fn with_sweeper<T>(gv: &Process, work: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let (app, stopped) = (Arc::clone(&gv.app), stop.clone());
    let sweeper = tokio::spawn(async move { app.sweep(stopped).await });
    let done = tokio::time::timeout(PATIENCE, work).await.expect("it should have happened by now");
    stop.cancel();
    sweeper.await.unwrap();
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_rings_in_every_process_for_what_waits() {
    let gv = house().await;
    // Its bell rings in the first process, where nobody listens.
    let waiting = gv.submit(request(BLOG)).await;
    let other = gv.another();
    let mut bell = other.app.queue.listen(1).await.unwrap();
    let heard = with_sweeper(&gv, with_sweeper(&other, bell.next())).await;
    assert_eq!(heard.deployment, waiting.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_rings_for_a_lease_that_ran_out() {
    let gv = house().await;
    let held = gv.submit(request(BLOG)).await;
    gv.take(held.id).await;
    let other = gv.another();
    let mut bell = other.app.queue.listen(1).await.unwrap();
    let heard = with_sweeper(&other, bell.next()).await;
    assert_eq!(heard.deployment, held.id);
    assert_eq!(other.take(held.id).await.attempt, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_publishes_what_was_not() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let second = gv.deploy(request(BLOG)).await;
    let host = Hostname::parse("blog.example.com").unwrap();
    // Whoever made this move fell over right after it.
    gv.database.point(&host, &first).await.unwrap().unwrap();
    assert_eq!(gv.shown("blog.example.com").await, Some(second.id));
    let published = async {
        while gv.database.find_host(&host).await.unwrap().is_some_and(|it| it.published < it.revision) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    with_sweeper(&gv, published).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_ends_when_told() {
    let gv = house().await;
    with_sweeper(&gv, async {}).await;
}
