//! Who works on a deployment: the half of `Deployments` that workers and the sweeper use.
//!
//! A row that is held has a worker and the end of its lease, by the database's clock. Every write
//! of a deployment's progress raises its revision and names the one that it was read at; renewing
//! a lease and asking for a stop do not, since they must not make the holder's next write fail.
//!
//! Start with [`claim`].

use crate::adapters::database::Database;
use crate::adapters::database::deployments::{DeploymentRow, Progress};
use crate::adapters::database::dialect::{self, Unfinished, locked, unlocked_only};
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{json, micros, parsed};
use crate::adapters::database::schema::{deployments, users};
use crate::adapters::database::{change, transact};
use crate::domain::deployment::{Deployment, State, StateName};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{DeploymentId, UserId};
use crate::ports::deployments::{Claim, Renewal};
use crate::ports::error::StoreError;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;
use time::OffsetDateTime;

pub(super) async fn claim(
    db: &Database,
    id: DeploymentId,
    worker: &str,
    (lease, now): (Duration, OffsetDateTime),
    account_builds: u32,
) -> Result<Claim, StoreError> {
    let id = id.to_string();
    transact!(db, "taking a deployment", |conn| {
        let this = || deployments::table.filter(deployments::id.eq(&id));
        let account = this().select(deployments::account).get_result::<String>(conn).await.optional()?;
        let Some(account) = account else { return Ok(Claim::Over) };
        // Those who claim for one account do so one after the other, so that none of them miscounts.
        let owner = users::table.filter(users::id.eq(&account)).select(users::id);
        locked(owner).get_result::<String>(conn).await?;
        // Locks the row for what follows. Asked apart from the row itself, since the compiler takes
        // a minute over the two in one.
        let query = locked(this().select(deployments::lease_until.gt(dialect::now())));
        let Some(held) = query.get_result::<bool>(conn).await.optional()? else { return Ok(Claim::Over) };
        let row = this().select(DeploymentRow::as_select()).get_result::<DeploymentRow>(conn).await?;
        let mut present = match row.read(&db.keys) {
            // Without its key nobody can build it, and everybody would come upon it first.
            Err(fault) if fault.is_locked() => {
                let waits = this().filter(Unfinished).filter(deployments::lease_until.le(dialect::now()));
                let ended = diesel::update(waits).set((
                    deployments::state.eq(StateName::Failed.word()),
                    deployments::state_at.eq(micros(now)),
                    deployments::failure.eq(json(&locked_failure())?),
                    deployments::git_token.eq(None::<String>),
                    deployments::revision.eq(deployments::revision + 1),
                    deployments::lease_worker.eq(None::<String>),
                    deployments::lease_until.eq(0),
                    deployments::announced_at.eq(0),
                ));
                return Ok(match ended.execute(conn).await? {
                    0 if held => Claim::Held,
                    0 => Claim::Over,
                    _ => Claim::Locked,
                });
            }
            read => read?,
        };
        if present.state.is_ended() {
            return Ok(Claim::Over);
        }
        if held {
            return Ok(Claim::Held);
        }
        let running = deployments::table
            .filter(Unfinished)
            .filter(deployments::account.eq(&account))
            .filter(deployments::lease_until.gt(dialect::now()));
        if running.count().get_result::<i64>(conn).await? >= i64::from(account_builds) {
            return Ok(Claim::AccountBusy);
        }
        // Whoever had it went silent, be it under the same name: a build that kills its worker
        // each time must not be taken for ever.
        if present.state != State::Queued {
            present.losses += 1;
        }
        let revision = present.revision;
        let taken = present.take(now).map_err(Fault::defect)?;
        let unchanged =
            deployments::table.filter(deployments::id.eq(&id).and(deployments::revision.eq(revision)));
        let changes = (Progress::of(&taken, &db.keys)?, deployments::revision.eq(revision + 1));
        if diesel::update(unchanged).set(changes).execute(conn).await? == 0 {
            return Ok(Claim::Held);
        }
        let leased = (
            deployments::lease_worker.eq(worker),
            deployments::lease_until.eq(dialect::from_now(lease)),
            // That announcement has done its work: if the lease runs out, another is due.
            deployments::announced_at.eq(0),
        );
        diesel::update(this()).set(leased).execute(conn).await?;
        Ok(Claim::Taken(Box::new(Deployment { revision: revision + 1, ..taken })))
    })
}

fn locked_failure() -> Failure {
    Failure::new(
        FailureCode::StorageFailed,
        "What this deployment was submitted with is sealed by a key that this gv does not have. Ask its operator to \
         put the key back into secrets.keys (gv doctor says which), then deploy again.",
    )
}

