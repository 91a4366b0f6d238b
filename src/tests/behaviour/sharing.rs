//! Two processes on one database and one folder of blobs.

use super::{Stage, borrowed, built_by, unheld};
use crate::support::gv::id_of;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_build_each_deployment_once_and_both_serve_it() {
    let stage = Stage::set_with(unheld()).await;
    let beside = stage.gv.start_beside();
    let count = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo built >> {}; mkdir dist; echo hi > dist/index.html", count.path().display());
    let repository = stage.git.repository("site", &borrowed(&built_by(&script))).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let body = json!({"repo_url": repository.url(), "project": format!("site-{n}")});
        let gv = if n % 2 == 0 { &stage.gv } else { &beside };
        ids.push(id_of(&gv.submit(body).await));
    }
    for id in &ids {
        stage.gv.wait_for(id, &["ready"]).await;
    }
    let builds = std::fs::read_to_string(count.path()).unwrap().lines().count();
    assert_eq!(builds, 6, "each one was built once");
    for n in 0..6 {
        for gv in [&stage.gv, &beside] {
            assert_eq!(gv.page(&format!("site-{n}.localhost"), "/").await.1, "hi\n");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_held_is_finished_by_the_other() {
    let mut stage = Stage::set_with(unheld().set("GV_WORKER__LEASE_S", 4)).await;
    let mark = tempfile::NamedTempFile::new().unwrap();
    let mark_path = mark.path().display().to_string();
    drop(mark);
    let script = format!(
        "if [ -e {mark_path} ]; then mkdir dist; echo built > dist/index.html; else touch {mark_path}; sleep 1000; fi"
    );
    let repository = stage.git.repository("site", &borrowed(&built_by(&script))).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    while !std::path::Path::new(&mark_path).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let beside = stage.gv.start_beside();
    let held: Value = beside.get(&format!("/deployments/{id}")).await;
    assert_eq!(held["state"], "building", "a lease that is held is left alone");
    stage.gv.kill();
    let deployment = beside.wait_for(&id, &["ready"]).await;
    assert_eq!(deployment["attempt"], 2);
    assert_eq!(beside.page("site.localhost", "/").await.1, "built\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_after_its_lease_changes_nothing() {
    let stage = Stage::set_with(unheld().set("GV_WORKER__LEASE_S", 3)).await;
    let mark = tempfile::NamedTempFile::new().unwrap();
    let mark_path = mark.path().display().to_string();
    drop(mark);
    let script = format!(
        "mkdir dist; if [ -e {mark_path} ]; then echo second > dist/index.html; else touch {mark_path}; \
         sleep 2; echo first > dist/index.html; fi"
    );
    let repository = stage.git.repository("site", &borrowed(&built_by(&script))).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    while !std::path::Path::new(&mark_path).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.gv.signal(rustix::process::Signal::STOP);
    let beside = stage.gv.start_beside();
    let deployment = beside.wait_for(&id, &["ready"]).await;
    stage.gv.signal(rustix::process::Signal::CONT);
    // Long enough for the woken one to have finished its own build, had it gone on.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(beside.get(&format!("/deployments/{id}")).await, deployment);
    for gv in [&stage.gv, &beside] {
        assert_eq!(gv.page("site.localhost", "/").await.1, "second\n");
    }
}
