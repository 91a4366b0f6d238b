//! Two accounts: whatever belongs to one does not exist for the other.

use super::Stage;
use crate::support::gv::{id_of, json_of, with_json};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_ids_answer_404_on_every_route() {
    let stage = Stage::set().await;
    let repository = stage.site("mine").await;
    let id = id_of(&stage.deploy(&repository).await);
    let token = stage.gv.post("/tokens", &json!({"name": "mine"}), 201).await;
    let stranger = stage.gv.account("stranger@example.com").await;
    let document = stage.gv.get("/openapi.json").await;
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !path.contains('{') {
            continue;
        }
        for method in methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| ["get", "post", "delete"].contains(&key.as_str()))
        {
            let own = if path.contains("/tokens/") { token["id"].as_str().unwrap() } else { id.as_str() };
            let path = path.replace("{id}", own).replace("{name}", "mine");
            let path = path.strip_prefix("/api/v1").unwrap_or(&path);
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = stage.gv.anonymous(method.clone(), path).bearer_auth(&stranger);
            let request = if method == Method::POST { with_json(request, &json!({})) } else { request };
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried >= 10, "only {tried} routes were found");
    let theirs = stage.gv.anonymous(Method::GET, "/deployments").bearer_auth(&stranger).send().await.unwrap();
    assert_eq!(json_of(theirs, StatusCode::OK).await["items"], json!([]));
    assert_eq!(stage.gv.page("mine.localhost", "/").await.0, 200, "nothing was done to it");
    assert_eq!(stage.gv.get(&format!("/deployments/{id}")).await["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_with_one_project_name_get_different_addresses() {
    let stage = Stage::set().await;
    let mine = stage.git.repository("site", &[("index.html", "mine")]).await;
    stage.deploy(&mine).await;
    let stranger = stage.gv.account("stranger@example.com").await;
    let theirs = stage.git.repository("other/site", &[("index.html", "theirs")]).await;
    let request = stage.gv.anonymous(Method::POST, "/deployments").bearer_auth(&stranger);
    let response = with_json(request, &json!({"repo_url": theirs.url()})).send().await.unwrap();
    let id = id_of(&json_of(response, StatusCode::CREATED).await);
    let deployment = loop {
        let path = format!("/deployments/{id}");
        let response = stage.gv.anonymous(Method::GET, &path).bearer_auth(&stranger).send().await.unwrap();
        let deployment: Value = json_of(response, StatusCode::OK).await;
        if deployment["state"] == "ready" {
            break deployment;
        }
        assert_ne!(deployment["state"], "failed", "{deployment}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(deployment["project"], "site");
    assert_eq!(stage.gv.page("site.localhost", "/").await.1, "mine");
    for host in deployment["hosts"].as_array().unwrap() {
        assert_eq!(stage.gv.page(host.as_str().unwrap(), "/").await.1, "theirs", "{host}");
    }
    assert_eq!(deployment["hosts"].as_array().unwrap().len(), 3);
}
