//! Who is next: the order in which deployments that wait are taken, and what a newer one does to them.
//!
//! Accounts share the workers: next is a deployment of the account that has the fewest running, then the
//! oldest. Start with [`next_in_line`]. [`backlog`] sums up what waits.

use crate::adapters::database::Database;
use crate::adapters::database::deployments::{DeploymentRow, Progress};
use crate::adapters::database::dialect::{
    self, NOW_IN_POSTGRES, NOW_IN_SQLITE, UNFINISHED, Unfinished, locked,
};
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{number, parsed, word};
use crate::adapters::database::schema::deployments;
use crate::adapters::database::{read, transact};
use crate::domain::deployment::{Deployment, StateName};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::DeploymentId;
use crate::ports::deployments::{Backlog, PlaceInLine, Superseded};
use crate::ports::error::StoreError;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;

#[derive(QueryableByName)]
struct PlaceRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = BigInt)]
    running: i64,
}

/// Writes a query whose words are given the database's own for the time now.
macro_rules! in_both {
    ($query:ident, |$self:ident, $now:ident, $out:ident| $words:block) => {
        in_both!($query, Pg, NOW_IN_POSTGRES, |$self, $now, $out| $words);
        in_both!($query, Sqlite, NOW_IN_SQLITE, |$self, $now, $out| $words);
    };
    ($query:ident, $db:ident, $text:ident, |$self:ident, $now:ident, $out:ident| $words:block) => {
        impl QueryFragment<$db> for $query {
            fn walk_ast<'b>(&'b self, mut $out: AstPass<'_, 'b, $db>) -> QueryResult<()> {
                let ($self, $now) = (self, $text);
                $words
                Ok(())
            }
        }
    };
}

/// What waits, each with the `level` that its account will have reached when it is taken: how many the account
/// has running, and how many of it wait before. `$1` is written alike for both databases, which count in the
/// order of appearance.
fn waiting(db: &Database) -> String {
    let now = dialect::now_text(db);
    format!(
        "WITH running AS (
             SELECT account, count(*) AS n FROM deployments
             WHERE {UNFINISHED} AND lease_until > {now} GROUP BY account
         ), waiting AS (
             SELECT d.id, d.seq, coalesce(r.n, 0) AS running,
                 coalesce(r.n, 0) + row_number() OVER (PARTITION BY d.account ORDER BY d.seq) AS level
             FROM deployments d LEFT JOIN running r ON r.account = d.account
             WHERE d.{UNFINISHED} AND d.lease_until <= {now}
         )"
    )
}

/// The first of each account that waits has the lowest level that the account has to offer, so that nothing
/// need be put in order but accounts.
#[derive(Clone, Copy, Debug, QueryId)]
struct Next {
    account_builds: i64,
}

impl Query for Next {
    type SqlType = Text;
}

in_both!(Next, |next, now, out| {
    out.push_sql("WITH accounts AS (SELECT account, count(*) FILTER (WHERE lease_until > ");
    out.push_sql(now);
    out.push_sql(") AS running, min(seq) FILTER (WHERE lease_until <= ");
    out.push_sql(now);
    out.push_sql(") AS oldest FROM deployments WHERE ");
    out.push_sql(UNFINISHED);
    out.push_sql(
        " GROUP BY account) SELECT d.id FROM accounts a JOIN deployments d ON d.seq = a.oldest WHERE a.running < ",
    );
    out.push_bind_param::<BigInt, _>(&next.account_builds)?;
    out.push_sql(" ORDER BY a.running, a.oldest LIMIT 1");
});

/// The place of one that waits, and how many its account has running. Before it are, of each account, those of
/// a lower level, and the one of its own level that is older: how many these are follows from three numbers an
/// account, and again nothing is put in order.
#[derive(Clone, Debug, QueryId)]
struct Place {
    id: String,
}

impl Query for Place {
    type SqlType = (BigInt, BigInt);
}

