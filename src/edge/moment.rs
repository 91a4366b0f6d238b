//! The time as answers and log lines tell it, made once a second (or a millisecond) and not for each
//! of them.

use crate::ports::clock::Clock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 9110, 5.6.7.
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const SECOND: Duration = Duration::from_secs(1);

/// One thread's own: it remembers the second that it told last.
pub struct Moments {
    clock: Arc<dyn Clock>,
    /// When the second began that is told, by the clock that only goes on.
    began: Instant,
    date_line: Vec<u8>,
    log_prefix: Vec<u8>,
}

impl Moments {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let mut moments = Self {
            clock,
            began: Instant::now(),
            date_line: Vec::with_capacity(48),
            log_prefix: Vec::with_capacity(32),
        };
        moments.tell(now);
        moments
    }

    fn tell(&mut self, now: OffsetDateTime) {
        let into_second = Duration::from_nanos(u64::from(now.nanosecond()));
        self.began = Instant::now().checked_sub(into_second).unwrap_or_else(Instant::now);
        self.date_line.clear();
        self.date_line.extend_from_slice(b"Date: ");
        // A vector takes whatever is written, and every moment can be told so.
        let _ = now.format_into(&mut self.date_line, HTTP_DATE);
        self.date_line.extend_from_slice(b"\r\n");
        self.log_prefix.clear();
        let day = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].");
        let _ = now.format_into(&mut self.log_prefix, &day);
    }

    fn keep_up(&mut self, now: Instant) {
        if now.duration_since(self.began) >= SECOND {
            let told = self.clock.now();
            self.tell(told);
        }
    }

    /// `Date: ...`, a whole line.
    pub fn date_line(&mut self, now: Instant) -> &[u8] {
        self.keep_up(now);
        &self.date_line
    }

    /// RFC 3339, to the millisecond.
    pub fn write_log_time(&mut self, now: Instant, into: &mut Vec<u8>) {
        self.keep_up(now);
        into.extend_from_slice(&self.log_prefix);
        let millis = now.duration_since(self.began).as_millis().min(999) as u32;
        let digit = |place: u32| b'0' + (millis / place % 10) as u8;
        into.extend_from_slice(&[digit(100), digit(10), digit(1), b'Z']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> OffsetDateTime {
            datetime!(1994-11-06 08:49:37.250 UTC)
        }
    }

    #[test]
    fn dates_are_told_as_http_and_logs_want_them() {
        let mut moments = Moments::new(Arc::new(Fixed));
        let now = Instant::now();
        assert_eq!(moments.date_line(now), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        let mut text = Vec::new();
        moments.write_log_time(now, &mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("1994-11-06T08:49:37.") && text.ends_with('Z') && text.len() == 24,
            "{text}"
        );
    }
}
