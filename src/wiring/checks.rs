//! What `/readyz` asks each role's ports.

use crate::ops::{Check, Checks};
use crate::ports::blobs::Blobs;
use crate::ports::cache::Cache;
use crate::ports::database::Database;
use crate::ports::error::StoreError;
use crate::ports::executor::Executor;
use crate::ports::queue::Queue;
use async_trait::async_trait;
use std::sync::Arc;

pub fn database(port: &Arc<dyn Database>) -> Checks {
    vec![Arc::new(DatabaseCheck(port.clone()))]
}

pub fn queue(port: &Arc<dyn Queue>) -> Checks {
    vec![Arc::new(QueueCheck(port.clone()))]
}

pub fn cache(port: &Arc<dyn Cache>) -> Checks {
    vec![Arc::new(CacheCheck(port.clone()))]
}

pub fn blobs(port: &Arc<dyn Blobs>) -> Checks {
    vec![Arc::new(BlobsCheck(port.clone()))]
}

pub fn executor(port: &Arc<dyn Executor>) -> Checks {
    vec![Arc::new(ExecutorCheck(port.clone()))]
}

fn answer(outcome: Result<(), StoreError>) -> Result<String, String> {
    outcome.map(|()| "answers".to_owned()).map_err(|error| error.to_string())
}

struct DatabaseCheck(Arc<dyn Database>);

#[async_trait]
impl Check for DatabaseCheck {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<String, String> {
        answer(self.0.ping().await)?;
        let pending = self.0.pending().await.map_err(|error| error.to_string())?;
        match pending.len() {
            0 => Ok("answers, schema up to date".to_owned()),
            count => Err(format!("{count} migrations to run: gv migrate")),
        }
    }
}

struct QueueCheck(Arc<dyn Queue>);

#[async_trait]
impl Check for QueueCheck {
    fn name(&self) -> &'static str {
        "queue"
    }

    async fn check(&self) -> Result<String, String> {
        answer(self.0.ping().await)
    }
}

struct CacheCheck(Arc<dyn Cache>);

#[async_trait]
impl Check for CacheCheck {
    fn name(&self) -> &'static str {
        "cache"
    }

    async fn check(&self) -> Result<String, String> {
        answer(self.0.ping().await)
    }
}

struct BlobsCheck(Arc<dyn Blobs>);

#[async_trait]
impl Check for BlobsCheck {
    fn name(&self) -> &'static str {
        "blobs"
    }

    async fn check(&self) -> Result<String, String> {
        answer(self.0.ping().await)
    }
}

struct ExecutorCheck(Arc<dyn Executor>);

#[async_trait]
impl Check for ExecutorCheck {
    fn name(&self) -> &'static str {
        "executor"
    }

    async fn check(&self) -> Result<String, String> {
        Ok(self.0.mode().to_owned())
    }
}
