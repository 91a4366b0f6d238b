//! What is said on one channel of the server, passed on to all listeners in this process over a
//! connection of its own, which is kept up for ever.
//!
//! Redis forgets a message once it has sent it: after each time without a connection all listeners
//! are told of a gap. Start with [`Channel`], which connects when somebody first listens.

use super::address::Address;
use super::fault::Fault;
use super::link::PAUSES;
use super::session::{self, Session};
use crate::adapters::outage::Outage;
use bytes::Bytes;
use fred::interfaces::{EventInterface, PubsubInterface};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Messages that a listener may be behind.
const BACKLOG: usize = 1024;

/// A channel that may be listened to.
pub(super) struct Channel {
    address: Address,
    pub(super) name: String,
    runtime: Handle,
    subscriber: OnceLock<Arc<Subscriber>>,
}

impl Channel {
    pub(super) fn new(address: Address, name: &str, runtime: Handle) -> Self {
        let name = format!("{}{name}", address.prefix);
        Self { address, name, runtime, subscriber: OnceLock::new() }
    }

    pub(super) fn subscriber(&self) -> Arc<Subscriber> {
        let start = || Arc::new(Subscriber::start(self.address.clone(), self.name.clone(), &self.runtime));
        Arc::clone(self.subscriber.get_or_init(start))
    }
}

pub(super) struct Subscriber {
    events: broadcast::Sender<Event>,
    hears: watch::Receiver<bool>,
    _keeper: AbortOnDropHandle<()>,
}

#[derive(Clone)]
pub(super) enum Event {
    Message(Bytes),
    Gap,
}

pub(super) struct Listener {
    receiver: broadcast::Receiver<Event>,
    /// Keeps the channel open: without a connection there is silence, and no end.
    _sender: broadcast::Sender<Event>,
}

impl Subscriber {
    fn start(address: Address, channel: String, runtime: &Handle) -> Self {
        let events = broadcast::Sender::new(BACKLOG);
        let (hearing, hears) = watch::channel(false);
        let keeping = keep(address, channel, events.clone(), hearing);
        Self { events, hears, _keeper: AbortOnDropHandle::new(runtime.spawn(keeping)) }
    }

    /// Hears what is said from now on; while there is no connection, of a [`Event::Gap`] when there
    /// is one.
    pub(super) fn listen(&self) -> Listener {
        Listener { receiver: self.events.subscribe(), _sender: self.events.clone() }
    }

    /// Returns once there is a connection that hears, or after `at_most`.
    pub(super) async fn hears(&self, at_most: Duration) {
        let mut hears = self.hears.clone();
        // Without it a gap comes later.
        let _ = timeout(at_most, hears.wait_for(|hears| *hears)).await;
    }
}

impl Listener {
    /// May be dropped while waiting without losing anything.
    pub(super) async fn next(&mut self) -> Event {
        match self.receiver.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => Event::Gap,
            // Cannot be: this listener holds a sender itself.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn keep(
    address: Address,
    channel: String,
    events: broadcast::Sender<Event>,
    hearing: watch::Sender<bool>,
) {
    let mut outage = Outage::of(format!("the channel {channel} of the cache at {address}"), PAUSES);
    loop {
        let fault = match Session::open(&address).await {
            Ok(session) => pass_on(session, &channel, &events, &hearing, &mut outage).await,
            Err(fault) => fault,
        };
        hearing.send_replace(false);
        outage.begins(&fault);
        sleep(outage.pause()).await;
    }
}

/// Until the connection is lost.
async fn pass_on(
    mut session: Session,
    channel: &str,
    events: &broadcast::Sender<Event>,
    hearing: &watch::Sender<bool>,
    outage: &mut Outage,
) -> Fault {
    let mut messages = session.client().message_rx();
    // This returns as soon as it is sent; what answers after it proves that it was heeded.
    if let Err(error) = session.client().subscribe(channel).await {
        return Fault::Server(error);
    }
    if let Err(fault) = session.answers().await {
        return fault;
    }
    outage.ends();
    // Nobody may be listening.
    let _ = events.send(Event::Gap);
    hearing.send_replace(true);
    let lost = session.lost();
    tokio::pin!(lost);
    loop {
        let event = tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => session::bytes(message.value).map(|bytes| bytes.map(Event::Message)),
                Err(RecvError::Lagged(_)) => Ok(Some(Event::Gap)),
                Err(RecvError::Closed) => return Fault::Away,
            },
            fault = &mut lost => return fault,
        };
        // Something else than bytes cannot be published.
        if let Ok(Some(event)) = event {
            let _ = events.send(event);
        }
    }
}
