//! Signing in, staying signed in, and being thrown out.

use crate::support::gv::{Gv, Settings, json_of, with_json};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn post(gv: &Gv, path: &str, body: &Value) -> reqwest::Response {
    with_json(gv.anonymous(Method::POST, path), body).send().await.unwrap()
}

async fn me(gv: &Gv, token: &str) -> reqwest::Response {
    gv.anonymous(Method::GET, "/me").bearer_auth(token).send().await.unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

const PASSWORD: &str = "correct horse battery";

#[tokio::test(flavor = "multi_thread")]
async fn a_person_registers_signs_in_and_is_known() {
    let gv = Gv::start(Settings::default()).await;
    let body = json!({"email": "Ada@Example.com", "password": PASSWORD, "name": "Ada"});
    let registered = json_of(post(&gv, "/auth/register", &body).await, StatusCode::CREATED).await;
    assert_eq!(registered["user"]["email"], "ada@example.com");
    assert!(registered["expires_in"].as_u64().unwrap() > 0);
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let signed_in = json_of(post(&gv, "/auth/login", &body).await, StatusCode::OK).await;
    let known = json_of(me(&gv, text(&signed_in, "access_token")).await, StatusCode::OK).await;
    assert_eq!((known["name"].as_str(), known["email"].as_str()), (Some("Ada"), Some("ada@example.com")));
    assert!(text(&known, "id").starts_with("usr_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let gv = Gv::start(Settings::default()).await;
    gv.account("ada@example.com").await;
    let mut answers = Vec::new();
    for email in ["ada@example.com", "nobody@example.com"] {
        let response =
            post(&gv, "/auth/login", &json!({"email": email, "password": "wrong wrong wrong"})).await;
        answers.push(json_of(response, StatusCode::UNAUTHORIZED).await["detail"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    let taken = post(&gv, "/auth/register", &json!({"email": "ADA@example.com", "password": PASSWORD})).await;
    assert_eq!(taken.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_family() {
    let gv = Gv::start(Settings::default()).await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let first = json_of(post(&gv, "/auth/register", &body).await, StatusCode::CREATED).await;
    let refresh = async |token: &str| post(&gv, "/auth/refresh", &json!({"refresh_token": token})).await;
    let second = json_of(refresh(text(&first, "refresh_token")).await, StatusCode::OK).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(me(&gv, text(&second, "access_token")).await.status(), StatusCode::OK);
    assert_eq!(refresh(text(&first, "refresh_token")).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        refresh(text(&second, "refresh_token")).await.status(),
        StatusCode::UNAUTHORIZED,
        "the family is over"
    );
    assert_eq!(me(&gv, text(&second, "access_token")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_at_once() {
    let gv = Gv::start(Settings::default()).await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let session = json_of(post(&gv, "/auth/register", &body).await, StatusCode::CREATED).await;
    let token = json!({"refresh_token": text(&session, "refresh_token")});
    assert_eq!(post(&gv, "/auth/logout", &token).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(post(&gv, "/auth/refresh", &token).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(me(&gv, text(&session, "access_token")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_token_is_shown_once_works_and_can_be_taken_back() {
    let gv = Gv::start(Settings::default()).await;
    let made = gv.post("/tokens", &json!({"name": "ci", "expires_in_days": 30}), 201).await;
    let token = text(&made, "token");
    assert!(
        token.starts_with("gvtok_") && token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
        "{token}"
    );
    assert_eq!(me(&gv, token).await.status(), StatusCode::OK);
    let listed = gv.get("/tokens").await;
    assert!(!listed.to_string().contains(token), "only its hash is kept");
    let path = format!("/tokens/{}", text(&made, "id"));
    assert_eq!(gv.call(Method::DELETE, &path).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(me(&gv, token).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_as_the_owner() {
    let gv = Gv::start(Settings::default()).await;
    let response =
        post(&gv, "/auth/register", &json!({"email": "Owner@localhost", "password": PASSWORD})).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_is_slowed_down() {
    let gv = Gv::start(Settings::default().set("GV_AUTH__ATTEMPTS_PER_MIN", 5)).await;
    let body = json!({"email": "ada@example.com", "password": "wrong wrong wrong"});
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let response = post(&gv, "/auth/login", &body).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait));
        }
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[5..], [429; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_can_be_closed() {
    let gv = Gv::start(Settings::default().set("GV_AUTH__REGISTRATION", "closed")).await;
    let response =
        post(&gv, "/auth/register", &json!({"email": "ada@example.com", "password": PASSWORD})).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_gv_did_not_sign_are_refused() {
    let gv = Gv::start(Settings::default()).await;
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1c3JfMDEyMzQ1Njc4OTAxMjM0NTY3ODkifQ.";
    for token in ["", "x", "gvtok_0123456789012345678901234567890123456789", none, "a.b.c"] {
        let response = me(&gv, token).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{token}");
        assert!(response.headers().contains_key("www-authenticate"));
    }
}
