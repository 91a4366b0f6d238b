//! Spans on their way to a collector, by OTLP over HTTP ([`otlp`]).

pub mod otlp;
mod sending;
