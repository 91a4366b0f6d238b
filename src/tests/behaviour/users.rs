//! People's accounts by the hand of an operator: `gv user`, beside a running gv.

use super::Stage;
use crate::support::account::Account;
use crate::support::gv::{Gv, Settings, command, json_of, with_json};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Output, Stdio};

const PASSWORD: &str = "correct horse battery";
const EMAIL: &str = "ada@example.com";

async fn post(gv: &Gv, path: &str, body: &Value) -> reqwest::Response {
    with_json(gv.anonymous(Method::POST, path), body).send().await.unwrap()
}

async fn me(gv: &Gv, token: &Value) -> reqwest::Response {
    gv.anonymous(Method::GET, "/me").bearer_auth(token.as_str().unwrap()).send().await.unwrap()
}

async fn login(gv: &Gv, password: &str) -> reqwest::Response {
    post(gv, "/auth/login", &json!({"email": EMAIL, "password": password})).await
}

/// `gv user` with this on standard input.
fn user(gv: &Gv, args: &[&str], input: &str) -> Output {
    let mut command = gv.operator_command(&[&["user"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that asks nothing may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn good(gv: &Gv, args: &[&str], input: &str) -> String {
    let output = user(gv, args, input);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(gv: &Gv, args: &[&str], input: &str) -> String {
    let output = user(gv, args, input);
    assert_ne!(output.status.code(), Some(0), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A problem document that says that the account is disabled.
async fn expect_disabled(response: reqwest::Response, what: &str) {
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
    let problem = json_of(response, StatusCode::FORBIDDEN).await;
    assert_eq!(problem["type"], "urn:gv:problem:forbidden", "{what}");
    assert!(problem["detail"].as_str().unwrap().contains("disabled"), "{what}: {problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_accounts_where_registration_is_closed() {
    let gv = Gv::start(Settings::default().set("GV_AUTH__REGISTRATION", "closed")).await;
    let said = good(&gv, &["add", "Ada@Example.com", "--name", "Ada"], &format!("{PASSWORD}\nnot read\n"));
    assert_eq!(said, "", "a password that was chosen is not printed");
    let signed_in = json_of(login(&gv, PASSWORD).await, StatusCode::OK).await;
    assert_eq!((&signed_in["user"]["name"], &signed_in["user"]["email"]), (&json!("Ada"), &json!(EMAIL)));
    let eve = json!({"email": "eve@example.com", "password": PASSWORD});
    assert_eq!(post(&gv, "/auth/register", &eve).await.status(), StatusCode::FORBIDDEN);
    assert!(refused(&gv, &["add", EMAIL], &format!("{PASSWORD}\n")).contains("reset-password"));
    assert!(refused(&gv, &["add", "eve@example.com"], "short\n").contains("8 to 256"));
    assert!(refused(&gv, &["add", "eve@example.com"], "").contains("password"));
    assert!(refused(&gv, &["add", "no address"], "").contains("e-mail"));
    assert!(!good(&gv, &["list"], "").contains("eve"), "nothing was made on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_password_is_printed_alone_and_opens_the_account() {
    let gv = Gv::start(Settings::default()).await;
    let printed = good(&gv, &["add", EMAIL, "--generate"], "");
    let password = printed.strip_suffix('\n').unwrap();
    assert!(password.len() >= 20 && password.chars().all(|c| c.is_ascii_alphanumeric()), "{password}");
    assert_eq!(login(&gv, password).await.status(), StatusCode::OK);
    let another = good(&gv, &["reset-password", EMAIL, "--generate"], "");
    assert_ne!(another, printed);
    assert_eq!(login(&gv, password).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(login(&gv, another.trim()).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_refused_at_once_and_its_sites_go_on_being_served() {
    let stage = Stage::set().await;
    let gv = &stage.gv;
    good(gv, &["add", EMAIL], &format!("{PASSWORD}\n"));
    let session = json_of(login(gv, PASSWORD).await, StatusCode::OK).await;
    let made = gv.anonymous(Method::POST, "/tokens").bearer_auth(session["access_token"].as_str().unwrap());
    let made = with_json(made, &json!({"name": "ci"})).send().await.unwrap();
    let token = json_of(made, StatusCode::CREATED).await["token"].clone();
    let mut ada = Account::clone(gv);
    ada.token = token.as_str().unwrap().to_owned();
    let repository = stage.git.repository("hers", &[("index.html", "her page")]).await;
    ada.deploy(json!({"repo_url": repository.url()})).await;

    good(gv, &["disable", EMAIL], "");
    expect_disabled(me(gv, &token).await, "a personal token").await;
    expect_disabled(me(gv, &session["access_token"]).await, "an access token").await;
    let refresh = json!({"refresh_token": session["refresh_token"]});
    expect_disabled(post(gv, "/auth/refresh", &refresh).await, "a refresh token").await;
    expect_disabled(login(gv, PASSWORD).await, "the password").await;
    let wrong = login(gv, "wrong wrong wrong").await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED, "whoever guesses learns nothing");
    assert_eq!(gv.page("hers.localhost", "/").await, (200, "her page".to_owned()));
    assert_eq!(gv.get("/me").await["email"], "owner@localhost", "nobody else is kept out");

    good(gv, &["enable", EMAIL], "");
    assert_eq!(me(gv, &token).await.status(), StatusCode::OK);
    assert_eq!(login(gv, PASSWORD).await.status(), StatusCode::OK);
    assert_eq!(me(gv, &session["access_token"]).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(post(gv, "/auth/refresh", &refresh).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_the_sessions_and_the_tokens_where_that_is_asked() {
    let gv = Gv::start(Settings::default()).await;
    good(&gv, &["add", EMAIL], &format!("{PASSWORD}\n"));
    let session = json_of(login(&gv, PASSWORD).await, StatusCode::OK).await;
    let made = gv.anonymous(Method::POST, "/tokens").bearer_auth(session["access_token"].as_str().unwrap());
    let made = with_json(made, &json!({"name": "ci"})).send().await.unwrap();
    let token = json_of(made, StatusCode::CREATED).await["token"].clone();
    good(&gv, &["reset-password", EMAIL], "another good one\n");
    assert_eq!(me(&gv, &session["access_token"]).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(login(&gv, PASSWORD).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(login(&gv, "another good one").await.status(), StatusCode::OK);
    assert_eq!(me(&gv, &token).await.status(), StatusCode::OK);
    good(&gv, &["reset-password", EMAIL, "--revoke-tokens"], "and a third one\n");
    assert_eq!(me(&gv, &token).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_for_people_and_for_programs() {
    let gv = Gv::start(Settings::default()).await;
    good(&gv, &["add", EMAIL, "--name", "Ada"], &format!("{PASSWORD}\n"));
    good(&gv, &["disable", EMAIL], "");
    let listed = good(&gv, &["list"], "");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let line = listed.lines().find(|line| line.starts_with(EMAIL)).unwrap();
    assert!(line.contains("disabled") && line.contains("Ada") && line.contains("usr_"), "{line}");
    let listed: Value = serde_json::from_str(&good(&gv, &["list", "--json"], "")).unwrap();
    let of = |email: &str| listed.as_array().unwrap().iter().find(|user| user["email"] == email).unwrap();
    assert!(of(EMAIL)["disabled_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&of(EMAIL)["name"], &of(EMAIL)["has_password"]), (&json!("Ada"), &json!(true)));
    assert_eq!(
        (&of("owner@localhost")["disabled_at"], &of("owner@localhost")["has_password"]),
        (&Value::Null, &json!(false))
    );
    assert!(!listed.to_string().contains("argon2"), "no hash leaves the database");
    for args in [["disable", "eve@example.com"], ["enable", "eve@example.com"]] {
        assert!(refused(&gv, &args, "").contains("no account"), "{args:?}");
    }
    assert!(refused(&gv, &["reset-password", "eve@example.com"], "long enough\n").contains("no account"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_not_migrated_is_named_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let database = crate::support::database::fresh_url().await;
    let mut command = command();
    command.env("GV_DATA_DIR", folder.path()).env("GV_DATABASE__URL", &database.url);
    let output = command.args(["user", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("gv migrate"));
}
