//! gv: Vercel for static sites, on your own machines.
//!
//! `docs/architecture.md` has the map. Start with [`domain::deployment`], then [`ports`], then
//! [`app`].

pub mod adapters;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod edge;
mod flights;
mod http2;
pub mod ops;
pub mod ports;
pub mod telemetry;
pub mod tls;
pub mod wiring;
pub mod worker;
