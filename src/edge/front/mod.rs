//! The edge's own front: reads HTTP/1.1 requests from a connection and writes answers to it, with
//! one system call for each where it can. Ordinary requests are GETs and the like without a content;
//! at the first one that is not, the connection is given to actix-web, which knows the rest of HTTP.
//!
//! Start with [`connection`]; [`head`] reads requests, [`writing`] writes answers.

pub mod connection;
pub mod head;
mod outgoing;
mod rewound;
pub mod waiting;
pub mod writing;

pub use outgoing::Outgoing;
pub use rewound::Rewound;
