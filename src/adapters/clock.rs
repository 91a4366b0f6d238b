//! The clocks: the system's, and one that tests set.

use crate::ports::clock::Clock;
use std::sync::Mutex;
use std::sync::PoisonError;
use time::OffsetDateTime;

pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        // As exact as it will be stored, so that a value reads back as it was.
        now.replace_microsecond(now.microsecond()).unwrap_or(now)
    }
}

/// Stands still until it is set.
pub struct SetClock(Mutex<OffsetDateTime>);

impl SetClock {
    pub fn at(now: OffsetDateTime) -> Self {
        Self(Mutex::new(now))
    }

    pub fn set(&self, now: OffsetDateTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for SetClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
