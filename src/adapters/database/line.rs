//! Who is next: the order in which deployments that wait are taken, and what a newer one does to them.
//!
//! Accounts share the workers: next is a deployment of the account that has the fewest running, then the
//! oldest. Start with [`next_in_line`].

use crate::adapters::database::Database;
use crate::adapters::database::deployments::{DeploymentRow, Progress};
use crate::adapters::database::dialect::{self, locked};
use crate::adapters::database::fault::Fault;
use crate::adapters::database::leases::unfinished;
use crate::adapters::database::rows::{number, parsed, word};
use crate::adapters::database::schema::deployments;
use crate::adapters::database::{read, transact};
use crate::domain::deployment::{Deployment, Failure, FailureCode, StateName};
use crate::domain::id::DeploymentId;
use crate::ports::deployments::{PlaceInLine, Superseded};
use crate::ports::error::StoreError;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;

#[derive(QueryableByName)]
struct NextRow {
    #[diesel(sql_type = Text)]
    id: String,
}

#[derive(QueryableByName)]
struct PlaceRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = BigInt)]
    running: i64,
}

/// What waits, each with the `level` that its account will have reached when it is taken: how many the account
/// has running, and how many of it wait before. `$1` is written alike for both databases, which count in the
/// order of appearance.
fn waiting(db: &Database) -> String {
    let now = dialect::now_text(db);
    let unfinished = "state IN ('queued', 'cloning', 'building', 'uploading')";
    format!(
        "WITH running AS (
             SELECT account, count(*) AS n FROM deployments
             WHERE {unfinished} AND lease_until > {now} GROUP BY account
         ), waiting AS (
             SELECT d.id, d.seq, coalesce(r.n, 0) AS running,
                 coalesce(r.n, 0) + row_number() OVER (PARTITION BY d.account ORDER BY d.seq) AS level
             FROM deployments d LEFT JOIN running r ON r.account = d.account
             WHERE d.{unfinished} AND d.lease_until <= {now}
         )"
    )
}

pub(super) async fn next_in_line(
    db: &Database,
    account_builds: u32,
) -> Result<Option<DeploymentId>, StoreError> {
    let text =
        format!("{} SELECT id FROM waiting WHERE level <= $1 ORDER BY level, seq LIMIT 1", waiting(db));
    read!(db, "looking for the next deployment", |conn| {
        let query = sql_query(text.as_str()).bind::<BigInt, _>(i64::from(account_builds));
        let next = query.get_result::<NextRow>(conn).await.optional()?;
        next.map(|row| parsed("deployments.id", &row.id)).transpose()
    })
}

pub(super) async fn places(db: &Database, ids: &[DeploymentId]) -> Result<Vec<PlaceInLine>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
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
    transact!(db, "calling off what is superseded", |conn| {
        let mut query = deployments::table
            .filter(deployments::account.eq(&account).and(deployments::project.eq(&project)))
            .filter(deployments::target.eq(word(&newer.target)?).and(deployments::seq.lt(newer.seq)))
            .filter(unfinished())
            .order(deployments::seq)
            .select(DeploymentRow::as_select())
            .into_boxed();
        query = match &reference {
            Some(reference) => query.filter(deployments::reference.eq(reference)),
            None => query.filter(deployments::reference.is_null()),
        };
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
