//! Deployments that cannot go well end `failed`, with a stable word and a sentence that helps.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{Settings, id_of};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_cannot_be_cloned_fails_with_its_reason() {
    let stage = Stage::set().await;
    let empty = stage.git.empty_repository("empty").await.url();
    let site = stage.site("site").await.url();
    for (body, expected) in [
        (json!({"repo_url": stage.git.url("missing.git")}), "repository_not_found"),
        (json!({"repo_url": empty}), "repository_empty"),
        (json!({"repo_url": site, "ref": "no-such-branch"}), "ref_not_found"),
        (json!({"repo_url": site, "ref": "0123456789012345678901234567890123456789"}), "ref_not_found"),
        (json!({"repo_url": site, "root_dir": "apps/web"}), "configuration_invalid"),
    ] {
        let (code, message) = stage.gv.deploy_failing(body.clone()).await;
        assert_eq!(code, expected, "{body}: {message}");
        assert!(message.len() > 20 && !message.contains("/tmp"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_too_large_or_too_slow_fails() {
    let settings = Settings::default().set("GV_SOURCE__MAX_MB", 1).set("GV_SOURCE__TIMEOUT_S", 2);
    let stage = Stage::set_with(settings).await;
    let large = "0123456789abcdef".repeat(100_000);
    let large = stage.git.repository("large", &[("index.html", &large)]).await;
    let (code, message) = stage.gv.deploy_failing(json!({"repo_url": large.url()})).await;
    assert_eq!(code, "limit_exceeded", "{message}");
    let site = stage.site("slow").await;
    stage.git.hang();
    let (code, message) = stage.gv.deploy_failing(json!({"repo_url": site.url()})).await;
    assert_eq!(code, "clone_timeout", "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_private_address_is_refused() {
    let stage = Stage::set().await;
    let other = crate::support::git::GitServer::start().await;
    let hidden = other.repository("hidden", &[("index.html", "secret")]).await;
    stage.git.redirect("/bait.git", &hidden.url());
    let (code, message) = stage.gv.deploy_failing(json!({"repo_url": stage.git.url("bait.git")})).await;
    assert_eq!(code, "address_refused", "{message}");
    assert_eq!(other.request_count(), 0, "it was not even asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_build_ends_with_its_last_lines_in_the_log() {
    let stage = Stage::set().await;
    let files = built_by("echo compiling; echo 'cannot find colour' >&2; exit 3");
    let repository = stage.git.repository("broken", &borrowed(&files)).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    let deployment = stage.gv.wait_for(&id, &["failed"]).await;
    assert_eq!(deployment["error"]["code"], "build_failed");
    assert!(deployment["error"]["message"].as_str().unwrap().contains("npm run build"), "{deployment}");
    assert!(stage.gv.deployment_log(&id).await.contains("cannot find colour"));
    assert_eq!(stage.gv.page("broken.localhost", "/").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_never_ends_or_never_stops_printing_is_stopped() {
    let settings = Settings::default().set("GV_WORKER__BUILD_TIMEOUT_S", 3).set("GV_LIMITS__LOG_MB", 1);
    let stage = Stage::set_with(settings).await;
    let marker = format!("{}", 4_000_000 + std::process::id());
    for (name, script, expected) in [
        ("endless", format!("sleep {marker}"), "build_timeout"),
        ("flood", "yes this line never ends".to_owned(), "log_exceeded"),
    ] {
        let repository = stage.git.repository(name, &borrowed(&built_by(&script))).await;
        let (code, message) = stage.gv.deploy_failing(json!({"repo_url": repository.url()})).await;
        assert_eq!(code, expected, "{message}");
    }
    assert_eq!(super::pointers::processes_with(&marker), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_missing_or_cannot_be_published_fails() {
    let stage = Stage::set().await;
    for (name, script, expected) in [
        ("nothing", "true", "output_missing"),
        ("hollow", "mkdir dist", "output_missing"),
        ("leak", "mkdir dist; echo hi > dist/index.html; ln -s /etc/passwd dist/passwd", "output_invalid"),
        ("pipe", "mkdir dist; echo hi > dist/index.html; mkfifo dist/pipe", "output_invalid"),
    ] {
        let repository = stage.git.repository(name, &borrowed(&built_by(script))).await;
        let (code, message) = stage.gv.deploy_failing(json!({"repo_url": repository.url()})).await;
        assert_eq!(code, expected, "{name}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_past_its_limits_fails() {
    let settings = Settings::default().set("GV_LIMITS__OUTPUT_FILES", 10).set("GV_LIMITS__FILE_MB", 1);
    let stage = Stage::set_with(settings).await;
    for (name, script, expected) in [
        ("many", "mkdir dist; for i in $(seq 20); do echo $i > dist/$i.html; done", "output_exceeded"),
        ("large", "mkdir dist; echo hi > dist/index.html; truncate -s 1G dist/sparse.bin", "output_exceeded"),
        ("huge", "mkdir dist; echo hi > dist/index.html; truncate -s 1T dist/sparse.bin", "limit_exceeded"),
    ] {
        let repository = stage.git.repository(name, &borrowed(&built_by(script))).await;
        let (code, message) = stage.gv.deploy_failing(json!({"repo_url": repository.url()})).await;
        assert_eq!(code, expected, "{name}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_sees_its_own_variables_and_nothing_of_the_workers() {
    let settings = Settings::default().set("GV_WORKER__BUILD_ENV", "FROM_OPERATOR=yes");
    let stage = Stage::set_with(settings).await;
    let files = built_by("mkdir dist; env > dist/index.html");
    let repository = stage.git.repository("env", &borrowed(&files)).await;
    let body = json!({"repo_url": repository.url(), "env": {"GREETING": "hello"}});
    let deployment = stage.gv.deploy(body).await;
    let env = stage.gv.page("env.localhost", "/").await.1;
    for expected in ["GREETING=hello", "FROM_OPERATOR=yes", "CI=true", "GV_BRANCH=main"] {
        assert!(env.contains(expected), "{expected} is not in\n{env}");
    }
    assert!(env.contains(&format!("GV_COMMIT={}", deployment["commit"].as_str().unwrap())));
    for leaked in ["GV_DATABASE__URL", "GV_SOURCE__ALLOW", "GV_DATA_DIR"] {
        assert!(!env.contains(leaked), "{leaked} is in\n{env}");
    }
}
