//! The contract of `Executor`, with real processes. `process`, `bubblewrap` and `landlock` run it in
//! each mode; `attacks` and `egress` are what held builds try, `limits` what they use up; `bench` is
//! what a test stands on.

mod attacks;
mod bench;
mod egress;
mod held;
mod limits;
mod process;

use bench::{Bench, DAEMONS, Ended, PATH, PATIENCE, texts};
use gv::domain::log::{LogLine, LogStream};
use gv::ports::executor::{ExecutorError, Exit, Job, JobLimits};
use std::fs;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

async fn exit_codes_come_back_as_they_are(bench: &Bench) {
    for code in [0, 1, 42, 255] {
        let (exit, _) = bench.run(bench.script(&format!("exit {code}"))).await;
        assert_eq!(exit.unwrap(), Exit::Code(code));
    }
}

async fn a_command_that_dies_of_a_signal_names_it(bench: &Bench) {
    for signal in [9, 11, 15] {
        let (exit, _) = bench.run(bench.script(&format!("kill -{signal} $$"))).await;
        assert_eq!(exit.unwrap(), Exit::Signal(signal));
    }
}

async fn the_environment_is_exactly_what_was_given(bench: &Bench) {
    let mut job = bench.job(&["env"]);
    job.env.push(("WITH SPACE".to_owned(), "a=b c\td".to_owned()));
    job.env.push(("EMPTY".to_owned(), String::new()));
    job.env.push(("UMLAUT".to_owned(), "äöü".to_owned()));
    let mut printed = bench.print(job).await;
    printed.sort();
    assert_eq!(printed, ["EMPTY=", &format!("PATH={PATH}"), "UMLAUT=äöü", "WITH SPACE=a=b c\td"]);
}

async fn a_large_environment_arrives_whole(bench: &Bench) {
    let mut job = bench.script("env | grep ^LARGE_ | wc -c");
    job.env.extend((0..20).map(|i| (format!("LARGE_{i}"), "x".repeat(50_000))));
    let names: usize = (0..20).map(|i| format!("LARGE_{i}=\n").len()).sum();
    assert_eq!(bench.print(job).await, [(20 * 50_000 + names).to_string()]);
}

async fn arguments_arrive_as_they_are(bench: &Bench) {
    let command = ["printf", "%s\\n", "", "a b", "$HOME", "'\"*", "-n", "ä"];
    assert_eq!(bench.print(bench.job(&command)).await, ["", "a b", "$HOME", "'\"*", "-n", "ä"]);
}

async fn a_program_is_looked_up_in_the_path_that_was_given(bench: &Bench) {
    let tool = bench.workspace().join("bin/sh");
    fs::create_dir(bench.workspace().join("bin")).unwrap();
    bench.print(bench.script("printf '#!/bin/sh\\necho mine\\n' >bin/sh; chmod +x bin/sh")).await;
    let mut job = bench.job(&["sh"]);
    job.env = vec![("PATH".to_owned(), format!("{}:/bin", tool.parent().unwrap().display()))];
    assert_eq!(bench.print(job).await, ["mine"]);
}

async fn the_command_starts_in_its_folder(bench: &Bench) {
    let dir = bench.workspace().join("a folder/in it");
    fs::create_dir_all(&dir).unwrap();
    let printed = bench.print(Job { dir: dir.clone(), ..bench.job(&["pwd", "-P"]) }).await;
    assert_eq!(printed, [dir.to_str().unwrap()]);
}

async fn stdin_is_empty(bench: &Bench) {
    assert_eq!(bench.print(bench.job(&["wc", "-c"])).await, ["0"]);
}

async fn files_are_made_with_ordinary_permissions(bench: &Bench) {
    assert_eq!(bench.print(bench.script("umask; ulimit -c")).await, ["0022", "0"]);
}

async fn lines_keep_their_order_and_their_stream(bench: &Bench) {
    let script = "for i in $(seq 1000); do echo out $i; echo err $i >&2; done; printf 'no end'";
    let (exit, lines) = bench.run(bench.script(script)).await;
    assert_eq!(exit.unwrap(), Exit::Code(0));
    let numbered = |word: &str| (1..=1000).map(|i| format!("{word} {i}")).collect::<Vec<_>>();
    let mut out = numbered("out");
    out.push("no end".to_owned());
    assert_eq!(texts(&lines, LogStream::Stdout), out);
    assert_eq!(texts(&lines, LogStream::Stderr), numbered("err"));
}

