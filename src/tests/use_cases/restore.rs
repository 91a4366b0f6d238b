//! A database that was restored from a copy, beside a storage and edges that went on without it: what gv does by
//! itself, and what the handbook says to do.

use super::{BLOG, Process, house, new_account, request};
use crate::support::process::command;
use futures_util::future::join_all;
use gv::domain::host::{HostRecord, Hostname};
use gv::domain::id::DeploymentId;
use gv::ports::blobs::{Body, Key};
use rand::seq::SliceRandom;
use std::time::Duration;

const HANDBOOK: &str = include_str!("../../../docs/operations.md");
/// What the handbook has typed after the database is back.
const COMMAND: &[&str] = &["migrate", "--restored"];

const HOST: &str = "blog.example.com";

impl Process {
    async fn record(&self) -> HostRecord {
        self.database.find_host(&Hostname::parse(HOST).unwrap()).await.unwrap().unwrap()
    }

    /// The host as a copy of the database had it.
    async fn put_back(&self, copied: &HostRecord, shown: DeploymentId) {
        let restore = format!(
            "UPDATE hosts SET deployment = '{shown}', published = {r}, revision = {r} WHERE host = '{HOST}'",
            r = copied.revision,
        );
        self.shared.database.execute(&restore).await;
    }

    fn follow_the_handbook(&self) {
        assert!(HANDBOOK.contains(&format!("gv {}", COMMAND.join(" "))));
        let mut command = command();
        command.env("HOME", self.shared.folder.path()).env("GV_DATABASE__URL", &self.shared.database.url);
        let done = command.args(COMMAND).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(said.contains("lifted: "), "{said}");
    }

    async fn sweep_once(&self) {
        for record in self.database.unpublished(Duration::ZERO, 100).await.unwrap() {
            self.app.publish_host(record).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_hosts_show_what_the_restored_database_knows_and_then_what_is_new() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let copied = gv.record().await;
    for _ in 0..3 {
        gv.deploy(request(BLOG)).await;
    }
    let before = gv.published(HOST).await.unwrap();
    assert_ne!(gv.shown(HOST).await, Some(first.id));
    gv.put_back(&copied, first.id).await;
    gv.follow_the_handbook();
    gv.sweep_once().await;
    assert_eq!(gv.shown(HOST).await, Some(first.id));
    assert!(gv.published(HOST).await.unwrap().version > before.version, "edges believe it");
    let newest = gv.deploy(request(BLOG)).await;
    assert_eq!(gv.shown(HOST).await, Some(newest.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_believe_a_restored_database_and_bucket_however_often_the_same_copy_comes_back() {
    let gv = house().await;
    let key = Key::host(&Hostname::parse(HOST).unwrap());
    let first = gv.deploy(request(BLOG)).await;
    let copied = gv.record().await;
    let object = gv.app.blobs.get(&key, 1 << 16).await.unwrap().unwrap().bytes;
    // What an edge that went on holds.
    let mut held = 0;
    for _ in 0..2 {
        for _ in 0..3 {
            gv.deploy(request(BLOG)).await;
        }
        held = gv.published(HOST).await.unwrap().version.max(held);
        gv.put_back(&copied, first.id).await;
        gv.app.blobs.put(&key, Body::Bytes(object.clone())).await.unwrap();
        gv.follow_the_handbook();
        gv.sweep_once().await;
        assert_eq!(gv.shown(HOST).await, Some(first.id));
        let published = gv.published(HOST).await.unwrap().version;
        assert!(published > held, "{published} is not above {held}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_made_since_the_copy_shows_the_site_of_whoever_makes_it_next() {
    // Its pointer is as new as the next one's first, or newer.
    for moves in [1, 3] {
        let gv = house().await;
        let mut theirs = None;
        for _ in 0..moves {
            theirs = Some(gv.deploy(request(BLOG)).await);
        }
        assert_eq!(gv.shown(HOST).await, theirs.map(|one| one.id));
        let nothing = "DELETE FROM hosts; DELETE FROM deployments; DELETE FROM projects;";
        gv.shared.database.execute(nothing).await;
        let account = new_account(&*gv.database, "eve@example.com").await;
        let eve = Process { account, ..gv.another() };
        let own = eve.deploy(request(BLOG)).await;
        assert_eq!(gv.shown(HOST).await, Some(own.id), "after {moves} moves");
        let (pointer, record) = (gv.published(HOST).await.unwrap(), gv.record().await);
        assert!(pointer.is_of(&record) && record.published == record.revision, "{record:?}");
        assert!(pointer.version > moves && pointer.earlier.is_empty(), "{pointer:?}");
        let cached = eve.app.cache.pointer(&record.host).await.unwrap();
        assert_eq!(cached, Some(pointer), "and caches hear of it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_moves_that_race_beside_a_restored_database_the_newest_stays() {
    let gv = house().await;
    let other = gv.another();
    let ready = [gv.deploy(request(BLOG)).await, gv.deploy(request(BLOG)).await];
    let copied = gv.record().await;
    for _ in 0..3 {
        for i in 0..20 {
            let record = gv.database.point(&copied.host, &ready[i % 2]).await.unwrap().unwrap();
            gv.app.publish_host(record).await.unwrap();
        }
        let before = gv.published(HOST).await.unwrap();
        gv.put_back(&copied, ready[1].id).await;
        let mut records = Vec::new();
        for i in 0..5 {
            records.push(gv.database.point(&copied.host, &ready[i % 2]).await.unwrap().unwrap());
        }
        records.shuffle(&mut rand::rng());
        let publishing = records.into_iter().enumerate().map(|(i, record)| {
            let process = if i % 2 == 0 { &gv } else { &other };
            process.app.publish_host(record)
        });
        // A move of its own meanwhile, which is the newest.
        let moving = async {
            let record = other.database.point(&copied.host, &ready[1]).await.unwrap().unwrap();
            other.app.publish_host(record).await.unwrap();
        };
        let (published, ()) = tokio::join!(join_all(publishing), moving);
        for published in published {
            published.unwrap();
        }
        let (pointer, record) = (gv.published(HOST).await.unwrap(), gv.record().await);
        assert_eq!(record.deployment, Some(ready[1].id));
        assert!(pointer.is_of(&record) && record.published == record.revision, "{pointer:?} {record:?}");
        assert!(pointer.version > before.version);
    }
}
