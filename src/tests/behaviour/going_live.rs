//! From a repository's URL to a page at its own address.

use super::Stage;
use crate::support::gv::{PATIENCE, id_of};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_url_alone_puts_a_site_live_at_three_addresses() {
    let stage = Stage::set().await;
    let repository = stage.site("my-site").await;
    let deployment = stage.deploy(&repository).await;
    assert_eq!(deployment["project"], "my-site");
    assert_eq!(deployment["target"], "production");
    assert_eq!(deployment["branch"], "main");
    assert_eq!(deployment["files"], 2);
    let hosts: Vec<&str> =
        deployment["hosts"].as_array().unwrap().iter().map(|host| host.as_str().unwrap()).collect();
    let id = id_of(&deployment);
    let own = format!("my-site-{}.localhost", id.strip_prefix("dpl_").unwrap());
    for host in ["my-site.localhost", "my-site-git-main.localhost", own.as_str()] {
        assert!(hosts.contains(&host), "{host} is not in {hosts:?}");
        assert_eq!(stage.gv.page(host, "/").await, (200, "<h1>first</h1>".to_owned()), "{host}");
    }
    assert!(deployment["url"].as_str().unwrap().contains(&own));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_has_its_times_and_the_commit_is_known() {
    let stage = Stage::set().await;
    let repository = stage.site("steps").await;
    let commit = repository.commit(&[("index.html", "<h1>second</h1>")], "Say second").await;
    let deployment = stage.deploy(&repository).await;
    let names: Vec<&str> =
        deployment["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["clone", "build", "upload"]);
    assert!(deployment["steps"].as_array().unwrap().iter().all(|step| step["finished_at"].is_string()));
    assert_eq!(deployment["commit"], json!(commit));
    assert_eq!(deployment["commit_message"], "Say second");
    assert_eq!(deployment["attempt"], 1);
    let log = stage.gv.deployment_log(&id_of(&deployment)).await;
    let told = format!("Checked out {} \\\"Say second\\\": 2 files", &commit[..7]);
    assert_eq!(log.matches(&told).count(), 1, "{told} in {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn branch_tag_and_commit_can_be_named() {
    let stage = Stage::set().await;
    let repository = stage.site("refs").await;
    repository.tag("v1").await;
    let commit = repository.commit(&[("index.html", "second")], "second").await;
    repository.commit_on("next", &[("index.html", "from next")], "next").await;
    for (reference, page) in [("v1", "<h1>first</h1>"), (commit.as_str(), "second"), ("next", "from next")] {
        let body = json!({"repo_url": repository.url(), "ref": reference, "target": "preview"});
        let deployment = stage.gv.deploy(body).await;
        assert_eq!(stage.gv.page(deployment["url"].as_str().unwrap(), "/").await.1, page, "{reference}");
    }
    assert_eq!(stage.gv.page("refs-git-next.localhost", "/").await.1, "from next");
    assert_eq!(stage.gv.page("refs.localhost", "/").await.0, 404, "previews leave production alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_deployment_stores_only_what_changed() {
    let stage = Stage::set().await;
    let files: Vec<(String, String)> =
        (0..100).map(|n| (format!("page-{n}.html"), format!("page {n}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let repository = stage.git.repository("hundred", &files).await;
    stage.deploy(&repository).await;
    let stored = stage_writes(&stage).await;
    repository.commit(&[("page-7.html", "changed")], "change one").await;
    stage.deploy(&repository).await;
    // The changed file, the source, the manifest, the log; and the pointers of three hosts.
    let after = stage_writes(&stage).await;
    assert_eq!(after.0 - stored.0, 4.0, "objects");
    assert_eq!(after.1 - stored.1, 3.0, "pointers");
    assert_eq!(stage.gv.page("hundred.localhost", "/page-7").await.1, "changed");
}

/// Objects written for good, and pointers replaced.
async fn stage_writes(stage: &Stage) -> (f64, f64) {
    let count = async |op: &str| {
        stage.gv.metric("gv_blobs_operations_total", &[&format!("op=\"{op}\""), "result=\"ok\""]).await
    };
    (count("put").await + count("put_new").await, count("replace").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_is_the_same_deployment() {
    let stage = Stage::set().await;
    let repository = stage.site("once").await;
    let body = json!({"repo_url": repository.url()});
    let submit = async |body: &Value| {
        let request = stage.gv.call(Method::POST, "/deployments").header("idempotency-key", "release-1");
        let response = crate::support::gv::with_json(request, body).send().await.unwrap();
        (response.status().as_u16(), serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let answers = futures_util::future::join_all((0..12).map(|_| submit(&body))).await;
    let ids: std::collections::HashSet<String> =
        answers.iter().map(|(_, deployment)| id_of(deployment)).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
    let (status, problem) = submit(&json!({"repo_url": repository.url(), "ref": "main"})).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(stage.gv.get("/deployments").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_followed_live_and_resumed_without_a_gap() {
    let stage = Stage::set().await;
    let script =
        "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.2; done; mkdir out; echo done > out/index.html";
    let files = super::built_by(script);
    let repository = stage.git.repository("talkative", &super::borrowed(&files)).await;
    let body = json!({"repo_url": repository.url(), "output_dir": "out"});
    let id = id_of(&stage.gv.submit(body).await);
    let path = format!("/deployments/{id}/logs?follow=true");
    // The first reader breaks off in the middle, the second goes on from there.
    let mut first =
        stage.gv.call(Method::GET, &path).header("accept", "text/event-stream").send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("line 2") {
        seen.push_str(std::str::from_utf8(&first.chunk().await.unwrap().expect("the log goes on")).unwrap());
    }
    drop(first);
    let seen = &seen[..seen.rfind("\n\n").map_or(seen.len(), |end| end + 2)];
    let last = seen.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    let rest = stage.gv.call(Method::GET, &path).header("accept", "text/event-stream");
    let rest = rest.header("last-event-id", &last).send().await.unwrap();
    let rest = tokio::time::timeout(PATIENCE, rest.text()).await.unwrap().unwrap();
    let whole = format!("{seen}{rest}");
    let numbers: Vec<u64> = whole
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    for line in 1..=6 {
        assert_eq!(whole.matches(&format!("\"line {line}\"")).count(), 1, "line {line} in\n{whole}");
    }
    assert!(rest.contains("event: end"), "{rest}");
    assert!(rest.contains("\"ready\""), "{rest}");
    let finished = stage.gv.deployment_log(&id).await;
    assert!(finished.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].is_u64()));
    for line in 1..=6 {
        assert!(finished.contains(&format!("\"line {line}\"")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redeploying_submits_the_same_again() {
    let stage = Stage::set().await;
    let repository = stage.site("again").await;
    let first = stage.deploy(&repository).await;
    repository.commit(&[("index.html", "newer")], "newer").await;
    let again = stage.gv.post(&format!("/deployments/{}/redeploy", id_of(&first)), &json!({}), 201).await;
    assert_ne!(id_of(&again), id_of(&first));
    stage.gv.wait_for(&id_of(&again), &["ready"]).await;
    assert_eq!(stage.gv.page("again.localhost", "/").await.1, "newer");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let stage = Stage::set().await;
    let (one, other) = (stage.site("one").await, stage.site("other").await);
    for _ in 0..3 {
        stage.deploy(&one).await;
    }
    stage.deploy(&other).await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = stage.gv.get(&format!("/deployments?limit=2{cursor}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(id_of));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {seen:?}");
    let of_one = stage.gv.get("/deployments?project=one&state=ready").await;
    assert_eq!(of_one["items"].as_array().unwrap().len(), 3);
    assert_eq!(stage.gv.get("/deployments?state=failed").await["items"], json!([]));
    let names: Vec<Value> = stage.gv.get("/projects").await["items"].as_array().unwrap().clone();
    assert_eq!(
        names.iter().map(|project| project["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["one", "other"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_cloned_with_a_token_that_is_never_shown() {
    let stage = Stage::set().await;
    let repository = stage.site("private").await;
    stage.git.require_token("hush-hush-hush");
    let (code, _) = stage.gv.deploy_failing(json!({"repo_url": repository.url()})).await;
    assert_eq!(code, "repository_not_found");
    let body = json!({"repo_url": repository.url(), "git_token": "hush-hush-hush"});
    let id = id_of(&stage.gv.submit(body).await);
    let deployment = stage.gv.wait_until_ended(&id).await;
    assert_eq!(deployment["state"], "ready", "{deployment}");
    assert!(!deployment.to_string().contains("hush"));
    assert!(!stage.gv.deployment_log(&id).await.contains("hush"));
    assert!(!stage.gv.log().contains("hush"));
}
