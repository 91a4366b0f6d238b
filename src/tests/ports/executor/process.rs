//! The executor without a sandbox: the contract, and what it adds to it.

use super::bench::{Bench, DAEMONS};
use super::executor_contract;
use crate::support::sandbox::{Mode, executor, place};
use gv::adapters::executor::process::{GuardProgram, Place, ProcessExecutor};
use gv::ports::executor::{Executor, ExecutorError, Exit};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn process_bench() -> Bench {
    Bench::of(Mode::UnsafeNone)
}

fn guarded_by(guard: GuardProgram) -> Bench {
    Bench::new(|folder| Arc::new(ProcessExecutor::unsafe_none(Place { guard, ..place(folder) })))
}

executor_contract!(process_bench);

fn records(bench: &Bench) -> usize {
    fs::read_dir(bench.folder.path().join("records")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_running_job_is_on_record_and_an_ended_one_is_not() {
    let bench = process_bench();
    let on_record = async {
        bench.wait_until(|bench| bench.workspace().join("ready").exists()).await;
        assert_eq!(records(&bench), 1);
        fs::write(bench.workspace().join("seen"), "").unwrap();
    };
    let job = bench.script("touch ready; while [ ! -e seen ]; do sleep 0.01; done");
    assert_eq!(tokio::join!(bench.run(job), on_record).0.0.unwrap(), Exit::Code(0));
    bench.run(bench.job(&["no-such-program"])).await.0.unwrap_err();
    assert_eq!(records(&bench), 0);
}

/// This test is two processes: the worker that is killed is the same test, started once more.
#[test]
fn a_build_dies_with_a_worker_that_is_killed_and_the_next_one_clears_its_record() {
    const ROLE: &str = "GV_TEST_EXECUTOR_FOLDER";
    const NAME: &str = "a_build_dies_with_a_worker_that_is_killed_and_the_next_one_clears_its_record";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(folder) = std::env::var_os(ROLE).map(PathBuf::from) {
        let executor = executor(Mode::UnsafeNone, &folder, None);
        let mut job = process_bench().script(&format!("{DAEMONS} touch ready; sleep 600"));
        job.workspace = folder.join("workspace");
        job.dir = folder.join("workspace");
        let (output, _lines) = mpsc::channel(16);
        let ended = runtime.block_on(executor.run(job, output, CancellationToken::new()));
        panic!("nobody killed this worker: {ended:?}");
    }
    let bench = process_bench();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut worker = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::{NAME}"), "--exact", "--nocapture"])
        .env(ROLE, bench.folder.path())
        .spawn()
        .unwrap();
    runtime.block_on(bench.wait_until(|bench| bench.workspace().join("ready").exists()));
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!(records(&bench), 1);
    runtime.block_on(bench.executor.clear_leftovers()).unwrap();
    bench.assert_all_dead();
    assert_eq!(records(&bench), 0);
}

/// The worker's side of the job is dropped halfway: the closing of the socket tells the guard.
#[test]
fn a_build_dies_with_the_runtime_of_its_worker() {
    let bench = process_bench();
    let worker = tokio::runtime::Runtime::new().unwrap();
    let job = bench.script(&format!("{DAEMONS} touch ready; sleep 600"));
    let executor = bench.executor.clone();
    worker.spawn(async move {
        let (output, _lines) = mpsc::channel(16);
        executor.run(job, output, CancellationToken::new()).await
    });
    worker.block_on(bench.wait_until(|bench| bench.workspace().join("ready").exists()));
    worker.shutdown_background();
    let watcher = tokio::runtime::Runtime::new().unwrap();
    watcher.block_on(bench.wait_until(|bench| bench.alive().is_empty()));
}

#[tokio::test]
async fn a_build_that_kills_its_guard_dies_with_it() {
    let bench = process_bench();
    let script =
        "sleep 600 & (trap '' TERM; cd /; sleep 600 & echo $! >ready; wait) & kill -9 $PPID; sleep 600";
    let (exit, _) = bench.run(bench.script(script)).await;
    assert_eq!(exit.unwrap(), Exit::Signal(9));
    bench.assert_all_dead();
    assert_eq!(records(&bench), 0);
}

#[tokio::test]
async fn a_build_that_stops_its_guard_is_stopped_all_the_same() {
    let bench = process_bench();
    let job = bench.script("kill -STOP $PPID; touch ready; sleep 600");
    assert_eq!(bench.stop_when_ready(job).await.unwrap(), Exit::Stopped);
    bench.assert_all_dead();
}

#[tokio::test]
async fn no_secret_is_in_an_argument_or_in_the_environment_of_the_guard() {
    let bench = process_bench();
    let mut job =
        bench.script("cat /proc/[0-9]*/cmdline 2>/dev/null | grep -acFf secret; wc -c </proc/$PPID/environ");
    let secret = format!("secret-{}", job.deployment);
    fs::write(bench.workspace().join("secret"), &secret).unwrap();
    job.env.push(("TOKEN".to_owned(), secret));
    assert_eq!(bench.print(job).await, ["0", "0"]);
}

#[tokio::test]
async fn a_command_inherits_no_open_file_no_ignored_pipe_signal_and_no_way_to_more_rights() {
    // As under a supervisor that left a descriptor open.
    let script = format!("exec 5</dev/zero 7</dev/null; exec {} guard", env!("CARGO_BIN_EXE_gv"));
    let bench = guarded_by(GuardProgram { path: "/bin/sh".into(), args: vec!["-c".to_owned(), script] });
    // The fourth is the one through which `ls` reads the folder.
    assert_eq!(bench.print(bench.job(&["ls", "/proc/self/fd"])).await, ["0", "1", "2", "3"]);
    let status = bench.print(bench.job(&["cat", "/proc/self/status"])).await;
    let field = |name: &str| status.iter().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(u64::from_str_radix(field("SigBlk:"), 16).unwrap(), 0);
    // SIGPIPE is 13.
    assert_eq!(u64::from_str_radix(field("SigIgn:"), 16).unwrap() & (1 << 12), 0);
}

#[tokio::test]
async fn a_guard_that_cannot_be_started_is_an_error_and_leaves_no_record() {
    let bench = guarded_by(GuardProgram { path: "/no/such/gv".into(), args: Vec::new() });
    let (ended, _) = bench.run(bench.job(&["true"])).await;
    assert!(matches!(ended, Err(ExecutorError::Failed(reason)) if reason.contains("/no/such/gv")));
    assert_eq!(records(&bench), 0);
}
