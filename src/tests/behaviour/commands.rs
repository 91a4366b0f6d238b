//! What a person types beside a running gv.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{command, id_of};
use serde_json::{Value, json};
use std::process::Output;

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy_follows_the_log_and_prints_the_url_alone() {
    let stage = Stage::set().await;
    let files = built_by("echo hello from the build; mkdir dist; echo hi > dist/index.html");
    let repository = stage.git.repository("site", &borrowed(&files)).await;
    let output = stage.gv.cli(&["deploy", &repository.url()]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(err(&output).contains("hello from the build"), "{}", err(&output));
    let url = out(&output);
    assert_eq!(url.lines().count(), 1, "{url}");
    assert!(url.starts_with("http://site.localhost:"), "{url}");
    let host = url.trim().strip_prefix("http://").unwrap();
    assert_eq!(stage.gv.page(host, "/").await.1, "hi\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_deploy_shows_the_last_lines_and_the_reason_and_exits_1() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("broken", &borrowed(&built_by("echo no colour >&2; exit 3"))).await;
    let output = stage.gv.cli(&["deploy", &repository.url()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "");
    assert!(err(&output).contains("no colour") && err(&output).contains("build_failed"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_2_and_says_what_is_wrong() {
    let stage = Stage::set().await;
    for (args, said) in [
        (vec!["deploy", "file:///etc"], "repo_url"),
        (vec!["deploy", "--nonsense"], "--nonsense"),
        (vec!["frobnicate"], "frobnicate"),
    ] {
        let output = stage.gv.cli(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(said), "{args:?}: {}", err(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_commands_look_and_act() {
    let stage = Stage::set().await;
    let repository = stage.site("site").await;
    let one = id_of(&stage.deploy(&repository).await);
    let two = id_of(&stage.deploy(&repository).await);
    let good = |args: &[&str]| {
        let output = stage.gv.cli(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", err(&output));
        output
    };
    let listed = out(&good(&["list"]));
    assert!(listed.contains(&one) && listed.contains(&two), "{listed}");
    let page: Value = serde_json::from_str(&out(&good(&["list", "--json", "--limit", "1"]))).unwrap();
    assert_eq!(page["items"][0]["id"], json!(two));
    assert!(out(&good(&["inspect", &one])).contains("ready"));
    let inspected: Value = serde_json::from_str(&out(&good(&["inspect", &one, "--json"]))).unwrap();
    assert_eq!(inspected["commit"].as_str().unwrap().len(), 40);
    assert!(!out(&good(&["logs", &one])).is_empty());
    assert!(out(&good(&["open", &one])).starts_with("http://"));
    assert!(err(&good(&["rollback", "site"])).contains(&one));
    assert!(err(&good(&["promote", &two])).contains(&two));
    assert!(err(&good(&["cancel", &two])).contains("had ended"));
    assert_eq!(out(&good(&["whoami"])).trim(), "owner@localhost");
    let absent = stage.gv.cli(&["inspect", "dpl_00000000000000000000"]);
    assert_eq!(absent.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_deploys_and_signs_out() {
    let stage = Stage::set().await;
    stage.gv.account("ada@example.com").await;
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str], input: &str| {
        use std::io::Write;
        let mut command = command();
        command.env("HOME", home.path()).args(args);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let before = run(&["whoami"], "");
    assert!(err(&before).contains("gv login"), "{}", err(&before));
    let login = ["login", "--api", &stage.gv.api, "--email", "ada@example.com"];
    assert_eq!(run(&login, "not the password\n").status.code(), Some(1));
    let output = run(&login, "correct horse battery\n");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let kept = home.path().join(".config/gv/session.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kept).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(out(&run(&["whoami"], "")).trim(), "ada@example.com");
    let repository = stage.site("hers").await;
    let output = run(&["deploy", &repository.url(), "--json"], "");
    let deployment: Value =
        serde_json::from_str(&out(&output)).unwrap_or_else(|_| panic!("{}", err(&output)));
    assert_eq!(deployment["state"], "ready");
    assert_eq!(run(&["logout"], "").status.code(), Some(0));
    assert!(!kept.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_is_refused_before_anything_starts() {
    for (variable, value, said) in [
        ("GV_WORKER__LEASE_S", "soon", "worker.lease_s"),
        ("GV_WORKER__LEASE", "30", "worker.lease_s"),
        ("GV_DOMAIN", "no domain", "domain"),
        ("GV_CONFIG", "/nowhere/gv.toml", "/nowhere/gv.toml"),
    ] {
        for args in [["up"].as_slice(), &["config", "check"]] {
            let output =
                command().env("GV_DATA_DIR", "/nowhere").env(variable, value).args(args).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{variable} {args:?}");
            let text = out(&output) + &err(&output);
            assert!(text.contains(said), "{variable} {args:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn config_show_names_origins_and_hides_secrets() {
    let output = command()
        .env("GV_DATA_DIR", "/var/lib/gv")
        .env("GV_DATABASE__URL", "postgres://gv:hush@db/gv")
        .args(["config", "show", "--json"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(shown["database.url"]["origin"], "environment GV_DATABASE__URL");
    assert_eq!(shown["worker.lease_s"]["origin"], "default");
    assert!(!out(&output).contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_alone_refuses_backends_that_nobody_else_can_see() {
    let folder = tempfile::tempdir().unwrap();
    for role in ["api", "worker", "edge"] {
        let output = command().env("GV_DATA_DIR", folder.path().join(role)).arg(role).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{role}");
        assert!(
            err(&output).contains("memory:") && err(&output).contains("gv up"),
            "{role}: {}",
            err(&output)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_says_what_there_is_to_do_and_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = crate::support::database::fresh_url().await;
    let run = |args: &[&str]| {
        let mut command = command();
        command
            .env("GV_DATA_DIR", folder.path())
            .env("GV_DATABASE__URL", &database.url)
            .args(args)
            .output()
            .unwrap()
    };
    let before = run(&["migrate", "--check"]);
    assert_eq!(before.status.code(), Some(1), "{}", err(&before));
    let ran = run(&["migrate"]);
    assert_eq!(ran.status.code(), Some(0), "{}", err(&ran));
    assert_eq!(run(&["migrate", "--check"]).status.code(), Some(0));
    assert!(out(&run(&["migrate"])).contains("up to date"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_deploys_a_site_by_itself() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    for listener in ["API", "EDGE", "OPS"] {
        command.env(format!("GV_{listener}__LISTEN"), "127.0.0.1:0");
    }
    command.args(["up", "--demo", "--data-dir"]).arg(folder.path().join("data"));
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let ready = next();
    let demo = next();
    assert_eq!((ready["event"].as_str(), demo["event"].as_str()), (Some("ready"), Some("demo")));
    let host = demo["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let client = crate::support::gv::client();
    let page = client.get(ready["edge"].as_str().unwrap()).header("host", host).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("It is live."));
    child.kill().unwrap();
    child.wait().unwrap();
}
