//! The database as a whole: every table's port, its schema and its health.

use crate::ports::accounts::{Sessions, Tokens, Users};
use crate::ports::deployments::Deployments;
use crate::ports::error::StoreError;
use crate::ports::hosts::Hosts;
use crate::ports::projects::Projects;
use crate::ports::variables::ProjectVariables;
use async_trait::async_trait;
use time::OffsetDateTime;

pub trait Database:
    Users + Sessions + Tokens + Projects + ProjectVariables + Deployments + Hosts + Schema
{
}

impl<T: Users + Sessions + Tokens + Projects + ProjectVariables + Deployments + Hosts + Schema> Database
    for T
{
}

#[async_trait]
pub trait Schema: Send + Sync {
    /// Brings the schema to this binary's version, under a lock that holds across processes.
    /// Returns the names of the migrations that it ran.
    async fn migrate(&self) -> Result<Vec<String>, StoreError>;

    /// The names of the migrations that are still to run.
    async fn pending(&self) -> Result<Vec<String>, StoreError>;

    /// Answers when the database does.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What answers, and what time it has.
    async fn server(&self) -> Result<Server, StoreError>;

    /// Writes a row and takes it back within one transaction: nothing of it stays. The schema must be
    /// this binary's.
    async fn rehearse(&self) -> Result<(), StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Product and version, such as `PostgreSQL 17.2`.
    pub name: String,
    /// By its own clock, which judges leases.
    pub now: OffsetDateTime,
}
