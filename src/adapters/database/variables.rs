//! The variables of projects, sealed, and sealing anew by another key.
//!
//! A row is one name for one target. Targets that were set together have the very same sealed text, by
//! which they are one variable again when they are read.

use crate::adapters::database::Database;
use crate::adapters::database::dialect::locked;
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{from_word, micros, parsed, time, word};
use crate::adapters::database::schema::{deployments, project_variables, projects};
use crate::adapters::database::sealed::{self, seal};
use crate::adapters::database::{change, read, transact};
use crate::domain::deployment::Target;
use crate::domain::id::{ProjectId, UserId};
use crate::domain::sealing::{Place, SEALED, SealError, is_sealed};
use crate::domain::settings::Variables;
use crate::domain::variable::{ProjectVariable, VariableName, weight};
use crate::ports::error::StoreError;
use crate::ports::variables::{KeyTrial, ProjectVariables, PutVariable, Resealed};
use async_trait::async_trait;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::HashSet;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = project_variables)]
struct VariableRow {
    project: String,
    name: String,
    target: String,
    value: String,
    secret: bool,
    updated_at: i64,
}

impl Database {
    fn opened(&self, account: UserId, row: &VariableRow) -> Result<ProjectVariable, Fault> {
        let project = parsed("project_variables.project", &row.project)?;
        let place = Place::variable(account, project, &row.name);
        Ok(ProjectVariable {
            name: parsed("project_variables.name", &row.name)?,
            value: self.keys.open(&row.value, &place)?,
            targets: vec![from_word("project_variables.target", &row.target)?],
            secret: row.secret,
            updated_at: time("project_variables.updated_at", row.updated_at)?,
        })
    }

    /// Rows of one name and one sealed text are one variable.
    fn joined(&self, account: UserId, rows: &[VariableRow]) -> Result<Vec<ProjectVariable>, Fault> {
        let mut joined: Vec<ProjectVariable> = Vec::new();
        let mut last: Option<&VariableRow> = None;
        for row in rows {
            let same = last.is_some_and(|last| (&last.name, &last.value) == (&row.name, &row.value));
            match joined.last_mut().filter(|_| same) {
                Some(variable) => {
                    variable.targets.push(from_word("project_variables.target", &row.target)?);
                }
                None => joined.push(self.opened(account, row)?),
            }
            last = Some(row);
        }
        // `preview` comes before `production` in a table.
        joined.iter_mut().for_each(|variable| variable.targets.reverse());
        Ok(joined)
    }
}

#[async_trait]
impl ProjectVariables for Database {
    async fn put_variable(
        &self,
        account: UserId,
        project: ProjectId,
        variable: &ProjectVariable,
    ) -> Result<PutVariable, StoreError> {
        let place = Place::variable(account, project, variable.name.as_str());
        let (owner, project_id) = (account.to_string(), project.to_string());
        transact!(self, "storing a variable", |conn| {
            let own = projects::table
                .filter(projects::id.eq(&project_id).and(projects::account.eq(&owner)))
                .select(projects::id);
            // The lock is on what is counted below, too.
            if locked(own).get_result::<String>(conn).await.optional()?.is_none() {
                return Ok(PutVariable::NotFound);
            }
            let all = project_variables::table
                .filter(project_variables::project.eq(&project_id))
                .select(VariableRow::as_select());
            let present = all.load::<VariableRow>(conn).await?;
            let name = variable.name.as_str();
            let names: HashSet<&str> = present.iter().map(|row| row.name.as_str()).chain([name]).collect();
            if names.len() > Variables::MAX_COUNT {
                return Ok(PutVariable::TooMany);
            }
            for target in &variable.targets {
                let target = word(target)?;
                let others = present.iter().filter(|row| row.target == target && row.name != name);
                let others = others.map(|row| self.opened(account, row));
                let others = others.collect::<Result<Vec<_>, Fault>>()?;
                let others = others.iter().map(|other| (other.name.as_str(), other.value.expose()));
                if weight(others.chain([(name, variable.value.expose())])) > Variables::MAX_BYTES {
                    return Ok(PutVariable::TooLarge);
                }
            }
            let value = seal(variable.value.expose(), &place, &self.keys)?;
            for target in &variable.targets {
                let row = VariableRow {
                    project: project_id.clone(),
                    name: name.to_owned(),
                    target: word(target)?,
                    value: value.clone(),
                    secret: variable.secret,
                    updated_at: micros(variable.updated_at),
                };
                let old = project_variables::table.find((&row.project, &row.name, &row.target));
                diesel::delete(old).execute(conn).await?;
                diesel::insert_into(project_variables::table).values(&row).execute(conn).await?;
            }
            Ok(PutVariable::Stored)
        })
    }

