//! Listens: one task for each listener, with a connection of its own.
//!
//! It subscribes while somebody asks for announcements. A worker whose places are all taken does
//! not ask, for as long as its builds last: what had been sent ahead to it goes back for others to
//! take, long before the broker would end a channel whose messages are not settled. What is
//! settled is settled by the task, on the connection that it came from; with a lost connection
//! everything unsettled comes again by itself.
//!
//! Start with [`listen`], then [`Consumer::serve`].

use super::broker::Broker;
use super::link::{Fault, Link, step};
use super::outage::Outage;
use super::shelf::{Listener, Shelf};
use crate::domain::id::DeploymentId;
use crate::ports::queue::{Announcement, Settlement};
use amqprs::channel::{
    BasicAckArguments, BasicCancelArguments, BasicConsumeArguments, BasicNackArguments, BasicQosArguments,
    ConsumerMessage,
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
/// How long the last announcements of a listener that is gone may take to be settled.
const WIND_UP: Duration = Duration::from_secs(10);
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
        let Some(opened) = gone.run_until_cancelled(Consumer::open(&broker, prefetch, &shelf)).await else {
            return;
        };
        let fault = match opened {
            Err(fault) => fault,
            Ok(mut consumer) => {
                outage.ends();
                match consumer.serve(&gone).await {
                    Ok(()) => return consumer.wind_up().await,
                    Err(fault) => consumer.link.because(fault),
                }
            }
        };
        outage.begins(&fault);
        // It comes again by itself.
        shelf.clear();
        let pause = tokio::time::sleep(outage.pause());
        if gone.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

struct Subscription {
    tag: String,
    /// Ends when the broker ends the subscription, or with the channel.
    deliveries: UnboundedReceiver<ConsumerMessage>,
}

type Settled = (u64, Settlement);

struct Consumer<'a> {
    link: Link,
    queue: &'a str,
    shelf: &'a Shelf,
    subscription: Option<Subscription>,
    /// What was shelved on this connection and is not settled with the broker.
    unsettled: usize,
    settle: UnboundedSender<Settled>,
    settlements: UnboundedReceiver<Settled>,
    /// Those that come again, and when; always after the same delay, and thus in order.
    later: VecDeque<(Instant, u64)>,
}

impl<'a> Consumer<'a> {
    async fn open(broker: &'a Broker, prefetch: u16, shelf: &'a Shelf) -> Result<Self, Fault> {
        let link = Link::open(broker, "consuming").await?;
        step("setting the prefetch", link.channel.basic_qos(BasicQosArguments::new(0, prefetch, false)))
            .await?;
        let (settle, settlements) = unbounded_channel();
        Ok(Self {
            link,
            queue: &broker.queue,
            shelf,
            subscription: None,
            unsettled: 0,
            settle,
            settlements,
            later: VecDeque::new(),
        })
    }

    /// `Ok`: the listener is gone. `Err`: the connection is of no use any more.
    async fn serve(&mut self, gone: &CancellationToken) -> Result<(), Fault> {
        loop {
            let idle = self.shelf.idle_since();
            if self.subscription.is_none() && idle.is_none() {
                self.subscribe().await?;
            }
            // What somebody holds is settled in a moment; until then the prefetch is not given anew.
            let all_in = self.unsettled == self.shelf.len() + self.later.len();
            let unwanted = idle.filter(|_| all_in && self.subscription.is_some());
            tokio::select! {
                () = gone.cancelled() => return Ok(()),
                // Only its end: nothing is published here.
                event = self.link.events.recv() => {
                    if event.is_none() {
                        return Err(self.link.end());
                    }
                }
                delivery = next_delivery(&mut self.subscription) => match delivery {
                    Some(delivery) => self.shelve(delivery).await?,
                    None => return Err(Fault::new("the subscription was ended; was the queue deleted?")),
                },
                Some((tag, how)) = self.settlements.recv() => match how {
                    Settlement::Done => self.acknowledge(tag).await?,
                    Settlement::Again if self.subscription.is_some() => {
                        self.later.push_back((Instant::now() + AGAIN_AFTER, tag));
                    }
                    Settlement::Again => self.give_back(tag).await?,
                },
                () = until(self.later.front().map(|(when, _)| *when)) => {
                    if let Some((_, tag)) = self.later.pop_front() {
                        self.give_back(tag).await?;
                    }
                }
                () = until(unwanted.map(|since| since + KEEP_READY)) => self.unsubscribe().await?,
                () = self.shelf.turned() => {}
            }
        }
    }

