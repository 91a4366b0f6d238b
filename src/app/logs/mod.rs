//! A deployment's log: written by the worker that holds it, followed by anybody who may see it.
//!
//! While it runs, lines live in the capped stream of `ports::live_logs`; before a deployment ends,
//! the whole log is stored as one object. So a reader that sees the deployment ended finds all of it.
//!
//! Start with [`LogWriter`], then `App::read_log` in `reader`; `text` is what a line goes through,
//! `stored` the form of the object.

mod reader;
mod stored;
mod text;
mod writer;

pub use reader::LogEvent;
pub use writer::{LogFull, LogWriter};

use crate::app::App;
use crate::app::deadline::{COURTESY, OBJECT, within};
use crate::domain::id::DeploymentId;
use crate::ports::blobs::Key;
use crate::ports::error::StoreError;

impl App {
    /// Removes a deployment's log, finished or live.
    pub async fn forget_log(&self, id: DeploymentId) -> Result<(), StoreError> {
        // A closed stream is dropped by itself; nobody can ask for it once the row is gone.
        if let Err(error) = within(COURTESY, "closing a live log", self.live_logs.close(id)).await {
            tracing::debug!(deployment = %id, %error, "a live log is left to its own end");
        }
        within(OBJECT, "removing a log", self.blobs.delete(&Key::log(id))).await
    }
}
