//! What gv says in numbers: the table of docs/metrics.md is held to what the source counts and to what
//! a process shows, the rules of deploy/prometheus to the table and to docs/operations.md, and the dashboard to the
//! table.

use crate::support::git::GitServer;
use crate::support::gv::{Gv, Settings};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TABLE: &str = include_str!("../../docs/metrics.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const DASHBOARD: &str = include_str!("../../deploy/helm/gv/dashboards/gv.json");
const RULES: &str = include_str!("../../deploy/prometheus/rules.yaml");

#[derive(Debug, PartialEq, Eq)]
struct Row {
    kind: String,
    labels: BTreeSet<String>,
}

fn table() -> BTreeMap<String, Row> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `gv_"));
    let parsed = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, kind, labels, says, ""] = cells[..] else { panic!("{row}") };
        assert!(!says.is_empty(), "{row}");
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (format!("gv_{}", name.trim_end_matches('`')), Row { kind: kind.to_owned(), labels })
    });
    let table: Vec<_> = parsed.collect();
    let names: BTreeMap<_, _> = table.into_iter().collect();
    assert!(names.len() > 30, "the table was not found");
    names
}

/// Whole string literals that are names of metrics.
fn named_in_source() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"));
    let files = files.filter(|entry| !entry.path().starts_with(root.join("tests")));
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file.path()).unwrap();
        // Tests at a file's end name what they look for.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let literals = code.split('"').filter(|text| text.starts_with("gv_"));
        let is_name = |text: &&str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
        };
        names.extend(literals.filter(is_name).map(str::to_owned));
    }
    names
}

#[test]
fn the_table_has_every_metric_of_the_source_and_no_other() {
    let documented: BTreeSet<String> = table().into_keys().collect();
    assert_eq!(named_in_source(), documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_shows_has_the_types_and_labels_of_the_table() {
    let git = GitServer::start().await;
    let gv = Gv::start(Settings::default().allow(git.address())).await;
    let repository = git.repository("site", &[("index.html", "<h1>hello</h1>")]).await;
    gv.deploy(json!({"repo_url": repository.url()})).await;
    for path in ["/", "/nowhere"] {
        gv.page("site.localhost", path).await;
    }
    // A move of what the edge has shown.
    repository.commit(&[("index.html", "<h1>hello again</h1>")], "again").await;
    gv.deploy(json!({"repo_url": repository.url()})).await;
    let shown = gv.client.get(format!("{}/metrics", gv.ops)).send().await.unwrap().text().await.unwrap();
    let table = table();
    let mut seen = BTreeSet::new();
    for line in shown.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            let row = table.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
            assert_eq!(row.kind, kind, "{name}");
            seen.insert(name.to_owned());
        } else if let Some((series, labels)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part));
            let name = name.filter(|name| table.contains_key(*name)).unwrap_or(series);
            let names = labels.split("=\"").filter_map(|part| part.rsplit(['"', ',', '{']).next());
            let names: BTreeSet<String> =
                names.filter(|name| !name.contains('}')).map(str::to_owned).collect();
            let row = table.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
            let unknown: Vec<_> = names.difference(&row.labels).filter(|label| *label != "le").collect();
            assert!(unknown.is_empty(), "{name} has {unknown:?} beside what is in docs/metrics.md: {line}");
        }
    }
    // What two deployments and two visits must have moved.
    for name in [
        "gv_deployments_submitted_total",
        "gv_deployments_finished_total",
        "gv_deployments_waiting",
        "gv_oldest_waiting_seconds",
        "gv_deployment_step_seconds",
        "gv_hosts_published_total",
        "gv_api_requests_total",
        "gv_api_request_seconds",
        "gv_edge_requests_total",
        "gv_edge_site_requests_total",
        "gv_edge_pointer_propagation_seconds",
        "gv_blobs_operations_total",
        "gv_blobs_duration_seconds",
        "gv_disk_available_bytes",
        "gv_disk_size_bytes",
    ] {
        assert!(seen.contains(name), "{name} is not shown:\n{shown}");
    }
}

/// Names of metrics and of recorded series.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c| !is_word(c)).filter(|word| word.starts_with("gv_") || word.starts_with("gv:"))
}

#[test]
fn the_rules_stand_on_metrics_that_there_are() {
    let table = table();
    let recorded: BTreeSet<&str> =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    assert!(!recorded.is_empty());
    // Words of comments are no rules.
    let rules: Vec<&str> = RULES.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    for line in rules {
        for word in words(line) {
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part));
            let is_known = recorded.contains(word)
                || table.contains_key(word)
                || whole.is_some_and(|name| table.get(name).is_some_and(|row| row.kind == "histogram"));
            assert!(is_known, "{word} is neither a metric nor recorded: {line}");
        }
    }
}

/// What a panel asks for, and those that it folds away.
fn asked(panels: &Value) -> Vec<String> {
    let panels = panels.as_array().into_iter().flatten();
    let each = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let asked = targets.filter_map(|target| target["expr"].as_str().map(str::to_owned));
        asked.chain(self::asked(&panel["panels"]))
    });
    each.collect()
}

#[test]
fn the_dashboard_shows_every_metric_of_the_table_and_no_other_by_labels_that_they_have() {
    let table = table();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut shown = BTreeSet::new();
    for query in asked(&dashboard["panels"]) {
        for word in words(&query) {
            let name = ["_bucket", "_count"].iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
            let row = table.get(name).unwrap_or_else(|| panic!("{word} is not in docs/metrics.md: {query}"));
            assert_eq!(name != word, row.kind == "histogram", "{query}");
            shown.insert(name.to_owned());
            // What a series has beside its own is the scraper's.
            let by = query.split("by (").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
            for label in by.split(", ").filter(|label| !["", "le", "role"].contains(label)) {
                assert!(row.labels.contains(label), "{name} has no {label}: {query}");
            }
        }
    }
    let missing: Vec<&String> = table.keys().filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn every_alert_has_a_part_of_the_handbook_and_every_such_part_an_alert() {
    let alerts: BTreeSet<&str> =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let parts: BTreeSet<&str> = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|it| it.starts_with("Gv"))
        .collect();
    assert!(alerts.len() > 8);
    assert_eq!(alerts, parts);
    for alert in alerts {
        let link = format!("docs/operations.md#{}", alert.to_lowercase());
        assert!(RULES.contains(&link), "{alert} leads to no part of the handbook");
    }
}
