//! The bell on RabbitMQ: a quorum queue that all processes share.
//!
//! The broker may be away, at the start or for hours: nothing here waits for it but tasks of its
//! own, which open what was lost for ever again. Publishing and consuming have a connection each,
//! since a broker that is short of memory stops reading from those that publish.
//!
//! Not here: what an announcement leads to. The rows are the truth, and the sweeper rings again
//! for whatever a queue lost.
//!
//! Start with [`AmqpQueue`]. Then [`link`], one connection; [`publisher`] and [`consumer`], the two
//! tasks that have one; [`shelf`], between a consumer and who listens; [`topology`], the queues.

/// The header of a message that says as a part of which trace it was sent (W3C Trace Context: AMQP).
const TRACEPARENT: &str = "traceparent";

mod broker;
mod consumer;
mod link;
mod outage;
mod publisher;
mod rehearsal;
mod shelf;
mod topology;

use crate::domain::id::DeploymentId;
use crate::domain::trace::TraceContext;
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::ports::queue::{Announcements, Queue, Rehearsed};
use async_trait::async_trait;
use broker::Broker;
use publisher::Publisher;
use std::fmt;
use std::sync::Arc;

/// A queue on a broker. While that cannot be reached, calls fail at once as
/// [`Unavailable`](StoreErrorKind::Unavailable), and within a second where it is silent.
pub struct AmqpQueue {
    broker: Arc<Broker>,
    publisher: Publisher,
}

impl AmqpQueue {
    /// Takes `amqp://user:password@host:port/vhost?queue=NAME` (`amqps://` for TLS, whose
    /// certificate is verified against the system's roots). Anything else is an `Internal` error,
    /// which does not repeat the URL, since that may hold a password.
    ///
    /// Does not wait for the broker. To be called within a Tokio runtime, whose tasks do.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let broker = Arc::new(Broker::parse(url)?);
        Ok(Self { publisher: Publisher::start(broker.clone()), broker })
    }
}

#[async_trait]
impl Queue for AmqpQueue {
    async fn announce(&self, id: DeploymentId, trace: Option<TraceContext>) -> Result<(), StoreError> {
        let announced = self.publisher.announce(id, trace).await;
        let outcome = if announced.is_ok() { "confirmed" } else { "failed" };
        metrics::counter!("gv_queue_announcements_total", "outcome" => outcome).increment(1);
        announced.map_err(|fault| {
            StoreError::new(StoreErrorKind::Unavailable, format!("announcing {id} on RabbitMQ"), fault)
        })
    }

    /// A `prefetch` of 0 is taken for 1.
    async fn listen(&self, prefetch: u16) -> Result<Box<dyn Announcements>, StoreError> {
        Ok(Box::new(consumer::listen(self.broker.clone(), prefetch.max(1))))
    }

    async fn depth(&self) -> Result<Option<u64>, StoreError> {
        let waiting = self.publisher.depth().await;
        let waiting = waiting.map_err(|fault| {
            StoreError::new(StoreErrorKind::Unavailable, "counting the announcements on RabbitMQ", fault)
        })?;
        metrics::gauge!("gv_queue_depth").set(f64::from(waiting));
        Ok(Some(waiting.into()))
    }

    /// A round trip on the connection that announces.
    async fn ping(&self) -> Result<(), StoreError> {
        let answered = self.publisher.probe().await;
        answered.map_err(|fault| StoreError::new(StoreErrorKind::Unavailable, "asking RabbitMQ", fault))
    }

    /// Over a connection of its own.
    async fn rehearse(&self) -> Result<Rehearsed, StoreError> {
        let rehearsed = rehearsal::rehearse(&self.broker).await;
        rehearsed
            .map(|listeners| Rehearsed { listeners: Some(listeners.into()) })
            .map_err(|fault| StoreError::new(StoreErrorKind::Unavailable, "rehearsing on RabbitMQ", fault))
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl fmt::Debug for AmqpQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpQueue({})", self.broker.queue)
    }
}
