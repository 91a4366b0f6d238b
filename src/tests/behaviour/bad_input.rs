//! What strangers send: refused with the field and the reason, and nothing is stored.

use super::Stage;
use crate::support::gv::{Gv, Settings, json_of, with_json};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The problem document of a refused call: 4xx, of the right type, with a reason.
async fn refused(gv: &Gv, path: &str, body: &Value) -> (u16, Value) {
    let response = with_json(gv.call(Method::POST, path), body).send().await.unwrap();
    let status = response.status();
    assert!(status.is_client_error(), "{status} for {body}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{body}");
    let problem = json_of(response, status).await;
    assert_eq!(problem["status"], status.as_u16());
    assert!(problem["title"].is_string() && problem["type"].is_string(), "{problem}");
    (status.as_u16(), problem)
}

fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().into_iter().flatten().map(|error| error["field"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repository_urls_that_are_none_are_refused_by_name() {
    let stage = Stage::set().await;
    for url in [
        "file:///etc/passwd",
        "ssh://git@example.com/site.git",
        "git@example.com:team/site.git",
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=touch /tmp/x",
        "-u",
        "https://user:secret@example.com/site.git",
        "https://token@example.com/site.git",
        "http://127.0.0.1/site.git",
        "http://127.1/site.git",
        "http://2130706433/site.git",
        "http://0x7f000001/site.git",
        "http://0177.0.0.1/site.git",
        "http://[::1]/site.git",
        "http://[::ffff:127.0.0.1]/site.git",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/site.git",
        "http://localhost/site.git",
        "https://exa\u{0}mple.com/site",
        "https://example.com/si te",
        "",
        "not a url",
        "https://",
    ] {
        let (status, problem) = refused(&stage.gv, "/deployments", &json!({"repo_url": url})).await;
        assert_eq!((status, fields(&problem)), (422, vec!["repo_url"]), "{url}: {problem}");
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    assert_eq!(stage.gv.get("/deployments").await["items"], json!([]));
    assert_eq!(stage.gv.get("/projects").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_field_is_checked_and_named() {
    let stage = Stage::set().await;
    let url = stage.site("site").await.url();
    for (field, value) in [
        ("ref", json!("--upload-pack=x")),
        ("ref", json!("a..b")),
        ("project", json!("Not A Name")),
        ("project", json!("api")),
        ("project", json!("x".repeat(200))),
        ("target", json!("moon")),
        ("root_dir", json!("../../etc")),
        ("output_dir", json!("/etc")),
        ("build_command", json!("a\nb")),
        ("install_command", json!("x".repeat(5000))),
        ("env", json!({"BAD NAME": "x"})),
        ("repo_url", json!(7)),
    ] {
        let mut body = json!({"repo_url": url});
        body[field] = value;
        let (status, problem) = refused(&stage.gv, "/deployments", &body).await;
        assert!(matches!(status, 400 | 422), "{body}");
        assert!(fields(&problem).iter().any(|named| named.starts_with(field)), "{field}: {problem}");
    }
    let (_, problem) = refused(&stage.gv, "/deployments", &json!({"repo_url": url, "brnch": "x"})).await;
    assert!(problem.to_string().contains("brnch"), "{problem}");
    let (_, problem) = refused(&stage.gv, "/deployments", &json!({})).await;
    assert!(problem.to_string().contains("repo_url"), "{problem}");
    assert_eq!(stage.gv.get("/deployments").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_need_an_address_and_a_long_enough_password() {
    let gv = Gv::start(Settings::default()).await;
    for (field, body) in [
        ("email", json!({"email": "ada", "password": "correct horse"})),
        ("email", json!({"email": "a\u{7}@example.com", "password": "correct horse"})),
        ("password", json!({"email": "ada@example.com", "password": "short"})),
        ("name", json!({"email": "ada@example.com", "password": "correct horse", "name": "x".repeat(101)})),
        ("name", json!({"email": "ada@example.com", "password": "correct horse", "name": "a\u{202e}b"})),
    ] {
        let (status, problem) = refused(&gv, "/auth/register", &body).await;
        assert_eq!(fields(&problem), [field], "{status} {problem}");
        assert!(!problem.to_string().contains("correct horse"));
    }
    let login = json!({"email": "ada@example.com", "password": "correct horse"});
    let response = with_json(gv.anonymous(Method::POST, "/auth/login"), &login).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_or_too_large_are_refused() {
    let gv = Gv::start(Settings::default()).await;
    let send = async |body: Vec<u8>| {
        let request = gv.call(Method::POST, "/deployments").header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        response.status().as_u16()
    };
    assert_eq!(send(b"{".to_vec()).await, 400);
    assert_eq!(send(b"\xff\xfe".to_vec()).await, 400);
    assert_eq!(send(Vec::new()).await, 400);
    assert_eq!(send(b"[".repeat(100_000)).await, 400);
    assert_eq!(send(format!("{{\"repo_url\": \"{}\"}}", "x".repeat(2_000_000)).into_bytes()).await, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_places_wrong_methods_and_malformed_ids_answer_with_problems() {
    let gv = Gv::start(Settings::default()).await;
    for (method, path, expected) in [
        (Method::GET, "/nowhere", 404),
        (Method::GET, "/deployments/not-an-id", 404),
        (Method::GET, "/deployments/dpl_00000000000000000000", 404),
        (Method::GET, "/projects/NOT%20A%20NAME", 404),
        (Method::PUT, "/deployments", 405),
        (Method::GET, "/deployments?limit=0", 422),
        (Method::GET, "/deployments?limit=many", 422),
        (Method::GET, "/deployments?cursor=%00", 422),
        (Method::GET, "/deployments?state=asleep", 422),
        (Method::GET, "/deployments?colour=red", 422),
    ] {
        let response = gv.call(method.clone(), path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_without_signing_in() {
    let gv = Gv::start(Settings::default()).await;
    for (method, path) in [
        (Method::GET, "/me"),
        (Method::GET, "/deployments"),
        (Method::POST, "/deployments"),
        (Method::GET, "/projects"),
        (Method::GET, "/tokens"),
    ] {
        let response = gv.anonymous(method.clone(), path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}
