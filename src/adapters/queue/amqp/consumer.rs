//! Listens: one task for each listener, with a connection of its own.
//!
//! It subscribes while somebody asks for announcements. A worker whose places are all taken does
//! not ask, for as long as its builds last: what had been sent ahead to it goes back for others to
//! take, long before the broker would end a channel whose messages are not settled. Each
//! subscription has a channel of its own, so that its end gives everything back.
//!
//! Start with [`listen`], then [`Consumer::serve`], then [`Subscription::serve`].

use super::TRACEPARENT;
use super::broker::Broker;
use super::link::{Event, Fault, Link, step};
use super::outage::Outage;
use super::shelf::{Listener, Shelf};
use crate::domain::id::DeploymentId;
use crate::domain::trace::TraceContext;
use crate::ports::queue::{Announcement, Settlement};
use amqprs::BasicProperties;
use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicNackArguments, BasicQosArguments, Channel, ConsumerMessage,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Before an announcement comes again: a listener that fails at once must not spin.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long announcements are kept ready for a listener that does not ask.
const KEEP_READY: Duration = Duration::from_secs(1);
/// A subscription that brings nothing for as long is replaced. RabbitMQ tells those who listen to
/// a queue that was deleted and declared again within moments nothing of it, and goes on to swallow
/// what it should send them (seen with 3.10).
const SILENCE: Duration = Duration::from_secs(15);
/// Of what was no announcement, in bytes, in the log.
const EXCERPT: usize = 80;

pub(super) fn listen(broker: Arc<Broker>, prefetch: u16) -> Listener {
    let shelf = Arc::new(Shelf::new());
    let gone = CancellationToken::new();
    tokio::spawn(consume(broker, prefetch, shelf.clone(), gone.clone()));
    Listener { shelf, _gone: gone.drop_guard() }
}

