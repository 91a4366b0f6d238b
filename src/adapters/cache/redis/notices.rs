//! Notices as JSON on one channel of Redis.

use super::fault::Fault;
use super::link::Link;
use super::session::argument;
use super::subscriber::{Channel, Event, Listener};
use crate::ports::error::StoreError;
use crate::ports::notices::{Heard, Notice, Notices, Subscription};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shorter than those who publish wait (a second).
const LIMIT: Duration = Duration::from_millis(800);
/// How long a new listener waits for the connection that it will hear over.
const BEGINNING: Duration = Duration::from_secs(2);
/// What is no notice is logged once in so long.
const TELL_EVERY: Duration = Duration::from_secs(60);

pub(super) struct RedisNotices {
    pub(super) link: Arc<Link>,
    pub(super) channel: Arc<Channel>,
}

struct RedisSubscription {
    listener: Listener,
    /// The connection goes with the last who needs it.
    _channel: Arc<Channel>,
    told: Option<Instant>,
}

#[async_trait]
impl Notices for RedisNotices {
    async fn publish(&self, notice: &Notice) -> Result<(), StoreError> {
        const DOING: &str = "publishing a notice";
        let json = serde_json::to_vec(notice).map_err(|_| Fault::Form("no JSON").doing(DOING))?;
        let published =
            self.link.call(LIMIT, "PUBLISH", self.channel.name.clone(), vec![argument(json)]).await;
        published.map(|_| ()).map_err(|fault| fault.doing(DOING))
    }

    /// While there is no connection, a [`Heard::Gap`] follows when there is one.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        let subscriber = self.channel.subscriber();
        let listener = subscriber.listen();
        subscriber.hears(BEGINNING).await;
        Ok(Box::new(RedisSubscription { listener, _channel: Arc::clone(&self.channel), told: None }))
    }
}

#[async_trait]
impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Heard {
        loop {
            let message = match self.listener.next().await {
                Event::Message(message) => message,
                Event::Gap => return Heard::Gap,
            };
            match serde_json::from_slice(&message) {
                Ok(notice) => return Heard::Notice(notice),
                Err(error) if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) => {
                    self.told = Some(Instant::now());
                    tracing::warn!(%error, "something on the notices' channel is no notice: it is passed over");
                }
                Err(_) => {}
            }
        }
    }
}
