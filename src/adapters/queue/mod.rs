//! The bell behind the [`Queue`](crate::ports::queue::Queue) port. [`local`]: within one process.

pub mod local;
