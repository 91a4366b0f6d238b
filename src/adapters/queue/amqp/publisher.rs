//! Announces: one task that owns the publishing connection, and whoever asks it.
//!
//! A message counts as announced once the broker has confirmed it and not returned it before.
//! Numbers are given by the one task in the order of publishing, as the broker counts too. A
//! message that comes back found its queue deleted: the queue is declared, and the message
//! published once more, on a new connection. On the old one RabbitMQ would go on to the queue that
//! is gone, and might confirm what nobody has (suspected of 3.10, never caught in the act).
//!
//! Start with [`Publisher::announce`], then [`publish`], the task.

use super::TRACEPARENT;
use super::broker::Broker;
use super::link::{Event, Fault, Link, step};
use super::outage::Outage;
use crate::domain::id::DeploymentId;
use crate::domain::trace::TraceContext;
use amqprs::channel::{BasicPublishArguments, ConfirmSelectArguments};
use amqprs::{BasicProperties, FieldTable, FieldValue};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// For whoever asks. Callers wait a second at most, and hear less when they give up by themselves.
const ANSWER: Duration = Duration::from_millis(900);
/// What is published and not confirmed yet. A silent broker must not fill our memory.
const UNCONFIRMED_MAX: usize = 1_000;

/// What is announced, and as a part of which trace.
type Ring = (DeploymentId, Option<TraceContext>);
type Answer = oneshot::Sender<Result<(), Fault>>;

enum Order {
    Announce { ring: Ring, answer: Answer },
    Probe { answer: Answer },
    Count { answer: oneshot::Sender<Result<u32, Fault>> },
}

impl Order {
    fn refuse(self, fault: &Fault) {
        // Whoever asked may have gone.
        match self {
            Self::Announce { answer, .. } | Self::Probe { answer } => drop(answer.send(Err(fault.clone()))),
            Self::Count { answer } => drop(answer.send(Err(fault.clone()))),
        }
    }
}

type Orders = mpsc::Receiver<Order>;

pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
}

impl Publisher {
    /// The task ends when this is dropped.
    pub(super) fn start(broker: Arc<Broker>) -> Self {
        let (orders, taken) = mpsc::channel(UNCONFIRMED_MAX);
        tokio::spawn(publish(broker, taken));
        Self { orders }
    }

    pub(super) async fn announce(&self, id: DeploymentId, trace: Option<TraceContext>) -> Result<(), Fault> {
        self.ask(|answer| Order::Announce { ring: (id, trace), answer }).await
    }

    /// A round trip.
    pub(super) async fn probe(&self) -> Result<(), Fault> {
        self.ask(|answer| Order::Probe { answer }).await
    }

    /// How many announcements wait in the queue.
    pub(super) async fn depth(&self) -> Result<u32, Fault> {
        self.ask(|answer| Order::Count { answer }).await
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> Order,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            // Both fail only when the task fell over.
            self.orders.send(order(answer)).await.map_err(|_| Fault::new("nobody publishes any more"))?;
            answered.await.map_err(|_| Fault::new("the connection was lost before an answer"))?
        };
        let silent = || Fault::new(format!("no answer for {} ms", ANSWER.as_millis()));
        tokio::time::timeout(ANSWER, asking).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// Opens the connection for ever again. Orders wait for an attempt that may well succeed: the
/// first one, and the one after a good connection. From the first failure on they are refused.
async fn publish(broker: Arc<Broker>, mut orders: Orders) {
    let mut outage = Outage::of("publishing");
    let mut down: Option<Fault> = None;
    let mut carried = Vec::new();
    loop {
        let opening = Link::open(&broker, "publishing");
        let opened = match &down {
            None => Some(opening.await),
            Some(fault) => refusing(&mut orders, fault, opening).await,
        };
        let fault = match opened {
            None => return,
            Some(Err(fault)) => fault,
            Some(Ok(link)) => {
                outage.ends();
                down = None;
                let mut publishing = Publishing::new(link, &broker.queue);
                let ended = publishing.serve(&mut orders, std::mem::take(&mut carried)).await;
                carried = publishing.unconfirmed();
                match ended {
                    Ok(Ended::NobodyAsks) => return publishing.link.close().await,
                    Ok(Ended::QueueGone) => {
                        tracing::warn!(queue = broker.queue, "the queue is gone: declaring it again");
                        continue;
                    }
                    Err(fault) => publishing.link.because(fault),
                }
            }
        };
        if outage.begins(&fault) {
            continue;
        }
        // Their askers hear that the connection was lost.
        carried.clear();
        let pause = tokio::time::sleep(outage.pause());
        if refusing(&mut orders, &fault, pause).await.is_none() {
            return;
        }
        down = Some(fault);
    }
}

/// Waits, and says meanwhile why nothing can be done. `None`: nobody is there to ask any more.
async fn refusing<T>(orders: &mut Orders, fault: &Fault, until: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(until);
    loop {
        tokio::select! {
            done = &mut until => return Some(done),
            order = orders.recv() => {
                order?.refuse(fault);
            }
        }
    }
}

/// Published and not confirmed yet.
struct Pending {
    ring: Ring,
    answer: Answer,
    /// Was published on another connection before.
    again: bool,
}

enum Ended {
    NobodyAsks,
    /// Something came back.
    QueueGone,
}

struct Publishing<'a> {
    link: Link,
    queue: &'a str,
    last_tag: u64,
    pending: BTreeMap<u64, Pending>,
    /// The round trip under way, and who waits for it.
    probe: Option<BoxFuture<'static, Result<(), Fault>>>,
    probers: Vec<Answer>,
}

