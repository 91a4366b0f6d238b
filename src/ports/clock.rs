//! The time, as an argument: nothing below `wiring` reads a clock by itself.

use time::OffsetDateTime;

pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> OffsetDateTime;
}
