//! Projects.

use crate::adapters::database::Database;
use crate::adapters::database::dialect::{self, locked};
use crate::adapters::database::fault::Fault;
use crate::adapters::database::hosts::{Choice, HostRow, choose};
use crate::adapters::database::rows::{from_json, json, micros, parsed, parsed_if_any, time, word};
use crate::adapters::database::schema::{deployments, hosts, projects};
use crate::adapters::database::{read, transact};
use crate::domain::host::{HostClaim, HostRecord, Hostname};
use crate::domain::id::{ProjectId, UserId};
use crate::domain::project::{Project, ProjectName};
use crate::domain::repo::RepoUrl;
use crate::ports::error::StoreError;
use crate::ports::projects::{ProjectDeletion, Projects};
use async_trait::async_trait;
use diesel::dsl::not;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = projects, treat_none_as_default_value = false)]
struct ProjectRow {
    id: String,
    account: String,
    name: String,
    host: String,
    repo_url: Option<String>,
    production_branch: Option<String>,
    framework: Option<String>,
    settings: String,
    created_at: i64,
}

impl TryFrom<&Project> for ProjectRow {
    type Error = Fault;

    fn try_from(project: &Project) -> Result<Self, Fault> {
        Ok(Self {
            id: project.id.to_string(),
            account: project.account.to_string(),
            name: project.name.to_string(),
            host: project.host.to_string(),
            repo_url: project.repo_url.as_ref().map(ToString::to_string),
            production_branch: project.production_branch.clone(),
            framework: project.framework.clone(),
            settings: json(&project.settings)?,
            created_at: micros(project.created_at),
        })
    }
}

impl TryFrom<ProjectRow> for Project {
    type Error = Fault;

    fn try_from(row: ProjectRow) -> Result<Self, Fault> {
        Ok(Self {
            id: parsed("projects.id", &row.id)?,
            account: parsed("projects.account", &row.account)?,
            name: parsed("projects.name", &row.name)?,
            host: parsed("projects.host", &row.host)?,
            repo_url: parsed_if_any("projects.repo_url", row.repo_url.as_deref())?,
            production_branch: row.production_branch,
            framework: row.framework,
            settings: from_json("projects.settings", &row.settings)?,
            created_at: time("projects.created_at", row.created_at)?,
        })
    }
}

#[async_trait]
impl Projects for Database {
    async fn insert_project(&self, project: Project, host: &HostClaim) -> Result<Project, StoreError> {
        let project_id = project.id.to_string();
        let account = project.account.to_string();
        let candidates = host.candidates.each_ref().map(Hostname::as_str);
        transact!(self, "storing a project", |conn| {
            let kind = word(&host.kind)?;
            let row = ProjectRow::try_from(&project)?;
            diesel::insert_into(projects::table).values(&row).execute(conn).await?;
            // A host that another project takes meanwhile is seen as taken in the next round.
            for _ in 0..=candidates.len() {
                let query = hosts::table.filter(hosts::host.eq_any(candidates)).select(HostRow::as_select());
                let rows = locked(query).load::<HostRow>(conn).await?;
                let (chosen, claimed) = match choose(&candidates, &rows, &kind, &project_id) {
                    None => return Err(Fault::conflict("another project has this production host")),
                    Some(Choice::New(name)) => {
                        let row = HostRow {
                            host: name.to_owned(),
                            kind: kind.clone(),
                            project: Some(project_id.clone()),
                            account: Some(account.clone()),
                            ..HostRow::default()
                        };
                        let new = diesel::insert_into(hosts::table)
                            .values((&row, hosts::moved_at.eq(dialect::now())))
                            .on_conflict_do_nothing();
                        (name, new.execute(conn).await?)
                    }
                    Some(Choice::Free(row) | Choice::Own(row)) => {
                        let taken = diesel::update(hosts::table.find(&row.host)).set((
                            hosts::kind.eq(&kind),
                            hosts::project.eq(&project_id),
                            hosts::account.eq(&account),
                            hosts::as_of.eq(0),
                        ));
                        (row.host.as_str(), taken.execute(conn).await?)
                    }
                };
                if claimed > 0 {
                    let stored = diesel::update(projects::table.find(&project_id))
                        .set(projects::host.eq(chosen))
                        .returning(ProjectRow::as_returning());
                    return stored.get_result(conn).await?.try_into();
                }
            }
            Err(Fault::conflict("other projects are taking this production host"))
        })
    }

