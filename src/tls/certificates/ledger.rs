//! How many certificates were ordered lately, by all processes together, and until when the authority
//! wants none ordered at all.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// When each order of the last hour was made, in seconds since 1970.
    orders: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    blocked_until: Option<OffsetDateTime>,
}

impl Ledger {
    /// Notes an order down, if there may be one; else until when there may be none.
    pub fn admit(&mut self, now: OffsetDateTime, per_hour: usize) -> Result<(), OffsetDateTime> {
        if let Some(until) = self.blocked_until.filter(|until| now < *until) {
            return Err(until);
        }
        self.blocked_until = None;
        let an_hour_ago = (now - Duration::HOUR).unix_timestamp();
        // What lies in the future was noted down by a clock that is wrong.
        self.orders.retain(|at| *at > an_hour_ago && *at <= (now + Duration::MINUTE).unix_timestamp());
        if self.orders.len() >= per_hour {
            let first = self.orders.iter().min().copied().unwrap_or(now.unix_timestamp());
            return Err(now + Duration::seconds((first - an_hour_ago).max(1)));
        }
        self.orders.push(now.unix_timestamp());
        Ok(())
    }

    /// The authority was asked too often.
    pub fn block(&mut self, until: OffsetDateTime) {
        self.blocked_until = Some(self.blocked_until.map_or(until, |known| known.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::minutes(minutes)
    }

    #[test]
    fn so_many_orders_are_admitted_within_an_hour() {
        let mut ledger = Ledger::default();
        assert_eq!([0, 10, 20].map(|minute| ledger.admit(at(minute), 3)), [Ok(()); 3]);
        assert_eq!(ledger.admit(at(30), 3), Err(at(60)), "the first of them is an hour old then");
        assert_eq!(ledger.admit(at(61), 3), Ok(()));
        assert_eq!(ledger.admit(at(62), 3), Err(at(70)));
    }

    #[test]
    fn an_authority_that_was_asked_too_often_is_left_alone_until_it_said() {
        let mut ledger = Ledger::default();
        ledger.block(at(90));
        ledger.block(at(30));
        assert_eq!(ledger.admit(at(60), 3), Err(at(90)));
        let kept: Ledger = serde_json::from_slice(&serde_json::to_vec(&ledger).unwrap()).unwrap();
        assert_eq!(kept, ledger);
        assert_eq!(ledger.admit(at(90), 3), Ok(()));
    }

    #[test]
    fn a_clock_that_was_wrong_blocks_nothing() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.admit(at(100_000), 1), Ok(()));
        assert_eq!(ledger.admit(at(0), 1), Ok(()));
    }
}
