//! The logs of running deployments as streams of Redis, one key each.
//!
//! An entry's id is its line's number, its fields are the line as JSON and how many bytes the
//! stream has had up to it; so one key says everything, and no half of a log can be evicted. The
//! last entry of a closed stream is no line. Whoever waits is woken over one channel for all
//! streams, and looks by itself from time to time. Start with [`APPEND`].

use super::fault::Fault;
use super::link::Link;
use super::session::{argument, bytes, list};
use super::subscriber::{Channel, Event, Listener};
use crate::domain::id::DeploymentId;
use crate::domain::log::LogLine;
use crate::ports::error::StoreError;
use crate::ports::live_logs::{Appended, LiveLogs};
use async_trait::async_trait;
use fred::types::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// For one command: shorter than those who write and read wait (two seconds and more).
const LIMIT: Duration = Duration::from_millis(1500);
/// How long a closed stream stays readable, and one that nobody writes to, nor closes.
const AFTER_CLOSE: &str = "600000";
const IDLE: &str = "21600000";
/// How often who waits looks by itself: a message may be lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Of an entry besides its line, roughly, in bytes.
const OVERHEAD: usize = 64;

/// KEYS: the stream. ARGV: the number before the lines, the cap in bytes, the lifetime in ms, the
/// channel and what to say there; then a number, a line and its weight for each. Numbers are below
/// 2^53, which Lua counts to exactly.
///
/// Past the cap the oldest go, but never the newest: who reads gets on by it.
const APPEND: &str = "
local key = KEYS[1]
local last, total = 0, 0
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if newest then
  if newest[2][1] == 'closed' then return 'closed' end
  last = tonumber(string.match(newest[1], '^%d+'))
  total = tonumber(newest[2][4])
end
if last < tonumber(ARGV[1]) then return 'missing' end
local before = last
for i = 6, #ARGV, 3 do
  local seq = tonumber(ARGV[i])
  if seq > last then
    last, total = seq, total + tonumber(ARGV[i + 2])
    redis.call('XADD', key, ARGV[i] .. '-0', 'line', ARGV[i + 1], 'bytes', string.format('%.0f', total))
  end
end
if last > before then
  local from, cut = '-', nil
  repeat
    local page = redis.call('XRANGE', key, from, '+', 'COUNT', 64)
    for _, entry in ipairs(page) do
      if total - tonumber(entry[2][4]) <= tonumber(ARGV[2]) then cut = entry[1] break end
      from = '(' .. entry[1]
    end
  until cut or #page == 0
  if cut then redis.call('XTRIM', key, 'MINID', cut) end
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
redis.call('PEXPIRE', key, ARGV[3])
return 'held'";

/// KEYS: the stream. ARGV: the lifetime in ms, the channel and what to say there.
const CLOSE: &str = "
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest or newest[2][1] ~= 'closed' then
  local last = newest and string.match(newest[1], '^%d+') or '0'
  redis.call('XADD', KEYS[1], last .. '-1', 'closed', '1')
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])";

pub(super) struct RedisLiveLogs {
    link: Arc<Link>,
    prefix: String,
    max_bytes: u64,
    channel: Arc<Channel>,
    waiters: OnceLock<Waiters>,
    runtime: Handle,
}

impl RedisLiveLogs {
    /// Keeps the newest `max_bytes` of each stream.
    pub(super) fn new(
        link: Arc<Link>,
        prefix: String,
        max_bytes: u64,
        channel: Arc<Channel>,
        runtime: Handle,
    ) -> Self {
        Self { link, prefix, max_bytes, channel, waiters: OnceLock::new(), runtime }
    }

    fn key(&self, id: DeploymentId) -> String {
        format!("{}log:{id}", self.prefix)
    }

    async fn eval(&self, script: &'static str, id: DeploymentId, others: Vec<Value>) -> Result<Value, Fault> {
        let others = [argument("1"), argument(self.key(id))].into_iter().chain(others);
        self.link.call(LIMIT, "EVAL", script, others.collect()).await
    }

    async fn append_there(
        &self,
        id: DeploymentId,
        follows: u64,
        lines: &[LogLine],
    ) -> Result<Appended, Fault> {
        let mut arguments = vec![
            argument(follows.to_string()),
            argument(self.max_bytes.to_string()),
            argument(IDLE),
            argument(self.channel.name.clone()),
            argument(id.to_string()),
        ];
        for line in lines {
            let json = serde_json::to_vec(line).map_err(|_| Fault::Form("no JSON"))?;
            let weight = (json.len() + OVERHEAD).to_string();
            arguments.extend([argument(line.seq.to_string()), argument(json), argument(weight)]);
        }
        match bytes(self.eval(APPEND, id, arguments).await?)?.as_deref() {
            Some(b"held") => Ok(Appended::Held),
            Some(b"missing") => Ok(Appended::Missing),
            Some(b"closed") => Ok(Appended::Closed),
            _ => Err(Fault::Form("neither held nor missing")),
        }
    }

    async fn read_there(&self, id: DeploymentId, after: u64, limit: usize) -> Result<Vec<LogLine>, Fault> {
        let Some(from) = after.checked_add(1).filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let others = [from.to_string(), "+".to_owned(), "COUNT".to_owned(), limit.to_string()];
        let answer = self.link.call(LIMIT, "XRANGE", self.key(id), others.map(argument).into()).await?;
        let lines = list(answer)?.into_iter().map(|entry| Entry::parse(entry)?.line());
        lines.filter_map(Result::transpose).collect()
    }

