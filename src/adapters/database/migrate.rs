//! The schema's migrations, which are part of the binary: two folders with the same names.
//!
//! They run on a connection of their own and a blocking thread, since diesel's harness blocks.

use crate::adapters::database::fault::{Fault, PATIENCE};
use crate::adapters::database::rows::time;
use crate::adapters::database::schema::users;
use crate::adapters::database::{Database, Pools};
use crate::adapters::database::{dialect, postgres, read, sqlite, transact};
use crate::ports::database::{Schema, Server};
use crate::ports::error::{StoreError, StoreErrorKind};
use async_trait::async_trait;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::sqlite::Sqlite;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::collections::BTreeSet;
use std::error::Error;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Waits for whoever migrates at this moment; a session's end gives the lock back. The number has
/// no meaning but to be the same in every gv.
const LOCK: &str = "SET lock_timeout = '60s'; SELECT pg_advisory_lock(7206113048281); \
                    SET lock_timeout = 0";

type Names = Result<Vec<String>, Box<dyn Error + Send + Sync>>;

#[async_trait]
impl Schema for Database {
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let ran = match &self.pools {
            Pools::Postgres { server, .. } => migrate_postgres(server).await,
            Pools::Sqlite { file, .. } => migrate_sqlite(file.clone()).await,
        };
        ran.map_err(|fault| fault.doing("migrating the database"))
    }

    async fn pending(&self) -> Result<Vec<String>, StoreError> {
        const DOING: &str = "reading which migrations have run";
        // Not by diesel's harness, which makes its table when it only looks.
        let (table, all) = match &self.pools {
            Pools::Postgres { .. } => (
                "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('__diesel_schema_migrations')",
                names::<Pg>(&POSTGRES),
            ),
            Pools::Sqlite { .. } => (
                "SELECT count(*) FROM sqlite_master WHERE name = '__diesel_schema_migrations'",
                names::<Sqlite>(&SQLITE),
            ),
        };
        let all = all.map_err(|error| Fault::defect(error).doing(DOING))?;
        let done = read!(self, DOING, |conn| {
            if sql::<BigInt>(table).get_result::<i64>(conn).await? == 0 {
                return Ok(BTreeSet::new());
            }
            let versions = sql::<Text>("SELECT version FROM __diesel_schema_migrations");
            Ok(versions.load::<String>(conn).await?.into_iter().collect())
        })?;
        Ok(all.into_iter().filter(|(version, _)| !done.contains(version)).map(|(_, name)| name).collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        read!(self, "asking the database for an answer", |conn| {
            sql::<Integer>("SELECT 1").get_result::<i32>(conn).await?;
            Ok(())
        })
    }

    async fn server(&self) -> Result<Server, StoreError> {
        const DOING: &str = "asking the database what it is";
        let (product, version) = match &self.pools {
            Pools::Postgres { .. } => ("PostgreSQL", "split_part(current_setting('server_version'), ' ', 1)"),
            Pools::Sqlite { .. } => ("SQLite", "sqlite_version()"),
        };
        let (version, now) = read!(self, DOING, |conn| {
            let version = diesel::select(sql::<Text>(version)).get_result::<String>(conn).await?;
            Ok((version, diesel::select(dialect::now()).get_result::<i64>(conn).await?))
        })?;
        let now = time("the database's time", now).map_err(|fault| fault.doing(DOING))?;
        Ok(Server { name: format!("{product} {version}"), now })
    }

    async fn rehearse(&self) -> Result<(), StoreError> {
        let row = format!("gv-doctor-{:016x}", rand::random::<u64>());
        transact!(self, "writing a row and taking it back", |conn| {
            let values = (users::id.eq(&row), users::email.eq(&row), users::created_at.eq(0_i64));
            diesel::insert_into(users::table).values(values).execute(conn).await?;
            diesel::delete(users::table.find(&row)).execute(conn).await?;
            Ok(())
        })
    }
}

async fn migrate_postgres(server: &postgres::Server) -> Result<Vec<String>, Fault> {
    let opened = tokio::time::timeout(PATIENCE, server.open()).await;
    let mut connection: AsyncPgConnection =
        opened.map_err(|_| Fault::Slow(PATIENCE))?.map_err(unreachable)?;
    connection.batch_execute(LOCK).await?;
    let ran = tokio::task::spawn_blocking(move || {
        run(&mut AsyncConnectionWrapper::<AsyncPgConnection>::from(connection), POSTGRES)
    });
    ran.await.map_err(Fault::defect)?.map_err(Fault::defect)
}

async fn migrate_sqlite(file: sqlite::File) -> Result<Vec<String>, Fault> {
    let ran = tokio::task::spawn_blocking(move || -> Result<Vec<String>, Fault> {
        let mut connection = file.open_writer().map_err(unreachable)?;
        // Longer than a call would wait: what is waited for is another process that migrates.
        SimpleConnection::batch_execute(&mut connection, "PRAGMA busy_timeout = 60000")?;
        // The write lock from the start keeps others out; what runs within is all or nothing.
        connection.immediate_transaction(|connection| run(connection, SQLITE).map_err(Fault::defect))
    });
    ran.await.map_err(Fault::defect)?
}

fn run<DB: Backend>(connection: &mut impl MigrationHarness<DB>, source: EmbeddedMigrations) -> Names
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let mut names = Vec::new();
    for migration in connection.pending_migrations(source)? {
        connection.run_migration(&migration)?;
        names.push(migration.name().to_string());
    }
    Ok(names)
}

/// Versions and names, in the order in which they run.
fn names<DB: Backend>(
    source: &EmbeddedMigrations,
) -> Result<Vec<(String, String)>, Box<dyn Error + Send + Sync>>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let migrations: Vec<Box<dyn Migration<DB>>> = source.migrations()?;
    let mut names: Vec<_> = migrations
        .iter()
        .map(|migration| (migration.name().version().to_string(), migration.name().to_string()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn unreachable(error: diesel::ConnectionError) -> Fault {
    Fault::Other(StoreErrorKind::Unavailable, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_migrations() {
        assert_eq!(names::<Sqlite>(&SQLITE).unwrap(), names::<Pg>(&POSTGRES).unwrap());
    }
}
