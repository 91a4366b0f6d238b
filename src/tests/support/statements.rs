//! What gv asks of its databases, noted down while the contracts of its ports are tested: one line a
//! statement, without its values. `scripts/record-statements` keeps it for each release.
//!
//! Start with [`record`], which does nothing unless `GV_RECORD_STATEMENTS` names a folder.

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// To be called before the first connection is made.
pub fn record() {
    if folder().is_some() {
        set_default_instrumentation(|| Some(Box::<Recorder>::default())).unwrap();
    }
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("GV_RECORD_STATEMENTS").map(PathBuf::from)
}

#[derive(Default)]
struct Recorder(HashSet<String>);

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::StartQuery { query, .. } = event else { return };
        let Some(statement) = plain(&query.to_string()) else { return };
        if self.0.insert(statement.clone()) {
            let file = folder().unwrap().join(format!("{}.sql", std::process::id()));
            let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
            file.write_all(format!("{statement}\n").as_bytes()).unwrap();
        }
    }
}

/// In one line and without its values. `None`: it reads and writes nothing of gv's.
fn plain(shown: &str) -> Option<String> {
    let statement = shown.split("-- binds:").next().unwrap_or_default();
    let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let asks =
        ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|word| statement.starts_with(word));
    (asks && !statement.contains("__diesel_schema_migrations")).then_some(statement)
}

#[test]
fn a_statement_is_noted_in_one_line_and_without_its_values() {
    let shown = "SELECT \"a\"\n  FROM \"t\" WHERE \"b\" = $1 -- binds: [\"secret\"]";
    assert_eq!(plain(shown).as_deref(), Some("SELECT \"a\" FROM \"t\" WHERE \"b\" = $1"));
    assert_eq!(plain("BEGIN"), None);
    assert_eq!(plain("SET statement_timeout = '30s'"), None);
}
