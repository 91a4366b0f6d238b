//! A few connections to one server that commands share, kept up for ever.
//!
//! A command is sent once, over a connection that stands: while there is none it fails at once.
//! An outage is logged when it begins and when it ends, and not in between. Start with
//! [`Link::call`].

use super::address::Address;
use super::fault::Fault;
use super::session::{self, Session};
use crate::adapters::outage::Outage;
use bytes::Bytes;
use fred::clients::Client;
use fred::types::Value;
use futures_util::future::{select_all, try_join_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Connections: several, so that a large answer delays only its neighbours.
const WIDTH: usize = 4;
/// All commands that the connections hold, in KiB, each counted as at least one: what a silent
/// server makes wait is bounded by this.
const ROOM_KIB: usize = 32 * 1024;

/// Between two tries to connect, at first and at most.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

pub(super) struct Link {
    standing: watch::Receiver<Standing>,
    turn: AtomicUsize,
    room: Arc<Semaphore>,
    _keeper: AbortOnDropHandle<()>,
}

#[derive(Clone)]
enum Standing {
    /// Nobody knows yet: whoever calls waits a little.
    Beginning,
    Up(Arc<[Client]>),
    Down,
}

impl Link {
    /// Begins to connect, on this runtime.
    pub(super) fn open(address: Address, runtime: &Handle) -> Self {
        let (announce, standing) = watch::channel(Standing::Beginning);
        let keeper = AbortOnDropHandle::new(runtime.spawn(keep(address, announce)));
        Self {
            standing,
            turn: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            _keeper: keeper,
        }
    }

    /// Sends a command, whose first argument is its key, script or channel.
    pub(super) async fn call(
        &self,
        limit: Duration,
        command: &'static str,
        first: impl Into<Bytes>,
        others: Vec<Value>,
    ) -> Result<Value, Fault> {
        let began = Instant::now();
        let clients = self.clients(limit).await?;
        let client = &clients[self.turn.fetch_add(1, Ordering::Relaxed) % clients.len()];
        let first = first.into();
        let permit = self.permit(&first, &others)?;
        // The room is free again when the command is gone from the connection, which may be long
        // after its caller gave up.
        let first = Bytes::from_owner(Held { bytes: first, _permit: permit });
        let arguments = std::iter::once(Value::Bytes(first)).chain(others).collect();
        session::call(client, limit.saturating_sub(began.elapsed()), command, arguments).await
    }

    async fn clients(&self, limit: Duration) -> Result<Arc<[Client]>, Fault> {
        let mut standing = self.standing.clone();
        let known = standing.wait_for(|standing| !matches!(standing, Standing::Beginning));
        match timeout(limit, known).await {
            Ok(Ok(standing)) => match &*standing {
                Standing::Up(clients) => Ok(Arc::clone(clients)),
                Standing::Beginning | Standing::Down => Err(Fault::Away),
            },
            Ok(Err(_)) | Err(_) => Err(Fault::Away),
        }
    }

    fn permit(&self, first: &Bytes, others: &[Value]) -> Result<OwnedSemaphorePermit, Fault> {
        let length = |value: &Value| value.as_bytes().map_or(0, <[u8]>::len);
        let bytes = first.len() + others.iter().map(length).sum::<usize>();
        let kib = u32::try_from(bytes / 1024 + 1).map_err(|_| Fault::Busy)?;
        Arc::clone(&self.room).try_acquire_many_owned(kib).map_err(|_| Fault::Busy)
    }
}

struct Held {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn keep(address: Address, announce: watch::Sender<Standing>) {
    let mut outage = Outage::of(format!("the cache at {address}"), PAUSES);
    loop {
        let opening = try_join_all((0..WIDTH).map(|_| Session::open(&address)));
        match opening.await {
            Ok(mut sessions) => {
                outage.ends();
                let clients = sessions.iter().map(|session| session.client().clone()).collect();
                announce.send_replace(Standing::Up(clients));
                // One that is lost means the server, or the way to it.
                let lost = select_all(sessions.iter_mut().map(|session| Box::pin(session.lost())));
                let (fault, ..) = lost.await;
                announce.send_replace(Standing::Down);
                outage.begins(&fault);
            }
            Err(fault) => {
                announce.send_replace(Standing::Down);
                outage.begins(&fault);
            }
        }
        sleep(outage.pause()).await;
    }
}
