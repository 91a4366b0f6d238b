//! Builds of strangers as users and operators meet them: how they are held, what they cannot publish,
//! and neighbours that use up whatever there is.

use super::{Stage, borrowed, built_by};
use crate::support::gv::{Settings, command, id_of};
use crate::support::sandbox::is_root;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const MODES: [&str; 2] = ["bubblewrap", "landlock"];

/// A stage whose builds are held so, in a folder that builds of another user may enter.
async fn held(mode: &str, settings: Settings) -> (Stage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let work = folder.path().join("work").display().to_string();
    let settings = settings.set("GV_WORKER__SANDBOX", mode).set("GV_WORKER__DIR", work);
    (Stage::set_with(settings).await, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_users_see_how_builds_are_held() {
    for mode in MODES {
        let (stage, _folder) = held(mode, Settings::default()).await;
        let ready = stage.gv.client.get(format!("{}/readyz", stage.gv.ops)).send().await.unwrap();
        let ready: Value = serde_json::from_slice(&ready.bytes().await.unwrap()).unwrap();
        assert_eq!(ready["checks"]["sandbox"]["detail"], mode);
        assert_eq!(stage.gv.metric("gv_sandbox", &[mode]).await, 1.0);
        let files = built_by("mkdir dist; pwd >dist/index.html");
        let repository = stage.git.repository("site", &borrowed(&files)).await;
        let id = id_of(&stage.deploy(&repository).await);
        assert!(stage.gv.deployment_log(&id).await.contains(&format!("Sandbox: {mode}.")));
        // The same path as outside.
        assert!(stage.gv.page("site.localhost", "/").await.1.contains("/work/dpl_"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_without_a_sandbox_are_warned_of_at_the_start_and_in_each_log() {
    let stage = Stage::set_with(Settings::default().set("GV_WORKER__SANDBOX", "unsafe-none")).await;
    assert!(stage.gv.log().contains("BUILDS ARE NOT HELD"), "{}", stage.gv.log());
    let repository =
        stage.git.repository("site", &borrowed(&built_by("mkdir dist; echo hi >dist/index.html"))).await;
    let id = id_of(&stage.deploy(&repository).await);
    assert!(stage.gv.deployment_log(&id).await.contains("Warning: there is no sandbox (unsafe-none)"));
}

#[test]
fn a_worker_that_cannot_hold_builds_does_not_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut gv = command();
    for listener in ["API", "EDGE", "OPS"] {
        gv.env(format!("GV_{listener}__LISTEN"), "127.0.0.1:0");
    }
    let gv = gv.env("PATH", "/nowhere").env("GV_WORKER__SANDBOX", "bubblewrap");
    let ended = gv.env("GV_DATA_DIR", folder.path()).arg("up").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    for part in ["worker.sandbox", "bwrap is not installed", "Install bubblewrap", "unsafe-none"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_outside_cannot_be_published_by_any_trick() {
    for mode in MODES {
        let (stage, folder) = held(mode, Settings::default()).await;
        std::fs::write(folder.path().join("secret"), "hush").unwrap();
        // Too large to be kept in memory between being gathered and being stored.
        std::fs::write(folder.path().join("large"), [b'S'; 300_000]).unwrap();
        let secret = folder.path().join("secret").display().to_string();
        for (name, script) in [
            ("absolute", format!("ln -s {secret} dist/x")),
            ("relative", "ln -s ../../../../../../../../../../etc/hostname dist/x".to_owned()),
            ("chained", format!("ln -s {secret} /tmp/../$PWD/hop; ln -s ../hop dist/x")),
            ("folder", "ln -s /etc dist/x".to_owned()),
            ("magic", "ln -s /proc/self/environ dist/x".to_owned()),
            ("descriptor", "ln -s /proc/self/fd/0 dist/x".to_owned()),
            ("root", "ln -s /proc/1/root/etc/hostname dist/x".to_owned()),
            ("output", "rm -r dist; ln -s /etc dist".to_owned()),
            ("workspace", "cd ..; mv source moved; mkdir source; ln -s /etc source/dist".to_owned()),
            (
                "swapped",
                format!(
                    "mkdir dist/s; head -c 300000 /dev/zero >dist/s/large; cd ..; mv source moved; \
                     mkdir -p source/dist; ln -s {} source/dist/s",
                    folder.path().display()
                ),
            ),
            ("pipe", "mkfifo dist/x".to_owned()),
            ("socket", "/usr/bin/python3 -c 'import socket; socket.socket(1).bind(\"dist/x\")'".to_owned()),
            ("name", "touch \"$(printf 'dist/\\377')\"".to_owned()),
            ("sparse", "truncate -s 1T dist/x".to_owned()),
        ] {
            let script = format!("mkdir dist; echo hi >dist/index.html; {script}");
            let repository = stage.git.repository(name, &borrowed(&built_by(&script))).await;
            let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
            let ended = stage.gv.wait_for(&id, &["failed", "ready"]).await;
            let host = format!("{name}.localhost");
            if ended["state"] == "ready" {
                // What was collected is what the build made before it moved the folder away.
                assert!(["workspace", "swapped"].contains(&name), "{mode}: {ended}");
                assert_eq!(stage.gv.page(&host, "/").await.1.trim(), "hi");
                assert_eq!(stage.gv.page(&host, "/hostname").await.0, 404);
                if name == "swapped" {
                    assert_eq!(stage.gv.page(&host, "/s/large").await, (200, "\0".repeat(300_000)));
                }
                continue;
            }
            let code = ended["error"]["code"].as_str().unwrap();
            let expected =
                ["output_invalid", "output_exceeded", "output_missing", "limit_exceeded", "internal"];
            assert!(expected.contains(&code), "{mode} {name}: {ended}");
            assert!(code != "internal" || name == "workspace", "{mode} {name}: {ended}");
            assert_eq!(stage.gv.page(&host, "/").await.0, 404, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_large_file_inside_is_published_as_the_file() {
    let (stage, _folder) = held("bubblewrap", Settings::default()).await;
    // In the order of names the link comes first once, and once the file.
    let script = "mkdir -p dist/.kept; echo hi >dist/index.html; head -c 300000 /dev/zero >dist/.kept/m; \
                  cp dist/.kept/m dist/m; echo end >>dist/m; ln -s .kept/m dist/a; ln -s m dist/z";
    let repository = stage.git.repository("links", &borrowed(&built_by(script))).await;
    stage.deploy(&repository).await;
    assert_eq!(stage.gv.page("links.localhost", "/a").await, (200, "\0".repeat(300_000)));
    assert!(stage.gv.page("links.localhost", "/z").await.1.ends_with("\0end\n"));
}

/// Six that use up memory, little by little and at once, processes, disk, log and time, and one that only builds.
#[tokio::test(flavor = "multi_thread")]
async fn each_greedy_neighbour_ends_with_its_own_reason_while_an_honest_build_goes_well() {
    for mode in MODES {
        let settings = Settings::default()
            .set("GV_WORKER__CONCURRENCY", 7)
            .set("GV_WORKER__BUILD_TIMEOUT_S", 25)
            .set("GV_LIMITS__BUILD_MEMORY_MB", 1024)
            .set("GV_LIMITS__BUILD_PROCESSES", 200)
            .set("GV_LIMITS__WORKSPACE_MB", 64)
            .set("GV_LIMITS__LOG_MB", 1);
        let (stage, _folder) = held(mode, settings).await;
        // By Landlock all builds of a worker that is not root are one user's, whose processes the kernel counts
        // together: a bomb takes those of its neighbours for a moment, so there it comes when they are done.
        let mut later = Vec::new();
        let mut greedy = Vec::new();
        for (name, script, code) in [
            // In silence: its complaints would fill the log before its processes are counted.
            ("bomb", "exec 2>/dev/null; bomb() { bomb | bomb & }; bomb; sleep 600", "processes_exceeded"),
            (
                "hog",
                "/usr/bin/python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'",
                "memory_exceeded",
            ),
            ("glutton", "/usr/bin/python3 -c 'bytearray(3 << 30)'", "memory_exceeded"),
            ("filler", "while :; do head -c 10000000 /dev/zero >>$HOME/$$.file; done", "workspace_exceeded"),
            ("flood", "yes this line never ends", "log_exceeded"),
            ("sleeper", "sleep 600", "build_timeout"),
        ] {
            let repository = stage.git.repository(name, &borrowed(&built_by(script))).await;
            if mode == "landlock" && name == "bomb" && !is_root() {
                later.push((name, repository, code));
                continue;
            }
            let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
            greedy.push((name, id, code));
        }
        let script = "mkdir dist; i=0; while [ $i -lt 200 ]; do echo $i | cat >dist/$i.html; i=$((i+1)); done; \
                      echo honest >dist/index.html";
        let honest = stage.git.repository("honest", &borrowed(&built_by(script))).await;
        stage.deploy(&honest).await;
        assert_eq!(stage.gv.page("honest.localhost", "/").await.1.trim(), "honest");
        for (name, id, code) in greedy {
            let ended = stage.gv.wait_for(&id, &["failed", "ready"]).await;
            assert_eq!(ended["error"]["code"], code, "{mode} {name}: {ended}");
        }
        for (name, repository, code) in later {
            let id = id_of(&stage.gv.submit(json!({"repo_url": repository.url()})).await);
            let ended = stage.gv.wait_for(&id, &["failed", "ready"]).await;
            assert_eq!(ended["error"]["code"], code, "{mode} {name}: {ended}");
        }
    }
}
