//! Migrations: once, whoever runs them and however often.

use crate::support::database::{fresh, fresh_url};
use futures_util::future::join_all;
use gv::adapters::clock::SystemClock;
use gv::ports::accounts::Users;
use gv::ports::clock::Clock;
use gv::ports::database::Schema;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_are_pending_until_they_ran_and_run_once() {
    let place = fresh_url().await;
    let db = place.connect();
    let pending = db.pending().await.unwrap();
    assert!(!pending.is_empty());
    assert_eq!(db.pending().await.unwrap(), pending, "looking changes nothing");
    assert_eq!(db.migrate().await.unwrap(), pending);
    assert!(db.pending().await.unwrap().is_empty());
    assert!(db.migrate().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_processes_that_migrate_at_once_one_does_it_and_none_fails() {
    let place = fresh_url().await;
    let processes: Vec<_> = (0..6).map(|_| place.connect()).collect();
    let ran = join_all(processes.iter().map(|db| db.migrate())).await;
    let ran: Vec<_> = ran.into_iter().map(Result::unwrap).filter(|names| !names.is_empty()).collect();
    assert_eq!(ran.len(), 1, "{ran:?}");
    assert!(processes[0].pending().await.unwrap().is_empty());
}

#[tokio::test]
async fn migrating_works_on_a_runtime_of_one_thread() {
    let (_place, db) = fresh().await;
    assert!(db.pending().await.unwrap().is_empty());
    db.ping().await.unwrap();
}

#[tokio::test]
async fn a_database_says_what_it_is_and_what_time_it_has() {
    let (_place, db) = fresh().await;
    let server = db.server().await.unwrap();
    assert!(
        server.name.starts_with("SQLite 3") || server.name.starts_with("PostgreSQL 1"),
        "{}",
        server.name
    );
    let apart = (server.now - SystemClock.now()).abs();
    assert!(apart < time::Duration::seconds(5), "{apart}");
}

#[tokio::test]
async fn a_rehearsal_writes_and_leaves_nothing_and_fails_where_nothing_can_be_written() {
    let place = fresh_url().await;
    let db = place.connect();
    assert!(db.rehearse().await.is_err(), "there are no tables yet");
    db.migrate().await.unwrap();
    db.rehearse().await.unwrap();
    assert_eq!(db.list_users(None, 10).await.unwrap(), []);
}
