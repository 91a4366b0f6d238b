//! What is fast, shared and may be forgotten: hot bytes, pointers and counters
//! ([`local::LocalCache`]), the logs of running builds ([`local_logs::LocalLogs`]) and word to all
//! who listen ([`local_notices::LocalNotices`]), each within one process; all three between
//! processes in [`redis::Redis`].

pub mod local;
pub mod local_logs;
pub mod local_notices;
pub mod redis;
