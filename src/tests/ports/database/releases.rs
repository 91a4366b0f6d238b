//! Two releases side by side: what an earlier one asks of the database is understood by the present schema,
//! since an upgrade migrates before it replaces processes (docs/operations.md).
//!
//! What each release asks is in `migrations/statements`, one line a statement, as
//! `scripts/record-statements` took it down. Each is prepared here on a database that all migrations have
//! run on: whatever a migration took away or renamed is missed by it. And since preparing does not insert,
//! every INSERT must name each column that may not be left out. Not seen here: a CHECK or UNIQUE that refuses
//! what was allowed, and a column that means something else than before.

use crate::support::database::{TestDatabase, fresh};
use diesel::prelude::*;
use diesel::sql_types::Text;
use std::path::Path;
use tokio_postgres::NoTls;

/// A database as a driver sees it.
enum Driver {
    Sqlite(SqliteConnection),
    Postgres(tokio_postgres::Client),
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Driver {
    async fn connect(place: &TestDatabase) -> Self {
        if let Some(file) = place.url.strip_prefix("sqlite:") {
            return Self::Sqlite(SqliteConnection::establish(file).unwrap());
        }
        let (client, connection) = tokio_postgres::connect(&place.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self::Postgres(client)
    }

    fn dialect(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Whether it understands a statement, which is not run.
    async fn prepare(&mut self, statement: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(connection) => {
                let explained = diesel::sql_query(format!("EXPLAIN {statement}")).execute(connection);
                explained.map(drop).map_err(|error| error.to_string())
            }
            Self::Postgres(client) => {
                let prepared = client.prepare(statement).await;
                let told = |error: &tokio_postgres::Error| error.as_db_error().map(ToString::to_string);
                prepared.map(drop).map_err(|error| told(&error).unwrap_or_else(|| error.to_string()))
            }
        }
    }

    /// The columns of a table that each new row must be given.
    async fn required(&mut self, table: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => {
                let asked = "SELECT name FROM pragma_table_info(?) WHERE \"notnull\" = 1 AND dflt_value IS NULL \
                             AND NOT (pk > 0 AND upper(type) = 'INTEGER')";
                let columns = diesel::sql_query(asked).bind::<Text, _>(table).load::<Column>(connection);
                columns.unwrap().into_iter().map(|column| column.name).collect()
            }
            Self::Postgres(client) => {
                let asked = "SELECT column_name::text FROM information_schema.columns \
                             WHERE table_schema = current_schema() AND table_name = $1 AND is_nullable = 'NO' \
                             AND column_default IS NULL AND is_identity = 'NO' AND is_generated = 'NEVER'";
                let columns = client.query(asked, &[&table]).await.unwrap();
                columns.iter().map(|column| column.get(0)).collect()
            }
        }
    }

    /// What of these statements the database does not take, and why.
    async fn refused(&mut self, statements: &[String]) -> Vec<String> {
        let mut refused = Vec::new();
        for statement in statements {
            if let Err(why) = self.prepare(statement).await {
                refused.push(format!("{why}: {statement}"));
                continue;
            }
            let Some((table, given)) = inserted(statement) else { continue };
            let left_out: Vec<String> = self.required(&table).await;
            for column in left_out.into_iter().filter(|column| !given.contains(column)) {
                refused.push(format!("{table}.{column} is left out: {statement}"));
            }
        }
        refused
    }
}

/// The table and the columns of an INSERT.
fn inserted(statement: &str) -> Option<(String, Vec<String>)> {
    let (table, rest) = statement.strip_prefix("INSERT INTO ")?.split_once(" (")?;
    let plain = |name: &str| name.trim().trim_matches(['"', '`']).to_owned();
    Some((plain(table), rest.split_once(')')?.0.split(',').map(plain).collect()))
}

/// Each release that was recorded on this kind of database, with what it asks.
fn releases(dialect: &str) -> Vec<(String, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/statements");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ending = format!(".{dialect}.sql");
    let read = |file: &Path| {
        let release = file.file_name()?.to_str()?.strip_suffix(&ending)?.to_owned();
        let lines = std::fs::read_to_string(file).unwrap();
        Some((release, lines.lines().map(str::to_owned).collect()))
    };
    files.filter_map(|file| read(&file)).collect()
}

#[tokio::test]
async fn what_earlier_releases_ask_is_understood_by_the_present_schema() {
    let (place, _db) = fresh().await;
    let mut driver = Driver::connect(&place).await;
    let releases = releases(driver.dialect());
    assert!(!releases.is_empty(), "no release was recorded");
    for (release, statements) in releases {
        assert!(statements.len() > 50, "{release} asks more than {} things", statements.len());
        let refused = driver.refused(&statements).await;
        assert!(
            refused.is_empty(),
            "gv {release} would fail beside this schema; a migration only adds (docs/operations.md):\n{}",
            refused.join("\n")
        );
    }
}

#[tokio::test]
async fn a_migration_that_would_break_an_earlier_release_is_found() {
    let (place, _db) = fresh().await;
    let mut driver = Driver::connect(&place).await;
    let (_, statements) = releases(driver.dialect()).into_iter().next().unwrap();
    assert_eq!(driver.refused(&statements).await, Vec::<String>::new());
    place.execute("ALTER TABLE tokens ADD COLUMN scope TEXT").await;
    assert_eq!(driver.refused(&statements).await, Vec::<String>::new(), "what is only added breaks nothing");
    place
        .execute(
            "DROP TABLE idempotency_keys;
             CREATE TABLE idempotency_keys (account TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL,
                 deployment TEXT, created_at BIGINT NOT NULL, scope TEXT NOT NULL, PRIMARY KEY (account, name))",
        )
        .await;
    let refused = driver.refused(&statements).await;
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|why| why.contains("idempotency_keys.scope is left out")), "{refused:#?}");
    place.execute("ALTER TABLE users RENAME COLUMN password_hash TO hash").await;
    let refused = driver.refused(&statements).await;
    assert!(refused.iter().any(|why| why.contains("password_hash")), "{refused:#?}");
}

#[test]
fn the_columns_of_an_insert_are_read_in_both_dialects() {
    let columns = vec!["a".to_owned(), "b".to_owned()];
    for statement in
        ["INSERT INTO \"t\" (\"a\", \"b\") VALUES ($1, $2)", "INSERT INTO `t` (`a`, `b`) VALUES (?, ?)"]
    {
        assert_eq!(inserted(statement), Some(("t".to_owned(), columns.clone())));
    }
    assert_eq!(inserted("SELECT a FROM t"), None);
}
