//! What `Tools` promise, of a registry that the test fills and a folder on a real disk.

use crate::support::registry::Registry;
use gv::adapters::tools::registry::RegistryTools;
use gv::ports::tools::{Brought, ToolName, Tools, ToolsError, Wanted};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PACKAGE: &str = r#"{"name": "pnpm", "bin": {"pnpm": "bin/pnpm.sh", "pnpx": "bin/pnpm.sh"}}"#;
const MANY_MB: u64 = 1 << 30;

/// A registry, a folder that does not exist yet, and tools of both.
struct Bench {
    registry: Registry,
    folder: TempDir,
}

impl Bench {
    async fn set() -> Self {
        Self { registry: Registry::start().await, folder: tempfile::tempdir().unwrap() }
    }

    fn publish(&self, version: &str) {
        let program = format!("#!/bin/sh\necho {version}\n");
        self.registry.publish("pnpm", version, &[("package.json", PACKAGE), ("bin/pnpm.sh", &program)]);
    }

    /// Tools as another process has them, on the same folder.
    fn tools(&self) -> RegistryTools {
        self.tools_within(MANY_MB)
    }

    fn tools_within(&self, bytes: u64) -> RegistryTools {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = self.registry.url().parse().unwrap();
        RegistryTools::new(url, self.folder.path().join("tools"), bytes).unwrap()
    }
}

fn pnpm(version: &str) -> Wanted {
    Wanted { tool: ToolName::Pnpm, version: version.to_owned() }
}

fn says(tool: &Brought) -> String {
    let output = Command::new(tool.bin.join("pnpm")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn error(brought: Result<Brought, ToolsError>) -> ToolsError {
    brought.err().expect("it was brought")
}

#[tokio::test]
async fn the_newest_version_that_is_allowed_is_brought_once_and_then_kept() {
    let bench = Bench::set().await;
    for version in ["9.15.0", "10.2.0", "10.11.0", "11.0.0-rc.1"] {
        bench.publish(version);
    }
    let tools = bench.tools();
    let first = tools.bring(&pnpm("10")).await.unwrap();
    assert_eq!(
        (first.version.as_str(), first.downloaded, says(&first)),
        ("10.11.0", true, "10.11.0".to_owned())
    );
    assert!(first.bin.starts_with(&first.folder) && first.bin.join("pnpx").exists());
    let second = tools.bring(&pnpm("10")).await.unwrap();
    assert_eq!((second.downloaded, &second.folder), (false, &first.folder));
    let exact = tools.bring(&pnpm("9.15.0")).await.unwrap();
    assert_eq!(says(&exact), "9.15.0");
    assert_eq!((bench.registry.asked("10.11.0.tgz"), bench.registry.asked("/pnpm")), (1, 2));
    assert!(matches!(error(tools.bring(&pnpm("8")).await), ToolsError::NoSuchVersion(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_needs_a_tool_that_another_is_bringing_waits_for_it() {
    let bench = Bench::set().await;
    bench.publish("10.2.0");
    let (one, other) = (bench.tools(), bench.tools());
    let wanted = pnpm("10");
    let (a, b, c) = tokio::join!(one.bring(&wanted), other.bring(&wanted), one.bring(&wanted));
    let downloaded = [a, b, c].into_iter().filter(|brought| brought.as_ref().unwrap().downloaded).count();
    assert_eq!((downloaded, bench.registry.asked(".tgz")), (1, 1));
}

#[tokio::test]
async fn while_the_registry_is_away_what_is_kept_will_do() {
    let bench = Bench::set().await;
    bench.publish("10.2.0");
    drop(bench.tools().bring(&pnpm("10")).await.unwrap());
    bench.publish("10.3.0");
    bench.registry.be_down(true);
    let tools = bench.tools();
    assert_eq!(tools.bring(&pnpm("10")).await.unwrap().version, "10.2.0");
    assert_eq!(tools.bring(&pnpm("10.2.0")).await.unwrap().version, "10.2.0");
    let away = error(tools.bring(&pnpm("9")).await);
    assert!(matches!(&away, ToolsError::Unreachable(why) if why.contains("registry")), "{away}");
    assert!(!away.to_string().contains("127.0.0.1"), "the URL may have a password: {away}");
    bench.registry.be_down(false);
    assert_eq!(bench.tools().bring(&pnpm("10")).await.unwrap().version, "10.3.0");
}

#[tokio::test]
async fn what_is_not_as_the_registry_says_is_never_kept() {
    let bench = Bench::set().await;
    let wrong = format!("sha512-{}==", "A".repeat(86));
    bench.registry.publish_falsely("pnpm", "1.0.0", Some(&wrong));
    bench.registry.publish_falsely("pnpm", "2.0.0", None);
    bench.registry.publish_falsely("pnpm", "3.0.0", Some("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="));
    let tools = bench.tools();
    for version in ["1", "2", "3"] {
        let refused = error(tools.bring(&pnpm(version)).await);
        assert!(matches!(refused, ToolsError::Damaged(_)), "{version}: {refused}");
    }
    assert_eq!(kept(bench.folder.path()), [""; 0]);
}

#[tokio::test]
async fn what_is_in_use_stays_and_the_longest_unused_makes_room() {
    let bench = Bench::set().await;
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        bench.publish(version);
    }
    let tools = bench.tools_within(1);
    let in_use = tools.bring(&pnpm("1")).await.unwrap();
    drop(tools.bring(&pnpm("2")).await.unwrap());
    drop(tools.bring(&pnpm("3")).await.unwrap());
    assert_eq!(kept(bench.folder.path()), ["pnpm@1.0.0", "pnpm@3.0.0"]);
    assert_eq!(says(&in_use), "1.0.0");
    assert_eq!(says(&tools.bring(&pnpm("2")).await.unwrap()), "2.0.0", "it comes again");
}

fn kept(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder.join("tools")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> =
        names.map(|name| name.into_string().unwrap()).filter(|name| name.contains('@')).collect();
    names.sort_unstable();
    names
}
