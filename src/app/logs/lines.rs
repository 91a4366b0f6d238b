//! What a writer keeps of a log in memory: every line that is to be stored, numbered and masked, and
//! how much of it the live stream has.

use super::text::Mask;
use super::writer::LogFull;
use crate::domain::deployment::StepName;
use crate::domain::log::{LogLine, LogStream};
use std::collections::BTreeMap;

/// What a line counts for besides its text: its number, time and so on. Empty lines are bounded too.
const LINE_BYTES: u64 = 32;
/// What gv itself may say once the log is full.
const LAST_WORDS_BYTES: u64 = 64 * 1024;
/// What is sent at a time: lines, and bytes of their texts.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 512 * 1024;

/// At most the log's cap twice.
pub(super) struct Lines {
    pub(super) mask: Mask,
    /// Of earlier attempts, as far as they are still known: the newest, up to the cap.
    earlier: Vec<LogLine>,
    own: Vec<LogLine>,
    /// The number up to which the live stream has the log, as far as is known.
    pub(super) sent: u64,
    cap: u64,
    room: u64,
    room_for_words: u64,
    full: bool,
    /// Stored or left: what a killed process still says is not kept.
    pub(super) closed: bool,
}

impl Lines {
    pub(super) fn new(mask: Mask, cap: u64) -> Self {
        Self {
            mask,
            earlier: Vec::new(),
            own: Vec::new(),
            sent: 0,
            cap,
            room: cap,
            room_for_words: LAST_WORDS_BYTES,
            full: false,
            closed: false,
        }
    }

    /// gv's own words go on for a while once the log is full; whatever else is refused.
    pub(super) fn add(
        &mut self,
        base: u64,
        now: impl Fn() -> time::OffsetDateTime,
        (step, stream, text): (StepName, LogStream, &str),
    ) -> Result<(), LogFull> {
        if self.closed {
            return Ok(());
        }
        let own_words = stream == LogStream::System;
        if self.full && !own_words {
            return Err(LogFull);
        }
        let Self { mask, own, room, room_for_words, full, .. } = self;
        let mut push = |step, stream, text| {
            let seq = base + 1 + own.len() as u64;
            own.push(LogLine { seq, time: now(), stream, step, text });
        };
        for text in mask.lines(text) {
            let cost = text.len() as u64 + LINE_BYTES;
            if !*full && cost <= *room {
                *room -= cost;
            } else if own_words && cost <= *room_for_words {
                *room_for_words -= cost;
            } else if own_words {
                return Err(LogFull);
            } else {
                *full = true;
                push(step, LogStream::System, "The log is full: what follows is not kept.".to_owned());
                return Err(LogFull);
            }
            push(step, stream, text);
        }
        Ok(())
    }

    /// Takes in lines of earlier attempts, and keeps the newest of all that are known, up to the
    /// cap. `true`: something is known that was not.
    pub(super) fn recall(&mut self, earlier: impl IntoIterator<Item = LogLine>) -> bool {
        let ends = |lines: &[LogLine]| (lines.len(), lines.first().map(|line| line.seq));
        let before = ends(&self.earlier);
        let known = std::mem::take(&mut self.earlier);
        let all: BTreeMap<u64, LogLine> =
            earlier.into_iter().chain(known).map(|line| (line.seq, line)).collect();
        let mut kept = 0;
        let fits = |(_, line): &(&u64, &LogLine)| {
            kept += line.text.len() as u64 + LINE_BYTES;
            kept <= self.cap
        };
        let count = all.iter().rev().take_while(fits).count();
        let from = all.len() - count;
        self.earlier = all.into_values().skip(from).collect();
        before != ends(&self.earlier)
    }

    pub(super) fn all(&self) -> Vec<LogLine> {
        self.earlier.iter().chain(&self.own).cloned().collect()
    }

    /// The last number there is; 0: no line.
    pub(super) fn newest(&self) -> u64 {
        self.own.last().or(self.earlier.last()).map_or(0, |line| line.seq)
    }

    pub(super) fn count_unsent(&self) -> usize {
        let (earlier, own) = self.after(self.sent);
        earlier.len() + own.len()
    }

