//! What `/readyz` asks each role's ports. Queue and cache are optional: the one is only a bell, and
//! whatever the other knows can be found out without it.

use crate::ops::Check;
use crate::ports::blobs::Blobs;
use crate::ports::cache::Cache;
use crate::ports::database::Database;
use crate::ports::error::StoreError;
use crate::ports::executor::Executor;
use crate::ports::queue::Queue;
use std::sync::Arc;

pub fn database(port: &Arc<dyn Database>) -> Check {
    let port = port.clone();
    Check::new("database", move || {
        let port = port.clone();
        async move {
            answer(port.ping().await)?;
            match port.pending().await.map_err(|error| error.to_string())?.len() {
                0 => Ok("answers, schema up to date".to_owned()),
                count => Err(format!("{count} migrations to run: gv migrate")),
            }
        }
    })
}

pub fn queue(port: &Arc<dyn Queue>) -> Check {
    let port = port.clone();
    Check::new("queue", move || {
        let port = port.clone();
        async move { answer(port.ping().await) }
    })
    .optional()
}

pub fn cache(port: &Arc<dyn Cache>) -> Check {
    let port = port.clone();
    Check::new("cache", move || {
        let port = port.clone();
        async move { answer(port.ping().await) }
    })
    .optional()
}

pub fn blobs(port: &Arc<dyn Blobs>) -> Check {
    let port = port.clone();
    Check::new("blobs", move || {
        let port = port.clone();
        async move {
            let answers = answer(port.ping().await)?;
            Ok(port.caution().map_or(answers.clone(), |caution| format!("{answers}, but {caution}")))
        }
    })
}

/// Says how builds are held. A worker that cannot hold them does not start.
pub fn sandbox(port: &Arc<dyn Executor>) -> Check {
    let mode = port.mode();
    let text = if port.is_sandbox() { mode.to_owned() } else { format!("{mode}: builds are not held") };
    Check::new("sandbox", move || std::future::ready(Ok(text.clone())))
}

fn answer(outcome: Result<(), StoreError>) -> Result<String, String> {
    outcome.map(|()| "answers".to_owned()).map_err(|error| error.to_string())
}
