//! From the API's http to its https: who is sent on, who is refused, and what clients are told.

use super::api_tls::{HOST, Secured};
use crate::support::account::{Account, client, with_json};
use crate::support::gv::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const HSTS: &str = "strict-transport-security";

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_readers_are_sent_to_it_and_what_carries_anything_is_refused() {
    let secured = Secured::set(Settings::default().set("GV_API__HTTPS_REDIRECT", true)).await;
    let (gv, port) = (&secured.stage.gv, secured.port());
    let plain = |method: Method, path: &str| {
        gv.client.request(method, format!("{}{path}", gv.api)).header("host", format!("{HOST}:1234"))
    };
    for method in [Method::GET, Method::HEAD] {
        let sent = plain(method, "/api/v1/docs/?a=b").send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(sent.headers()["location"], format!("https://{HOST}:{port}/api/v1/docs/?a=b").as_str());
        assert!(sent.headers().contains_key("x-request-id"));
    }
    let body = json!({"email": "ada@example.com", "password": "correct horse battery"});
    for carrying in [
        plain(Method::GET, "/api/v1/me").bearer_auth(&gv.token),
        with_json(plain(Method::POST, "/api/v1/auth/login"), &body),
        with_json(plain(Method::POST, "/api/v1/deployments"), &body).bearer_auth(&gv.token),
        plain(Method::DELETE, "/api/v1/projects/x"),
    ] {
        let refused = carrying.send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert!(!refused.headers().contains_key("location"));
        let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("by https"), "{problem}");
    }
    let challenge = plain(Method::GET, "/.well-known/acme-challenge/x").send().await.unwrap();
    assert_eq!(challenge.status(), StatusCode::NOT_FOUND, "authorities are not sent on");
    // Probes have a listener of their own.
    assert!(gv.client.get(format!("{}/readyz", gv.ops)).send().await.unwrap().status().is_success());
    let owner = secured.owner(secured.client());
    assert_eq!(owner.get("/me").await["email"], "owner@localhost");
    // What stays on this machine is no secret lost.
    let asked = gv.cli(&["whoami"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_stay_by_tls_alone() {
    let secured = Secured::set(Settings::default().set("GV_API__HSTS_MAX_AGE_S", 86_400)).await;
    for path in ["/", "/api/v1/me", "/api/v1/docs/", "/nothing"] {
        for (owner, version) in secured.both() {
            let answer = owner.client.get(format!("{}{path}", owner.api)).send().await.unwrap();
            assert_eq!(answer.headers()[HSTS], "max-age=86400", "{path} {version:?}");
        }
        let plain =
            secured.stage.gv.client.get(format!("{}{path}", secured.stage.gv.api)).send().await.unwrap();
        assert!(!plain.headers().contains_key(HSTS), "{path}");
    }
    let silent = Secured::set(Settings::default()).await;
    let answer = silent.client().build().unwrap().get(silent.root()).send().await.unwrap();
    assert!(!answer.headers().contains_key(HSTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_slowed_down_by_address_however_they_come() {
    let secured = Secured::set(
        Settings::default().set("GV_AUTH__ATTEMPTS_PER_MIN", 5).set("GV_API__TRUSTED_PROXIES", "127.0.0.1"),
    )
    .await;
    let [(old, _), (new, _)] = secured.both();
    let plain: Account = Account { client: client(), ..Account::clone(&secured.stage.gv) };
    let mut number = 0;
    let mut attempt = async |account: &Account, from: &str| {
        number += 1;
        let body = json!({"email": format!("a{number}@example.com"), "password": "wrong wrong wrong"});
        let request = with_json(account.anonymous(Method::POST, "/auth/login"), &body);
        request.header("x-forwarded-for", from).send().await.unwrap().status().as_u16()
    };
    for account in [&old, &new, &plain, &old, &new] {
        assert_eq!(attempt(account, "192.0.2.1").await, 401);
    }
    for account in [&plain, &old, &new] {
        assert_eq!(attempt(account, "192.0.2.1").await, 429);
        assert_eq!(attempt(account, "192.0.2.2").await, 401, "a proxy is believed by TLS too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_command_says_what_to_do_about_an_authority_that_it_does_not_know() {
    let secured = Secured::set(Settings::default()).await;
    let gv = &secured.stage.gv;
    let by = |host: &str| {
        let mut command = gv.cli_command(&["whoami"]);
        command.env("GV_API_URL", format!("https://{host}:{}", secured.port())).env("GV_TOKEN", &gv.token);
        command
    };
    let refused = by("localhost").output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("SSL_CERT_FILE"), "{said}");
    let asked = by("localhost").env("SSL_CERT_FILE", &secured.files[0]).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    assert_eq!(String::from_utf8(asked.stdout).unwrap().trim(), "owner@localhost");
    let other = by("127.0.0.1").env("SSL_CERT_FILE", &secured.files[0]).output().unwrap();
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("must be for the name in the URL"), "{said}");
}
