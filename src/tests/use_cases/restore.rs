//! A database that was restored from a copy, beside a storage that went on without it: what the
//! handbook says to do then.

use super::{BLOG, house, request};
use gv::domain::host::Hostname;
use std::time::Duration;

const HANDBOOK: &str = include_str!("../../../docs/operations.md");

/// The statement of the handbook, as it stands there.
fn statement() -> &'static str {
    let found = HANDBOOK.lines().map(str::trim).find(|line| line.starts_with("UPDATE hosts"));
    found.expect("docs/operations.md says how hosts are lifted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_hosts_show_what_the_restored_database_knows_and_then_what_is_new() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let host = Hostname::parse("blog.example.com").unwrap();
    let copied = gv.database.find_host(&host).await.unwrap().unwrap();
    for _ in 0..3 {
        gv.deploy(request(BLOG)).await;
    }
    let before = gv.published("blog.example.com").await.unwrap();
    assert_ne!(gv.shown("blog.example.com").await, Some(first.id));
    // As the copy had it.
    let restore = format!(
        "UPDATE hosts SET deployment = '{}', published = {r}, revision = {r} WHERE host = '{host}'",
        first.id,
        r = copied.revision,
    );
    gv.shared.database.execute(&restore).await;
    gv.shared.database.execute(statement()).await;
    for record in gv.database.unpublished(Duration::ZERO, 100).await.unwrap() {
        gv.app.publish_host(record).await.unwrap();
    }
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
    assert!(gv.published("blog.example.com").await.unwrap().version > before.version, "edges believe it");
    let newest = gv.deploy(request(BLOG)).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(newest.id));
}