in_both!(Place, |place, now, out| {
    out.push_sql("WITH own AS (SELECT account, seq FROM deployments WHERE id = ");
    out.push_bind_param::<Text, _>(&place.id)?;
    out.push_sql(" AND ");
    out.push_sql(UNFINISHED);
    out.push_sql(" AND lease_until <= ");
    out.push_sql(now);
    out.push_sql(
        "), accounts AS (SELECT d.account, count(*) AS unfinished, count(*) FILTER (WHERE d.lease_until <= ",
    );
    out.push_sql(now);
    out.push_sql(") AS waiting, count(*) FILTER (WHERE d.seq <= own.seq AND d.lease_until <= ");
    out.push_sql(now);
    out.push_sql(") AS ahead FROM deployments d CROSS JOIN own WHERE d.");
    out.push_sql(UNFINISHED);
    out.push_sql(
        " GROUP BY d.account), mine AS (
             SELECT a.unfinished - a.waiting AS running, a.unfinished - a.waiting + a.ahead AS level
             FROM accounts a JOIN own ON own.account = a.account
         ), rooms AS (
             SELECT a.waiting, a.ahead, mine.running, mine.level - (a.unfinished - a.waiting) AS room
             FROM accounts a CROSS JOIN mine
         ) SELECT CAST(sum(
             CASE WHEN room < 1 THEN 0 WHEN waiting < room THEN waiting WHEN ahead < room THEN room - 1 ELSE room END
         ) AS BIGINT), max(running) FROM rooms HAVING count(*) > 0",
    );
});

/// What nobody holds: all of it; that which free workers could take now, of each account no more than its free
/// places; since when the oldest of this waits (what was held, since its lease ran out); and the time now. Three
/// numbers an account, as above.
#[derive(Clone, Copy, Debug, QueryId)]
struct Unheld {
    account_builds: i64,
}

impl Query for Unheld {
    type SqlType = (BigInt, BigInt, Nullable<BigInt>, BigInt);
}

in_both!(Unheld, |unheld, now, out| {
    out.push_sql("WITH accounts AS (SELECT ");
    out.push_bind_param::<BigInt, _>(&unheld.account_builds)?;
    out.push_sql(" - count(*) FILTER (WHERE lease_until > ");
    out.push_sql(now);
    out.push_sql(") AS room, count(*) FILTER (WHERE lease_until <= ");
    out.push_sql(now);
    out.push_sql(
        ") AS waiting, min(CASE WHEN lease_until > created_at THEN lease_until ELSE created_at END) FILTER (WHERE lease_until <= ",
    );
    out.push_sql(now);
    out.push_sql(") AS since FROM deployments WHERE ");
    out.push_sql(UNFINISHED);
    out.push_sql(
        " GROUP BY account) SELECT CAST(coalesce(sum(waiting), 0) AS BIGINT), CAST(coalesce(sum(
             CASE WHEN room < 1 THEN 0 WHEN waiting < room THEN waiting ELSE room END
         ), 0) AS BIGINT), min(CASE WHEN room > 0 THEN since END), ",
    );
    out.push_sql(now);
    out.push_sql(" FROM accounts");
});

pub(super) async fn backlog(db: &Database, account_builds: u32) -> Result<Backlog, StoreError> {
    let query = Unheld { account_builds: account_builds.into() };
    read!(db, "counting the deployments that wait", |conn| {
        let (unheld, waiting, since, now) = query.get_result::<(i64, i64, Option<i64>, i64)>(conn).await?;
        let oldest_s = since.map_or(0, |since| (now - since).max(0) / 1_000_000);
        Ok(Backlog {
            waiting: number("count", waiting)?,
            oldest_s: number("oldest", oldest_s)?,
            unheld: number("count", unheld)?,
        })
    })
}

pub(super) async fn next_in_line(
    db: &Database,
    account_builds: u32,
) -> Result<Option<DeploymentId>, StoreError> {
    let query = Next { account_builds: account_builds.into() };
    read!(db, "looking for the next deployment", |conn| {
        let next = query.get_result::<String>(conn).await.optional()?;
        next.map(|id| parsed("deployments.id", &id)).transpose()
    })
}

