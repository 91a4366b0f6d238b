//! What builds run on: the Node.js and the package manager that a project asks for, brought by the
//! worker from the registry that this machine's npm uses.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{Settings, id_of};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// The registry of this machine, as its npm says.
fn registry() -> String {
    let output = Command::new("npm").args(["config", "get", "registry"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn built(stage: &Stage, name: &str, files: &[(&str, &str)]) -> (serde_json::Value, String) {
    let repository = stage.git.repository(name, files).await;
    let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
    let deployment = stage.ended(&id).await;
    let log = stage.gv.deployment_log(&id).await;
    (deployment, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_built_with_the_versions_that_it_asks_for() {
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__REGISTRY", registry())).await;
    let package = r#"{"packageManager": "pnpm@9.15.0", "scripts": {
        "build": "mkdir dist && node -v > dist/index.html && pnpm -v >> dist/index.html && npm -v >> dist/index.html" }}"#;
    let (deployment, log) = built(&stage, "asked", &[("package.json", package), (".nvmrc", "22\n")]).await;
    assert_eq!(deployment["state"], "ready", "{deployment}\n{log}");
    let page = stage.gv.page("asked.localhost", "/").await.1;
    let versions: Vec<_> = page.lines().collect();
    assert!(versions[0].starts_with("v22."), "{page}");
    assert_eq!((versions[1], versions[2].split('.').next()), ("9.15.0", Some("11")), "{page}");
    for line in [
        "Node.js 22: .nvmrc is 22.",
        "Packages by pnpm 9.15.0: packageManager is pnpm@9.15.0.",
        "Builds with Node.js 22.",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    let kept = std::fs::read_dir(stage.gv.data_dir().join("tools")).unwrap().count();
    assert!(kept >= 3, "they are kept for the next build");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_fails_a_build_that_nothing_here_can_stand_in_for() {
    // Port 9 of loopback: nobody is there.
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__REGISTRY", "http://127.0.0.1:9/")).await;
    let mut files = built_by("mkdir dist; node -v > dist/index.html");
    let own = own_major();
    let other = if own == 22 { "24" } else { "22" };
    files.push((".nvmrc".to_owned(), other.to_owned()));
    let (deployment, log) = built(&stage, "away", &borrowed(&files)).await;
    assert_eq!(deployment["error"]["code"], "toolchain_unavailable", "{deployment}\n{log}");
    let message = deployment["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("Node.js {other}")) && message.contains("worker.registry"),
        "{message}"
    );
    // A site that needs no tools is served all the same.
    let (deployment, log) = built(&stage, "plain", &[("index.html", "plain")]).await;
    assert_eq!(deployment["state"], "ready", "{deployment}\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_registry_builds_with_what_its_machine_has_and_says_so() {
    let stage = Stage::set().await;
    let mut files = built_by("mkdir dist; node -v > dist/index.html");
    files.push((".nvmrc".to_owned(), "26".to_owned()));
    let (deployment, log) = built(&stage, "own", &borrowed(&files)).await;
    assert_eq!(deployment["state"], "ready", "{deployment}\n{log}");
    assert!(stage.gv.page("own.localhost", "/").await.1.starts_with(&format!("v{}.", own_major())));
    assert!(log.contains("its own Node.js") || log.contains("own Node.js 26"), "{log}");
    assert!(!Path::new(&stage.gv.data_dir().join("tools")).exists());
}

fn own_major() -> u64 {
    let output = Command::new("node").arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    version.trim().trim_start_matches('v').split('.').next().unwrap().parse().unwrap()
}