/// Opens the connection for ever again, until the listener is gone.
async fn consume(broker: Arc<Broker>, prefetch: u16, shelf: Arc<Shelf>, gone: CancellationToken) {
    let mut outage = Outage::of("consuming");
    loop {
        let Some(opened) = gone.run_until_cancelled(Link::open(&broker, "consuming")).await else { return };
        let fault = match opened {
            Err(fault) => fault,
            Ok(link) => {
                outage.ends();
                let mut consumer = Consumer { link, queue: &broker.queue, prefetch, shelf: &shelf };
                match gone.run_until_cancelled(consumer.serve()).await {
                    // With the connection goes what nobody has settled: it comes to others.
                    None => return consumer.link.close().await,
                    Some(fault) => consumer.link.because(fault),
                }
            }
        };
        outage.begins(&fault);
        let pause = tokio::time::sleep(outage.pause());
        if gone.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

struct Consumer<'a> {
    link: Link,
    queue: &'a str,
    prefetch: u16,
    shelf: &'a Shelf,
}

impl Consumer<'_> {
    /// Until the connection is of no use any more, and why.
    async fn serve(&mut self) -> Fault {
        loop {
            if self.shelf.idle_since().is_none() {
                let served = self.subscribe_and_serve().await;
                // With its channel, what lies here has gone back.
                self.shelf.clear();
                if let Err(fault) = served {
                    return fault;
                }
            }
            tokio::select! {
                // Only its end: nothing is published here.
                event = self.link.events.recv() => {
                    if event.is_none() {
                        return self.link.end();
                    }
                }
                () = self.shelf.turned() => {}
            }
        }
    }

    /// `Ok`: nobody asks.
    async fn subscribe_and_serve(&self) -> Result<(), Fault> {
        loop {
            let (channel, events) = self.link.open_channel().await?;
            let mut subscription = Subscription::open(self, channel, events).await?;
            match subscription.serve().await {
                Ok(Ended::Silent) => self.shelf.clear(),
                Ok(Ended::Unwanted) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// What is no traceparent says nothing.
fn trace_of(properties: Option<BasicProperties>) -> Option<TraceContext> {
    let properties = properties?;
    let text: &str = properties.headers()?.get(&TRACEPARENT.try_into().ok()?)?.try_into().ok()?;
    text.parse().ok()
}

enum Ended {
    Silent,
    /// Nobody asks.
    Unwanted,
}

struct Subscription<'a> {
    channel: Channel,
    /// Ends with the channel.
    events: UnboundedReceiver<Event>,
    /// Ends when the broker ends the subscription, or with the channel.
    deliveries: UnboundedReceiver<ConsumerMessage>,
    queue: &'a str,
    shelf: &'a Shelf,
    /// What was shelved and is not settled with the broker.
    unsettled: usize,
    settle: UnboundedSender<(u64, Settlement)>,
    settlements: UnboundedReceiver<(u64, Settlement)>,
    /// Those that come again, and when; always after the same delay, and thus in order.
    later: VecDeque<(Instant, u64)>,
    silent_since: Instant,
}

impl<'a> Subscription<'a> {
    async fn open(
        consumer: &'a Consumer<'_>,
        channel: Channel,
        events: UnboundedReceiver<Event>,
    ) -> Result<Self, Fault> {
        let prefetch = BasicQosArguments::new(0, consumer.prefetch, false);
        step("setting the prefetch", channel.basic_qos(prefetch)).await?;
        let arguments = BasicConsumeArguments::new(consumer.queue, "").manual_ack(true).finish();
        let (_, deliveries) = step("subscribing", channel.basic_consume_rx(arguments)).await?;
        let (settle, settlements) = unbounded_channel();
        Ok(Self {
            channel,
            events,
            deliveries,
            queue: consumer.queue,
            shelf: consumer.shelf,
            unsettled: 0,
            settle,
            settlements,
            later: VecDeque::new(),
            silent_since: Instant::now(),
        })
    }

    async fn serve(&mut self) -> Result<Ended, Fault> {
        loop {
            let idle = self.shelf.idle_since();
            // What somebody holds is settled in a moment, and on this channel.
            let nothing_is_out = self.unsettled == self.shelf.len() + self.later.len();
            let unwanted = idle.filter(|_| nothing_is_out).map(|since| since + KEEP_READY);
            let silent = (self.unsettled == 0).then_some(self.silent_since + SILENCE);
            tokio::select! {
                event = self.events.recv() => {
                    if event.is_none() {
                        return Err(Fault::new("the channel was closed"));
                    }
                }
                delivery = self.deliveries.recv() => match delivery {
                    Some(delivery) => self.shelve(delivery).await?,
                    None => return Err(Fault::new("the subscription was ended; was the queue deleted?")),
                },
                Some((tag, how)) = self.settlements.recv() => match how {
                    Settlement::Done => self.acknowledge(tag).await?,
                    Settlement::Again => self.later.push_back((Instant::now() + AGAIN_AFTER, tag)),
                },
                () = until(self.later.front().map(|(when, _)| *when)) => {
                    if let Some((_, tag)) = self.later.pop_front() {
                        self.refuse(tag, true).await?;
                    }
                }
                () = until(unwanted) => return Ok(Ended::Unwanted),
                () = until(silent) => return Ok(Ended::Silent),
                () = self.shelf.turned() => {}
            }
        }
    }

    async fn shelve(&mut self, delivery: ConsumerMessage) -> Result<(), Fault> {
        let ConsumerMessage { deliver: Some(deliver), basic_properties, content, .. } = delivery else {
            return Ok(());
        };
        let (tag, content) = (deliver.delivery_tag(), content.unwrap_or_default());
        self.unsettled += 1;
        self.silent_since = Instant::now();
        let Some(deployment) = parse(&content) else {
            let excerpt = content.get(..EXCERPT).unwrap_or(&content).escape_ascii().to_string();
            tracing::warn!(queue = self.queue, bytes = content.len(), excerpt, "no announcement: set aside");
            metrics::counter!("gv_queue_dead_letters_total").increment(1);
            return self.refuse(tag, false).await;
        };
        let settle = self.settle.clone();
        self.shelf.put(Announcement::new(deployment, trace_of(basic_properties), move |how| {
            // Once the channel is gone nobody hears it, nor needs to.
            let _ = settle.send((tag, how));
        }));
        Ok(())
    }

    async fn acknowledge(&mut self, tag: u64) -> Result<(), Fault> {
        self.unsettled -= 1;
        step("acknowledging", self.channel.basic_ack(BasicAckArguments::new(tag, false))).await
    }

    /// It comes again, or is set aside.
    async fn refuse(&mut self, tag: u64, again: bool) -> Result<(), Fault> {
        self.unsettled -= 1;
        step("giving back", self.channel.basic_nack(BasicNackArguments::new(tag, false, again))).await
    }
}

/// The body is the deployment's id as text.
fn parse(content: &[u8]) -> Option<DeploymentId> {
    std::str::from_utf8(content).ok()?.parse().ok()
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
