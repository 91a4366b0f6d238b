//! Real projects with their packages from the registry.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{Settings, id_of};
use crate::support::registry::Registry;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_eleventy_site_is_recognised_installed_and_built() {
    let hosts = Registry::of_this_machine().hosts().join(",");
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__EGRESS_ALLOW", hosts)).await;
    let package = json!({"name": "blog", "private": true, "devDependencies": {"@11ty/eleventy": "^3.0.0"}});
    let repository = stage
        .git
        .repository(
            "blog",
            &[("package.json", &package.to_string()), ("index.md", "# Hello"), ("posts/one.md", "*one*")],
        )
        .await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    let deployment = loop {
        // Packages come from a registry, which may take its time.
        let deployment = stage.gv.get(&format!("/deployments/{id}")).await;
        if !["queued", "cloning", "building", "uploading"].contains(&deployment["state"].as_str().unwrap()) {
            break deployment;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    let log = stage.gv.deployment_log(&id).await;
    assert_eq!(deployment["state"], "ready", "{deployment}\n{log}");
    assert!(log.contains("Eleventy"), "the log says what was recognised: {log}");
    assert!(stage.gv.page("blog.localhost", "/").await.1.contains("<h1>Hello</h1>"));
    assert!(stage.gv.page("blog.localhost", "/posts/one/").await.1.contains("<em>one</em>"));
    assert_eq!(stage.gv.get("/projects/blog").await["framework"], "eleventy");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_request_decide_where_and_how_it_is_built() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("mono", &[("apps/web/source.txt", "from source")]).await;
    let body = json!({
        "repo_url": repository.url(),
        "root_dir": "apps/web",
        "build_command": "mkdir -p out/site && cp source.txt out/site/index.html",
        "output_dir": "out/site",
    });
    stage.gv.deploy(body).await;
    assert_eq!(stage.gv.page("mono.localhost", "/").await.1, "from source");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_for_visitors_are_not_published() {
    let stage = Stage::set().await;
    let files = [
        ("index.html", "hi"),
        (".env", "SECRET=1"),
        (".env.production", "SECRET=1"),
        ("node_modules/x/index.js", "x"),
        (".well-known/security.txt", "mail us"),
    ];
    let repository = stage.git.repository("plain", &files).await;
    stage.deploy(&repository).await;
    for path in ["/.env", "/.env.production", "/.git/config", "/.git/HEAD", "/node_modules/x/index.js"] {
        assert_eq!(stage.gv.page("plain.localhost", path).await.0, 404, "{path}");
    }
    assert_eq!(
        stage.gv.page("plain.localhost", "/.well-known/security.txt").await,
        (200, "mail us".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_leaves_running_is_gone_when_it_is_ready() {
    let stage = Stage::set().await;
    let marker = format!("{}", 5_000_000 + std::process::id());
    let files = built_by(&format!(
        "mkdir dist; echo hi > dist/index.html; setsid nohup sleep {marker} >/dev/null 2>&1 &"
    ));
    let repository = stage.git.repository("daemon", &borrowed(&files)).await;
    stage.deploy(&repository).await;
    assert_eq!(super::pointers::processes_with(&marker), 0);
    let workspaces = || {
        let names = std::fs::read_dir(stage.gv.work_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("dpl_")).count()
    };
    let deadline = std::time::Instant::now() + crate::support::gv::PATIENCE;
    while workspaces() > 0 {
        assert!(std::time::Instant::now() < deadline, "the workspace is not removed");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