async fn place(db: &Database, id: DeploymentId) -> Result<Vec<PlaceInLine>, StoreError> {
    let query = Place { id: id.to_string() };
    read!(db, "counting what waits before a deployment", |conn| {
        let place = query.get_result::<(i64, i64)>(conn).await.optional()?;
        let Some((place, running)) = place else { return Ok(Vec::new()) };
        let position = number("place", place)?;
        Ok(vec![PlaceInLine { deployment: id, position, account_running: number("running", running)? }])
    })
}

pub(super) async fn places(db: &Database, ids: &[DeploymentId]) -> Result<Vec<PlaceInLine>, StoreError> {
    match ids {
        [] => return Ok(Vec::new()),
        [id] => return place(db, *id).await,
        _ => {}
    }
    let names: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
    let text = format!(
        "{}, placed AS (
             SELECT id, running, row_number() OVER (ORDER BY level, seq) AS place FROM waiting
         ) SELECT id, place, running FROM placed WHERE id IN ({})",
        waiting(db),
        names.join(", ")
    );
    read!(db, "counting what waits", |conn| {
        let mut query = sql_query(text.as_str()).into_boxed();
        for id in ids {
            query = query.bind::<Text, _>(id.to_string());
        }
        let rows = query.load::<PlaceRow>(conn).await?;
        let place = |row: PlaceRow| {
            Ok(PlaceInLine {
                deployment: parsed("deployments.id", &row.id)?,
                position: number("place", row.place)?,
                account_running: number("running", row.running)?,
            })
        };
        rows.into_iter().map(place).collect::<Result<_, Fault>>()
    })
}

pub(super) async fn supersede(
    db: &Database,
    newer: &Deployment,
    running: bool,
    now: OffsetDateTime,
) -> Result<Superseded, StoreError> {
    let (account, project) = (newer.account.to_string(), newer.project.to_string());
    let reference = newer.source.reference.as_ref().map(ToString::to_string);
    let reason = Failure::new(
        FailureCode::Superseded,
        format!("A newer deployment of the same branch takes its place: {}.", newer.id),
    );
    // Most have nothing before them: no transaction for those.
    let older = read!(db, "looking for what is superseded", |conn| {
        let mut query = deployments::table
            .filter(deployments::account.eq(&account).and(deployments::project.eq(&project)))
            .filter(deployments::target.eq(word(&newer.target)?).and(deployments::seq.lt(newer.seq)))
            .filter(Unfinished)
            .select(deployments::seq)
            .into_boxed();
        query = match &reference {
            Some(reference) => query.filter(deployments::reference.eq(reference)),
            None => query.filter(deployments::reference.is_null()),
        };
        Ok(query.load::<i64>(conn).await?)
    })?;
    if older.is_empty() {
        return Ok(Superseded::default());
    }
    transact!(db, "calling off what is superseded", |conn| {
        // What came after the look is newer than this one, and supersedes it instead.
        let query = deployments::table
            .filter(deployments::seq.eq_any(&older))
            .filter(Unfinished)
            .order(deployments::seq)
            .select(DeploymentRow::as_select());
        let mut superseded = Superseded::default();
        for row in locked(query).load::<DeploymentRow>(conn).await? {
            let older = row.read(&db.keys)?;
            let this = deployments::table.filter(deployments::seq.eq(older.seq));
            if older.state.name() == StateName::Queued {
                let (id, revision) = (older.id, older.revision);
                let ended = older.call_off(now, reason.clone()).map_err(Fault::defect)?;
                let changes = (Progress::of(&ended, &db.keys)?, deployments::revision.eq(revision + 1));
                diesel::update(this).set(changes).execute(conn).await?;
                superseded.called_off.push(id);
            } else if running {
                let word = deployments::cancel_requested.eq(true);
                diesel::update(this).set(word).execute(conn).await?;
                superseded.told.push(older.id);
            }
        }
        Ok(superseded)
    })
}
