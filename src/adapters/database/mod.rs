//! Keeps everything that [`crate::ports::database`] asks for, in SQLite or in PostgreSQL.
//!
//! Each query is written once. [`read!`], [`change!`] and [`transact!`] expand it for both
//! databases, so that the compiler checks it against both; the few words that they say differently
//! are in [`dialect`]. Not here: what the rows mean (`domain`) and what may be done with them
//! (`ports`).
//!
//! Start with [`Database`] and the three macros, then [`leases`], which has the compare-and-set
//! that everything above relies on.

mod deployments;
mod dialect;
mod fault;
mod hosts;
mod leases;
mod line;
mod migrate;
mod postgres;
mod projects;
mod rows;
mod schema;
mod sealed;
mod sessions;
mod sqlite;
mod tokens;
mod users;
mod variables;

use crate::domain::sealing::SecretKeys;
use crate::ports::error::StoreError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Pool;
use fault::invalid_url;
use std::fmt;
use std::sync::Arc;

/// A database and the connections to it. Made without touching it: it is connected to when it is
/// first needed, and again after it was away.
///
/// Each call returns within half a minute; while the database cannot be reached it is
/// [`Unavailable`](crate::ports::error::StoreErrorKind::Unavailable) after a few seconds.
pub struct Database {
    pools: Pools,
    keys: Arc<SecretKeys>,
}

enum Pools {
    Postgres { pool: Pool<AsyncPgConnection>, server: postgres::Server },
    // One writer, since SQLite has one; readers never wait for it.
    Sqlite { read: Pool<sqlite::Connection>, write: Pool<sqlite::Connection>, file: sqlite::File },
}

impl Database {
    /// Takes `sqlite:/path/of/file.db`, whose folder must exist, or a `postgres://` URL, with
    /// `sslmode=require` (or `verify-ca`, `verify-full`) for TLS, whose certificate is then always
    /// verified against the system's roots. Anything else is an `Internal` error, which does not
    /// repeat the URL, since that may hold a password.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let pools = if let Some(path) = url.strip_prefix("sqlite:") {
            let file = sqlite::File::parse(path)?;
            Pools::Sqlite { read: file.readers()?, write: file.writer()?, file }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let server = postgres::Server::parse(url)?;
            Pools::Postgres { pool: server.pool()?, server }
        } else {
            return Err(invalid_url("must begin with sqlite: or postgres://"));
        };
        Ok(Self { pools, keys: Arc::default() })
    }

    /// Seals and opens variables and tokens by these keys. Without any, what has them can neither be
    /// stored nor read.
    pub fn with_keys(self, keys: Arc<SecretKeys>) -> Self {
        Self { keys, ..self }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.pools {
            Pools::Postgres { .. } => "Database(postgres)",
            Pools::Sqlite { .. } => "Database(sqlite)",
        })
    }
}

/// Queries that change nothing, on a connection of whichever database this is. The body is a
/// `Result<_, Fault>`, the whole a `Result<_, StoreError>`.
macro_rules! read {
    ($db:expr, $doing:expr, |$conn:ident| $body:expr) => {
        $crate::adapters::database::on_pool!($db, read, $doing, |$conn| $body)
    };
}

/// One statement that changes rows: a transaction by itself.
macro_rules! change {
    ($db:expr, $doing:expr, |$conn:ident| $body:expr) => {
        $crate::adapters::database::on_pool!($db, write, $doing, |$conn| $body)
    };
}

macro_rules! on_pool {
    ($db:expr, $sqlite:ident, $doing:expr, |$conn:ident| $body:expr) => {
        match &$db.pools {
            $crate::adapters::database::Pools::Postgres { pool, .. } => {
                $crate::adapters::database::fault::within($doing, async {
                    let mut object = $crate::adapters::database::fault::waiting(pool.get()).await?;
                    let $conn = &mut *object;
                    $body
                })
                .await
            }
            $crate::adapters::database::Pools::Sqlite { $sqlite: pool, .. } => {
                $crate::adapters::database::fault::within($doing, async {
                    let mut object = $crate::adapters::database::fault::waiting(pool.get()).await?;
                    let $conn = &mut *object;
                    $body
                })
                .await
            }
        }
    };
}

