//! The contract of the database's ports. Each test has a database of its own: an SQLite file, or a
//! PostgreSQL database where `GV_TEST_DATABASE_URL` names a server; `scripts/test` does both.
//!
//! Start with `leases`. Here is what the parts share: values to store, and [`contracts_of_two!`].

mod accounts;
mod deployments;
mod hosts;
mod leases;
mod line;
mod projects;
mod releases;
mod schema;
mod variables;

use gv::domain::account::{Email, User};
use gv::domain::deployment::{BuildOptions, Deployment, SourceRequest, State, Target};
use gv::domain::digest::Digest;
use gv::domain::host::{HostClaim, HostKind, Hostname};
use gv::domain::id::{DeploymentId, ProjectId, UserId};
use gv::domain::project::{Project, ProjectName};
use gv::domain::repo::{Commit, RepoUrl};
use gv::domain::settings::{BuildSettings, Variables};
use gv::ports::database::Database;
use gv::ports::deployments::{Claim, Submitted};
use std::time::Duration;
use time::OffsetDateTime;

/// Runs each of these contracts on a database of its own, as two processes that share it: `one`
/// and `two`.
macro_rules! contracts_of_two {
    ($($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (place, one) = crate::support::database::fresh().await;
            let two = place.connect();
            contracts::$name(&one, &two).await;
        }
    )*};
}
use contracts_of_two;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);
/// Of builds or of what waits: no limit.
const ANY: u32 = u32::MAX;
/// Over as soon as it was given.
const OVER: Duration = Duration::ZERO;

fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000) + time::Duration::microseconds(123_456)
}

fn seconds(seconds: i64) -> time::Duration {
    time::Duration::seconds(seconds)
}

fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

fn host(name: &str) -> Hostname {
    Hostname::parse(&format!("{name}.example.com")).unwrap()
}

fn claim(kind: HostKind, first: &str, second: &str) -> HostClaim {
    HostClaim { kind, candidates: [host(first), host(second)] }
}

fn production(name: &str) -> HostClaim {
    claim(HostKind::Production, name, &format!("{name}-2"))
}

fn user(name: &str) -> User {
    User {
        id: UserId::new(now(), &mut rand::rng()),
        email: Email::parse(&format!("{name}@example.com")).unwrap(),
        name: None,
        password_hash: Some("$argon2id$".into()),
        created_at: now(),
        disabled_at: None,
    }
}

fn project(account: UserId, name: &str) -> Project {
    Project {
        id: ProjectId::new(now(), &mut rand::rng()),
        account,
        name: ProjectName::parse(name).unwrap(),
        host: host(name),
        repo_url: RepoUrl::parse(&format!("https://example.com/{name}.git")).ok(),
        production_branch: None,
        framework: None,
        settings: BuildSettings::default(),
        created_at: now(),
    }
}

fn deployment(project: &Project) -> Deployment {
    Deployment {
        id: DeploymentId::new(now(), &mut rand::rng()),
        account: project.account,
        project: project.id,
        project_name: project.name.clone(),
        seq: 0,
        revision: 0,
        attempt: 0,
        losses: 0,
        target: Target::Production,
        source: SourceRequest {
            repo_url: RepoUrl::parse("https://example.com/site.git").unwrap(),
            reference: None,
            git_token: None,
        },
        settings: BuildSettings::default(),
        env: Variables::default(),
        options: BuildOptions::default(),
        commit: None,
        state: State::Queued,
        cancel_requested: false,
        reused: false,
        fingerprint: None,
        created_at: now(),
        started_at: None,
        steps: Vec::new(),
    }
}

fn commit() -> Commit {
    Commit { id: "a1".repeat(20), message: "Zoë's \"first\"".into(), branch: Some("main".into()) }
}

/// An account with one project of this name, at the host of this name.
async fn account(db: &dyn Database, name: &str) -> Project {
    let user = user(name);
    db.insert_user(&user).await.unwrap();
    db.insert_project(project(user.id, name), &production(name)).await.unwrap()
}

async fn submit(db: &dyn Database, deployment: Deployment) -> Deployment {
    match db.submit(deployment, None, ANY).await.unwrap() {
        Submitted::New(deployment) => deployment,
        other => panic!("{other:?}"),
    }
}

async fn take(db: &dyn Database, deployment: &Deployment, worker: &str, lease: Duration) -> Deployment {
    match db.claim(deployment.id, worker, lease, now(), ANY).await.unwrap() {
        Claim::Taken(taken) => *taken,
        other => panic!("{other:?}"),
    }
}

async fn advance(db: &dyn Database, next: Deployment) -> Deployment {
    db.advance(next).await.unwrap().expect("nobody else wrote")
}

/// Submits one, and works on it until it is ready.
async fn ready(db: &dyn Database, project: &Project) -> Deployment {
    let queued = submit(db, deployment(project)).await;
    let taken = take(db, &queued, "worker", LONG).await;
    let building = advance(db, taken.build(now(), commit()).unwrap()).await;
    let uploading = advance(db, building.upload(now()).unwrap()).await;
    advance(db, uploading.finish(now(), 3, 1_000).unwrap()).await
}
