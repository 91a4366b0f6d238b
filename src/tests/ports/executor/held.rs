//! The contract once more for each mode that holds builds, and what holding adds to it.

use super::bench::Bench;
use super::executor_contract;
use crate::support::sandbox::{BUILD_USER, Mode, is_root, place};
use gv::adapters::executor::choice::{Means, Wanted, choose};
use gv::adapters::executor::process::ProcessExecutor;
use gv::ports::executor::{Executor, Exit};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

mod bubblewrap {
    use super::{Bench, Mode, executor_contract};

    fn bench() -> Bench {
        Bench::of(Mode::Bubblewrap)
    }
    executor_contract!(bench);
}

mod landlock {
    use super::{Bench, Mode, executor_contract};

    fn bench() -> Bench {
        Bench::of(Mode::Landlock)
    }
    executor_contract!(bench);
}

const HELD: [Mode; 2] = [Mode::Bubblewrap, Mode::Landlock];

fn means(folder: &Path) -> Means {
    Means { place: place(folder), dir: folder.join("work"), egress_allow: Vec::new() }
}

#[tokio::test]
async fn each_mode_that_is_wanted_is_tried_and_taken_where_it_holds() {
    for (wanted, mode) in
        [(Wanted::Auto, "bubblewrap"), (Wanted::Bubblewrap, "bubblewrap"), (Wanted::Landlock, "landlock")]
    {
        let folder = tempfile::tempdir().unwrap();
        let executor = choose(wanted, &means(folder.path())).await.unwrap();
        assert_eq!((executor.mode(), executor.is_sandbox()), (mode, true));
        let left: Vec<_> = fs::read_dir(folder.path().join("work"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.iter().all(|name| name == "egress"), "trying leaves nothing behind: {left:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let executor = choose(Wanted::Nothing, &means(folder.path())).await.unwrap();
    assert_eq!((executor.mode(), executor.is_sandbox()), ("unsafe-none", false));
}

/// The guard stands for a machine on which no command can be held.
#[tokio::test]
async fn where_nothing_holds_the_operator_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut means = means(folder.path());
    means.place.guard.path = "/bin/false".into();
    let reason = choose(Wanted::Auto, &means).await.err().unwrap();
    for part in ["bubblewrap: ", "landlock: ", "unsafe-none", "docs/sandbox.md"] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
}

#[tokio::test]
async fn a_bubblewrap_that_cannot_start_is_an_error_and_no_exit_code_of_the_command() {
    let bench = Bench::new(|folder| {
        Arc::new(ProcessExecutor::bubblewrap(place(folder), Path::new("/bin/false"), None))
    });
    let (ended, _) = bench.run(bench.job(&["true"])).await;
    assert!(ended.unwrap_err().to_string().contains("bubblewrap ended with exit code 1"));
}

#[tokio::test]
async fn tools_can_be_read_and_run_caches_written_and_the_worker_has_what_was_built() {
    for mode in HELD {
        let bench = Bench::of(mode);
        let outside = bench.folder.path().canonicalize().unwrap();
        let (tools, cache) = (outside.join("tools"), outside.join("cache"));
        for folder in [&tools, &cache] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(tools.join("hello"), "#!/bin/sh\necho hello\n").unwrap();
        fs::set_permissions(tools.join("hello"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let script = format!(
            "{tools}/hello; echo kept >{cache}/file; mkdir -p out/a; echo built >out/a/file; \
             echo x 2>/dev/null >{tools}/file || echo refused",
            tools = tools.display(),
            cache = cache.display()
        );
        let mut job = bench.script(&script);
        (job.tools, job.caches) = (vec![tools.clone()], vec![cache.clone()]);
        let printed = bench.print(job.clone()).await;
        for word in ["hello", "refused"] {
            assert!(printed.iter().any(|line| line == word), "{mode:?}: {printed:?}");
        }
        assert_eq!(fs::read_to_string(cache.join("file")).unwrap(), "kept\n");
        assert_eq!(fs::read_to_string(bench.workspace().join("out/a/file")).unwrap(), "built\n");
        // The next build finds it.
        job.command = vec!["cat".to_owned(), cache.join("file").display().to_string()];
        assert_eq!(bench.print(job).await, ["kept"]);
    }
}

#[tokio::test]
async fn a_build_is_not_root_outside_and_has_no_rights_of_its() {
    let user = if is_root() { BUILD_USER } else { rustix::process::geteuid().as_raw() };
    for mode in HELD {
        let bench = Bench::of(mode);
        let job = bench.script("touch ready; id -u; sleep 600");
        let stop = CancellationToken::new();
        let look = async {
            bench.wait_until(|bench| bench.workspace().join("ready").exists()).await;
            let alive = bench.alive();
            let mut looked_at = 0;
            for stat in alive {
                let pid = stat.split(' ').next().unwrap().to_owned();
                // Some are at their end: the shell is not.
                let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
                looked_at += 1;
                let field =
                    |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
                assert_eq!(field("Uid:").split_whitespace().next().unwrap(), user.to_string(), "{mode:?}");
                assert_eq!(field("CapEff:"), "0000000000000000", "{mode:?}");
                assert_eq!(field("CapPrm:"), "0000000000000000", "{mode:?}");
                assert_eq!(field("NoNewPrivs:"), "1");
                assert_eq!(field("Seccomp:"), "2");
            }
            assert!(looked_at > 0);
            stop.cancel();
        };
        assert_eq!(tokio::join!(bench.run_until(job, stop.clone()), look).0.0.unwrap(), Exit::Stopped);
    }
}

#[tokio::test]
async fn programs_find_a_user_a_home_and_room_for_temporary_files() {
    let bench = Bench::of(Mode::Bubblewrap);
    let folder = bench.workspace().join("tmp");
    fs::create_dir(&folder).unwrap();
    let mut job =
        bench.script("id -un; cd ~ && pwd; echo t >/tmp/file; echo s >/dev/shm/file; cat /dev/shm/file");
    job.env.push(("HOME".to_owned(), bench.workspace().display().to_string()));
    job.env.push(("TMPDIR".to_owned(), folder.display().to_string()));
    let home = bench.workspace().display().to_string();
    assert_eq!(bench.print(job).await, ["build", &home, "s"]);
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "t\n", "/tmp lies on the disk");
}