    async fn delete_variable(
        &self,
        account: UserId,
        project: ProjectId,
        name: &VariableName,
        target: Option<Target>,
    ) -> Result<bool, StoreError> {
        let (account, project) = (account.to_string(), project.to_string());
        let targets = target.map_or(vec![Target::Production, Target::Preview], |target| vec![target]);
        change!(self, "deleting a variable", |conn| {
            let words = targets.iter().map(word).collect::<Result<Vec<_>, Fault>>()?;
            let own = projects::table
                .filter(projects::id.eq(&project).and(projects::account.eq(&account)))
                .select(projects::id);
            let rows = project_variables::table
                .filter(project_variables::project.eq_any(own))
                .filter(project_variables::name.eq(name.as_str()))
                .filter(project_variables::target.eq_any(words));
            Ok(diesel::delete(rows).execute(conn).await? > 0)
        })
    }

    async fn list_variables(
        &self,
        account: UserId,
        project: ProjectId,
        target: Option<Target>,
    ) -> Result<Vec<ProjectVariable>, StoreError> {
        let (owner, project) = (account.to_string(), project.to_string());
        read!(self, "listing variables", |conn| {
            let own = projects::table
                .filter(projects::id.eq(&project).and(projects::account.eq(&owner)))
                .select(projects::id);
            let mut query = project_variables::table
                .filter(project_variables::project.eq_any(own))
                .order((project_variables::name, project_variables::target))
                .select(VariableRow::as_select())
                .into_boxed();
            if let Some(target) = target {
                query = query.filter(project_variables::target.eq(word(&target)?));
            }
            self.joined(account, &query.load::<VariableRow>(conn).await?)
        })
    }

    async fn reseal(&self, limit: u32) -> Result<Resealed, StoreError> {
        let variables = reseal_variables(self, limit).await?;
        let rest = limit.saturating_sub(u32::try_from(variables).unwrap_or(u32::MAX));
        let deployments = if rest > 0 { reseal_deployments(self, rest).await? } else { 0 };
        Ok(Resealed { variables, deployments })
    }

    async fn try_keys(&self) -> Result<KeyTrial, StoreError> {
        let mut trial = KeyTrial::Nothing;
        for others in [true, false] {
            for found in [sealed_variable(self, others).await?, sealed_deployment(self, others).await?] {
                let Some((text, place)) = found else { continue };
                match self.keys.open(&text, &place) {
                    Ok(_) => trial = KeyTrial::Opens,
                    Err(error) => return Ok(KeyTrial::Refused(error)),
                }
            }
        }
        Ok(trial)
    }
}

/// Deployments are looked at so far back: there may be millions, and no index knows which are sealed.
const TRIED: i64 = 10_000;

type SealedText = (String, Place);

/// A variable, where `others` is set one that none of the keys has sealed.
async fn sealed_variable(db: &Database, others: bool) -> Result<Option<SealedText>, StoreError> {
    read!(db, "looking for a sealed variable", |conn| {
        let mut query = project_variables::table
            .inner_join(projects::table.on(projects::id.eq(project_variables::project)))
            .filter(project_variables::value.like(format!("{SEALED}%")))
            .select((
                project_variables::value,
                projects::account,
                project_variables::project,
                project_variables::name,
            ))
            .into_boxed();
        for prefix in db.keys.prefixes().filter(|_| others) {
            query = query.filter(project_variables::value.not_like(pattern(&prefix)).escape('\\'));
        }
        let found = query.first::<(String, String, String, String)>(conn).await.optional()?;
        let Some((text, account, project, name)) = found else { return Ok(None) };
        let (account, project) =
            (parsed("projects.account", &account)?, parsed("project_variables.project", &project)?);
        Ok(Some((text, Place::variable(account, project, &name))))
    })
}

