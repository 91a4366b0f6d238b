//! The edge by HTTP/2, which TLS connections ask for at their handshake: the `h2` crate reads and
//! writes frames, and every answer is the one that HTTP/1.1 gets.
//!
//! What one connection can take is bounded: [`MAX_STREAMS`] requests at a time, of which
//! [`MAX_LOADS`] ask more than memory, and [`MAX_BUFFERED`] bytes of each that wait to be written. What h2
//! bounds by itself is told in `docs/routing.md`. Start with [`connection`]; [`head`] reads requests and
//! writes heads of answers, [`stream`] is one request with its answer, [`gathered`] writes many together.

pub mod connection;
mod gathered;
mod head;
mod stream;

/// Requests of one connection at a time (RFC 9113, 6.5.2 asks for no fewer).
const MAX_STREAMS: usize = 100;
/// Of them, those that wait for a layer below memory, or stream from it.
const MAX_LOADS: usize = 32;
/// Of one answer, handed over to be written when the client and the network take it.
const MAX_BUFFERED: usize = 32 * 1024;
