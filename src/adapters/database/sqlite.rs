//! How an SQLite file is opened: by one writer and a few readers.

use crate::adapters::database::fault::{Fault, PATIENCE, invalid_url};
use crate::ports::error::StoreError;
use diesel::connection::SimpleConnection;
use diesel::{ConnectionError, ConnectionResult, SqliteConnection};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use futures_util::FutureExt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

pub(super) type Connection = SyncConnectionWrapper<SqliteConnection>;

const READERS: usize = 4;

/// The file of one database.
#[derive(Clone)]
pub(super) struct File {
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl File {
    pub(super) fn parse(path: &str) -> Result<Self, StoreError> {
        // Names that SQLite itself would take for something else than a file.
        if path.is_empty() || path.starts_with([':', '?']) || path.starts_with("file:") {
            return Err(invalid_url("must name a file after sqlite:, such as sqlite:/var/lib/gv/gv.db"));
        }
        Ok(Self { path: path.to_owned() })
    }

    pub(super) fn writer(&self) -> Result<Pool<Connection>, StoreError> {
        self.pool(Access::Write, 1)
    }

    pub(super) fn readers(&self) -> Result<Pool<Connection>, StoreError> {
        self.pool(Access::Read, READERS)
    }

    fn pool(&self, access: Access, size: usize) -> Result<Pool<Connection>, StoreError> {
        let file = self.clone();
        let mut config = ManagerConfig::default();
        // There is no server that might have gone: a question before each call would only be another thread's turn.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let file = file.clone();
            async move {
                let opened = tokio::task::spawn_blocking(move || file.open(access)).await;
                let opened = opened.map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
                opened.map(SyncConnectionWrapper::new)
            }
            .boxed()
        });
        let connections = AsyncDieselConnectionManager::new_with_config(self.path.as_str(), config);
        let pool = Pool::builder(connections).max_size(size).build();
        pool.map_err(|error| Fault::defect(error).doing("making a pool of connections"))
    }

    /// A connection that may write, opened on this thread.
    pub(super) fn open_writer(&self) -> ConnectionResult<SqliteConnection> {
        self.open(Access::Write)
    }

    fn open(&self, access: Access) -> ConnectionResult<SqliteConnection> {
        let unusable =
            |error: std::io::Error| ConnectionError::BadConnection(format!("{}: {error}", self.path));
        // Made by us and not by SQLite, for its mode: it holds people's tokens and variables.
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).map_err(unusable)?;
        let mut connection = <SqliteConnection as diesel::Connection>::establish(&self.path)?;
        let busy_ms = PATIENCE.as_millis();
        // `synchronous = FULL`: in WAL mode, less would lose the last commits with the power.
        let mut settings = format!(
            "PRAGMA busy_timeout = {busy_ms}; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; \
             PRAGMA trusted_schema = OFF;"
        );
        match access {
            Access::Read => settings.push_str("PRAGMA query_only = ON;"),
            Access::Write => settings.push_str("PRAGMA journal_mode = WAL;"),
        }
        persist(|| connection.batch_execute(&settings))
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }
}

/// Two processes that switch a new file to WAL at once can find it locked without any wait: the
/// busy timeout does not cover that step.
fn persist(mut attempt: impl FnMut() -> diesel::QueryResult<()>) -> diesel::QueryResult<()> {
    for _ in 0..20 {
        match attempt() {
            Err(error) if error.to_string().contains("locked") => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => return done,
        }
    }
    attempt()
}