/// The variables of one of the newest deployments, in the same way.
async fn sealed_deployment(db: &Database, others: bool) -> Result<Option<SealedText>, StoreError> {
    read!(db, "looking for a sealed deployment", |conn| {
        let newest = deployments::table.select(max(deployments::seq));
        let newest = newest.get_result::<Option<i64>>(conn).await?.unwrap_or_default();
        let mut query = deployments::table
            .filter(deployments::seq.gt(newest - TRIED))
            .filter(deployments::env.like(format!("{SEALED}%")))
            .select((deployments::env, deployments::account, deployments::id))
            .into_boxed();
        for prefix in db.keys.prefixes().filter(|_| others) {
            query = query.filter(deployments::env.not_like(pattern(&prefix)).escape('\\'));
        }
        let found = query.first::<(String, String, String)>(conn).await.optional()?;
        let Some((text, account, id)) = found else { return Ok(None) };
        let (account, id) = (parsed("deployments.account", &account)?, parsed("deployments.id", &id)?);
        Ok(Some((text, Place::deployment(account, id, sealed::ENV))))
    })
}

/// What texts look like that are as they should be.
fn newest(db: &Database) -> Result<String, Fault> {
    Ok(pattern(&db.keys.newest_prefix().ok_or(SealError::NoKey)?))
}

/// Ids of keys may have `_`, which stands for any character in a pattern.
fn pattern(prefix: &str) -> String {
    format!("{}%", prefix.replace('_', "\\_"))
}

async fn reseal_variables(db: &Database, limit: u32) -> Result<u64, StoreError> {
    transact!(db, "sealing variables anew", |conn| {
        let query = project_variables::table
            .inner_join(projects::table.on(projects::id.eq(project_variables::project)))
            .filter(project_variables::value.not_like(newest(db)?).escape('\\'))
            .order((project_variables::project, project_variables::name))
            .limit(limit.into())
            .select((VariableRow::as_select(), projects::account));
        let rows = query.load::<(VariableRow, String)>(conn).await?;
        let mut done = HashSet::new();
        let mut changed = 0;
        for (row, account) in &rows {
            // Targets that share a text go on sharing one.
            if !done.insert((&row.project, &row.name, &row.value)) {
                continue;
            }
            let account = parsed("projects.account", account)?;
            let opened = db.opened(account, row)?;
            let project = parsed("project_variables.project", &row.project)?;
            let place = Place::variable(account, project, &row.name);
            let value = seal(opened.value.expose(), &place, &db.keys)?;
            let same = project_variables::table
                .filter(project_variables::project.eq(&row.project))
                .filter(project_variables::name.eq(&row.name))
                // Whoever set it meanwhile sealed it by the first key.
                .filter(project_variables::value.eq(&row.value));
            let set = diesel::update(same).set(project_variables::value.eq(value));
            changed += set.execute(conn).await? as u64;
        }
        Ok(changed)
    })
}

/// Whoever holds a deployment writes it sealed by the first key anyhow: what changes meanwhile is left.
async fn reseal_deployments(db: &Database, limit: u32) -> Result<u64, StoreError> {
    transact!(db, "sealing deployments anew", |conn| {
        let pattern = newest(db)?;
        let env = deployments::env.ne("{}").and(deployments::env.not_like(&pattern).escape('\\'));
        let token = deployments::git_token
            .is_not_null()
            .and(deployments::git_token.not_like(&pattern).escape('\\').assume_not_null());
        let query =
            deployments::table.filter(env.or(token)).order(deployments::seq).limit(limit.into()).select((
                deployments::id,
                deployments::account,
                deployments::seq,
                deployments::env,
                deployments::git_token,
            ));
        let rows = query.load::<(String, String, i64, String, Option<String>)>(conn).await?;
        let mut changed = 0;
        for (id, account, seq, env, token) in &rows {
            let owner = (parsed("deployments.account", account)?, parsed("deployments.id", id)?);
            let part = |text: &str, part: &str| {
                let place = Place::deployment(owner.0, owner.1, part);
                let plain = match is_sealed(text) {
                    true => db.keys.open(text, &place)?.expose().to_owned(),
                    false => text.to_owned(),
                };
                seal(&plain, &place, &db.keys)
            };
            let row = || deployments::table.filter(deployments::seq.eq(seq));
            if env != "{}" {
                let set = deployments::env.eq(part(env, sealed::ENV)?);
                changed +=
                    diesel::update(row().filter(deployments::env.eq(env))).set(set).execute(conn).await?
                        as u64;
            }
            if let Some(token) = token {
                let set = deployments::git_token.eq(part(token, sealed::TOKEN)?);
                let unchanged = row().filter(deployments::git_token.eq(token));
                changed += diesel::update(unchanged).set(set).execute(conn).await? as u64;
            }
        }
        Ok(changed)
    })
}
