//! The API by TLS, with a certificate from files: everything that it does without, and how it ends.

use super::{Stage, borrowed, built_by};
use crate::support::account::Account;
use crate::support::gv::{Gv, Settings, command, id_of};
use reqwest::{Client, ClientBuilder, Method, StatusCode, Version};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const HOST: &str = "api.localhost";

/// A certificate of its own and its key, in a folder.
pub fn certificate(folder: &Path) -> [PathBuf; 2] {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let names = [HOST, "localhost"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    [cert, key]
}

pub fn with_files([cert, key]: &[PathBuf; 2]) -> Settings {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    Settings::default()
        .set("GV_API__TLS_LISTEN", "127.0.0.1:0")
        .set("GV_API__TLS_CERT", path(cert))
        .set("GV_API__TLS_KEY", path(key))
}

/// A gv whose API also speaks TLS.
pub struct Secured {
    pub stage: Stage,
    pub files: [PathBuf; 2],
    folder: TempDir,
}

impl Secured {
    pub async fn set(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(folder.path());
        let stage = Stage::set_with(with_files(&files).and(&settings)).await;
        Self { stage, files, folder }
    }

    pub fn port(&self) -> u16 {
        self.stage.gv.url("api_tls").rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub fn root(&self) -> String {
        format!("https://{HOST}:{}", self.port())
    }

    /// Trusts this certificate alone.
    pub fn trusting(&self, cert: &[u8]) -> ClientBuilder {
        let trusted = reqwest::Certificate::from_pem(cert).unwrap();
        let address = ([127, 0, 0, 1], self.port()).into();
        let none = reqwest::redirect::Policy::none();
        Client::builder().tls_certs_only([trusted]).resolve(HOST, address).redirect(none)
    }

    pub fn client(&self) -> ClientBuilder {
        self.trusting(&std::fs::read(&self.files[0]).unwrap())
    }

    /// The owner, by TLS.
    pub fn owner(&self, client: ClientBuilder) -> Account {
        let owner: &Account = &self.stage.gv;
        Account { api: self.root(), client: client.build().unwrap(), ..owner.clone() }
    }

    /// By HTTP/1.1 and by HTTP/2.
    pub fn both(&self) -> [(Account, Version); 2] {
        [
            (self.owner(self.client().http1_only()), Version::HTTP_11),
            (self.owner(self.client()), Version::HTTP_2),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_deployed_followed_and_moved_by_tls_in_both_versions_of_http() {
    let secured = Secured::set(Settings::default()).await;
    for (owner, version) in secured.both() {
        let project = format!("site-{}", if version == Version::HTTP_2 { 2 } else { 1 });
        let script =
            "for n in 1 2 3 4; do echo line $n; sleep 0.3; done; mkdir dist; echo hi > dist/index.html";
        let repository = secured.stage.git.repository(&project, &borrowed(&built_by(script))).await;
        let first = id_of(&owner.submit(json!({"repo_url": repository.url(), "project": project})).await);
        let path = format!("/deployments/{first}/logs?follow=true");
        let followed = owner.call(Method::GET, &path).header("accept", "text/event-stream");
        let followed = followed.send().await.unwrap();
        assert_eq!(
            (followed.version(), &followed.headers()["content-type"]),
            (version, &"text/event-stream".parse().unwrap())
        );
        let events = followed.text().await.unwrap();
        for part in ["line 1", "line 4", "event: end", "\"state\":\"ready\""] {
            assert!(events.contains(part), "{part} is not in {events}");
        }
        let lines = owner.deployment_log(&first).await;
        assert!(lines.contains("line 4"), "{lines}");
        let variable = owner.call(Method::PUT, &format!("/projects/{project}/env/KEY"));
        let variable = variable.header("content-type", "application/json").body(r#"{"value": "x"}"#);
        assert!(variable.send().await.unwrap().status().is_success());
        let second = id_of(&owner.post(&format!("/deployments/{first}/redeploy"), &json!({}), 201).await);
        assert_eq!(owner.wait_until_ended(&second).await["state"], "ready");
        owner.post(&format!("/projects/{project}/rollback"), &json!({}), 200).await;
        owner.post(&format!("/deployments/{second}/promote"), &json!({}), 200).await;
        assert_eq!(owner.get("/deployments?limit=1").await["items"].as_array().unwrap().len(), 1);
        let token = owner.account(&format!("{project}@example.com")).await;
        let stranger = Account { token, ..owner.clone() };
        let foreign = stranger.call(Method::GET, &format!("/deployments/{first}")).send().await.unwrap();
        assert_eq!((foreign.status(), foreign.version()), (StatusCode::NOT_FOUND, version));
        assert!(foreign.headers().contains_key("x-request-id") && foreign.headers().contains_key("date"));
        let head = owner.call(Method::HEAD, "/me").send().await.unwrap();
        assert_eq!(head.text().await.unwrap(), "");
        let removed = owner.call(Method::DELETE, &format!("/projects/{project}")).send().await.unwrap();
        assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_as_large_as_without_tls_in_both_versions() {
    let secured = Secured::set(Settings::default()).await;
    for (owner, version) in secured.both() {
        let send = async |bytes: usize| {
            let body = format!(r#"{{"repo_url": "https://git.example/{}"}}"#, "x".repeat(bytes));
            let sent = owner.call(Method::POST, "/deployments").header("content-type", "application/json");
            sent.body(body).send().await.map(|answer| answer.status().as_u16())
        };
        // Beyond what a stream has room for at first: more is given as it is read.
        assert_eq!(send(200 * 1024).await.unwrap(), 422, "{version:?}");
        let refused = send(1024 * 1024).await;
        // By HTTP/1.1 the connection may be gone while the client still sends.
        assert!(
            refused.as_ref().is_ok_and(|status| *status == 413) || version == Version::HTTP_11,
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let secured = Secured::set(Settings::default()).await;
    let shows =
        async |cert: &[u8]| secured.trusting(cert).build().unwrap().get(secured.root()).send().await.is_ok();
    let old = std::fs::read(&secured.files[0]).unwrap();
    assert!(shows(&old).await);
    std::fs::write(&secured.files[1], "no key").unwrap();
    // Longer than it takes to look.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(shows(&old).await, "what cannot be read changes nothing");
    let new = std::fs::read(&certificate(secured.folder.path())[0]).unwrap();
    let began = Instant::now();
    while !shows(&new).await {
        assert!(began.elapsed() < Duration::from_secs(10), "the new one is never shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!shows(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_of_no_use_are_told_by_their_key_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, _] = certificate(folder.path());
    let other = tempfile::tempdir().unwrap();
    let [_, foreign] = certificate(other.path());
    let missing = folder.path().join("nothing.pem");
    for (files, said) in [
        ([cert.clone(), foreign], "does not fit api.tls_cert"),
        ([missing.clone(), missing.clone()], "api.tls_cert:"),
        ([cert, missing], "api.tls_key:"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut up = command();
        up.env("HOME", home.path()).env("GV_DATA_DIR", home.path().join("data")).arg("up");
        up.envs(with_files(&files).variables());
        for listener in ["API", "EDGE", "OPS"] {
            up.env(format!("GV_{listener}__LISTEN"), "127.0.0.1:0");
        }
        let ended = up.output().unwrap();
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && errors.contains(said), "{said} is not in {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_followed_logs_by_tls_in_time_and_without_a_break() {
    // At once: no load balancer is asked first.
    let mut secured = Secured::set(Settings::default().set("GV_OPS__WITHDRAW_S", 0)).await;
    let repository = borrowed_site(&secured).await;
    let plain: Account = Account::clone(&secured.stage.gv);
    let id = id_of(&plain.submit(json!({"repo_url": repository, "project": "site"})).await);
    plain.wait_for(&id, &["building"]).await;
    let followers = secured.both().map(|(account, _)| account).into_iter().chain([plain]);
    let mut following = Vec::new();
    for account in followers {
        let path = format!("/deployments/{id}/logs?follow=true");
        let answer = account.call(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // The client outlives the stop, with its idle connections.
        following.push((account.clone(), tokio::spawn(answer.text())));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let gv: &mut Gv = &mut secured.stage.gv;
    let status = gv.terminate();
    let took = began.elapsed();
    assert!(status.success(), "{}", gv.log());
    assert!(took < Duration::from_secs(20), "{took:?}");
    for (_, followed) in following {
        let text = followed.await.unwrap().expect("no break");
        assert!(text.contains("waiting"), "{text}");
    }
}

async fn borrowed_site(secured: &Secured) -> String {
    let script = "echo waiting; sleep 100";
    secured.stage.git.repository("site", &borrowed(&built_by(script))).await.url()
}
