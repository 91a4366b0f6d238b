//! What the program needs from outside, as traits: database, queue, cache, blobs, source, certificates,
//! executor, tools, traces, clock. Adapters implement them, `app` and the roles use them, `wiring` joins the two.
//!
//! Each port has one contract suite in `src/tests/ports`, which every adapter of it passes: a rule
//! that is not tested there is not in the contract. Start with [`deployments`], whose lease is the
//! heart of the program, then [`blobs`].

pub mod accounts;
pub mod authority;
pub mod blobs;
pub mod cache;
pub mod clock;
pub mod database;
pub mod deployments;
pub mod dns_records;
pub mod error;
pub mod executor;
pub mod hosts;
pub mod live_logs;
pub mod notices;
pub mod projects;
pub mod queue;
pub mod source;
pub mod tools;
pub mod traces;
pub mod variables;
