//! Migrations: once, whoever runs them and however often.

use crate::support::database::{fresh, fresh_url};
use futures_util::future::join_all;
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
