//! What gv is about: accounts, projects, deployments, hosts, manifests, and the rules between them.
//!
//! Everything here is a value or a pure function. Time and randomness come in as arguments, which
//! is what lets the rules be tested without a harness. Nothing here knows a table, a socket or a
//! status code.
//!
//! Start with [`deployment`], whose state machine the other modules serve.

pub mod account;
pub mod address;
pub mod certificate;
pub mod coding;
pub mod deployment;
pub mod digest;
pub mod failure;
pub mod host;
pub mod http;
pub mod id;
pub mod log;
pub mod manifest;
pub mod media_type;
pub mod project;
pub mod repo;
pub mod request_path;
pub mod routing;
pub mod sealing;
pub mod secret;
pub mod settings;
pub mod skip;
pub mod text;
pub mod trace;
pub mod variable;
