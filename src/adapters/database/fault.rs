//! What can go wrong below, and which of a store's few kinds of error it is.
//!
//! Start with [`Fault::kind`].

use crate::ports::error::{StoreError, StoreErrorKind};
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel_async::pooled_connection::deadpool::PoolError;
use std::error::Error;
use std::time::{Duration, Instant};

/// How long a call waits for a free connection, and a new connection for its server.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a call takes at most, all in all.
const LIMIT: Duration = Duration::from_secs(25);

/// Before it is known what was being done.
#[derive(Debug)]
pub(super) enum Fault {
    Query(QueryError),
    Pool(PoolError),
    Slow(Duration),
    Other(StoreErrorKind, Box<dyn Error + Send + Sync>),
}

impl Fault {
    /// A row that the program cannot have written.
    pub(super) fn corrupt(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(StoreErrorKind::Corrupt, why.into())
    }

    pub(super) fn defect(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(StoreErrorKind::Internal, why.into())
    }

    pub(super) fn conflict(why: &'static str) -> Self {
        Self::Other(StoreErrorKind::Conflict, why.into())
    }

    /// Sealed, and the key is not here.
    pub(super) fn locked(why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(StoreErrorKind::Locked, why.into())
    }

    pub(super) fn is_locked(&self) -> bool {
        self.kind() == StoreErrorKind::Locked
    }

    pub(super) fn doing(self, doing: impl Into<String>) -> StoreError {
        let kind = self.kind();
        match self {
            Self::Query(error) => StoreError::new(kind, doing, error),
            Self::Pool(error) => StoreError::new(kind, doing, error),
            Self::Slow(limit) => {
                StoreError::new(kind, doing, format!("the database did not answer for {} s", limit.as_secs()))
            }
            Self::Other(kind, source) => StoreError::new(kind, doing, source),
        }
    }

    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Pool(_) | Self::Slow(_) => StoreErrorKind::Unavailable,
            Self::Other(kind, _) => *kind,
            Self::Query(QueryError::DatabaseError(kind, information)) => match kind {
                DatabaseErrorKind::UniqueViolation => StoreErrorKind::Conflict,
                // The row that this one needs was deleted a moment ago: seen from the start, the
                // same call ends otherwise.
                DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::ReadOnlyTransaction => StoreErrorKind::Unavailable,
                _ if passes(information.message()) => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::Internal,
            },
            Self::Query(QueryError::BrokenTransactionManager | QueryError::RollbackErrorOnCommit { .. }) => {
                StoreErrorKind::Unavailable
            }
            Self::Query(QueryError::DeserializationError(_)) => StoreErrorKind::Corrupt,
            Self::Query(_) => StoreErrorKind::Internal,
        }
    }
}

/// Whether a database that says this may say something else later. The drivers give no codes, so
/// this goes by the words: <https://sqlite.org/rescode.html>, and PostgreSQL's classes 40, 53, 57.
fn passes(message: &str) -> bool {
    const WORDS: &[&str] = &[
        "database is locked",
        "table is locked",
        "disk is full",
        "disk I/O error",
        "unable to open database file",
        "deadlock detected",
        "is starting up",
        "is shutting down",
        "in recovery mode",
        "terminating connection",
        "too many clients",
        "too many connections",
        "connection slots are reserved",
        "canceling statement due to",
        "could not extend file",
        "out of memory",
    ];
    WORDS.iter().any(|words| message.contains(words))
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

/// Waits for a connection, but not for ever.
pub(super) async fn waiting<T>(object: impl Future<Output = Result<T, PoolError>>) -> Result<T, Fault> {
    let began = Instant::now();
    let object = tokio::time::timeout(PATIENCE, object).await;
    metrics::histogram!("gv_database_wait_seconds").record(began.elapsed().as_secs_f64());
    object.map_err(|_| Fault::Slow(PATIENCE))?.map_err(Fault::Pool)
}

/// Runs a call to its end, or to the limit, and says what it was doing when it failed.
pub(super) async fn within<T>(
    doing: &str,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let done = tokio::time::timeout(LIMIT, call).await.unwrap_or(Err(Fault::Slow(LIMIT)));
    let done = done.map_err(|fault| fault.doing(doing));
    let result = match done.as_ref().map_err(|error| error.kind) {
        Ok(_) => "ok",
        Err(StoreErrorKind::Unavailable) => "unavailable",
        Err(StoreErrorKind::Conflict) => "conflict",
        Err(_) => "error",
    };
    metrics::histogram!("gv_database_seconds", "result" => result).record(began.elapsed().as_secs_f64());
    done
}

/// A URL that is wrong, and how. The URL itself may hold a password and is not shown.
pub(super) fn invalid_url(how: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, "reading database.url", format!("it {how}"))
}