impl<'a> Publishing<'a> {
    fn new(link: Link, queue: &'a str) -> Self {
        Self { link, queue, last_tag: 0, pending: BTreeMap::new(), probe: None, probers: Vec::new() }
    }

    /// `Err`: the connection is of no use any more.
    async fn serve(&mut self, orders: &mut Orders, carried: Vec<Pending>) -> Result<Ended, Fault> {
        let confirm = self.link.channel.confirm_select(ConfirmSelectArguments::default());
        step("asking for confirmations", confirm).await?;
        for pending in carried {
            self.publish(pending).await?;
        }
        loop {
            tokio::select! {
                event = self.link.events.recv() => match event {
                    Some(Event::Confirmed { tag, multiple }) => self.settle(tag, multiple, &Ok(())),
                    Some(Event::Refused { tag, multiple }) => {
                        let full = Fault::new("the broker does not take it: its queue is full");
                        self.settle(tag, multiple, &Err(full));
                    }
                    Some(Event::Returned { tag: Some(tag) }) if self.is_second_try(tag) => {
                        self.settle(tag, false, &Err(Fault::new("its queue is gone")));
                    }
                    Some(Event::Returned { .. }) => return Ok(Ended::QueueGone),
                    None => return Err(self.link.end()),
                },
                probed = answered(&mut self.probe) => {
                    self.probe = None;
                    for answer in self.probers.drain(..) {
                        let _ = answer.send(probed.clone());
                    }
                }
                order = orders.recv() => match order {
                    Some(order) => self.take(order).await?,
                    None => return Ok(Ended::NobodyAsks),
                },
            }
        }
    }

    /// What is worth another connection, and waited for.
    fn unconfirmed(&mut self) -> Vec<Pending> {
        let pending = std::mem::take(&mut self.pending).into_values();
        let pending = pending.filter(|pending| !pending.again && !pending.answer.is_closed());
        pending.map(|pending| Pending { again: true, ..pending }).collect()
    }

    fn is_second_try(&self, tag: u64) -> bool {
        self.pending.get(&tag).is_some_and(|pending| pending.again)
    }

    async fn take(&mut self, order: Order) -> Result<(), Fault> {
        match order {
            // It waited for longer than whoever asked.
            Order::Announce { answer, .. } if answer.is_closed() => Ok(()),
            Order::Announce { answer, .. } if self.pending.len() >= UNCONFIRMED_MAX => {
                let _ = answer.send(Err(Fault::new("too much is not confirmed yet")));
                Ok(())
            }
            Order::Announce { ring, answer } => self.publish(Pending { ring, answer, again: false }).await,
            Order::Probe { answer } => {
                self.probers.retain(|answer| !answer.is_closed());
                self.probers.push(answer);
                self.probe.get_or_insert_with(|| round_trip(&self.link));
                Ok(())
            }
            Order::Count { answer } => {
                let _ = answer.send(self.link.waiting(self.queue).await);
                Ok(())
            }
        }
    }

    async fn publish(&mut self, pending: Pending) -> Result<(), Fault> {
        self.last_tag += 1;
        let (id, trace) = &pending.ring;
        let mut properties = BasicProperties::default();
        properties
            .with_persistence(true)
            .with_content_type("text/plain")
            // By which it is known again when it is returned.
            .with_message_id(&self.last_tag.to_string());
        if let (Some(trace), Ok(name)) = (trace, TRACEPARENT.try_into()) {
            let mut headers = FieldTable::new();
            headers.insert(name, FieldValue::from(trace.to_string()));
            properties.with_headers(headers);
        }
        let properties = properties.finish();
        let body = id.to_string().into_bytes();
        let to = BasicPublishArguments::new("", self.queue).mandatory(true).finish();
        self.pending.insert(self.last_tag, pending);
        step("publishing", self.link.channel.basic_publish(properties, body, to)).await
    }

    fn settle(&mut self, tag: u64, multiple: bool, outcome: &Result<(), Fault>) {
        let settled: Vec<Pending> = if multiple {
            let rest = self.pending.split_off(&tag.saturating_add(1));
            std::mem::replace(&mut self.pending, rest).into_values().collect()
        } else {
            self.pending.remove(&tag).into_iter().collect()
        };
        for pending in settled {
            let _ = pending.answer.send(outcome.clone());
        }
    }
}

/// Its answer, or never, while nothing is asked.
async fn answered(probe: &mut Option<BoxFuture<'static, Result<(), Fault>>>) -> Result<(), Fault> {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}

/// Asks for what already is: messages flow. Waits for the answer as long as the connection lasts,
/// since a second question must not cross the first one's answer.
fn round_trip(link: &Link) -> BoxFuture<'static, Result<(), Fault>> {
    let channel = link.channel.clone();
    async move { channel.flow(true).await.map(drop).map_err(Fault::new) }.boxed()
}
