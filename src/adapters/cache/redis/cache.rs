//! Hot bytes, pointers and counters as keys of Redis, each with an expiry.
//!
//! On the edge's path: deadlines are short, and a server that keeps missing them is left alone for
//! a while (see [`super::breaker`]). While it cannot be asked, counting goes on in this process.

use super::address::Address;
use super::breaker::Breaker;
use super::fault::Fault;
use super::link::Link;
use super::server;
use super::session::{argument, bytes, list};
use crate::adapters::cache::local::LocalCache;
use crate::domain::host::{Hostname, Pointer};
use crate::ports::cache::{Cache, Count, Server};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use fred::types::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For one command: shorter than the edge's own patience with its cache (100 ms).
const LIMIT: Duration = Duration::from_millis(75);
/// For `/readyz`, which wants to know whether there is an answer at all.
const PING: Duration = Duration::from_secs(1);
/// What is larger is not sent: large files are better streamed from storage.
const MAX_BYTES: usize = 1024 * 1024;
/// Nothing is held longer; beyond all clocks Redis refuses.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// KEYS: the pointer. ARGV: version, JSON, lifetime in ms. A value is its version, a space, and
/// JSON; something else was not written by gv and gives way.
const PUT_POINTER: &str = "
local held = redis.call('GET', KEYS[1])
local version = held and tonumber(string.match(held, '^(-?%d+) '))
if version and version > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return 1";

/// KEYS: the counter. ARGV: the window in ms. A counter without an expiry, which somebody else
/// made, gets one.
const COUNT: &str = "
local events = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  left = tonumber(ARGV[1])
end
return {events, left}";

pub(super) struct RedisCache {
    link: Arc<Link>,
    address: Address,
    breaker: Breaker,
    /// Counts while the server cannot.
    own: LocalCache,
}

impl RedisCache {
    pub(super) fn new(link: Arc<Link>, address: Address) -> Self {
        Self { link, address, breaker: Breaker::new(), own: LocalCache::new(0) }
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}:{name}", self.address.prefix)
    }

    async fn call(
        &self,
        command: &'static str,
        first: impl Into<Bytes>,
        others: Vec<Value>,
    ) -> Result<Value, Fault> {
        let pass = self.breaker.admit(Instant::now()).ok_or(Fault::LeftAlone)?;
        let answer = self.link.call(LIMIT, command, first, others).await;
        match &answer {
            Err(fault) if fault.is_silence() => {
                if self.breaker.failed(&pass, Instant::now()) {
                    metrics::counter!("gv_cache_breaker_opened_total").increment(1);
                    tracing::warn!(error = %fault, "the cache is too slow: it is left alone for a while");
                }
            }
            // Without a connection nothing was tried.
            Err(Fault::Away | Fault::Busy) => {}
            Ok(_) | Err(_) => {
                if self.breaker.succeeded() {
                    tracing::info!("the cache is quick enough again");
                }
            }
        }
        answer
    }

    async fn eval(&self, script: &'static str, key: &str, arguments: Vec<Value>) -> Result<Value, Fault> {
        let others = [argument("1"), argument(key.to_owned())].into_iter().chain(arguments);
        self.call("EVAL", script, others.collect()).await
    }

    async fn count_there(&self, key: &str, window: Duration) -> Result<Count, Fault> {
        let answer = self.eval(COUNT, &self.key("count", key), vec![millis(window)]).await?;
        let [Value::Integer(events), Value::Integer(left)] = list(answer)?[..] else {
            return Err(Fault::Form("no count"));
        };
        let number = |value: i64| u64::try_from(value).map_err(|_| Fault::Form("no count"));
        Ok(Count { events: number(events)?, remaining: Duration::from_millis(number(left)?).min(window) })
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let asked = self.call("GET", self.key("hot", key), Vec::new()).await.and_then(bytes);
        let held = asked.map_err(|fault| fault.doing("reading from the cache"))?;
        Ok(held.filter(|held| held.len() <= MAX_BYTES))
    }

    async fn put(&self, key: &str, bytes: Bytes, lifetime: Duration) -> Result<(), StoreError> {
        if bytes.len() > MAX_BYTES || lifetime.is_zero() {
            // Nor may what was there before go on answering in its place.
            return self.remove(key).await;
        }
        let others = vec![argument(bytes), argument("PX"), millis(lifetime)];
        let put = self.call("SET", self.key("hot", key), others).await;
        put.map(|_| ()).map_err(|fault| fault.doing("writing to the cache"))
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let removed = self.call("DEL", self.key("hot", key), Vec::new()).await;
        removed.map(|_| ()).map_err(|fault| fault.doing("removing from the cache"))
    }

    async fn pointer(&self, host: &Hostname) -> Result<Option<Pointer>, StoreError> {
        let asked = self.call("GET", self.key("pointer", host.as_str()), Vec::new()).await.and_then(bytes);
        let held = asked.map_err(|fault| fault.doing("reading a cached pointer"))?;
        let Some(held) = held else { return Ok(None) };
        let pointer = decode(&held).filter(|pointer| pointer.host == *host);
        pointer
            .map(Some)
            .ok_or_else(|| Fault::Form("no pointer of this host").doing("reading a cached pointer"))
    }

    async fn put_pointer(&self, pointer: &Pointer, lifetime: Duration) -> Result<(), StoreError> {
        const DOING: &str = "caching a pointer";
        let json = serde_json::to_vec(pointer).map_err(|_| Fault::Form("no JSON").doing(DOING))?;
        let arguments = vec![argument(pointer.version.to_string()), argument(json), millis(lifetime)];
        let put = self.eval(PUT_POINTER, &self.key("pointer", pointer.host.as_str()), arguments).await;
        put.map(|_| ()).map_err(|fault| fault.doing(DOING))
    }

    /// While the server cannot be asked, of the events in this process alone.
    async fn count(&self, key: &str, window: Duration) -> Result<Count, StoreError> {
        match self.count_there(key, window).await {
            Ok(count) => Ok(count),
            Err(fault) => {
                tracing::debug!(error = %fault, "events are counted in this process alone");
                self.own.count(key, window).await
            }
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let echo = self.link.call(PING, "PING", "gv", Vec::new()).await;
        echo.map(|_| ()).map_err(|fault| fault.doing("asking the cache"))
    }

    async fn server(&self) -> Result<Server, StoreError> {
        server::ask(&self.address).await.map_err(|fault| fault.doing("asking the cache what it is"))
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn decode(held: &[u8]) -> Option<Pointer> {
    let at = held.iter().position(|byte| *byte == b' ')?;
    let (version, json) = (std::str::from_utf8(&held[..at]).ok()?, &held[at + 1..]);
    let pointer: Pointer = serde_json::from_slice(json).ok()?;
    (version.parse() == Ok(pointer.version)).then_some(pointer)
}

/// At least one: Redis has no shorter life.
fn millis(duration: Duration) -> Value {
    argument(duration.min(LONGEST).as_millis().max(1).to_string())
}
