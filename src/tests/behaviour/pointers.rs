//! Promote, roll back, delete: what moves a pointer, and what must not.

use super::{Settings, Stage};
use crate::support::gv::{PATIENCE, id_of};
pub use crate::support::process::processes_with;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn production(stage: &Stage) -> String {
    stage.gv.page("site.localhost", "/").await.1
}

async fn two_versions(stage: &Stage) -> (Value, Value) {
    let repository = stage.git.repository("site", &[("index.html", "one")]).await;
    let one = stage.deploy(&repository).await;
    repository.commit(&[("index.html", "two")], "two").await;
    (one, stage.deploy(&repository).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_and_promote_move_production_at_once_and_build_nothing() {
    let stage = Stage::set().await;
    let (one, two) = two_versions(&stage).await;
    assert_eq!(production(&stage).await, "two");
    let writes = async || {
        let put = stage.gv.metric("gv_blobs_operations_total", &["op=\"put\""]).await;
        put + stage.gv.metric("gv_blobs_operations_total", &["op=\"put_new\""]).await
    };
    let before = writes().await;
    for _ in 0..5 {
        let back = stage.gv.post("/projects/site/rollback", &json!({}), 200).await;
        assert_eq!(id_of(&back), id_of(&one));
        assert_eq!(production(&stage).await, "one");
        stage.gv.post(&format!("/deployments/{}/promote", id_of(&two)), &json!({}), 200).await;
        assert_eq!(production(&stage).await, "two");
    }
    assert_eq!(writes().await, before, "no new blob, no new manifest");
    assert_eq!(stage.gv.get("/deployments").await["items"].as_array().unwrap().len(), 2, "no build");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_can_be_promoted_and_rolled_back_from() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("site", &[("index.html", "one")]).await;
    stage.deploy(&repository).await;
    repository.commit_on("idea", &[("index.html", "idea")], "idea").await;
    let preview = json!({"repo_url": repository.url(), "ref": "idea", "target": "preview"});
    let preview = stage.gv.deploy(preview).await;
    assert_eq!(production(&stage).await, "one");
    stage.gv.post(&format!("/deployments/{}/promote", id_of(&preview)), &json!({}), 200).await;
    assert_eq!(production(&stage).await, "idea");
    stage.gv.post("/projects/site/rollback", &json!({}), 200).await;
    assert_eq!(production(&stage).await, "one");
    stage.gv.post("/projects/site/rollback", &json!({"to": id_of(&preview)}), 200).await;
    assert_eq!(production(&stage).await, "idea");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_roll_back_to_before_the_first() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("site", &[("index.html", "one")]).await;
    stage.deploy(&repository).await;
    let problem = stage.gv.post("/projects/site/rollback", &json!({}), 409).await;
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_slower_deployment_does_not_take_production_back() {
    let stage = Stage::set().await;
    let slow = super::built_by("sleep 3; mkdir dist; echo slow > dist/index.html");
    let repository = stage.git.repository("site", &super::borrowed(&slow)).await;
    let slow = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    stage.gv.wait_for(&slow, &["building"]).await;
    let quick = super::built_by("mkdir dist; echo quick > dist/index.html");
    repository.commit(&super::borrowed(&quick), "quick").await;
    stage.deploy(&repository).await;
    assert_eq!(production(&stage).await, "quick\n");
    let slow = stage.gv.wait_for(&slow, &["ready"]).await;
    assert_eq!(production(&stage).await, "quick\n");
    assert_eq!(stage.gv.page(slow["url"].as_str().unwrap(), "/").await.1, "slow\n", "it has its own address");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_production_shows_is_not_deleted_and_what_is_deleted_is_gone() {
    let stage = Stage::set().await;
    let (one, two) = two_versions(&stage).await;
    let delete = async |deployment: &Value| {
        let path = format!("/deployments/{}", id_of(deployment));
        stage.gv.call(Method::DELETE, &path).send().await.unwrap().status()
    };
    assert_eq!(delete(&two).await, StatusCode::CONFLICT);
    assert_eq!(delete(&one).await, StatusCode::NO_CONTENT);
    assert_eq!(delete(&one).await, StatusCode::NOT_FOUND);
    assert_eq!(stage.gv.page(one["url"].as_str().unwrap(), "/").await.0, 404);
    assert_eq!(production(&stage).await, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_projects_addresses_show_nothing_and_can_be_had_again() {
    let stage = Stage::set().await;
    let (_, two) = two_versions(&stage).await;
    let response = stage.gv.call(Method::DELETE, "/projects/site").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(stage.gv.page("site.localhost", "/").await.0, 404);
    assert_eq!(stage.gv.page(two["url"].as_str().unwrap(), "/").await.0, 404);
    let repository = stage.git.repository("next", &[("index.html", "reborn")]).await;
    stage.gv.deploy(json!({"repo_url": repository.url(), "project": "site"})).await;
    assert_eq!(production(&stage).await, "reborn");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_a_name_that_the_database_forgot_shows_its_new_owners_site() {
    let mut stage = Stage::set_with(Settings::default().set("GV_EDGE__POINTER_TTL_S", 1)).await;
    let owners = stage.git.repository("site", &[("index.html", "the owner's")]).await;
    stage.deploy(&owners).await;
    // An edge that goes on, and holds it.
    let beside = stage.gv.start_beside();
    assert_eq!(beside.page("site.localhost", "/").await.1, "the owner's");
    stage.gv.terminate();
    let copy_of_before = "DELETE FROM hosts; DELETE FROM deployments; DELETE FROM projects;";
    stage.gv.database().execute(copy_of_before).await;
    stage.gv.start_again();
    let eve = stage.gv.account("eve@example.com").await;
    stage.gv.act_as(eve);
    let own = stage.git.repository("own/site", &[("index.html", "eve's")]).await;
    let deployed = stage.deploy(&own).await;
    let hosts = deployed["hosts"].as_array().unwrap();
    assert!(hosts.iter().any(|host| host == "site.localhost"), "the name is hers: {deployed}");
    assert_eq!(production(&stage).await, "eve's", "ready means served");
    let deadline = std::time::Instant::now() + PATIENCE;
    while beside.page("site.localhost", "/").await.1 != "eve's" {
        assert!(std::time::Instant::now() < deadline, "the other edge keeps what it holds");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_or_running_deployment_is_canceled_with_its_processes() {
    let stage = Stage::set().await;
    let marker = format!("{}", 3_000_000 + std::process::id());
    let files = super::built_by(&format!("(setsid sleep {marker} &) ; sleep {marker}"));
    let repository = stage.git.repository("site", &super::borrowed(&files)).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    stage.gv.wait_for(&id, &["building"]).await;
    while processes_with(&marker) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stage.gv.post(&format!("/deployments/{id}/cancel"), &json!({}), 200).await;
    stage.gv.wait_for(&id, &["canceled"]).await;
    assert_eq!(processes_with(&marker), 0);
    let again = stage.gv.post(&format!("/deployments/{id}/cancel"), &json!({}), 200).await;
    assert_eq!(again["state"], "canceled", "canceling what has ended changes nothing");
}