/// Several statements, all or nothing: `Err` rolls back. PostgreSQL runs them at its default level,
/// READ COMMITTED, so rows that a decision rests on are read under [`dialect::locked`]; SQLite
/// holds its one write lock from the start (`BEGIN IMMEDIATE`).
macro_rules! transact {
    ($db:expr, $doing:expr, |$conn:ident| $body:block) => {
        match &$db.pools {
            $crate::adapters::database::Pools::Postgres { pool, .. } => {
                $crate::adapters::database::fault::within($doing, async {
                    let object = $crate::adapters::database::fault::waiting(pool.get()).await?;
                    let mut held = $crate::adapters::database::Held::new(object, |object| {
                        drop(diesel_async::pooled_connection::deadpool::Object::take(object));
                    });
                    let done = diesel_async::AsyncConnection::transaction(
                        &mut **held.get()?,
                        async |$conn: &mut diesel_async::AsyncPgConnection| -> Result<
                            _,
                            $crate::adapters::database::fault::Fault,
                        > { $body },
                    )
                    .await;
                    held.release();
                    done
                })
                .await
            }
            $crate::adapters::database::Pools::Sqlite { write, .. } => {
                $crate::adapters::database::fault::within($doing, async {
                    let object = $crate::adapters::database::fault::waiting(write.get()).await?;
                    let mut held = $crate::adapters::database::Held::new(object, |object| {
                        drop(diesel_async::pooled_connection::deadpool::Object::take(object));
                    });
                    let done = held
                        .get()?
                        .immediate_transaction(
                            async |$conn: &mut $crate::adapters::database::sqlite::Connection| -> Result<
                                _,
                                $crate::adapters::database::fault::Fault,
                            > { $body },
                        )
                        .await;
                    held.release();
                    done
                })
                .await
            }
        }
    };
}

use {change, on_pool, read, transact};

/// A pooled connection with a transaction in it. Whoever is dropped before `release` (a request
/// whose client went away) takes the connection along: the pool never gets one back whose
/// transaction is still open, into which the next caller's writes would vanish.
struct Held<T> {
    object: Option<T>,
    discard: fn(T),
}

impl<T> Held<T> {
    fn new(object: T, discard: fn(T)) -> Self {
        Self { object: Some(object), discard }
    }

    fn get(&mut self) -> Result<&mut T, fault::Fault> {
        self.object.as_mut().ok_or_else(|| fault::Fault::defect("the connection was given back already"))
    }

    fn release(&mut self) {
        self.object = None;
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            (self.discard)(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_not_understood_is_not_repeated() {
        for bad in [
            "mysql://ada:hunter2@db/gv",
            "postgres://ada:hunter2@db:port/gv",
            "postgres://ada:hunter2@db/gv?sslmode=hunter2",
            "postgres://ada:hunter2@db/gv?unknown=hunter2",
            "sqlite::memory:",
            "sqlite:",
            "hunter2",
        ] {
            let error = Database::connect(bad).expect_err(bad);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_database_never_shows_its_password() {
        let database = Database::connect("postgres://ada:hunter2@127.0.0.1:1/gv").unwrap();
        assert_eq!(format!("{database:?}"), "Database(postgres)");
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_unavailable_and_can_still_be_connected_to() {
        use crate::ports::database::Schema;
        use crate::ports::error::StoreErrorKind;
        // Port 1 on loopback: nothing listens there.
        let database = Database::connect("postgres://ada:hunter2@127.0.0.1:1/gv").unwrap();
        let error = database.ping().await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_within_a_transaction_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("gv.db").display());
        let database = Database::connect(&url).unwrap();
        let create = change!(database, "making a table", |conn| {
            Ok::<_, fault::Fault>(
                diesel_async::SimpleAsyncConnection::batch_execute(conn, "CREATE TABLE t (n INTEGER)")
                    .await?,
            )
        });
        create.unwrap();
        let (inside, entered) = tokio::sync::oneshot::channel();
        let call = async {
            let mut inside = Some(inside);
            transact!(database, "never ending", |conn| {
                diesel_async::SimpleAsyncConnection::batch_execute(conn, "INSERT INTO t VALUES (1)").await?;
                inside.take().map(|inside| inside.send(()));
                std::future::pending::<Result<(), fault::Fault>>().await
            })
        };
        tokio::select! {
            _ = call => unreachable!("it never ends"),
            _ = entered => {}
        }
        let rows = transact!(database, "counting", |conn| {
            let count = diesel::dsl::sql::<diesel::sql_types::BigInt>("SELECT count(*) FROM t");
            Ok(diesel_async::RunQueryDsl::get_result::<i64>(count, conn).await?)
        });
        assert_eq!(rows.unwrap(), 0);
    }
}