    async fn find_project(&self, account: UserId, name: &ProjectName) -> Result<Option<Project>, StoreError> {
        let account = account.to_string();
        read!(self, "reading a project", |conn| {
            let query = projects::table
                .filter(projects::account.eq(&account).and(projects::name.eq(name.as_str())))
                .select(ProjectRow::as_select());
            query.first(conn).await.optional()?.map(Project::try_from).transpose()
        })
    }

    async fn find_project_by_repo(
        &self,
        account: UserId,
        repo_url: &RepoUrl,
    ) -> Result<Option<Project>, StoreError> {
        let account = account.to_string();
        read!(self, "reading a project by its repository", |conn| {
            let query = projects::table
                .filter(projects::account.eq(&account).and(projects::repo_url.eq(repo_url.as_str())))
                .order((projects::created_at, projects::id))
                .select(ProjectRow::as_select());
            query.first(conn).await.optional()?.map(Project::try_from).transpose()
        })
    }

    async fn list_projects(
        &self,
        account: UserId,
        after: Option<&ProjectName>,
        limit: u32,
    ) -> Result<Vec<Project>, StoreError> {
        let account = account.to_string();
        // Every name is greater than the empty one.
        let after = after.map_or("", ProjectName::as_str);
        read!(self, "listing projects", |conn| {
            let query = projects::table
                .filter(projects::account.eq(&account).and(projects::name.gt(after)))
                .order(projects::name)
                .limit(limit.into())
                .select(ProjectRow::as_select());
            query.load(conn).await?.into_iter().map(Project::try_from).collect()
        })
    }

    async fn note_build(
        &self,
        id: ProjectId,
        framework: Option<&str>,
        default_branch: Option<&str>,
    ) -> Result<(), StoreError> {
        let id = id.to_string();
        transact!(self, "noting what a build learned", |conn| {
            if let Some(framework) = framework {
                let row = projects::table.find(&id);
                diesel::update(row).set(projects::framework.eq(framework)).execute(conn).await?;
            }
            if let Some(branch) = default_branch {
                let row = projects::table
                    .filter(projects::id.eq(&id))
                    .filter(projects::production_branch.is_null());
                diesel::update(row).set(projects::production_branch.eq(branch)).execute(conn).await?;
            }
            Ok(())
        })
    }

    async fn delete_project(
        &self,
        account: UserId,
        name: &ProjectName,
    ) -> Result<ProjectDeletion, StoreError> {
        let account = account.to_string();
        transact!(self, "deleting a project", |conn| {
            // The lock keeps out new deployments of it and every other move of its hosts.
            let query = projects::table
                .filter(projects::account.eq(&account).and(projects::name.eq(name.as_str())))
                .select(projects::id);
            let found = locked(query).get_result::<String>(conn).await.optional()?;
            let Some(project) = found else { return Ok(ProjectDeletion::NotFound) };
            let busy = deployments::table
                .filter(deployments::project.eq(&project))
                .filter(not(deployments::state.eq_any(["ready", "failed", "canceled"])))
                .order(deployments::seq)
                .select(deployments::id);
            if let Some(id) = busy.first::<String>(conn).await.optional()? {
                return Ok(ProjectDeletion::Busy(parsed("deployments.id", &id)?));
            }
            let emptied = diesel::update(hosts::table.filter(hosts::project.eq(&project)))
                .set((
                    hosts::project.eq(None::<String>),
                    hosts::account.eq(None::<String>),
                    hosts::deployment.eq(None::<String>),
                    hosts::revision.eq(hosts::revision + 1),
                    hosts::moved_at.eq(dialect::now()),
                ))
                .returning(HostRow::as_returning());
            let emptied = emptied.get_results::<HostRow>(conn).await?;
            let gone = diesel::delete(deployments::table.filter(deployments::project.eq(&project)))
                .returning((deployments::seq, deployments::id));
            let mut gone = gone.get_results::<(i64, String)>(conn).await?;
            diesel::delete(projects::table.find(&project)).execute(conn).await?;
            gone.sort_unstable();
            let deployments = gone.iter().map(|(_, id)| parsed("deployments.id", id));
            let mut hosts =
                emptied.into_iter().map(HostRecord::try_from).collect::<Result<Vec<_>, Fault>>()?;
            hosts.sort_unstable_by(|one, other| one.host.cmp(&other.host));
            Ok(ProjectDeletion::Deleted { hosts, deployments: deployments.collect::<Result<_, Fault>>()? })
        })
    }
}
