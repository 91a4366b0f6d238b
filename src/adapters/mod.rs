//! What stands behind the ports: one folder a port, one file a technology.
//!
//! Only `wiring` (and the contract suites in `src/tests/ports`) name an adapter.

pub mod acme;
pub mod blobs;
pub mod cache;
pub mod clock;
pub mod database;
pub mod dns;
pub mod executor;
mod outage;
pub mod queue;
pub mod source;
mod tls;
pub mod tools;
pub mod traces;