    /// The next lines for the live stream.
    pub(super) fn unsent(&self) -> Vec<LogLine> {
        let (earlier, own) = self.after(self.sent);
        let mut bytes = 0;
        let fits = |line: &&LogLine| {
            bytes += line.text.len();
            // One always goes.
            bytes - line.text.len() < BATCH_BYTES
        };
        earlier.iter().chain(own).take(BATCH).take_while(fits).cloned().collect()
    }

    fn after(&self, number: u64) -> (&[LogLine], &[LogLine]) {
        let rest = |lines: &'_ [LogLine]| lines.partition_point(|line| line.seq <= number);
        (&self.earlier[rest(&self.earlier)..], &self.own[rest(&self.own)..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn add(lines: &mut Lines, stream: LogStream, text: &str) -> Result<(), LogFull> {
        lines.add(0, || OffsetDateTime::UNIX_EPOCH, (StepName::Build, stream, text))
    }

    fn texts(lines: &Lines) -> Vec<&str> {
        lines.own.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_numbered_in_their_order() {
        let mut lines = Lines::new(Mask::default(), 1_000);
        add(&mut lines, LogStream::Stdout, "a\nb").unwrap();
        add(&mut lines, LogStream::Stderr, "c").unwrap();
        let numbers: Vec<_> = lines.own.iter().map(|line| line.seq).collect();
        assert_eq!((numbers, texts(&lines)), (vec![1, 2, 3], vec!["a", "b", "c"]));
    }

    #[test]
    fn a_full_log_says_so_once_and_still_takes_the_words_of_gv() {
        let mut lines = Lines::new(Mask::default(), 2 * (LINE_BYTES + 1));
        assert_eq!(add(&mut lines, LogStream::Stdout, "a\nb\nc"), Err(LogFull));
        assert_eq!(add(&mut lines, LogStream::Stdout, "d"), Err(LogFull));
        assert_eq!(add(&mut lines, LogStream::System, "failed"), Ok(()));
        assert_eq!(texts(&lines), ["a", "b", "The log is full: what follows is not kept.", "failed"]);
    }

    #[test]
    fn even_the_words_of_gv_are_bounded_and_so_are_empty_lines() {
        let mut lines = Lines::new(Mask::default(), 0);
        let mut said = 0;
        while add(&mut lines, LogStream::System, "").is_ok() {
            said += 1;
        }
        assert_eq!(said, LAST_WORDS_BYTES / LINE_BYTES);
    }

    #[test]
    fn what_comes_after_the_end_is_not_kept() {
        let mut lines = Lines::new(Mask::default(), 1_000);
        lines.closed = true;
        assert_eq!(add(&mut lines, LogStream::Stdout, "late"), Ok(()));
        assert!(lines.own.is_empty());
    }

    #[test]
    fn of_earlier_attempts_the_newest_lines_are_kept() {
        let mut earlier = Lines::new(Mask::default(), 1_000);
        add(&mut earlier, LogStream::Stdout, "a\nb\nc").unwrap();
        let mut lines = Lines::new(Mask::default(), 2 * (LINE_BYTES + 1));
        assert!(lines.recall(earlier.own[1..2].to_vec()));
        assert!(lines.recall(earlier.own.clone()));
        let kept: Vec<_> = lines.earlier.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(kept, ["b", "c"]);
        assert!(!lines.recall(earlier.own), "all of it that fits was known");
    }

    #[test]
    fn what_the_live_stream_has_not_is_given_in_order_and_in_pieces() {
        let mut earlier = Lines::new(Mask::default(), 1_000);
        add(&mut earlier, LogStream::Stdout, "a\nb").unwrap();
        let mut lines = Lines::new(Mask::default(), 10_000_000);
        lines.recall(earlier.own);
        let (base, long) = (LogLine::base(2), "x".repeat(LogLine::MAX_TEXT));
        for _ in 0..200 {
            lines
                .add(base, || OffsetDateTime::UNIX_EPOCH, (StepName::Build, LogStream::Stdout, &long))
                .unwrap();
        }
        assert_eq!((lines.count_unsent(), lines.newest()), (202, base + 200));
        let first = lines.unsent();
        assert_eq!((first[0].seq, first[1].seq, first[2].seq), (1, 2, base + 1));
        assert!(first.len() > 100 && first.len() < 202);
        lines.sent = first.last().unwrap().seq;
        assert_eq!(lines.unsent()[0].seq, lines.sent + 1);
        lines.sent = base + 200;
        assert!(lines.unsent().is_empty());
    }
}
