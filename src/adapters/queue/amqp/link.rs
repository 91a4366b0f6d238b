//! One connection with one channel on it, and how its end is noticed.
//!
//! amqprs does not reconnect, and its calls wait for a silent broker without end. So each exchange
//! is a [`step`] with a deadline, after which the whole connection is given up: amqprs panics over
//! an answer that nobody waits for any more. The channel's callback is dropped with the channel,
//! for whatever reason that ends: [`Link::events`] then ends too, the one sign that never fails.
//!
//! Start with [`Link::open`].

use super::broker::Broker;
use super::topology;
use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::Channel;
use amqprs::connection::Connection;
use amqprs::{Ack, BasicProperties, Cancel, Close, CloseChannel, Nack, Return};
use async_trait::async_trait;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// For one exchange with the broker. A cluster that has lost a node needs seconds to declare.
pub(super) const STEP: Duration = Duration::from_secs(5);
/// The broker's codes for a queue that is there with other properties, and for one that we may
/// not declare: <https://www.rabbitmq.com/amqp-0-9-1-reference#constants>.
const NOT_OURS_TO_DECLARE: [u16; 2] = [406, 403];

/// Why a broker did not do something: for people.
#[derive(Clone, Debug)]
pub(super) struct Fault(String);

impl Fault {
    pub(super) fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// One exchange with the broker. Whatever fails takes the connection along.
pub(super) async fn step<T>(
    doing: &str,
    call: impl Future<Output = Result<T, amqprs::error::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(STEP, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Fault(format!("{doing}: {error}"))),
        Err(_) => Err(Fault(format!("{doing}: no answer for {} s", STEP.as_secs()))),
    }
}

/// What the broker says about messages that were published here, by their numbers.
#[derive(Debug)]
pub(super) enum Event {
    /// It has them.
    Confirmed { tag: u64, multiple: bool },
    /// It does not take them: the queue is full.
    Refused { tag: u64, multiple: bool },
    /// It has no such queue. A confirmation follows all the same.
    Returned { tag: Option<u64> },
}

pub(super) struct Link {
    pub(super) channel: Channel,
    /// Ends with the channel.
    pub(super) events: UnboundedReceiver<Event>,
    farewell: Farewell,
    connection: Connection,
}

impl Link {
    /// Connects, and declares the queues.
    pub(super) async fn open(broker: &Broker, purpose: &str) -> Result<Self, Fault> {
        let farewell = Farewell::default();
        let arguments = broker.arguments(purpose);
        let connection = step("connecting", Connection::open(&arguments)).await.map_err(with_hint)?;
        step("connecting", connection.register_callback(farewell.clone())).await?;
        let (channel, events) = open_channel(&connection, &farewell).await?;
        let link = Self { channel, events, farewell, connection };
        link.declare(&broker.queue).await?;
        Ok(link)
    }

    /// Another channel beside the first.
    pub(super) async fn open_channel(&self) -> Result<(Channel, UnboundedReceiver<Event>), Fault> {
        open_channel(&self.connection, &self.farewell).await
    }

    /// On a channel of its own, since the broker closes one whose declaration it refuses.
    async fn declare(&self, queue: &str) -> Result<(), Fault> {
        let farewell = Farewell::default();
        let (channel, _events) = open_channel(&self.connection, &farewell).await?;
        let Err(fault) = topology::declare(&channel, queue).await else { return Ok(()) };
        let Some((code, said)) = farewell.said() else { return Err(self.because(fault)) };
        if !NOT_OURS_TO_DECLARE.contains(&code) {
            return Err(Fault(said));
        }
        let (channel, _events) = open_channel(&self.connection, &farewell).await?;
        topology::waiting(&channel, queue).await.map_err(|_| Fault(said.clone()))?;
        tracing::warn!(queue, said, "the queue is used as it was found; once deleted, gv makes its own");
        Ok(())
    }

    /// How many messages wait in the queue. On a channel of its own too: one that asks for a queue
    /// which is not there is closed.
    pub(super) async fn waiting(&self, queue: &str) -> Result<u32, Fault> {
        let (channel, _events) = open_channel(&self.connection, &Farewell::default()).await?;
        topology::waiting(&channel, queue).await
    }

    /// How many listen to the queue at this moment. On a channel of its own, as above.
    pub(super) async fn listeners(&self, queue: &str) -> Result<u32, Fault> {
        let (channel, _events) = open_channel(&self.connection, &self.farewell).await?;
        topology::listeners(&channel, queue).await
    }

    /// What there is to say about the end of the link.
    pub(super) fn end(&self) -> Fault {
        self.because(Fault::new("the connection was lost"))
    }

    /// The broker's own words, if it had some, say more than what failed through its leaving.
    pub(super) fn because(&self, fault: Fault) -> Fault {
        self.farewell.said().map_or(fault, |(_, said)| Fault(said))
    }

    /// Ends it in order, as far as the broker lets us.
    pub(super) async fn close(self) {
        if let Err(fault) = step("closing", self.connection.close()).await {
            tracing::debug!(error = %fault, "a connection to RabbitMQ did not end in order");
        }
    }
}

async fn open_channel(
    connection: &Connection,
    farewell: &Farewell,
) -> Result<(Channel, UnboundedReceiver<Event>), Fault> {
    let channel = step("opening a channel", connection.open_channel(None)).await?;
    let (sender, events) = unbounded_channel();
    let ear = Ear { events: sender, farewell: farewell.clone() };
    step("opening a channel", channel.register_callback(ear)).await?;
    Ok((channel, events))
}

/// RabbitMQ hangs up on a wrong password without a word, and so does what expects TLS.
fn with_hint(fault: Fault) -> Fault {
    if ["peer shutdown", "interrupted", "reset by peer"].iter().any(|words| fault.0.contains(words)) {
        return Fault(format!("{fault}; if it stays so, look at user, password, amqp or amqps"));
    }
    fault
}

/// What the broker last said on closing a channel or the connection.
#[derive(Clone, Default)]
struct Farewell(Arc<Mutex<Option<(u16, String)>>>);

impl Farewell {
    fn hear(&self, code: u16, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, format!("{code} {text}")));
    }

    fn said(&self) -> Option<(u16, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ConnectionCallback for Farewell {
    async fn close(&mut self, _: &Connection, close: Close) -> Result<(), amqprs::error::Error> {
        self.hear(close.reply_code(), close.reply_text());
        Ok(())
    }

    async fn blocked(&mut self, _: &Connection, _: String) {}

    async fn unblocked(&mut self, _: &Connection) {}

    async fn secret_updated(&mut self, _: &Connection) {}
}

/// Hears what the broker says by itself on one channel, and dies with it.
struct Ear {
    events: UnboundedSender<Event>,
    farewell: Farewell,
}

impl Ear {
    fn tell(&self, event: Event) {
        // Whoever listened has given the link up.
        let _ = self.events.send(event);
    }
}

#[async_trait]
impl ChannelCallback for Ear {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<(), amqprs::error::Error> {
        self.farewell.hear(close.reply_code(), close.reply_text());
        Ok(())
    }

    /// The queue was deleted. amqprs then ends the stream of deliveries.
    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), amqprs::error::Error> {
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, amqprs::error::Error> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        self.tell(Event::Confirmed { tag: ack.delivery_tag(), multiple: ack.mutiple() });
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        self.tell(Event::Refused { tag: nack.delivery_tag(), multiple: nack.multiple() });
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, properties: BasicProperties, _: Vec<u8>) {
        let tag = properties.message_id().and_then(|id| id.parse().ok());
        self.tell(Event::Returned { tag });
    }
}
