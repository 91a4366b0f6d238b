//! Real projects with their packages from the registry.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{Settings, id_of};
use crate::support::mirror::Mirror;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_eleventy_site_is_recognised_installed_and_built() {
    let hosts = Mirror::of_this_machine().hosts().join(",");
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
    let deployment = stage.ended(&id).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_build_said_becomes_a_cause_and_a_remedy() {
    let stage = Stage::set().await;
    for (name, said, parts) in [
        ("types", "src/a.ts(1,7): error TS2322: Type 'string' is wrong.", ["type error", "src/a.ts"]),
        ("command", "sh: 1: no-such-bundler: not found", ["no-such-bundler was not found", "package.json"]),
        ("secret", "Module not found: Can't resolve 'hush-hush-token'", ["***", "not installed"]),
        ("unknown", "something else", ["exit code 3", "last lines of the log"]),
    ] {
        let mut files = built_by("cat said.txt; exit 3");
        files.push(("said.txt".to_owned(), said.to_owned()));
        let repository = stage.git.repository(name, &borrowed(&files)).await;
        let body = json!({"repo_url": repository.url(), "env": {"TOKEN": "hush-hush-token"}});
        let (code, message) = stage.gv.deploy_failing(body).await;
        assert_eq!(code, "build_failed", "{message}");
        for part in parts {
            assert!(message.contains(part), "{name}: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gv_toml_and_a_netlify_toml_say_how_a_site_is_built() {
    let stage = Stage::set().await;
    let gv = "[build]\nroot_dir = \"web\"\nbuild_command = \"mkdir out && echo $WHO > out/index.html\"\noutput_dir = \"out\"\n\
              [build.environment]\nWHO = \"from gv.toml\"\n";
    let repository = stage.git.repository("ours", &[("gv.toml", gv), ("web/x", "")]).await;
    stage.deploy(&repository).await;
    assert_eq!(stage.gv.page("ours.localhost", "/").await.1, "from gv.toml\n");
    let netlify = "[build]\nbase = \"web\"\ncommand = \"mkdir out && echo $WHO > out/index.html\"\npublish = \"out\"\n\
                   [build.environment]\nWHO = \"everybody\"\n[context.production.environment]\nWHO = \"production\"\n\
                   [[redirects]]\nfrom = \"/old\"\nto = \"/\"\n";
    let repository = stage.git.repository("theirs", &[("netlify.toml", netlify), ("web/x", "")]).await;
    stage.deploy(&repository).await;
    assert_eq!(stage.gv.page("theirs.localhost", "/").await.1, "production\n");
    assert_eq!(stage.gv.page("theirs.localhost", "/old").await.0, 301, "its rules count as well");
    let wrong = stage.git.repository("wrong", &[("gv.toml", "[build]\nbuild = \"x\"\n")]).await;
    let (code, message) = stage.gv.deploy_failing(json!({"repo_url": wrong.url()})).await;
    assert_eq!(code, "configuration_invalid");
    assert!(message.starts_with("gv.toml:2: unknown field `build`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_that_cannot_be_fetched_fails_with_what_to_do() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("site", &[("index.html", "hi")]).await;
    let commit = repository.git(&["rev-parse", "main"]).await;
    let modules = b"[submodule \"t\"]\n\tpath = themes/t\n\turl = ../private.git\n";
    let contents = [
        ("themes/t", crate::support::git::Content::Submodule(&commit)),
        (".gitmodules", crate::support::git::Content::File(modules)),
    ];
    repository.commit_contents("main", &contents, b"A theme").await;
    let (code, message) = stage.gv.deploy_failing(json!({"repo_url": repository.url()})).await;
    assert_eq!(code, "submodule_unavailable");
    assert!(message.contains("themes/t") && message.contains("make it public"), "{message}");
}
