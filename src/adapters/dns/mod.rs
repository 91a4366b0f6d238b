//! Records of the operator's zone, for proofs by DNS: by dynamic updates (RFC 2136), or by a program
//! of the operator's.

pub mod exec;
pub mod rfc2136;
