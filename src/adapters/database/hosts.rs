//! Hosts and their moves.
//!
//! All moves of a project's hosts take turns by the lock on the project's row; hosts that two
//! projects want are settled by their own rows. Start with [`choose`], then `assign`.

use crate::adapters::database::Database;
use crate::adapters::database::dialect::{self, locked};
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{from_word, parsed, parsed_if_any, word};
use crate::adapters::database::schema::{deployments, hosts, projects};
use crate::adapters::database::{change, read, transact};
use crate::domain::deployment::Deployment;
use crate::domain::host::{HostClaim, HostRecord, Hostname};
use crate::domain::id::DeploymentId;
use crate::ports::error::StoreError;
use crate::ports::hosts::{Hosts, Lifted};
use async_trait::async_trait;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;

/// More moves than a host makes between two backups.
const LIFT: i64 = 1_000_000;

#[derive(Clone, Debug, Default, Queryable, Selectable, Insertable)]
#[diesel(table_name = hosts, treat_none_as_default_value = false)]
pub(super) struct HostRow {
    pub(super) host: String,
    pub(super) kind: String,
    pub(super) project: Option<String>,
    pub(super) account: Option<String>,
    pub(super) deployment: Option<String>,
    pub(super) revision: i64,
    pub(super) as_of: i64,
    pub(super) published: i64,
}

impl TryFrom<HostRow> for HostRecord {
    type Error = Fault;

    fn try_from(row: HostRow) -> Result<Self, Fault> {
        Ok(Self {
            host: parsed("hosts.host", &row.host)?,
            kind: from_word("hosts.kind", &row.kind)?,
            project: parsed_if_any("hosts.project", row.project.as_deref())?,
            account: parsed_if_any("hosts.account", row.account.as_deref())?,
            deployment: parsed_if_any("hosts.deployment", row.deployment.as_deref())?,
            revision: row.revision,
            as_of: row.as_of,
            published: row.published,
        })
    }
}