async fn what_comes_later_is_later_across_streams(bench: &Bench) {
    let (output, mut lines) = mpsc::channel(16);
    let wait = "while [ ! -e go$i ]; do sleep 0.01; done";
    let script = format!("i=1; echo 1; {wait}; i=2; echo 2 >&2; {wait}; echo 3");
    let run = bench.executor.run(bench.script(&script), output, CancellationToken::new());
    let read = async {
        for i in 1..=3 {
            assert_eq!(lines.recv().await.unwrap().text, i.to_string());
            fs::write(bench.workspace().join(format!("go{i}")), "").unwrap();
        }
    };
    assert_eq!(tokio::join!(run, read).0.unwrap(), Exit::Code(0));
}

async fn a_line_is_seen_before_the_command_ends(bench: &Bench) {
    let stop = CancellationToken::new();
    let (output, mut lines) = mpsc::channel(1);
    let run = bench.executor.run(bench.script("echo first; sleep 600"), output, stop.clone());
    let watch = async {
        assert_eq!(lines.recv().await.unwrap().text, "first");
        stop.cancel();
    };
    assert_eq!(tokio::join!(run, watch).0.unwrap(), Exit::Stopped);
}

async fn long_lines_come_in_pieces_and_bad_utf8_is_replaced(bench: &Bench) {
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\n'";
    let printed = bench.print(bench.script(script)).await;
    let (last, pieces) = printed.split_last().unwrap();
    assert_eq!(last, "a\u{fffd}b");
    assert!(pieces.iter().all(|piece| piece.len() <= LogLine::MAX_TEXT));
    assert_eq!(pieces.concat(), "x".repeat(100_000));
}

async fn a_program_that_is_not_there_is_named(bench: &Bench) {
    for program in ["no-such-program", "./no-such-file", "/no/such/file"] {
        let (ended, _) = bench.run(bench.job(&[program, "--version"])).await;
        assert!(matches!(ended, Err(ExecutorError::ProgramMissing(name)) if name == program));
    }
}

