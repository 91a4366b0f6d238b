//! The words that SQLite and PostgreSQL say differently: the time now, and the locks on rows. And those that
//! both say alike and diesel does not: as expressions of their own, statements that have them are prepared
//! once a connection, which those with diesel's `sql` are not.

use crate::adapters::database::{Database, Pools};
use diesel::backend::Backend;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool};
use diesel::sqlite::Sqlite;
use diesel::{AppearsOnTable, Expression, QueryResult, SelectableExpression};
use std::time::Duration;

/// The database's own time, in microseconds since 1970, and a distance from it.
#[derive(Clone, Copy, Debug, QueryId, diesel::expression::ValidGrouping)]
pub(super) struct Moment {
    offset_us: i64,
}

/// Now, by the database's clock. PostgreSQL's is read anew with each use, not once a transaction,
/// so that a lock which was waited for is not judged by the time before the wait.
pub(super) fn now() -> Moment {
    Moment { offset_us: 0 }
}

/// [`now`] as text, for queries that are written as text.
pub(super) fn now_text(db: &Database) -> &'static str {
    match &db.pools {
        Pools::Postgres { .. } => NOW_IN_POSTGRES,
        Pools::Sqlite { .. } => NOW_IN_SQLITE,
    }
}

pub(super) const NOW_IN_POSTGRES: &str = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";
pub(super) const NOW_IN_SQLITE: &str = "CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000";

/// `ahead` from now.
pub(super) fn from_now(ahead: Duration) -> Moment {
    Moment { offset_us: micros(ahead) }
}

/// `back` before now.
pub(super) fn ago(back: Duration) -> Moment {
    Moment { offset_us: -micros(back) }
}

/// At most some 30 years, so that no sum with a time overflows.
fn micros(duration: Duration) -> i64 {
    const MOST: i64 = 1_000_000_000_000_000;
    i64::try_from(duration.as_micros()).map_or(MOST, |micros| micros.min(MOST))
}

impl Expression for Moment {
    type SqlType = BigInt;
}

impl<T> AppearsOnTable<T> for Moment {}
impl<T> SelectableExpression<T> for Moment {}

impl QueryFragment<Pg> for Moment {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("((extract(epoch from clock_timestamp()) * 1000000)::bigint + ");
        out.push_bind_param::<BigInt, _>(&self.offset_us)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryFragment<Sqlite> for Moment {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000 + ");
        out.push_bind_param::<BigInt, _>(&self.offset_us)?;
        out.push_sql(")");
        Ok(())
    }
}

/// Locks the rows that a query gives until the transaction ends, and gives them as they are once
/// locked. SQLite, whose transactions here hold the one write lock, has nothing to add.
pub(super) fn locked<Q>(query: Q) -> Locked<Q> {
    Locked { query }
}

/// As [`locked`], but leaves out the rows that somebody else has locked.
pub(super) fn unlocked_only<Q>(query: Q) -> UnlockedOnly<Q> {
    UnlockedOnly { query }
}

#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct Locked<Q> {
    query: Q,
}

#[derive(Clone, Copy, Debug, QueryId)]
pub(super) struct UnlockedOnly<Q> {
    query: Q,
}

macro_rules! lock {
    ($name:ident, $words:literal) => {
        impl<Q: Query> Query for $name<Q> {
            type SqlType = Q::SqlType;
        }

        impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for $name<Q> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                self.query.walk_ast(out.reborrow())?;
                out.push_sql($words);
                Ok(())
            }
        }

        impl<Q: QueryFragment<Sqlite>> QueryFragment<Sqlite> for $name<Q> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
                self.query.walk_ast(out.reborrow())
            }
        }
    };
}

lock!(Locked, " FOR UPDATE");
lock!(UnlockedOnly, " FOR UPDATE SKIP LOCKED");

/// What waits or is held. In the words of the partial index, which neither database recognises in
/// bound values.
pub(super) const UNFINISHED: &str = "state IN ('queued', 'cloning', 'building', 'uploading')";

macro_rules! condition {
    ($(#[$doc:meta])* $name:ident, $words:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, QueryId, diesel::expression::ValidGrouping)]
        pub(super) struct $name;

        impl Expression for $name {
            type SqlType = Bool;
        }

        impl<T> AppearsOnTable<T> for $name {}
        impl<T> SelectableExpression<T> for $name {}

        impl<DB: Backend> QueryFragment<DB> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
                out.push_sql($words);
                Ok(())
            }
        }
    };
}

condition!(
    /// [`UNFINISHED`].
    Unfinished,
    UNFINISHED
);
condition!(
    /// Personal tokens whose account nobody keeps out: that one row of `users` is looked at, and no list of
    /// those who are.
    TokenOfEnabled,
    "NOT EXISTS (SELECT 1 FROM users WHERE users.id = tokens.account AND users.disabled_at IS NOT NULL)"
);
condition!(
    /// The same of sessions.
    SessionOfEnabled,
    "NOT EXISTS (SELECT 1 FROM users WHERE users.id = sessions.account AND users.disabled_at IS NOT NULL)"
);
