//! The bell behind the [`Queue`](crate::ports::queue::Queue) port. [`local`]: within one process.
//! [`amqp`]: RabbitMQ, for several processes.

pub mod amqp;
pub mod local;
