//! `gv doctor`: each thing that is broken is named, with what helps, and hides nothing of the others. `configuration`:
//! what it is told. `services`: what it is told of. `real`: all of them as in production. Here: what is said where
//! all is well, how, and of which role.

mod configuration;
mod real;
mod services;

use crate::support::gv::{Gv, Settings, command};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// Where nobody listens.
const CLOSED: &str = "127.0.0.1:1";
/// A subject has 10 s; a busy machine adds to that.
const AT_MOST: Duration = Duration::from_secs(20);

/// One run, by its JSON.
struct Report {
    code: i32,
    findings: Vec<Value>,
}

impl Report {
    fn of(output: &Output) -> Self {
        let findings = serde_json::from_slice(&output.stdout);
        let findings = findings.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Self { code: output.status.code().unwrap(), findings }
    }

    fn find(&self, check: &str) -> Option<&Value> {
        self.findings.iter().find(|finding| finding["check"] == check)
    }

    fn verdict(&self, check: &str) -> &str {
        self.find(check).map_or("absent", |finding| finding["verdict"].as_str().unwrap())
    }

    /// The check is broken, and says both.
    fn expect_broken(&self, check: &str, detail: &str, remedy: &str) {
        let finding = self.find(check).unwrap_or_else(|| panic!("no {check} in {self}"));
        assert_eq!((&finding["verdict"], &finding["ok"]), (&"broken".into(), &false.into()), "{finding}");
        let says = |key: &str, part: &str| finding[key].as_str().unwrap().contains(part);
        assert!(says("detail", detail), "{detail:?} is not in {finding}");
        assert!(says("remedy", remedy), "{remedy:?} is not in {finding}");
        assert_eq!(self.code, 1, "{self}");
    }

    fn broken(&self) -> Vec<&str> {
        let broken = self.findings.iter().filter(|finding| finding["ok"] == false);
        broken.map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

/// Runs it with these settings in a data folder of its own.
fn doctor(data: &Path, settings: &Settings, args: &[&str]) -> Report {
    let mut command = command();
    command.env("HOME", data).env("GV_DATA_DIR", data.join("data")).envs(settings.variables());
    let began = Instant::now();
    let output = command.args(["doctor", "--json"]).args(args).output().unwrap();
    assert!(began.elapsed() < AT_MOST, "it took {:?}", began.elapsed());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("hunter2"), "a password is shown: {text}");
    Report::of(&output)
}

fn fresh(settings: &Settings, args: &[&str]) -> Report {
    doctor(tempfile::tempdir().unwrap().path(), settings, args)
}

#[test]
fn on_a_fresh_machine_nothing_is_broken_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let report = doctor(folder.path(), &Settings::default(), &[]);
    assert_eq!((report.code, report.broken()), (0, vec![]), "{report}");
    for (check, verdict) in [
        ("configuration", "well"),
        ("database", "skipped"),
        ("queue", "well"),
        ("cache", "well"),
        ("storage", "skipped"),
        ("domain", "skipped"),
        ("sandbox", "well"),
    ] {
        assert_eq!(report.verdict(check), verdict, "{report}");
    }
    for check in ["programs", "memory", "disk of data_dir", "disk of worker.dir", "disk of blobs.url"] {
        assert_ne!(report.verdict(check), "absent", "{report}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "it left something behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_gv_everything_is_tried_out_and_exits_0() {
    let gv = Gv::start(Settings::default()).await;
    let output = gv.operator_command(&["doctor", "--json"]).output().unwrap();
    let report = Report::of(&output);
    assert_eq!((report.code, report.broken()), (0, vec![]), "{report}");
    for check in ["database", "migrations", "database writes", "queue", "cache", "storage"] {
        assert_eq!(report.verdict(check), "well", "{report}");
    }
    let listed = gv.operator_command(&["user", "list", "--json"]).output().unwrap();
    let users: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(users.as_array().map(Vec::len), Some(1), "a row stayed: {users}");
    let left = std::fs::read_dir(gv.data_dir().join("blobs/blobs"));
    assert_eq!(left.map_or(0, Iterator::count), 0, "an object stayed");
}

#[test]
fn people_read_a_line_a_check_the_remedy_below_and_a_sum() {
    let folder = tempfile::tempdir().unwrap();
    let run = |cache: &str| {
        let mut command = command();
        command.env("HOME", folder.path()).env("GV_DATA_DIR", folder.path()).env("GV_CACHE__URL", cache);
        command.arg("doctor").output().unwrap()
    };
    let text = String::from_utf8(run(&format!("redis://:hunter2@{CLOSED}/0")).stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("broken    cache: ")).expect(&text);
    assert!(lines[at + 1].trim_start().starts_with("-> ") && lines[at + 1].contains("cache.url"), "{text}");
    let last = lines.last().unwrap();
    assert!(last.contains(" checks: ") && last.contains("1 broken"), "{last}");
    assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
    assert!(String::from_utf8(run("memory:").stdout).unwrap().contains(" checks: "));
}

#[test]
fn each_role_is_examined_for_what_it_needs_alone() {
    let settings = Settings::default()
        .set("GV_DATABASE__URL", format!("postgres://ada:hunter2@{CLOSED}/gv"))
        .set("GV_QUEUE__URL", format!("amqp://ada:hunter2@{CLOSED}/gv"))
        .set("GV_CACHE__URL", format!("redis://:hunter2@{CLOSED}/0"));
    let report = fresh(&settings, &["--role", "edge"]);
    assert_eq!((report.verdict("database"), report.verdict("queue")), ("absent", "absent"), "{report}");
    assert_eq!(report.broken(), ["cache"], "{report}");
    let report = fresh(&Settings::default(), &["--role", "api"]);
    report.expect_broken("queue.url", "memory:", "gv up");
    report.expect_broken("cache.url", "memory:", "gv up");
    report.expect_broken("signing keys", "gv config keygen", "auth.signing_keys");
    assert_eq!(report.verdict("sandbox"), "absent", "an api builds nothing: {report}");
}
