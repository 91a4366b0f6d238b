//! gv killed at every step, and what is found after the next start.

use super::pointers::processes_with;
use super::{Stage, borrowed, built_by, unheld};
use crate::support::gv::{Settings, id_of};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_cloning_it_is_cloned_again_after_the_next_start() {
    let mut stage = Stage::set().await;
    let repository = stage.site("site").await;
    stage.git.delay(Duration::from_secs(2));
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    stage.gv.wait_for(&id, &["cloning"]).await;
    stage.gv.kill();
    stage.git.delay(Duration::ZERO);
    stage.gv.start_again();
    let deployment = stage.gv.wait_for(&id, &["ready"]).await;
    assert_eq!(deployment["attempt"], 2);
    assert_eq!(stage.gv.page("site.localhost", "/").await.1, "<h1>first</h1>");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_building_its_processes_die_and_it_is_built_again() {
    let mut stage = Stage::set_with(unheld()).await;
    let marker = format!("{}.5", 6_000_000 + std::process::id());
    // The first attempt sleeps with a daemon beside it; the second finds the mark and goes through.
    let mark = tempfile::NamedTempFile::new().unwrap();
    let mark_path = mark.path().display().to_string();
    drop(mark);
    let script = format!(
        "if [ -e {mark_path} ]; then mkdir dist; echo built > dist/index.html; else touch {mark_path}; \
         (setsid sleep {marker} &); sleep {marker}; fi"
    );
    let repository = stage.git.repository("site", &borrowed(&built_by(&script))).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    while processes_with(&marker) < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.gv.kill();
    stage.gv.start_again();
    assert_eq!(processes_with(&marker), 0, "no process of the old build is left");
    stage.gv.wait_for(&id, &["ready"]).await;
    assert_eq!(stage.gv.page("site.localhost", "/").await.1, "built\n");
    assert_eq!(stage.gv.get("/deployments").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_half_made_is_visible_and_all_end() {
    let mut stage = Stage::set_with(Settings::default().set("GV_WORKER__MAX_ATTEMPTS", 50)).await;
    let files: Vec<(String, String)> =
        (0..300).map(|n| (format!("{n}.html"), format!("page {n} of one"))).collect();
    let repository = stage.git.repository("site", &borrowed(&files)).await;
    stage.deploy(&repository).await;
    let files: Vec<(String, String)> =
        (0..300).map(|n| (format!("{n}.html"), format!("page {n} of two"))).collect();
    let commit = repository.commit(&borrowed(&files), "two").await;
    // A commit: of a branch, each would take the place of those before it; and built each time.
    let body = json!({"repo_url": repository.url(), "ref": commit, "target": "production", "force": true});
    let mut ids = Vec::new();
    // Each life ends at another moment of the way from the submission to the pointers.
    for life in 0..6_u64 {
        ids.push(id_of(&stage.gv.submit(body.clone()).await));
        tokio::time::sleep(Duration::from_millis(40 + life * 60)).await;
        stage.gv.kill();
        stage.gv.start_again();
        let first = stage.gv.page("site.localhost", "/0").await;
        assert!(first.1.starts_with("page 0 of "), "{first:?}");
        let version = first.1.rsplit(' ').next().unwrap().to_owned();
        if version == "two" {
            let last = stage.gv.page("site.localhost", "/299").await;
            assert_eq!(last, (200, "page 299 of two".to_owned()));
        }
    }
    let last = ids.pop().unwrap();
    for id in ids {
        // One that still waited when the next was submitted gave way to it.
        let ended = stage.gv.wait_for(&id, &["ready", "canceled"]).await;
        assert!(ended["state"] == "ready" || ended["error"]["code"] == "superseded", "{ended}");
    }
    stage.gv.wait_for(&last, &["ready"]).await;
    assert_eq!(stage.gv.page("site.localhost", "/7").await.1, "page 7 of two");
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_ends_at_once_and_gives_its_work_back() {
    let mut stage = Stage::set_with(unheld().set("GV_WORKER__LEASE_S", 600)).await;
    let marker = format!("{}.25", 7_000_000 + std::process::id());
    let mark = tempfile::NamedTempFile::new().unwrap();
    let mark_path = mark.path().display().to_string();
    drop(mark);
    let script = format!(
        "if [ -e {mark_path} ]; then mkdir dist; echo built > dist/index.html; else touch {mark_path}; sleep {marker}; fi"
    );
    let repository = stage.git.repository("site", &borrowed(&built_by(&script))).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    while processes_with(&marker) < 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stage.gv.terminate().success(), "{}", stage.gv.log());
    assert_eq!(processes_with(&marker), 0);
    stage.gv.start_again();
    // Given back, not run out: the lease would have lasted ten minutes.
    stage.gv.wait_for(&id, &["ready"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_kills_its_worker_each_time_fails_and_others_go_on() {
    let mut stage = Stage::set_with(unheld().set("GV_WORKER__MAX_ATTEMPTS", 2)).await;
    // Up through its parents to the one that is named gv, which is not the guard between them.
    let script = "pid=$$; while [ $pid -gt 1 ]; do \
                  if [ \"$(cat /proc/$pid/comm)\" = gv ]; then kill -9 $pid; sleep 60; fi; \
                  pid=$(sed 's/.*) . \\([0-9]*\\) .*/\\1/' /proc/$pid/stat); done; exit 1";
    let killer = stage.git.repository("killer", &borrowed(&built_by(script))).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": killer.url()})).await);
    for _ in 0..2 {
        stage.gv.wait_until_dead().await;
        stage.gv.start_again();
    }
    let deployment = stage.gv.wait_until_ended(&id).await;
    assert_eq!(
        deployment["error"]["code"],
        "worker_lost",
        "{deployment}\n{}",
        stage.gv.deployment_log(&id).await
    );
    let site = stage.site("site").await;
    stage.deploy(&site).await;
}
