//! A connection to the broker that is away: as others are, and counted.

use super::link::Fault;
use crate::adapters::outage;
use std::time::Duration;

const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Outage {
    /// `publishing` or `consuming`.
    connection: &'static str,
    outage: outage::Outage,
}

impl Outage {
    pub(super) fn of(connection: &'static str) -> Self {
        Self { connection, outage: outage::Outage::of(format!("RabbitMQ, for {connection},"), PAUSES) }
    }

    /// Whether what was lost had been of use: it is worth another try at once.
    pub(super) fn begins(&mut self, fault: &Fault) -> bool {
        metrics::gauge!("gv_queue_connected", "connection" => self.connection).set(0.0);
        self.outage.begins(fault)
    }

    pub(super) fn ends(&mut self) {
        metrics::gauge!("gv_queue_connected", "connection" => self.connection).set(1.0);
        metrics::counter!("gv_queue_connects_total", "connection" => self.connection).increment(1);
        self.outage.ends();
    }

    pub(super) fn pause(&mut self) -> Duration {
        self.outage.pause()
    }
}