pub(super) async fn renew(
    db: &Database,
    id: DeploymentId,
    attempt: u32,
    lease: Duration,
) -> Result<Renewal, StoreError> {
    let id = id.to_string();
    change!(db, "renewing a lease", |conn| {
        let own = deployments::table
            .filter(deployments::id.eq(&id).and(deployments::attempt.eq(i64::from(attempt))))
            .filter(deployments::lease_worker.is_not_null());
        let renewed = diesel::update(own)
            .set(deployments::lease_until.eq(dialect::from_now(lease)))
            .returning(deployments::cancel_requested);
        let renewed = renewed.get_result(conn).await.optional()?;
        Ok(renewed.map_or(Renewal::Lost, |cancel_requested| Renewal::Held { cancel_requested }))
    })
}

pub(super) async fn advance(db: &Database, next: &Deployment) -> Result<Option<Deployment>, StoreError> {
    let id = next.id.to_string();
    // Back in the queue or ended, nobody holds it; back in the queue, it is to be announced again.
    let let_go = !StateName::HELD.contains(&next.state.name());
    change!(db, "writing a deployment's progress", |conn| {
        let unchanged =
            deployments::table.filter(deployments::id.eq(&id).and(deployments::revision.eq(next.revision)));
        let released = let_go.then_some((
            deployments::lease_worker.eq(None::<String>),
            deployments::lease_until.eq(0),
            deployments::announced_at.eq(0),
        ));
        let written = diesel::update(unchanged)
            .set((
                Progress::of(next, &db.keys)?,
                deployments::revision.eq(next.revision + 1),
                // A stop that was asked for since this revision was read is not forgotten.
                next.cancel_requested.then_some(deployments::cancel_requested.eq(true)),
                released,
            ))
            .returning(DeploymentRow::as_returning());
        let row = written.get_result::<DeploymentRow>(conn).await.optional()?;
        row.map(|row| row.read(&db.keys)).transpose()
    })
}

pub(super) async fn request_cancel(
    db: &Database,
    account: UserId,
    id: DeploymentId,
    now: OffsetDateTime,
) -> Result<Option<Deployment>, StoreError> {
    let (account, id) = (account.to_string(), id.to_string());
    transact!(db, "cancelling a deployment", |conn| {
        let own = deployments::table.filter(deployments::id.eq(&id).and(deployments::account.eq(&account)));
        let query = locked(own.select(DeploymentRow::as_select()));
        let Some(row) = query.get_result::<DeploymentRow>(conn).await.optional()? else { return Ok(None) };
        let present = row.read(&db.keys)?;
        let row: DeploymentRow = match present.state {
            State::Queued => {
                let revision = present.revision;
                let canceled = present.cancel(now).map_err(Fault::defect)?;
                let changes = (Progress::of(&canceled, &db.keys)?, deployments::revision.eq(revision + 1));
                let canceled = diesel::update(own).set(changes).returning(DeploymentRow::as_returning());
                canceled.get_result(conn).await?
            }
            State::Cloning { .. } | State::Building { .. } | State::Uploading { .. } => {
                let word = deployments::cancel_requested.eq(true);
                let left = diesel::update(own).set(word).returning(DeploymentRow::as_returning());
                left.get_result(conn).await?
            }
            State::Ready { .. } | State::Failed { .. } | State::Canceled { .. } => return Ok(Some(present)),
        };
        Ok(Some(row.read(&db.keys)?))
    })
}

pub(super) async fn take_unannounced(
    db: &Database,
    quiet: Duration,
    limit: u32,
) -> Result<Vec<DeploymentId>, StoreError> {
    transact!(db, "taking deployments to announce", |conn| {
        let query = deployments::table
            .filter(Unfinished)
            .filter(deployments::lease_until.le(dialect::now()))
            .filter(deployments::announced_at.le(dialect::ago(quiet)))
            .order(deployments::seq)
            .limit(limit.into())
            .select((deployments::seq, deployments::id));
        let due = unlocked_only(query).load::<(i64, String)>(conn).await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<i64> = due.iter().map(|(seq, _)| *seq).collect();
        diesel::update(deployments::table.filter(deployments::seq.eq_any(&numbers)))
            .set(deployments::announced_at.eq(dialect::now()))
            .execute(conn)
            .await?;
        due.iter().map(|(_, id)| parsed("deployments.id", id)).collect()
    })
}

pub(super) async fn abandon(db: &Database, worker: &str) -> Result<u64, StoreError> {
    change!(db, "ending the leases of a worker", |conn| {
        let held = deployments::table.filter(Unfinished).filter(deployments::lease_worker.eq(worker));
        let ended = diesel::update(held).set((
            deployments::lease_worker.eq(None::<String>),
            deployments::lease_until.eq(0),
            deployments::announced_at.eq(0),
        ));
        Ok(ended.execute(conn).await? as u64)
    })
}
