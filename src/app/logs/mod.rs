//! A deployment's log: written by the worker that holds it, followed by anybody who may see it.
//!
//! While it runs, lines live in the capped stream of `ports::live_logs`; before a deployment ends,
//! the whole log is stored as one object. So a reader that sees the deployment ended finds all of it.
//!
//! The live stream is optional. A writer keeps every line in memory and says with each batch what it
//! follows: a stream that was emptied meanwhile gets all of them again, from the first one on. While
//! the stream takes none (gone, silent, full, closed by a worker that woke too late), the writer
//! stores the log so far under the object's own key, every two seconds, or less often when it is
//! long. A follower looks there when the live stream cannot be read or has been saying nothing for a
//! while. Both sources give the log from its first line on, and numbers rise, so that whoever goes
//! from one to the other gets each line once. Only what a killed worker had sent and nowhere stored
//! is out of reach while the stream is: the next attempt takes it in when the stream is back.
//!
//! Start with [`LogWriter`], then `App::read_log` in `reader`. `lines` is what a writer keeps,
//! `sender` its task, `text` and `mask` what a line goes through, `secrets` and `forms` what is hidden, `stored` the
//! form of the object.

mod forms;
mod lines;
mod mask;
mod reader;
mod secrets;
mod sender;
mod stored;
mod text;
mod writer;

pub use reader::LogEvent;
pub use secrets::{of_operator, of_project};
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
