//! The cache that processes share: Redis 6.2 or newer, or what speaks like it.
//!
//! It is optional at run time. While it is gone, slow, frozen, full or emptied, calls fail at once
//! or within their short deadlines, and callers go their slower ways; when it is back, everything
//! goes on by itself. Nothing here waits for it to begin with. What it holds is read like a
//! stranger's data.
//!
//! Start with [`Redis`]. Below it, [`link`] keeps a few shared connections up, [`subscriber`] one
//! for each channel that is listened to; [`session`] is one connection, and the one place that
//! sends a command.

mod address;
mod breaker;
mod cache;
mod fault;
mod link;
mod live_logs;
mod notices;
mod server;
mod session;
mod subscriber;

use crate::ports::cache::Cache;
use crate::ports::error::StoreError;
use crate::ports::live_logs::LiveLogs;
use crate::ports::notices::Notices;
use address::Address;
use cache::RedisCache;
use link::Link;
use live_logs::RedisLiveLogs;
use notices::RedisNotices;
use std::fmt;
use std::sync::Arc;
use subscriber::Channel;
use tokio::runtime::Handle;

/// One server, as one process sees it. The connections end with the last that was made from it.
pub struct Redis {
    address: Address,
    link: Arc<Link>,
    notices: Arc<Channel>,
    logs: Arc<Channel>,
    runtime: Handle,
}

impl Redis {
    /// Takes `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=P]`, or `rediss://` for TLS;
    /// anything else is an `Internal` error, which does not repeat the URL. Begins to connect, and
    /// returns without waiting for it. Must be called within the runtime that is to keep the
    /// connections.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let runtime = Handle::current();
        let channel = |name| Arc::new(Channel::new(address.clone(), name, runtime.clone()));
        let (notices, logs) = (channel("notices"), channel("logs"));
        let link = Arc::new(Link::open(address.clone(), &runtime));
        Ok(Self { address, link, notices, logs, runtime })
    }

    pub fn cache(&self) -> impl Cache + use<> {
        RedisCache::new(Arc::clone(&self.link), self.address.clone())
    }

    pub fn notices(&self) -> impl Notices + use<> {
        RedisNotices { link: Arc::clone(&self.link), channel: Arc::clone(&self.notices) }
    }

    /// Keeps the newest `max_bytes` of each stream.
    pub fn live_logs(&self, max_bytes: u64) -> impl LiveLogs + use<> {
        let (link, channel) = (Arc::clone(&self.link), Arc::clone(&self.logs));
        RedisLiveLogs::new(link, self.address.prefix.clone(), max_bytes, channel, self.runtime.clone())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.address)
    }
}
