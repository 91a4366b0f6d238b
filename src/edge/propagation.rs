//! How long moves of hosts take to arrive here: from the moment that a pointer was published to the moment
//! that this edge gave up an older one for it.
//!
//! Only what a visitor could have seen counts. Nothing is measured of a host that this edge did not hold,
//! since it showed nobody anything older; and where the older pointer was not trusted any more, the time
//! ends where that trust did: whoever came then was shown the new one.

use crate::ports::clock::Clock;
use metrics::{Unit, describe_histogram, histogram};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

const SECONDS: &str = "gv_edge_pointer_propagation_seconds";

/// How an edge learnt of a newer pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It was told.
    Notice,
    /// It asked the cache or storage.
    Look,
}

pub struct Propagation {
    clock: Arc<dyn Clock>,
}

impl Propagation {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        describe_histogram!(
            SECONDS,
            Unit::Seconds,
            "From the publication of a host's pointer to the moment that an edge which held an older one took it over."
        );
        Self { clock }
    }

    /// Notes that an older pointer gave way, which had been `untrusted` for so long.
    pub fn note(&self, published_at: Option<OffsetDateTime>, untrusted: Duration, by: News) {
        // Pointers of before do not say when they were published.
        let Some(published_at) = published_at else { return };
        let by = match by {
            News::Notice => "notice",
            News::Look => "look",
        };
        histogram!(SECONDS, "by" => by).record(shown_on(published_at, self.clock.now(), untrusted));
    }
}

/// For how long the older one was shown after that moment. Clocks of two machines differ: less than nothing
/// is nothing.
fn shown_on(published_at: OffsetDateTime, now: OffsetDateTime, untrusted: Duration) -> Duration {
    Duration::try_from(now - published_at).unwrap_or_default().saturating_sub(untrusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_have_seen_does_not_count() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::DAY;
        let ago = |ms: i64| now - time::Duration::milliseconds(ms);
        let ms = Duration::from_millis;
        assert_eq!(shown_on(ago(40), now, Duration::ZERO), ms(40), "it was trusted until now");
        assert_eq!(shown_on(ago(60_000), now, ms(57_000)), ms(3_000), "it was trusted for 3 s more");
        assert_eq!(shown_on(ago(1_000), now, ms(60_000)), Duration::ZERO, "nobody asked meanwhile");
        assert_eq!(
            shown_on(now + time::Duration::SECOND, now, Duration::ZERO),
            Duration::ZERO,
            "another clock"
        );
    }
}
