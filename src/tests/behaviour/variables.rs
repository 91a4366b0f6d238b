//! Variables of projects, and what logs hide of them.

use super::{Settings, Stage, borrowed, built_by};
use crate::support::gv::PATIENCE;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

impl Stage {
    async fn put(&self, project: &str, key: &str, body: &Value) -> Value {
        let path = format!("/projects/{project}/env/{key}");
        let request = super::super::support::gv::with_json(self.gv.call(Method::PUT, &path), body);
        super::super::support::gv::json_of(request.send().await.unwrap(), StatusCode::OK).await
    }

    async fn variables(&self, project: &str) -> Vec<Value> {
        self.gv.get(&format!("/projects/{project}/env")).await["items"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_goes_in_and_never_comes_out() {
    let stage = Stage::set().await;
    stage.gv.post("/projects", &json!({"name": "blog"}), 201).await;
    let put = stage.put("blog", "API_KEY", &json!({"value": "hunter22-secret", "secret": true})).await;
    assert_eq!((put["key"].as_str(), &put["value"]), (Some("API_KEY"), &Value::Null));
    stage.put("blog", "MODE", &json!({"value": "one", "targets": ["production"]})).await;
    stage.put("blog", "MODE", &json!({"value": "two", "targets": ["preview"]})).await;
    let listed = stage.variables("blog").await;
    let shown: Vec<_> =
        listed.iter().map(|one| (one["key"].clone(), one["value"].clone(), one["targets"].clone())).collect();
    assert_eq!(
        shown,
        [
            (json!("API_KEY"), Value::Null, json!(["production", "preview"])),
            (json!("MODE"), json!("two"), json!(["preview"])),
            (json!("MODE"), json!("one"), json!(["production"])),
        ]
    );
    assert!(!json!(listed).to_string().contains("hunter22"));
    let path = "/projects/blog/env/API_KEY";
    let gone = stage.gv.call(Method::DELETE, path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(stage.gv.call(Method::DELETE, path).send().await.unwrap().status(), 404);
    let other = stage.gv.call(Method::DELETE, "/projects/blog/env/MODE?target=preview").send().await.unwrap();
    assert_eq!(other.status(), 204);
    assert_eq!(stage.variables("blog").await.len(), 1);
    assert!(!stage.gv.log().contains("hunter22"), "nor in gv's own log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_that_cannot_be_are_refused_and_another_accounts_are_absent() {
    let stage = Stage::set().await;
    stage.gv.post("/projects", &json!({"name": "blog"}), 201).await;
    let status = async |path: &str, body: Value| {
        let request = super::super::support::gv::with_json(stage.gv.call(Method::PUT, path), &body);
        request.send().await.unwrap().status().as_u16()
    };
    for (key, body) in [
        ("A-B", json!({"value": "x"})),
        ("PATH", json!({"value": "x"})),
        ("A", json!({"value": "a\u{0}b"})),
        ("A", json!({"value": "x".repeat(65 * 1024)})),
        ("A", json!({"value": "x", "targets": []})),
        ("A", json!({"value": "x", "target": "production"})),
    ] {
        assert_eq!(status(&format!("/projects/blog/env/{key}"), body).await, 422, "{key}");
    }
    assert_eq!(status("/projects/blog/env/A", json!({"value": "x".repeat(40_000)})).await, 200);
    assert_eq!(status("/projects/blog/env/B", json!({"value": "x".repeat(40_000)})).await, 422, "together");
    assert_eq!(status("/projects/other/env/A", json!({"value": "x"})).await, 404);
    let stranger = stage.gv.account("eve@example.com").await;
    for method in [Method::GET, Method::DELETE] {
        let path = if method == Method::GET { "/projects/blog/env" } else { "/projects/blog/env/A" };
        let asked = stage.gv.anonymous(method, path).bearer_auth(&stranger).send().await.unwrap();
        assert_eq!(asked.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_has_its_targets_variables_under_those_of_its_request() {
    let stage = Stage::set().await;
    let files = built_by(
        "mkdir -p dist && echo \"$A-$B-$C-$VERCEL_GIT_COMMIT_REF-$CONTEXT-$SITE_NAME-${VERCEL:-no}\" > dist/index.html",
    );
    let repository = stage.git.repository("blog", &borrowed(&files)).await;
    stage.gv.post("/projects", &json!({"name": "blog", "repo_url": repository.url()}), 201).await;
    stage.put("blog", "A", &json!({"value": "both"})).await;
    stage.put("blog", "B", &json!({"value": "live", "targets": ["production"]})).await;
    stage.put("blog", "C", &json!({"value": "project"})).await;
    let body = json!({"repo_url": repository.url(), "env": {"C": "request"}});
    let production = stage.gv.deploy(body.clone()).await;
    let (_, page) = stage.gv.page(production["url"].as_str().unwrap(), "/").await;
    assert_eq!(page.trim(), "both-live-request-main-production-blog-no");
    let mut preview = body;
    preview["target"] = "preview".into();
    let preview = stage.gv.deploy(preview).await;
    let (_, page) = stage.gv.page(preview["url"].as_str().unwrap(), "/").await;
    assert_eq!(page.trim(), "both--request-main-deploy-preview-blog-no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_prints_its_secret_in_any_form_shows_none_of_it_stored_or_live() {
    let stage = Stage::set().await;
    let secret = "s3cr3t/value+with \"quotes\" and-length-0123456789";
    let script = "printf '%s\\n' \"$SECRET\"; printf '%s' \"$SECRET\" | base64 -w 20; \
        printf 'x%s' \"$SECRET\" | base64 -w 0; echo; printf 'xy%s' \"$SECRET\" | base64 -w 76; \
        printf '%s' \"$SECRET\" | od -An -v -tx1; \
        printf '%s' \"$SECRET\" | cut -c 1-9 | tr -d '\\n'; sleep 0.1; printf '%s\\n' \"$SECRET\" | cut -c 10-; \
        printf '%s' \"$SECRET\" | fold -w 7; echo; \
        node -e 'console.log(JSON.stringify(process.env.SECRET)); console.log(encodeURIComponent(process.env.SECRET))' \
        2>/dev/null || true; echo done-with-it; sleep 1; mkdir -p dist && echo hi > dist/index.html";
    let files = built_by(script);
    let repository = stage.git.repository("blog", &borrowed(&files)).await;
    stage.gv.post("/projects", &json!({"name": "blog", "repo_url": repository.url()}), 201).await;
    stage.put("blog", "SECRET", &json!({"value": secret, "secret": true})).await;
    let submitted = stage.gv.submit(json!({"repo_url": repository.url()})).await;
    let id = submitted["id"].as_str().unwrap().to_owned();
    let following = stage.gv.call(Method::GET, &format!("/deployments/{id}/logs?follow=true"));
    let live = following.send().await.unwrap().text().await.unwrap();
    stage.gv.wait_until_ended(&id).await;
    let stored = stage.gv.deployment_log(&id).await;
    for log in [&live, &stored] {
        assert!(log.contains("done-with-it") && log.contains("***"), "{log}");
        let texts: String = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|line| line["text"].as_str().map(str::to_owned))
            // The command itself names no value.
            .filter(|text| !text.contains("SECRET"))
            .collect();
        let squeezed: String = texts.split_whitespace().collect();
        let plain: String = secret.split_whitespace().collect();
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [plain, STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), hex] {
            for piece in form.as_bytes().windows(12) {
                let piece = std::str::from_utf8(piece).unwrap();
                assert!(!squeezed.contains(piece), "{piece} is in {texts}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_lie_sealed_in_the_database_and_are_sealed_anew_by_a_new_key() {
    let (old, new) = (
        "gvs1.old.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "gvs1.new.AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    );
    let stage = Stage::set_with(Settings::default().set("GV_SECRETS__KEYS", old)).await;
    let repository = stage.site("blog").await;
    let env = json!({"repo_url": repository.url(), "env": {"REQUEST": "hunter22-request"}});
    let deployed = stage.gv.deploy(env).await;
    stage.put("blog", "API_KEY", &json!({"value": "hunter22-project", "secret": true})).await;
    let rotate = || {
        let mut command = stage.gv.cli_command(&["secrets", "rotate", "--json"]);
        command.env("GV_DATABASE__URL", stage.gv.database_url());
        let done = command.env("GV_SECRETS__KEYS", format!("{new},{old}")).output().unwrap();
        serde_json::from_slice::<Value>(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    };
    assert_eq!(rotate(), json!({"variables": 2, "deployments": 1}));
    assert_eq!(rotate(), json!({"variables": 0, "deployments": 0}));
    if let Some(file) = stage.gv.database_url().strip_prefix("sqlite:") {
        for file in [file.to_owned(), format!("{file}-wal")] {
            let bytes = std::fs::read(&file).unwrap_or_default();
            assert!(!bytes.windows(8).any(|window| window == b"hunter22"), "{file}");
        }
    }
    assert!(deployed["id"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_lost_is_named_by_the_failure_by_the_api_and_by_the_doctor() {
    let (old, new) = (
        "gvs1.old.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "gvs1.new.AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    );
    let mut stage = Stage::set_with(Settings::default().set("GV_SECRETS__KEYS", old)).await;
    let repository = stage.site("blog").await;
    stage.gv.post("/projects", &json!({"name": "blog", "repo_url": repository.url()}), 201).await;
    stage.put("blog", "API_KEY", &json!({"value": "hunter22-project", "secret": true})).await;
    let examined = |stage: &Stage, keys: &str| {
        let mut doctor = stage.gv.operator_command(&["doctor", "--json"]);
        let done = doctor.env("GV_SECRETS__KEYS", keys).output().unwrap();
        let findings: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        let found = findings.into_iter().find(|finding| finding["check"] == "sealed values").unwrap();
        (done.status.code(), found)
    };
    assert_eq!(examined(&stage, old).1["verdict"], "well");
    let (code, found) = examined(&stage, new);
    assert_eq!((code, &found["verdict"]), (Some(1), &json!("broken")), "{found}");
    let says = |key: &str, part: &str| found[key].as_str().unwrap().contains(part);
    assert!(says("detail", "the id old") && says("remedy", "secrets.keys"), "{found}");
    stage.gv.terminate();
    stage.gv.start_again_with(&Settings::default().set("GV_SECRETS__KEYS", new));
    let submitted = stage.gv.submit(json!({"repo_url": repository.url()})).await;
    let failed = stage.gv.wait_until_ended(submitted["id"].as_str().unwrap()).await;
    assert_eq!(failed["error"]["code"], "storage_failed", "{failed}");
    assert!(failed["error"]["message"].as_str().unwrap().contains("secrets.keys"), "{failed}");
    let asked = stage.gv.call(Method::GET, "/projects/blog/env").send().await.unwrap();
    let problem =
        super::super::support::gv::json_of(asked, StatusCode::SERVICE_UNAVAILABLE).await.to_string();
    assert!(problem.contains("secrets.keys") && !problem.contains("the id old"), "{problem}");
    let listed = stage.gv.cli(&["env", "list", "blog"]);
    assert!(!listed.status.success());
    assert!(String::from_utf8(listed.stderr).unwrap().contains("secrets.keys"));
    stage.gv.terminate();
    stage.gv.start_again_with(&Settings::default().set("GV_SECRETS__KEYS", format!("{new},{old}")));
    assert_eq!(stage.variables("blog").await.len(), 1, "nothing was lost");
    stage.deploy(&repository).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gv_up_makes_no_new_key_beside_a_database_that_another_sealed_in() {
    let mut stage = Stage::set().await;
    let (key, away) = (stage.gv.data_dir().join("secret-key"), stage.gv.data_dir().join("away"));
    stage.gv.post("/projects", &json!({"name": "blog"}), 201).await;
    stage.gv.terminate();
    std::fs::remove_file(&key).unwrap();
    stage.gv.start_again();
    assert!(key.exists(), "nothing was sealed yet");
    stage.put("blog", "API_KEY", &json!({"value": "hunter22", "secret": true})).await;
    stage.gv.terminate();
    std::fs::rename(&key, &away).unwrap();
    let mut up = stage.gv.up_command();
    let mut refused = up.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while refused.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            refused.kill().unwrap();
            panic!("it started");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = refused.wait_with_output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(key.to_str().unwrap()) && said.contains("secrets.keys"), "{said}");
    assert!(!key.exists());
    std::fs::rename(&away, &key).unwrap();
    stage.gv.start_again();
    assert_eq!(stage.variables("blog").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_are_set_listed_and_deleted_from_the_command_line() {
    let stage = Stage::set().await;
    stage.gv.post("/projects", &json!({"name": "blog"}), 201).await;
    let set = stage.gv.cli(&["env", "set", "blog", "MODE=fast", "--target", "preview"]);
    assert!(set.status.success(), "{set:?}");
    let mut typed = stage.gv.cli_command(&["env", "set", "blog", "API_KEY", "--secret", "--json"]);
    let mut typed = typed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    typed.stdin.take().unwrap().write_all(b"hunter22-secret\n").unwrap();
    let typed = typed.wait_with_output().unwrap();
    let stored: Value = serde_json::from_slice(&typed.stdout).unwrap();
    assert_eq!((&stored["secret"], &stored["value"]), (&json!(true), &Value::Null));
    let listed = stage.gv.cli(&["env", "list", "blog"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("API_KEY") && listed.contains("***") && listed.contains("\"fast\""), "{listed}");
    assert!(stage.gv.cli(&["env", "unset", "blog", "API_KEY"]).status.success());
    assert!(!stage.gv.cli(&["env", "unset", "blog", "API_KEY"]).status.success());
    let left: Value =
        serde_json::from_slice(&stage.gv.cli(&["env", "list", "blog", "--json"]).stdout).unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}
