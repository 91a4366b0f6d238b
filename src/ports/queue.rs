//! The bell: "deployment X waits". It may lose, repeat and reorder: the row and its lease decide
//! (see `ports::deployments`), and the sweeper rings again for whatever nobody holds.

use crate::domain::id::DeploymentId;
use crate::domain::trace::TraceContext;
use crate::ports::error::StoreError;
use async_trait::async_trait;

#[async_trait]
pub trait Queue: Send + Sync {
    /// Rings for a deployment; the announcement says as a part of which trace. Returns once the queue has it
    /// for certain (a broker's confirmation).
    async fn announce(&self, id: DeploymentId, trace: Option<TraceContext>) -> Result<(), StoreError>;

    /// Begins to listen. At most `prefetch` announcements are out at one listener unsettled.
    /// Survives the loss of a broker by itself: `next` then just takes longer.
    async fn listen(&self, prefetch: u16) -> Result<Box<dyn Announcements>, StoreError>;

    /// How many announcements wait, where the queue can tell: more than deployments do where some
    /// were rung for again.
    async fn depth(&self) -> Result<Option<u64>, StoreError>;

    /// Answers when the queue does.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Does with a queue of its own what gv does with a queue: makes it, puts a message in it that is
    /// confirmed, takes it out again, and removes the queue. The bell itself is only looked at.
    async fn rehearse(&self) -> Result<Rehearsed, StoreError>;

    /// Whether other processes can use the same queue.
    fn is_shared(&self) -> bool;
}

/// What a rehearsal saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// How many listen to the bell at this moment, where the queue can tell. A worker that has no
    /// place free does not.
    pub listeners: Option<u64>,
}

#[async_trait]
pub trait Announcements: Send {
    /// Waits for the next announcement. May be dropped while waiting without losing any.
    async fn next(&mut self) -> Announcement;
}

/// One announcement, to be settled. Dropped unsettled (a worker that fell over), it comes again,
/// to this listener or another.
pub struct Announcement {
    pub deployment: DeploymentId,
    /// Where it was rung for.
    pub trace: Option<TraceContext>,
    settle: Option<Box<dyn FnOnce(Settlement) + Send>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The row is held, or needs nothing: the announcement has done its work.
    Done,
    /// It comes again.
    Again,
}

impl Announcement {
    /// `settle` is called exactly once and must not block.
    pub fn new(
        deployment: DeploymentId,
        trace: Option<TraceContext>,
        settle: impl FnOnce(Settlement) + Send + 'static,
    ) -> Self {
        Self { deployment, trace, settle: Some(Box::new(settle)) }
    }

    /// To be called right after the lease is held: brokers give up on slow consumers.
    pub fn done(mut self) {
        self.settle_as(Settlement::Done);
    }

    fn settle_as(&mut self, how: Settlement) {
        if let Some(settle) = self.settle.take() {
            settle(how);
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.settle_as(Settlement::Again);
    }
}