async fn what_cannot_be_started_says_why(bench: &Bench) {
    fs::write(bench.workspace().join("script"), "#!/no/interpreter\n").unwrap();
    let reason = |ended: Ended| match ended {
        Err(ExecutorError::Failed(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let denied = reason(bench.run(bench.job(&["./script"])).await.0);
    assert!(denied.contains("ermission denied"), "{denied}");
    bench.print(bench.script("chmod +x script")).await;
    let interpreter = reason(bench.run(bench.job(&["./script"])).await.0);
    assert!(interpreter.contains("interpreter"), "{interpreter}");
    let folder = Job { dir: bench.workspace().join("gone"), ..bench.job(&["true"]) };
    let folder = reason(bench.run(folder).await.0);
    assert!(folder.contains("gone"), "{folder}");
    let nothing = reason(bench.run(bench.job(&[])).await.0);
    assert!(nothing.contains("no program"), "{nothing}");
}

async fn a_folder_that_leads_out_of_the_workspace_is_refused(bench: &Bench) {
    std::os::unix::fs::symlink("/usr", bench.workspace().join("link")).unwrap();
    let job = Job { dir: bench.workspace().join("link/bin"), ..bench.job(&["true"]) };
    let (ended, _) = bench.run(job).await;
    assert!(matches!(ended, Err(ExecutorError::Failed(reason)) if reason.contains("out of the workspace")));
}

async fn daemons_of_a_command_that_succeeds_are_dead_when_it_returns(bench: &Bench) {
    bench.print(bench.script(DAEMONS)).await;
    bench.assert_all_dead();
}

async fn daemons_of_a_command_that_fails_are_dead_when_it_returns(bench: &Bench) {
    let (exit, _) = bench.run(bench.script(&format!("{DAEMONS} kill -9 $$"))).await;
    assert_eq!(exit.unwrap(), Exit::Signal(9));
    bench.assert_all_dead();
}

async fn a_command_that_takes_too_long_dies_with_its_daemons(bench: &Bench) {
    let mut job = bench.script(&format!("trap '' TERM; {DAEMONS} sleep 600 & wait"));
    job.limits.time = Duration::from_secs(1);
    let (exit, _) = bench.run(job).await;
    assert_eq!(exit.unwrap(), Exit::TimedOut);
    bench.assert_all_dead();
}

async fn a_command_that_is_stopped_dies_with_its_daemons(bench: &Bench) {
    let job = bench.script(&format!("trap '' TERM; {DAEMONS} touch ready; sleep 600 & wait"));
    assert_eq!(bench.stop_when_ready(job).await.unwrap(), Exit::Stopped);
    bench.assert_all_dead();
}

async fn a_command_that_keeps_changing_its_process_is_caught(bench: &Bench) {
    let again = "#!/bin/sh\ntouch ready\nsetsid ./again & exit\n";
    fs::write(bench.workspace().join("again"), again).unwrap();
    let job = bench.script("chmod +x again; ./again; ./again; sleep 600");
    assert_eq!(bench.stop_when_ready(job).await.unwrap(), Exit::Stopped);
    bench.assert_all_dead();
}

async fn a_stopped_process_dies_too(bench: &Bench) {
    let job = bench.script("(touch ready; kill -STOP $$; sleep 600) & wait");
    assert_eq!(bench.stop_when_ready(job).await.unwrap(), Exit::Stopped);
    bench.assert_all_dead();
}

async fn a_job_that_is_stopped_before_it_starts_does_nothing(bench: &Bench) {
    let stop = CancellationToken::new();
    stop.cancel();
    let (exit, _) = bench.run_until(bench.script("touch started"), stop).await;
    assert_eq!(exit.unwrap(), Exit::Stopped);
    assert!(!bench.workspace().join("started").exists());
}

async fn a_job_that_nobody_waits_for_any_more_is_killed(bench: &Bench) {
    let (output, _lines) = mpsc::channel(16);
    let job = bench.script(&format!("{DAEMONS} touch ready; sleep 600"));
    let run = bench.executor.run(job, output, CancellationToken::new());
    tokio::select! {
        ended = run => panic!("{ended:?}"),
        () = bench.wait_until(|bench| bench.workspace().join("ready").exists()) => {}
    }
    bench.wait_until(|bench| bench.alive().is_empty()).await;
}

async fn output_that_nobody_reads_any_more_holds_nothing_up(bench: &Bench) {
    let (output, lines) = mpsc::channel(1);
    drop(lines);
    let job = bench.script("head -c 5000000 /dev/zero; seq 100000");
    let ended = bench.executor.run(job, output, CancellationToken::new()).await;
    assert_eq!(ended.unwrap(), Exit::Code(0));
}

/// The command counts what it could write, in lines of 1 kB: no more than a pipe, a buffer and the
/// channel hold.
async fn a_flood_waits_for_a_slow_receiver(bench: &Bench) {
    let script = "i=0; while :; do printf '%01000d\\n' $i; i=$((i+1)); printf x >>count; done";
    let count = |bench: &Bench| fs::metadata(bench.workspace().join("count")).map_or(0, |file| file.len());
    let stop = CancellationToken::new();
    let (output, mut lines) = mpsc::channel(8);
    let run = bench.executor.run(bench.script(script), output, stop.clone());
    let read = async {
        let mut before = 0;
        while before == 0 || before != count(bench) {
            before = count(bench);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(before < 1000, "it wrote {before} lines that nobody took");
        for expected in 0..before + 10 {
            assert_eq!(lines.recv().await.unwrap().text, format!("{expected:01000}"));
        }
        stop.cancel();
        while lines.recv().await.is_some() {}
    };
    assert_eq!(tokio::join!(run, read).0.unwrap(), Exit::Stopped);
    bench.assert_all_dead();
}

async fn a_receiver_that_never_reads_does_not_keep_a_job_from_stopping(bench: &Bench) {
    let (output, lines) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let run = bench.executor.run(bench.script("touch ready; yes"), output, stop.clone());
    let cancel = async {
        bench.wait_until(|bench| bench.workspace().join("ready").exists()).await;
        stop.cancel();
    };
    let both = async { tokio::join!(run, cancel).0 };
    assert_eq!(tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap(), Exit::Stopped);
    bench.assert_all_dead();
    drop(lines);
}

async fn the_limits_are_those_that_were_given(bench: &Bench) {
    let mut job = bench.job(&["cat", "/proc/self/limits"]);
    job.limits = JobLimits {
        time: PATIENCE,
        process_bytes: 500_000_000,
        user_processes: 512,
        file_bytes: 7_000_000,
        open_files: 100,
        ..job.limits
    };
    let printed = bench.print(job).await;
    for (name, limit) in [
        ("Max data size", "500000000"),
        ("Max processes", "512"),
        ("Max file size", "7000000"),
        ("Max open files", "100"),
        ("Max core file size", "0"),
    ] {
        let line = printed.iter().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [limit, limit], "{line}");
    }
}

async fn a_process_that_wants_too_much_memory_does_not_get_it(bench: &Bench) {
    let command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    assert_eq!(bench.run(bench.job(&command)).await.0.unwrap(), Exit::Code(0));
    let mut job = bench.job(&command);
    job.limits.process_bytes = 100 << 20;
    assert_eq!(bench.run(job).await.0.unwrap(), Exit::Code(1));
}

async fn a_file_that_grows_too_large_ends_its_writer(bench: &Bench) {
    let mut job = bench.script("exec head -c 2000000 /dev/zero >large");
    job.limits.file_bytes = 1_000_000;
    // SIGXFSZ.
    assert_eq!(bench.run(job).await.0.unwrap(), Exit::Signal(25));
    assert_eq!(fs::metadata(bench.workspace().join("large")).unwrap().len(), 1_000_000);
}

async fn a_process_that_opens_too_many_files_is_refused(bench: &Bench) {
    let nine = (3..10).map(|fd| format!("exec {fd}</dev/null; ")).collect::<String>();
    let script = format!("{nine} exec cat /dev/null");
    assert_eq!(bench.run(bench.script(&script)).await.0.unwrap(), Exit::Code(0));
    let mut job = bench.script(&script);
    job.limits.open_files = 10;
    assert_ne!(bench.run(job).await.0.unwrap(), Exit::Code(0));
}

async fn jobs_at_the_same_time_do_not_mix(bench: &Bench) {
    let jobs = (0..8).map(|i| {
        let script = format!("for line in $(seq 200); do echo {i}; done; sleep 0.{i}; exit {i}");
        bench.run(bench.script(&script))
    });
    for (i, (exit, lines)) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        assert_eq!(exit.unwrap(), Exit::Code(i as i32));
        assert_eq!(texts(&lines, LogStream::Stdout), vec![i.to_string(); 200]);
    }
}

async fn clearing_leftovers_leaves_running_jobs_alone(bench: &Bench) {
    bench.executor.clear_leftovers().await.unwrap();
    let job = bench.script("touch ready; while [ ! -e cleared ]; do sleep 0.01; done");
    let clear = async {
        bench.wait_until(|bench| bench.workspace().join("ready").exists()).await;
        bench.executor.clear_leftovers().await.unwrap();
        fs::write(bench.workspace().join("cleared"), "").unwrap();
    };
    assert_eq!(tokio::join!(bench.run(job), clear).0.0.unwrap(), Exit::Code(0));
}

/// Makes each rule above a test of the executor that `$bench` puts on a bench.
macro_rules! executor_contract {
    ($bench:path) => {
        crate::ports::executor::executor_contract! { $bench:
            exit_codes_come_back_as_they_are
            a_command_that_dies_of_a_signal_names_it
            the_environment_is_exactly_what_was_given
            a_large_environment_arrives_whole
            arguments_arrive_as_they_are
            a_program_is_looked_up_in_the_path_that_was_given
            the_command_starts_in_its_folder
            stdin_is_empty
            files_are_made_with_ordinary_permissions
            lines_keep_their_order_and_their_stream
            what_comes_later_is_later_across_streams
            a_line_is_seen_before_the_command_ends
            long_lines_come_in_pieces_and_bad_utf8_is_replaced
            a_program_that_is_not_there_is_named
            what_cannot_be_started_says_why
            a_folder_that_leads_out_of_the_workspace_is_refused
            daemons_of_a_command_that_succeeds_are_dead_when_it_returns
            daemons_of_a_command_that_fails_are_dead_when_it_returns
            a_command_that_takes_too_long_dies_with_its_daemons
            a_command_that_is_stopped_dies_with_its_daemons
            a_command_that_keeps_changing_its_process_is_caught
            a_stopped_process_dies_too
            a_job_that_is_stopped_before_it_starts_does_nothing
            a_job_that_nobody_waits_for_any_more_is_killed
            output_that_nobody_reads_any_more_holds_nothing_up
            a_flood_waits_for_a_slow_receiver
            a_receiver_that_never_reads_does_not_keep_a_job_from_stopping
            the_limits_are_those_that_were_given
            a_process_that_wants_too_much_memory_does_not_get_it
            a_file_that_grows_too_large_ends_its_writer
            a_process_that_opens_too_many_files_is_refused
            jobs_at_the_same_time_do_not_mix
            clearing_leftovers_leaves_running_jobs_alone
        }
    };
    ($bench:path: $($rule:ident)*) => {
        $(#[tokio::test]
        async fn $rule() {
            crate::ports::executor::$rule(&$bench()).await;
        })*
    };
}
use executor_contract;
