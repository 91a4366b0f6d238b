//! The edge by HTTP/2, which TLS connections ask for at their handshake: the `h2` crate reads and
//! writes frames, and every answer is the one that HTTP/1.1 gets.
//!
//! What one connection can take is bounded as [`crate::http2`] has it; of its requests [`MAX_LOADS`] ask more
//! than memory. Start with [`connection`]; [`head`] reads requests and writes heads of answers, [`stream`] is
//! one request with its answer, [`gathered`] writes many together.

pub mod connection;
mod gathered;
mod head;
mod stream;

/// Requests of one connection that wait for a layer below memory, or stream from it.
const MAX_LOADS: usize = 32;
