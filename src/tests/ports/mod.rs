//! The contract of each port, as one suite that every adapter of it passes.

mod blobs;
mod cache;
mod database;
mod executor;
mod live_logs;
mod notices;
mod queue;
mod source;