/// Which of a claim's candidates it gets.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    /// Nobody ever had it.
    New(&'a str),
    /// Its project was deleted.
    Free(&'a HostRow),
    /// The project has it already, for the same purpose.
    Own(&'a HostRow),
}

/// What the project has already goes first, wherever it stands among the candidates: a better name
/// that became free must not leave it with two hosts, one of them forgotten.
pub(super) fn choose<'a>(
    candidates: &[&'a str],
    rows: &'a [HostRow],
    kind: &str,
    project: &str,
) -> Option<Choice<'a>> {
    let row = |name: &str| rows.iter().find(|row| row.host == name);
    let own = candidates
        .iter()
        .filter_map(|name| row(name))
        .find(|row| row.project.as_deref() == Some(project) && row.kind == kind);
    own.map(Choice::Own).or_else(|| {
        candidates.iter().find_map(|name| match row(name) {
            None => Some(Choice::New(name)),
            Some(row) if row.project.is_none() => Some(Choice::Free(row)),
            Some(_) => None,
        })
    })
}

#[async_trait]
impl Hosts for Database {
    async fn assign(
        &self,
        deployment: &Deployment,
        claims: &[HostClaim],
    ) -> Result<Option<Vec<HostRecord>>, StoreError> {
        let (id, seq) = (deployment.id.to_string(), deployment.seq);
        let (project, account) = (deployment.project.to_string(), deployment.account.to_string());
        transact!(self, "pointing hosts at a deployment", |conn| {
            locked(projects::table.find(&project).select(projects::id)).load::<String>(conn).await?;
            let present = deployments::table
                .filter(deployments::id.eq(&id).and(deployments::revision.eq(deployment.revision)))
                .select(deployments::seq);
            if locked(present).load::<i64>(conn).await?.is_empty() {
                return Ok(None);
            }
            let mut shown = Vec::with_capacity(claims.len());
            for claim in claims {
                let kind = word(&claim.kind)?;
                let candidates = claim.candidates.each_ref().map(Hostname::as_str);
                // A host that another project takes meanwhile is seen as taken in the next round.
                for _ in 0..=candidates.len() {
                    let query =
                        hosts::table.filter(hosts::host.eq_any(candidates)).select(HostRow::as_select());
                    let rows = locked(query).load::<HostRow>(conn).await?;
                    let name = match choose(&candidates, &rows, &kind, &project) {
                        None => break,
                        Some(Choice::Own(row)) if row.deployment.as_deref() == Some(&id) => {
                            shown.push(row.clone());
                            break;
                        }
                        Some(Choice::Own(row)) if row.as_of >= seq => break,
                        Some(Choice::Own(row) | Choice::Free(row)) => {
                            let moved = diesel::update(hosts::table.find(&row.host))
                                .set((
                                    hosts::kind.eq(&kind),
                                    hosts::project.eq(&project),
                                    hosts::account.eq(&account),
                                    hosts::deployment.eq(&id),
                                    hosts::revision.eq(hosts::revision + 1),
                                    hosts::as_of.eq(seq),
                                    hosts::moved_at.eq(dialect::now()),
                                ))
                                .returning(HostRow::as_returning());
                            shown.push(moved.get_result(conn).await?);
                            break;
                        }
                        Some(Choice::New(name)) => name,
                    };
                    let row = HostRow {
                        host: name.to_owned(),
                        kind: kind.clone(),
                        project: Some(project.clone()),
                        account: Some(account.clone()),
                        deployment: Some(id.clone()),
                        revision: 1,
                        as_of: seq,
                        published: 0,
                    };
                    let new = diesel::insert_into(hosts::table)
                        .values((&row, hosts::moved_at.eq(dialect::now())))
                        .on_conflict_do_nothing();
                    if new.execute(conn).await? > 0 {
                        shown.push(row);
                        break;
                    }
                }
            }
            Ok(Some(shown.into_iter().map(HostRecord::try_from).collect::<Result<_, Fault>>()?))
        })
    }

    async fn point(
        &self,
        host: &Hostname,
        deployment: &Deployment,
    ) -> Result<Option<HostRecord>, StoreError> {
        let (id, project) = (deployment.id.to_string(), deployment.project.to_string());
        transact!(self, "pointing a host at a deployment", |conn| {
            locked(projects::table.find(&project).select(projects::id)).load::<String>(conn).await?;
            let ready = deployments::table
                .filter(deployments::id.eq(&id).and(deployments::project.eq(&project)))
                .filter(deployments::state.eq("ready"))
                .select(deployments::seq);
            if locked(ready).load::<i64>(conn).await?.is_empty() {
                return Ok(None);
            }
            let newest = deployments::table
                .filter(deployments::project.eq(&project))
                .select(max(deployments::seq))
                .get_result::<Option<i64>>(conn)
                .await?;
            let own = hosts::table
                .filter(hosts::host.eq(host.as_str()).and(hosts::project.eq(&project)))
                .select(HostRow::as_select());
            let Some(row) = locked(own).get_result::<HostRow>(conn).await.optional()? else {
                return Ok(None);
            };
            let as_of = newest.unwrap_or_default().max(row.as_of);
            // To where it is already is no move: what was published stays so.
            let moved = (row.deployment.as_deref() != Some(&id)).then_some((
                hosts::deployment.eq(&id),
                hosts::revision.eq(hosts::revision + 1),
                hosts::moved_at.eq(dialect::now()),
            ));
            let moved = diesel::update(hosts::table.find(host.as_str()))
                .set((hosts::as_of.eq(as_of), moved))
                .returning(HostRow::as_returning());
            Ok(Some(moved.get_result::<HostRow>(conn).await?.try_into()?))
        })
    }

    async fn find_host(&self, host: &Hostname) -> Result<Option<HostRecord>, StoreError> {
        read!(self, "reading a host", |conn| {
            let query = hosts::table.find(host.as_str()).select(HostRow::as_select());
            query.first(conn).await.optional()?.map(HostRecord::try_from).transpose()
        })
    }

    async fn hosts_of(&self, deployments: &[DeploymentId]) -> Result<Vec<HostRecord>, StoreError> {
        let ids: Vec<String> = deployments.iter().map(ToString::to_string).collect();
        read!(self, "reading the hosts of deployments", |conn| {
            let query = hosts::table
                .filter(hosts::deployment.eq_any(&ids))
                .order(hosts::host)
                .select(HostRow::as_select());
            query.load(conn).await?.into_iter().map(HostRecord::try_from).collect()
        })
    }

    async fn unpublished(&self, age: Duration, limit: u32) -> Result<Vec<HostRecord>, StoreError> {
        read!(self, "reading hosts that are to be published", |conn| {
            let query = hosts::table
                .filter(hosts::published.lt(hosts::revision))
                .filter(hosts::moved_at.le(dialect::ago(age)))
                .order((hosts::moved_at, hosts::host))
                .limit(limit.into())
                .select(HostRow::as_select());
            query.load(conn).await?.into_iter().map(HostRecord::try_from).collect()
        })
    }

    async fn lift_host(&self, host: &Hostname, published: i64) -> Result<Option<HostRecord>, StoreError> {
        let lifted = change!(self, "lifting a host", |conn| {
            // Judged anew where a move was waited for: who is above by now is left alone.
            let behind =
                hosts::table.filter(hosts::host.eq(host.as_str()).and(hosts::revision.le(published)));
            let lifted = diesel::update(behind)
                .set((hosts::revision.eq(published.saturating_add(1)), hosts::moved_at.eq(dialect::now())))
                .returning(HostRow::as_returning());
            lifted.get_result::<HostRow>(conn).await.optional()?.map(HostRecord::try_from).transpose()
        })?;
        match lifted {
            Some(lifted) => Ok(Some(lifted)),
            None => self.find_host(host).await,
        }
    }

    async fn lift_hosts(&self, after: Option<&Hostname>, limit: u32) -> Result<Option<Lifted>, StoreError> {
        // Every name is greater than the empty one.
        let after = after.map_or("", Hostname::as_str);
        transact!(self, "lifting hosts", |conn| {
            let query = hosts::table
                .filter(hosts::host.gt(after))
                .order(hosts::host)
                .limit(limit.into())
                .select(hosts::host);
            let names = query.load::<String>(conn).await?;
            let Some(last) = names.last() else { return Ok(None) };
            let page = || hosts::table.filter(hosts::host.gt(after).and(hosts::host.le(last)));
            let lifted = hosts::revision.eq(hosts::revision + LIFT);
            let count = diesel::update(page()).set(lifted).execute(conn).await? as u64;
            let below = page().filter(hosts::revision.lt(dialect::now()));
            diesel::update(below).set(hosts::revision.eq(dialect::now())).execute(conn).await?;
            Ok(Some(Lifted { count, last: parsed("hosts.host", last)? }))
        })
    }

    async fn mark_published(&self, host: &Hostname, revision: i64) -> Result<(), StoreError> {
        change!(self, "noting that a host is published", |conn| {
            let older = hosts::table
                .filter(hosts::host.eq(host.as_str()))
                .filter(hosts::published.lt(revision).and(hosts::revision.ge(revision)));
            diesel::update(older).set(hosts::published.eq(revision)).execute(conn).await?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host: &str, kind: &str, project: Option<&str>) -> HostRow {
        HostRow {
            host: host.into(),
            kind: kind.into(),
            project: project.map(Into::into),
            ..HostRow::default()
        }
    }

    #[test]
    fn a_project_keeps_its_second_choice_when_the_first_becomes_free() {
        let rows = [row("blog-1", "production", Some("mine")), row("blog", "production", None)];
        let choice = choose(&["blog", "blog-1"], &rows, "production", "mine");
        assert!(matches!(choice, Some(Choice::Own(row)) if row.host == "blog-1"), "{choice:?}");
    }

    #[test]
    fn the_first_name_that_is_new_or_free_is_chosen() {
        let choice = choose(&["a", "b"], &[], "branch", "mine");
        assert!(matches!(choice, Some(Choice::New("a"))), "{choice:?}");
        let rows = [row("a", "branch", Some("theirs")), row("b", "branch", None)];
        let choice = choose(&["a", "b"], &rows, "branch", "mine");
        assert!(matches!(choice, Some(Choice::Free(row)) if row.host == "b"), "{choice:?}");
    }

    #[test]
    fn what_others_have_or_serves_another_purpose_is_not_taken() {
        let rows = [row("a", "branch", Some("theirs")), row("b", "production", Some("mine"))];
        assert!(choose(&["a", "b"], &rows, "branch", "mine").is_none());
    }
}