    /// Whether there is a line after this number, or will be none any more.
    async fn has_news(&self, id: DeploymentId, after: u64) -> Result<bool, Fault> {
        let others = ["+", "-", "COUNT", "1"].map(argument).into();
        // Redis' own order for this one is the other way round: from the newest.
        let answer = self.link.call(LIMIT, "XREVRANGE", self.key(id), others).await?;
        let Some(newest) = list(answer)?.into_iter().next() else { return Ok(false) };
        let newest = Entry::parse(newest)?;
        Ok(newest.seq > after || newest.line()?.is_none())
    }

    async fn wait_there(&self, id: DeploymentId, after: u64) -> Result<(), Fault> {
        let waiters = self.waiters.get_or_init(|| Waiters::start(&self.channel, &self.runtime));
        let mut woken = waiters.register(id);
        while !self.has_news(id, after).await? {
            if timeout(LOOK_EVERY, woken.receiver.changed()).await.is_ok() {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LiveLogs for RedisLiveLogs {
    async fn append(
        &self,
        id: DeploymentId,
        follows: u64,
        lines: &[LogLine],
    ) -> Result<Appended, StoreError> {
        self.append_there(id, follows, lines).await.map_err(|fault| fault.doing("sending live lines"))
    }

    async fn read(&self, id: DeploymentId, after: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        self.read_there(id, after, limit).await.map_err(|fault| fault.doing("reading live lines"))
    }

    async fn wait(&self, id: DeploymentId, after: u64, at_most: Duration) -> Result<(), StoreError> {
        match timeout(at_most, self.wait_there(id, after)).await {
            Ok(waited) => waited.map_err(|fault| fault.doing("waiting for live lines")),
            // An ordinary answer.
            Err(_) => Ok(()),
        }
    }

    async fn close(&self, id: DeploymentId) -> Result<(), StoreError> {
        let arguments =
            vec![argument(AFTER_CLOSE), argument(self.channel.name.clone()), argument(id.to_string())];
        let closed = self.eval(CLOSE, id, arguments).await;
        closed.map(|_| ()).map_err(|fault| fault.doing("closing a live log"))
    }
}

/// An entry of a stream, read like a stranger's.
struct Entry {
    seq: u64,
    fields: Vec<Value>,
}

impl Entry {
    fn parse(entry: Value) -> Result<Self, Fault> {
        const WRONG: Fault = Fault::Form("no entry of a stream");
        let mut parts = list(entry)?.into_iter();
        let (Some(id), Some(fields), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(WRONG);
        };
        let id = bytes(id)?.ok_or(WRONG)?;
        let seq = std::str::from_utf8(&id).ok().and_then(|id| id.split_once('-')?.0.parse().ok());
        Ok(Self { seq: seq.ok_or(WRONG)?, fields: list(fields)? })
    }

    /// `None`: it closes its stream.
    fn line(self) -> Result<Option<LogLine>, Fault> {
        const WRONG: Fault = Fault::Form("no line of a log");
        let mut fields = self.fields.into_iter();
        let name = bytes(fields.next().ok_or(WRONG)?)?;
        let value = bytes(fields.next().ok_or(WRONG)?)?.ok_or(WRONG)?;
        match name.as_deref() {
            Some(b"closed") => Ok(None),
            Some(b"line") => {
                let line: LogLine = serde_json::from_slice(&value).map_err(|_| WRONG)?;
                if line.seq == self.seq && line.text.len() <= LogLine::MAX_TEXT {
                    Ok(Some(line))
                } else {
                    Err(WRONG)
                }
            }
            _ => Err(WRONG),
        }
    }
}

/// Who waits for which stream in this process. One task hears the channel for all of them.
struct Waiters {
    by_id: Arc<Mutex<ById>>,
    _ringing: AbortOnDropHandle<()>,
}

type ById = HashMap<DeploymentId, watch::Sender<()>>;

/// Registered as long as it lives.
struct Waiter {
    id: DeploymentId,
    receiver: watch::Receiver<()>,
    by_id: Arc<Mutex<ById>>,
}

impl Waiters {
    fn start(channel: &Arc<Channel>, runtime: &Handle) -> Self {
        let by_id = Arc::default();
        let listener = channel.subscriber().listen();
        let ringing = runtime.spawn(ring(listener, Arc::clone(&by_id)));
        Self { by_id, _ringing: AbortOnDropHandle::new(ringing) }
    }

    fn register(&self, id: DeploymentId) -> Waiter {
        let receiver = locked(&self.by_id).entry(id).or_default().subscribe();
        Waiter { id, receiver, by_id: Arc::clone(&self.by_id) }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut by_id = locked(&self.by_id);
        // This one still counts.
        if by_id.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            by_id.remove(&self.id);
        }
    }
}

fn locked(by_id: &Mutex<ById>) -> MutexGuard<'_, ById> {
    by_id.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ring(mut listener: Listener, by_id: Arc<Mutex<ById>>) {
    loop {
        match listener.next().await {
            Event::Message(id) => {
                let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok());
                if let Some(sender) = id.and_then(|id| locked(&by_id).get(&id).cloned()) {
                    sender.send_replace(());
                }
            }
            // Anything may have happened meanwhile.
            Event::Gap => locked(&by_id).values().for_each(|sender| {
                sender.send_replace(());
            }),
        }
    }
}
