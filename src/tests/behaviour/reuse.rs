//! Deployments that need no build: the same again, nothing to do. And what builds leave for the next.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{Settings, id_of, with_json};
use crate::support::mirror::Mirror;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const BUILD: &str = "mkdir -p dist && date +%s%N > dist/index.html";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_tree_is_ready_within_a_second_without_a_build() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("blog", &borrowed(&built_by(BUILD))).await;
    let body = json!({"repo_url": repository.url()});
    let first = stage.gv.deploy(body.clone()).await;
    assert_eq!(first["reused"], false);
    let page = async |host: &str| stage.gv.page(host, "/").await.1;
    let made = page("blog.localhost").await;
    // Another commit of the same tree.
    repository.commit(&[], "Nothing new").await;
    let second = stage.gv.deploy(body.clone()).await;
    assert_eq!(second["reused"], true, "{second}");
    assert_ne!((&second["id"], &second["commit"]), (&first["id"], &first["commit"]));
    let took = |deployment: &serde_json::Value| {
        let time = |key: &str| OffsetDateTime::parse(deployment[key].as_str().unwrap(), &Rfc3339).unwrap();
        time("finished_at") - time("created_at")
    };
    // The quickest of three: other tests run beside this one.
    let others = [stage.gv.deploy(body.clone()).await, stage.gv.deploy(body.clone()).await];
    let quickest = others.iter().chain([&second]).map(took).min().unwrap();
    assert!(quickest < Duration::from_secs(1), "{quickest}");
    assert_eq!(page(second["url"].as_str().unwrap()).await, made);
    assert_eq!(page("blog.localhost").await, made);
    let log = stage.gv.deployment_log(second["id"].as_str().unwrap()).await;
    assert!(log.contains(first["id"].as_str().unwrap()) && log.contains("taken over"), "{log}");

    let mut forced = body;
    forced["force"] = true.into();
    let forced = stage.gv.deploy(forced).await;
    assert_eq!(forced["reused"], false);
    assert_ne!(page("blog.localhost").await, made);
    let again = format!("/deployments/{}/redeploy", forced["id"].as_str().unwrap());
    let again = stage.gv.post(&again, &json!({}), 201).await;
    let again = stage.gv.wait_until_ended(&id_of(&again)).await;
    assert_eq!(
        (&again["state"], &again["reused"]),
        (&json!("ready"), &json!(false)),
        "who redeploys wants a build"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_in_settings_variables_or_target_is_built() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("blog", &borrowed(&built_by(BUILD))).await;
    let plain = json!({"repo_url": repository.url()});
    stage.gv.deploy(plain.clone()).await;
    for (key, value) in [
        ("env", json!({"A": "1"})),
        ("target", json!("preview")),
        ("output_dir", json!("dist")),
        ("spa", json!(true)),
    ] {
        let mut body = plain.clone();
        body[key] = value;
        assert_eq!(stage.gv.deploy(body.clone()).await["reused"], false, "{key}");
        assert_eq!(stage.gv.deploy(body).await["reused"], true, "{key}, again");
    }
    let put = with_json(stage.gv.call(Method::PUT, "/projects/blog/env/B"), &json!({"value": "1"}));
    assert_eq!(put.send().await.unwrap().status(), 200);
    assert_eq!(stage.gv.deploy(plain.clone()).await["reused"], false, "a variable of the project");
    assert_eq!(stage.gv.deploy(plain).await["reused"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_whose_objects_are_gone_is_not_taken_over() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("blog", &borrowed(&built_by(BUILD))).await;
    let body = json!({"repo_url": repository.url()});
    let first = stage.gv.deploy(body.clone()).await;
    let id = first["id"].as_str().unwrap().parse().unwrap();
    stage.gv.storage().delete(&gv::ports::blobs::Key::manifest(id)).await.unwrap();
    let second = stage.gv.deploy(body).await;
    assert_eq!((&second["state"], &second["reused"]), (&json!("ready"), &json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_watched_files_count_where_the_project_names_them() {
    let stage = Stage::set().await;
    let mut files = built_by(BUILD);
    files.push(("gv.toml".to_owned(), "[build]\nwatch = [\"src/**\", \"package.json\"]\n".to_owned()));
    files.push(("src/page.txt".to_owned(), "one".to_owned()));
    let repository = stage.git.repository("blog", &borrowed(&files)).await;
    let body = json!({"repo_url": repository.url()});
    stage.gv.deploy(body.clone()).await;
    repository.commit(&[("README.md", "words")], "Words").await;
    assert_eq!(stage.gv.deploy(body.clone()).await["reused"], true);
    repository.commit(&[("public/_redirects", "/old /new 301")], "Rules").await;
    assert_eq!(stage.gv.deploy(body.clone()).await["reused"], false, "rules are no part of what is watched");
    repository.commit(&[("src/page.txt", "two")], "Work").await;
    assert_eq!(stage.gv.deploy(body).await["reused"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_says_that_there_is_nothing_to_do_is_skipped_and_that_is_well() {
    let stage = Stage::set().await;
    let cases = [
        (
            "by-vercel",
            "true",
            Some(("vercel.json", r#"{"ignoreCommand": "test \"$VERCEL_ENV\" = production"}"#)),
        ),
        ("by-netlify", "true", Some(("netlify.toml", "[build]\nignore = \"exit 0\"\npublish = \"dist\"\n"))),
        ("by-code", "exit 183", None),
    ];
    for (name, script, file) in cases {
        let mut files = built_by(&format!("{script} && {BUILD}"));
        files.extend(file.map(|(name, text)| (name.to_owned(), text.to_owned())));
        let repository = stage.git.repository(name, &borrowed(&files)).await;
        let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
        let ended = stage.gv.wait_until_ended(&id).await;
        assert_eq!(
            (&ended["state"], &ended["error"]["code"]),
            (&json!("canceled"), &json!("skipped")),
            "{name}"
        );
        let done = stage.gv.cli(&["deploy", &repository.url(), "--project", name]);
        assert!(done.status.success() && done.stdout.is_empty(), "{name}: {done:?}");
        let mut forced = json!({"repo_url": repository.url(), "force": true});
        if name == "by-code" {
            forced["build_command"] = "mkdir -p dist && echo hi > dist/index.html".into();
        }
        assert_eq!(stage.gv.deploy(forced).await["state"], "ready", "{name}");
    }
    let mut files = built_by(BUILD);
    files.push(("vercel.json".to_owned(), r#"{"ignoreCommand": "git diff --quiet HEAD^ HEAD"}"#.to_owned()));
    let repository = stage.git.repository("no-history", &borrowed(&files)).await;
    let deployed = stage.deploy(&repository).await;
    assert_eq!(deployed["state"], "ready", "what cannot tell does not skip");
    let log = stage.gv.deployment_log(deployed["id"].as_str().unwrap()).await;
    assert!(log.contains("a build has no Git history"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_finds_the_caches_of_the_one_before_unless_it_asks_for_none() {
    let stage = Stage::set().await;
    let script = "mkdir -p dist node_modules/.cache \"$npm_config_cache\" && \
        cat node_modules/.cache/left \"$npm_config_cache/left\" > dist/index.html 2>/dev/null; \
        echo kept > node_modules/.cache/left; echo stored > \"$npm_config_cache/left\"";
    let repository = stage.git.repository("blog", &borrowed(&built_by(script))).await;
    let build = async |options: serde_json::Value| {
        let mut body = json!({"repo_url": repository.url(), "force": true});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let deployed = stage.gv.deploy(body).await;
        // It is kept after the deployment is ready.
        tokio::time::sleep(Duration::from_millis(500)).await;
        stage.gv.page(deployed["url"].as_str().unwrap(), "/").await.1
    };
    assert_eq!(build(json!({})).await, "");
    assert_eq!(build(json!({})).await, "kept\nstored\n");
    assert_eq!(build(json!({"no_cache": true})).await, "");
    assert_eq!(
        build(json!({"target": "preview"})).await,
        "kept\nstored\n",
        "previews begin with production's"
    );
}

/// A project with a package or more, and no address of a registry in its lockfile. What the build finds beside
/// the packages is published; a build leaves its mark there, and then does `more`.
fn with_packages(
    packages: &[(&str, &str)],
    scripts: &[(&str, &str)],
    more: &str,
) -> [(&'static str, String); 2] {
    let dependencies: serde_json::Map<_, _> =
        packages.iter().map(|(name, version)| ((*name).to_owned(), json!(version))).collect();
    let build = format!(
        "mkdir -p dist node_modules/.tmp; cat node_modules/.tmp/mark node_modules/ms/own > dist/index.html; \
         echo kept > node_modules/.tmp/mark; {more}"
    );
    let mut package = json!({"name": "site", "scripts": {"build": build}, "dependencies": dependencies});
    for (name, script) in scripts {
        package["scripts"][name] = (*script).into();
    }
    let mut locked = serde_json::Map::from_iter([(
        String::new(),
        json!({"name": "site", "hasInstallScript": true, "dependencies": dependencies}),
    )]);
    for (name, version) in packages {
        locked.insert(format!("node_modules/{name}"), json!({"version": version}));
    }
    let lockfile = json!({"name": "site", "lockfileVersion": 3, "requires": true, "packages": locked});
    [("package.json", package.to_string()), ("package-lock.json", lockfile.to_string())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_of_an_earlier_build_serve_the_next_with_the_same_lockfile() {
    let hosts = Mirror::of_this_machine().hosts().join(",");
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__EGRESS_ALLOW", hosts)).await;
    let ms = ("ms", "2.1.3");
    let files = with_packages(&[ms], &[], "true");
    let repository =
        stage.git.repository("shop", &files.each_ref().map(|(name, text)| (*name, text.as_str()))).await;
    let build = async |files: Option<[(&'static str, String); 2]>, body: serde_json::Value| {
        if let Some(files) = files {
            repository.commit(&files.each_ref().map(|(name, text)| (*name, text.as_str())), "Next").await;
        }
        let mut request = json!({"repo_url": repository.url(), "force": true});
        request.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let deployed = stage.gv.deploy(request).await;
        let log = stage.gv.deployment_log(deployed["id"].as_str().unwrap()).await;
        // They are kept after the deployment is ready.
        tokio::time::sleep(Duration::from_millis(500)).await;
        (stage.gv.page("shop.localhost", "/").await.1, log)
    };
    let none = || json!({});
    let (page, log) = build(None, none()).await;
    assert!(page.is_empty() && log.contains("$ npm ci"), "{log}");
    let (page, log) = build(None, none()).await;
    assert_eq!(page, "kept\n", "{log}");
    assert!(log.contains("$ npm install --no-save") && !log.contains("$ npm ci"), "{log}");
    for (what, files, body) in [
        ("another lockfile", Some(with_packages(&[ms, ("picocolors", "1.1.1")], &[], "true")), none()),
        ("another variable", None, json!({"env": {"NODE_ENV": "production"}})),
        ("no cache", None, json!({"no_cache": true})),
    ] {
        let (page, log) = build(files, body).await;
        assert!(page.is_empty() && log.contains("$ npm ci"), "{what}: {log}");
    }
    // What something else than npm did to them is not seen by a build that may not do it any more.
    let patches = [("postinstall", "echo patched > node_modules/ms/own")];
    let (changes, patched) = ("echo changed > node_modules/ms/own", "patched\n");
    for (what, files, first) in [
        ("the build", with_packages(&[ms], &[], changes), ""),
        ("a script of the project", with_packages(&[ms], &patches, "true"), patched),
    ] {
        assert_eq!(build(Some(files), none()).await.0, first, "{what}");
        let (page, log) = build(None, none()).await;
        assert!(page == first && log.contains("$ npm ci") && !log.contains("--no-save"), "{what}: {log}");
    }
}
