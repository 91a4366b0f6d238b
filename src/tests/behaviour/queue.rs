//! Turns: how much of one account is built at a time, what supersedes what, how much may wait.

use super::{Settings, Stage, borrowed, built_by};
use crate::support::gv::{id_of, json_of, with_json};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::time::{Duration, Instant};

/// Builds that take long unless they are ended.
const LONG: &str = "sleep 60";

async fn repository(stage: &Stage, name: &str, script: &str) -> super::Repository {
    let files = built_by(&format!("{script} && mkdir -p dist && echo hi > dist/index.html"));
    stage.git.repository(name, &borrowed(&files)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_builds_so_many_at_a_time_and_others_come_between() {
    let settings = Settings::default().set("GV_LIMITS__ACCOUNT_BUILDS", 1).set("GV_WORKER__CONCURRENCY", 2);
    let stage = Stage::set_with(settings).await;
    let long = repository(&stage, "long", LONG).await;
    let held = id_of(&stage.gv.submit(json!({"repo_url": long.url()})).await);
    stage.gv.wait_for(&held, &["building"]).await;
    let mine = stage.site("mine").await;
    let waiting = id_of(&stage.gv.submit(json!({"repo_url": mine.url()})).await);
    let stranger = stage.gv.account("eve@example.com").await;
    let theirs = stage.site("theirs").await;
    let call = stage.gv.anonymous(Method::POST, "/deployments").bearer_auth(&stranger);
    let response = with_json(call, &json!({"repo_url": theirs.url()})).send().await.unwrap();
    let other = json_of(response, StatusCode::CREATED).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let path = format!("/deployments/{}", other["id"].as_str().unwrap());
        let seen = stage.gv.anonymous(Method::GET, &path).bearer_auth(&stranger).send().await.unwrap();
        if json_of(seen, StatusCode::OK).await["state"] == "ready" {
            break;
        }
        assert!(Instant::now() < deadline, "{}", stage.gv.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seen = stage.gv.get(&format!("/deployments/{waiting}")).await;
    assert_eq!((&seen["state"], &seen["queue_position"]), (&json!("queued"), &json!(1)));
    let mut following =
        stage.gv.call(Method::GET, &format!("/deployments/{waiting}/logs?follow=true")).send().await.unwrap();
    let first = following.chunk().await.unwrap().unwrap();
    let first = String::from_utf8_lossy(&first);
    assert!(first.contains("1 deployment of this account is already building (limit 1)"), "{first}");
    stage.gv.post(&format!("/deployments/{held}/cancel"), &json!({}), 200).await;
    // Its turn comes with the end of the other, not with the sweeper's next round.
    assert_eq!(stage.gv.wait_until_ended(&waiting).await["state"], "ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_deployment_of_the_branch_takes_the_place_of_those_that_wait() {
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__CONCURRENCY", 1)).await;
    let long = repository(&stage, "long", LONG).await;
    let held = id_of(&stage.gv.submit(json!({"repo_url": long.url()})).await);
    stage.gv.wait_for(&held, &["building"]).await;
    let blog = stage.site("blog").await;
    let older = id_of(&stage.gv.submit(json!({"repo_url": blog.url()})).await);
    let preview =
        id_of(&stage.gv.submit(json!({"repo_url": blog.url(), "ref": "main", "target": "preview"})).await);
    let newer = id_of(&stage.gv.submit(json!({"repo_url": blog.url()})).await);
    let ended = stage.gv.wait_until_ended(&older).await;
    assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("canceled"), &json!("superseded")));
    assert!(ended["error"]["message"].as_str().unwrap().contains(&newer), "{ended}");
    stage.gv.post(&format!("/deployments/{held}/cancel"), &json!({}), 200).await;
    for id in [&preview, &newer] {
        assert_eq!(stage.gv.wait_until_ended(id).await["state"], "ready");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_deployment_stops_one_that_is_built_where_the_operator_says_so() {
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__SUPERSEDE_RUNNING", true)).await;
    let long = repository(&stage, "long", LONG).await;
    let held = id_of(&stage.gv.submit(json!({"repo_url": long.url()})).await);
    stage.gv.wait_for(&held, &["building"]).await;
    let files = built_by("mkdir -p dist && echo hi > dist/index.html");
    long.commit(&borrowed(&files), "Quick").await;
    let newer = id_of(&stage.gv.submit(json!({"repo_url": long.url()})).await);
    assert_eq!(stage.gv.wait_until_ended(&held).await["state"], "canceled");
    assert_eq!(stage.gv.wait_until_ended(&newer).await["state"], "ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_may_have_so_many_waiting_and_is_told() {
    let settings = Settings::default().set("GV_WORKER__CONCURRENCY", 1).set("GV_LIMITS__ACCOUNT_QUEUED", 2);
    let stage = Stage::set_with(settings).await;
    let long = repository(&stage, "long", LONG).await;
    let held = id_of(&stage.gv.submit(json!({"repo_url": long.url()})).await);
    stage.gv.wait_for(&held, &["building"]).await;
    for name in ["one", "two"] {
        let site = stage.site(name).await;
        stage.gv.submit(json!({"repo_url": site.url()})).await;
    }
    let site = stage.site("three").await;
    let body = json!({"repo_url": site.url()});
    let problem = stage.gv.post("/deployments", &body, 429).await;
    assert!(problem["detail"].as_str().unwrap().contains("2 deployments of yours wait already"), "{problem}");
    let projects = stage.gv.get("/projects").await;
    assert!(!projects.to_string().contains("three"), "no project is left of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_stops_a_running_build_and_its_daemons_within_two_seconds() {
    let stage = Stage::set().await;
    // A daemon of its own session, deaf to polite signals.
    let script = "setsid sh -c 'trap \"\" TERM INT HUP; sleep 77777' >/dev/null 2>&1 & sleep 60";
    let long = repository(&stage, "long", script).await;
    let held = id_of(&stage.gv.submit(json!({"repo_url": long.url()})).await);
    stage.gv.wait_for(&held, &["building"]).await;
    let alive = || {
        let all = std::fs::read_dir("/proc").unwrap().map(Result::unwrap);
        let environments = all.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
        environments.filter(|environ| String::from_utf8_lossy(environ).contains(&held)).count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while alive() < 3 {
        assert!(Instant::now() < deadline, "the build and its daemon never ran");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let canceled = stage.gv.post(&format!("/deployments/{held}/cancel"), &json!({}), 200).await;
    assert_eq!(canceled["state"], "canceled");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(alive(), 0, "nothing of it runs any more");
}
