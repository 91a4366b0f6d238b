//! Lines of a deployment's log.

use crate::domain::deployment::StepName;
use crate::domain::text::Invalid;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One line. `seq` rises within a deployment, over all its attempts; it may leave gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub seq: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub stream: LogStream,
    pub step: StepName,
    /// Without line break, at most [`LogLine::MAX_TEXT`] bytes; escape sequences are kept.
    pub text: String,
}

impl LogLine {
    /// A longer line is continued in the next one.
    pub const MAX_TEXT: usize = 4096;

    /// The number before an attempt's first line. Each attempt counts in a range of its own, so
    /// that a log whose live copy was lost with its worker still never repeats a number.
    pub fn base(attempt: u32) -> u64 {
        u64::from(attempt.saturating_sub(1)) << 32
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// gv's own words.
    System,
    Stdout,
    Stderr,
}

impl std::str::FromStr for LogStream {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "system" => Ok(Self::System),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err(Invalid::new("is not a stream of a log")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_counts_above_all_lines_of_an_earlier_one() {
        assert_eq!(LogLine::base(1), 0);
        assert!(LogLine::base(2) > 1_000_000_000);
        // JavaScript reads numbers up to 2^53 exactly: a thousand attempts stay far below.
        assert!(LogLine::base(1000) < 1 << 53);
    }
}
