//! What an operator looks at.

use super::Stage;
use crate::support::gv::{Gv, PATIENCE, Settings, id_of};
use crate::support::redis::RedisServer;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_told_and_name_what_is_missing() {
    let gv = Gv::start(Settings::default()).await;
    let get = async |path: &str| {
        let response = gv.client.get(format!("{}{path}", gv.ops)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await.0, StatusCode::OK);
    let (status, text) = get("/readyz").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let ready: Value = serde_json::from_str(&text).unwrap();
    for check in ["database", "queue", "cache", "blobs", "sandbox"] {
        assert_eq!(ready["checks"][check]["ok"], true, "{ready}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_asked_of_a_role_and_another_role_in_its_place_is_not_well() {
    let gv = Gv::start(Settings::default()).await;
    let listen = gv.ops.strip_prefix("http://").unwrap();
    let ask = |args: &[&str]| gv.cli_command(args).env("GV_OPS__LISTEN", listen).output().unwrap();
    for args in [&["health"][..], &["health", "--ready"], &["health", "up"], &["health", "up", "--ready"]] {
        let asked = ask(args);
        assert!(asked.status.success(), "{args:?}: {asked:?}");
    }
    let other = ask(&["health", "edge"]);
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("is gv up, not gv edge"), "{said}");
    assert_eq!(ask(&["health", "nobody"]).status.code(), Some(2), "wrong usage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_its_storage_says_so_and_is_ready_again_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (blobs, moved) = (folder.path().join("blobs"), folder.path().join("moved"));
    let gv = Gv::start(Settings::default().set("GV_BLOBS__URL", format!("file:{}", blobs.display()))).await;
    let readyz = async || {
        let response = gv.client.get(format!("{}/readyz", gv.ops)).send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    std::fs::rename(&blobs, &moved).unwrap();
    std::fs::write(&blobs, "not a folder").unwrap();
    let (status, ready) = readyz().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{ready}");
    assert_eq!(ready["checks"]["blobs"]["ok"], false, "{ready}");
    assert_eq!(ready["checks"]["database"]["ok"], true, "{ready}");
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&moved, &blobs).unwrap();
    assert_eq!(readyz().await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_not_there_is_shown_and_keeps_nobody_from_work() {
    let mut server = RedisServer::absent();
    let stage = Stage::set_with(Settings::default().set("GV_CACHE__URL", server.url())).await;
    let (gv, repository) = (&stage.gv, stage.site("site").await);
    let readyz = async || {
        let response = gv.client.get(format!("{}/readyz", gv.ops)).send().await.unwrap();
        (response.status(), serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let (status, ready) = readyz().await;
    assert_eq!((status, &ready["ready"]), (StatusCode::OK, &Value::Bool(true)), "{ready}");
    assert_eq!(
        (&ready["checks"]["cache"]["ok"], &ready["checks"]["cache"]["required"]),
        (&false.into(), &false.into())
    );
    assert_eq!(ready["checks"]["database"]["required"], true, "{ready}");
    let id = id_of(&stage.deploy(&repository).await);
    assert!(gv.page("site.localhost", "/").await.1.contains("first"));
    let log = gv.call(Method::GET, &format!("/deployments/{id}/logs?follow=true")).send().await.unwrap();
    assert!(log.text().await.unwrap().contains(r#""event":"end""#));
    server.run();
    let deadline = Instant::now() + PATIENCE;
    while readyz().await.1["checks"]["cache"]["ok"] != true {
        assert!(Instant::now() < deadline, "{}", gv.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = gv.log();
    let said = |words: &str| {
        log.lines().filter(|line| line.contains(words) && line.contains("the cache at")).count()
    };
    // The connection that commands share, and those of the channels.
    assert!((1..=3).contains(&said("is away: trying again")), "an outage is told once:\n{log}");
    assert!(said("over: ") <= 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_done() {
    let stage = Stage::set().await;
    let repository = stage.site("site").await;
    stage.deploy(&repository).await;
    stage.gv.page("site.localhost", "/").await;
    stage.gv.page("site.localhost", "/nowhere").await;
    let gv = &stage.gv;
    assert_eq!(gv.metric("gv_deployments_submitted_total", &[]).await, 1.0);
    assert_eq!(gv.metric("gv_deployments_finished_total", &["state=\"ready\""]).await, 1.0);
    assert!(gv.metric("gv_edge_requests_total", &["status=\"200\""]).await >= 1.0);
    assert!(gv.metric("gv_edge_requests_total", &["status=\"404\""]).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_own_account_is_not_counted_as_waiting_for_a_worker() {
    let settings = Settings::default().set("GV_LIMITS__ACCOUNT_BUILDS", 1).set("GV_WORKER__CONCURRENCY", 2);
    let stage = Stage::set_with(settings).await;
    let files = super::built_by("sleep 600; mkdir dist; echo late > dist/index.html");
    let repository = stage.git.repository("site", &super::borrowed(&files)).await;
    let mut ids = Vec::new();
    for project in ["a", "b", "c"] {
        let body = serde_json::json!({"repo_url": repository.url(), "project": project});
        ids.push(id_of(&stage.gv.submit(body).await));
    }
    stage.gv.wait_for(&ids[0], &["building"]).await;
    let deadline = Instant::now() + PATIENCE;
    // Each look of the sweeper renews it.
    while stage.gv.metric("gv_deployments_waiting", &[]).await > 0.0 {
        assert!(Instant::now() < deadline, "two wait, and a free place of the worker is not for them");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stage.gv.metric("gv_oldest_waiting_seconds", &[]).await, 0.0);
    for id in &ids[1..] {
        assert_eq!(stage.gv.get(&format!("/deployments/{id}")).await["state"], "queued");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_follows_a_deployment_through_the_logs() {
    let stage = Stage::set().await;
    let repository = stage.site("site").await;
    let id = id_of(&stage.deploy(&repository).await);
    stage.gv.page("site.localhost", "/").await;
    let log = stage.gv.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let targets: std::collections::HashSet<&str> = lines
        .iter()
        .filter(|line| line.to_string().contains(&id))
        .filter_map(|line| line["target"].as_str())
        .filter_map(|target| target.split("::").nth(1))
        .collect();
    for role in ["api", "worker", "edge"] {
        assert!(targets.contains(role), "{role} says nothing of {id}: {targets:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_for_one_cold_file_read_storage_once() {
    let stage = Stage::set().await;
    let large = "0123456789abcdef".repeat(65_536);
    let repository = stage.git.repository("site", &[("index.html", "hi"), ("large.txt", &large)]).await;
    stage.deploy(&repository).await;
    stage.gv.page("site.localhost", "/").await;
    let reads = async || {
        let get = stage.gv.metric("gv_blobs_operations_total", &["op=\"get\""]).await;
        get + stage.gv.metric("gv_blobs_operations_total", &["op=\"open\""]).await
    };
    let before = reads().await;
    let requests = (0..200).map(|_| async {
        let response = stage.gv.site("site.localhost", "/large.txt").send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().len())
    });
    for (status, length) in futures_util::future::join_all(requests).await {
        assert_eq!((status, length), (StatusCode::OK, large.len()));
    }
    assert_eq!(reads().await - before, 1.0);
}
