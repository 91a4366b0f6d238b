//! gv as the first process of a container, which nobody else buries the dead for.

use crate::support::gv::{PATIENCE, command};
use crate::support::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, Stdio};
use std::time::Instant;

/// `unshare` gives it a process namespace; that takes root, or a kernel where everybody may have a user
/// namespace.
fn contained() -> Command {
    let gv = command();
    let mut contained = Command::new("unshare");
    contained.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    contained.arg(gv.get_program()).env_clear();
    for (name, value) in gv.get_envs() {
        contained.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = gv.get_current_dir() {
        contained.current_dir(folder);
    }
    contained.env("PATH", std::env::var_os("PATH").unwrap());
    contained
}

fn children(parent: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn is_dead(pid: u32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    line.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn the_first_process_of_a_container_buries_orphans_and_passes_signals_on() {
    let home = tempfile::tempdir().unwrap();
    let mut gv = contained();
    for listener in ["API", "EDGE", "OPS"] {
        gv.env(format!("GV_{listener}__LISTEN"), "127.0.0.1:0");
    }
    gv.env("HOME", home.path()).arg("up").arg("--data-dir").arg(home.path().join("data"));
    let mut gv = Process::start(gv, &home.path().join("gv.log"));
    let [first] = children(gv.id())[..] else { panic!("unshare has one child") };

    let target = first.to_string();
    let orphaned = Command::new("nsenter")
        .args(["--target", &target, "--user", "--pid", "--mount", "sh", "-c", "sleep 0.2 & exit 0"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(orphaned.success());
    let deadline = Instant::now() + PATIENCE;
    // The role itself, and for a moment the orphan.
    while children(first).len() > 1 {
        assert!(Instant::now() < deadline, "an orphan stays: {:?}", children(first));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!children(first).into_iter().any(is_dead));

    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert!(gv.wait_for_end(PATIENCE).success(), "it ends in order: {}", gv.log());
}
