//! What is fast, shared and may be forgotten: hot bytes, pointers and counters
//! ([`local::LocalCache`]), the logs of running builds ([`local_logs::LocalLogs`]) and word to all
//! who listen ([`local_notices::LocalNotices`]), here within one process.

pub mod local;
pub mod local_logs;
pub mod local_notices;
