//! What a person does by the API: calls as one account, and waiting for deployments.
//!
//! Start with [`Account`].

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a test waits for at most, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A person with a token, and the api that they call.
#[derive(Clone)]
pub struct Account {
    /// The api's root, such as `http://127.0.0.1:8080`.
    pub api: String,
    pub token: String,
    pub client: Client,
    /// Where the processes log that are to blame when something takes too long.
    pub logs: Vec<PathBuf>,
}

impl Account {
    /// Nobody yet, and nowhere.
    pub fn new(logs: Vec<PathBuf>) -> Self {
        Self { api: String::new(), token: String::new(), client: client(), logs }
    }

    /// What those processes wrote to standard error, over all their lives.
    pub fn log(&self) -> String {
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        self.logs.iter().map(read).collect()
    }

    /// A call of the API with the token.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/api/v1{path}", self.api))
    }

    pub async fn get(&self, path: &str) -> Value {
        json_of(self.call(Method::GET, path).send().await.unwrap(), StatusCode::OK).await
    }

    pub async fn post(&self, path: &str, body: &Value, expected: u16) -> Value {
        let response = with_json(self.call(Method::POST, path), body).send().await.unwrap();
        json_of(response, StatusCode::from_u16(expected).unwrap()).await
    }

    /// Submits, and returns the deployment as it was accepted.
    pub async fn submit(&self, body: Value) -> Value {
        self.post("/deployments", &body, 201).await
    }

    /// Waits until a deployment is in one of these states (an ended one ends the wait too).
    pub async fn wait_for(&self, id: &str, states: &[&str]) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let deployment = self.get(&format!("/deployments/{id}")).await;
            let state = deployment["state"].as_str().unwrap();
            if states.contains(&state) {
                return deployment;
            }
            let ended = matches!(state, "ready" | "failed" | "canceled");
            assert!(!ended && Instant::now() < deadline, "{id} is {deployment}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_until_ended(&self, id: &str) -> Value {
        self.wait_for(id, &["ready", "failed", "canceled"]).await
    }

    /// Submits, waits, and expects it to become ready.
    pub async fn deploy(&self, body: Value) -> Value {
        let id = id_of(&self.submit(body).await);
        let deployment = self.wait_until_ended(&id).await;
        assert_eq!(deployment["state"], "ready", "{deployment}\n{}", self.deployment_log(&id).await);
        deployment
    }

    /// Submits what must fail, and returns its `error.code` and message.
    pub async fn deploy_failing(&self, body: Value) -> (String, String) {
        let id = id_of(&self.submit(body).await);
        let deployment = self.wait_until_ended(&id).await;
        assert_eq!(deployment["state"], "failed", "{deployment}");
        let text = |key: &str| deployment["error"][key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    pub async fn deployment_log(&self, id: &str) -> String {
        let path = format!("/deployments/{id}/logs");
        self.call(Method::GET, &path).send().await.unwrap().text().await.unwrap()
    }

    /// A new account: its access token.
    pub async fn account(&self, email: &str) -> String {
        let body = json!({"email": email, "password": "correct horse battery"});
        let response = with_json(self.anonymous(Method::POST, "/auth/register"), &body).send().await.unwrap();
        let answer = json_of(response, StatusCode::CREATED).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

pub fn id_of(deployment: &Value) -> String {
    deployment["id"].as_str().unwrap().to_owned()
}

pub fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

/// The JSON of an answer that must have this status.
pub async fn json_of(response: Response, expected: StatusCode) -> Value {
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, expected, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A client that follows no redirects.
pub fn client() -> Client {
    // The first of a process's clients brings the TLS provider; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