    async fn subscribe(&mut self) -> Result<(), Fault> {
        let arguments = BasicConsumeArguments::new(self.queue, "").manual_ack(true).finish();
        let (tag, deliveries) = step("subscribing", self.link.channel.basic_consume_rx(arguments)).await?;
        self.subscription = Some(Subscription { tag, deliveries });
        Ok(())
    }

    /// Gives back at once whatever nobody has taken.
    async fn unsubscribe(&mut self) -> Result<(), Fault> {
        let Some(Subscription { tag, mut deliveries }) = self.subscription.take() else { return Ok(()) };
        step("unsubscribing", self.link.channel.basic_cancel(BasicCancelArguments::new(&tag))).await?;
        // All that was sent ahead came before the answer.
        while let Ok(delivery) = deliveries.try_recv() {
            self.shelve(delivery).await?;
        }
        // Their settlements are on the way to us, and nobody is subscribed who could spin.
        self.shelf.clear();
        while let Some((_, tag)) = self.later.pop_front() {
            self.give_back(tag).await?;
        }
        Ok(())
    }

    async fn shelve(&mut self, delivery: ConsumerMessage) -> Result<(), Fault> {
        let ConsumerMessage { deliver: Some(deliver), content, .. } = delivery else { return Ok(()) };
        let tag = deliver.delivery_tag();
        let content = content.unwrap_or_default();
        self.unsettled += 1;
        let Some(deployment) = parse(&content) else {
            let excerpt = content.get(..EXCERPT).unwrap_or(&content).escape_ascii().to_string();
            tracing::warn!(queue = self.queue, bytes = content.len(), excerpt, "no announcement: set aside");
            metrics::counter!("gv_queue_dead_letters_total").increment(1);
            return self.negative(tag, false).await;
        };
        let settle = self.settle.clone();
        self.shelf.put(Announcement::new(deployment, move |how| {
            // Once the connection is gone nobody hears it, nor needs to.
            let _ = settle.send((tag, how));
        }));
        Ok(())
    }

    async fn acknowledge(&mut self, tag: u64) -> Result<(), Fault> {
        self.unsettled -= 1;
        step("acknowledging", self.link.channel.basic_ack(BasicAckArguments::new(tag, false))).await
    }

    async fn give_back(&mut self, tag: u64) -> Result<(), Fault> {
        self.negative(tag, true).await
    }

    async fn negative(&mut self, tag: u64, requeue: bool) -> Result<(), Fault> {
        self.unsettled -= 1;
        let nack = BasicNackArguments::new(tag, false, requeue);
        step("giving back", self.link.channel.basic_nack(nack)).await
    }

    /// The listener is gone: gives back what it had not taken, and waits a moment for the rest to
    /// be settled.
    async fn wind_up(mut self) {
        let last = async {
            self.unsubscribe().await?;
            while self.unsettled > 0 {
                match self.settlements.recv().await {
                    Some((tag, Settlement::Done)) => self.acknowledge(tag).await?,
                    Some((tag, Settlement::Again)) => self.give_back(tag).await?,
                    None => break,
                }
            }
            Ok::<_, Fault>(())
        };
        match tokio::time::timeout(WIND_UP, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a subscription did not end in order"),
            Err(_) => tracing::debug!("announcements that nobody settled come again"),
        }
        self.link.close().await;
    }
}

/// The body is the deployment's id as text.
fn parse(content: &[u8]) -> Option<DeploymentId> {
    std::str::from_utf8(content).ok()?.parse().ok()
}

async fn next_delivery(subscription: &mut Option<Subscription>) -> Option<ConsumerMessage> {
    match subscription {
        Some(subscription) => subscription.deliveries.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
