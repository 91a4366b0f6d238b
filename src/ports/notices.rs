//! Word that goes to every process at once, and may be lost: a host moved, a build is to stop.
//! Whoever listens must also look for itself from time to time.

use crate::domain::host::Pointer;
use crate::domain::id::DeploymentId;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// Edges drop what they know of this host and take this in its place.
    HostMoved { pointer: Pointer },
    /// The worker that holds this deployment looks at its row now, not at the next heartbeat.
    CancelRequested { deployment: DeploymentId },
}

#[async_trait]
pub trait Notices: Send + Sync {
    async fn publish(&self, notice: &Notice) -> Result<(), StoreError>;

    /// Hears all notices from a moment on that may come soon after this returns, and goes on by
    /// itself after a lost connection. Where it may have missed some, at its beginning too, it says
    /// [`Heard::Gap`] once it hears.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError>;
}

#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next notice. May be dropped while waiting without losing any.
    async fn next(&mut self) -> Heard;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Notice(Notice),
    /// Notices may have been missed before this point: what was concluded from silence is void.
    Gap,
}
