//! How long a use case waits for one answer from outside: a stuck store must not hold its caller
//! for ever. Start with [`within`].

use crate::ports::error::{StoreError, StoreErrorKind};
use std::time::Duration;

/// For one statement of the database.
pub const DATABASE: Duration = Duration::from_secs(10);
/// For one small object: a pointer, a deletion.
pub const OBJECT: Duration = Duration::from_secs(10);
/// For a finished log, which is megabytes at most.
pub const STORED_LOG: Duration = Duration::from_secs(60);
/// How long a change that is made for good is waited for until it is seen, which goes on without its
/// caller: less than a client waits for an answer, since who asks again changes something else.
pub const AFTERMATH: Duration = Duration::from_secs(2);
/// For what has a net below it: a bell, a notice, a cached pointer, live lines.
pub const COURTESY: Duration = Duration::from_secs(1);

/// The call's own answer, or [`StoreErrorKind::Unavailable`] once `limit` has passed.
pub async fn within<T>(
    limit: Duration,
    doing: &str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(StoreError::new(StoreErrorKind::Unavailable, doing, elapsed)),
    }
}
