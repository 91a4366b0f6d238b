//! What a writer keeps of a log in memory: every line that is to be stored, numbered and masked, and
//! how much of it the live stream has.

use super::mask::{Mask, Seen};
use super::text;
use super::writer::LogFull;
use crate::domain::deployment::StepName;
use crate::domain::log::{LogLine, LogStream};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// What a line counts for besides its text: its number, time and so on. Empty lines are bounded too.
const LINE_BYTES: u64 = 64;
/// What gv itself may say once the log is full.
const LAST_WORDS_BYTES: u64 = 64 * 1024;
/// What is sent at a time: lines, and bytes of their texts.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 512 * 1024;

/// How long a line is held back whose end may be the beginning of a secret, and how much is at a time.
const HOLD: Duration = Duration::from_millis(300);
const HELD_BYTES: usize = 256 * 1024;

/// At most the log's cap twice.
pub(super) struct Lines {
    pub(super) mask: Mask,
    /// Of earlier attempts, as far as they are still known: the newest, up to the cap.
    earlier: Vec<LogLine>,
    own: Vec<LogLine>,
    /// Came, and may have to be hidden yet: in the order in which they are to be kept.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// The number before the first of this attempt.
    base: u64,
    /// The number up to which the live stream has the log, as far as is known.
    pub(super) sent: u64,
    cap: u64,
    room: u64,
    room_for_words: u64,
    full: bool,
    /// Stored or left: what a killed process still says is not kept.
    closed: bool,
}

struct Held {
    step: StepName,
    stream: LogStream,
    time: OffsetDateTime,
    until: Instant,
    line: Seen,
}

impl Lines {
    pub(super) fn new(mask: Mask, cap: u64, base: u64) -> Self {
        Self {
            mask,
            earlier: Vec::new(),
            own: Vec::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            base,
            sent: 0,
            cap,
            room: cap,
            room_for_words: LAST_WORDS_BYTES,
            full: false,
            closed: false,
        }
    }

    /// gv's own words go on for a while once the log is full; whatever else is refused. A line that is held
    /// back for a moment is kept, or refused, with the next call.
    pub(super) fn add(
        &mut self,
        now: impl Fn() -> OffsetDateTime,
        (step, stream, text): (StepName, LogStream, &str),
    ) -> Result<(), LogFull> {
        if self.closed {
            return Ok(());
        }
        if self.full && stream != LogStream::System {
            return Err(LogFull);
        }
        let until = Instant::now() + HOLD;
        for text in text::lines(text) {
            let held = self.held.iter_mut().map(|held| &mut held.line);
            let line = self.mask.take(stream, text, held);
            self.held_bytes += line.weight();
            self.held.push_back(Held { step, stream, time: now(), until, line });
        }
        self.release()
    }

    /// Keeps the lines of which nothing is to be hidden any more, and those that were held for long enough.
    pub(super) fn release(&mut self) -> Result<(), LogFull> {
        let now = Instant::now();
        let mut kept = Ok(());
        while let Some(first) = self.held.front() {
            if !self.mask.is_decided(&first.line) && first.until > now && self.held_bytes <= HELD_BYTES {
                break;
            }
            kept = self.keep_first().and(kept);
        }
        kept
    }

    /// When the next line is due that is held back.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|held| held.until)
    }

    /// Hides these as well, from here on. What is held is judged by those that were known when it came.
    pub(super) fn hide(&mut self, secrets: impl IntoIterator<Item = String>) {
        self.let_go();
        self.mask.add(secrets);
    }

    /// What is held is kept; nothing is taken from here on.
    pub(super) fn close(&mut self) {
        self.let_go();
        self.closed = true;
    }

    fn let_go(&mut self) {
        // A full log has said so.
        while !self.held.is_empty() {
            let _ = self.keep_first();
        }
    }

    fn keep_first(&mut self) -> Result<(), LogFull> {
        let Some(Held { step, stream, time, mut line, .. }) = self.held.pop_front() else { return Ok(()) };
        self.held_bytes -= line.weight();
        if !self.mask.is_decided(&line) {
            self.mask.hide_begun(&mut line);
        }
        let own_words = stream == LogStream::System;
        if self.full && !own_words {
            return Err(LogFull);
        }
        for text in text::cut(line.shown()) {
            let cost = text.len() as u64 + LINE_BYTES;
            if !self.full && cost <= self.room {
                self.room -= cost;
            } else if own_words && cost <= self.room_for_words {
                self.room_for_words -= cost;
            } else if own_words {
                return Err(LogFull);
            } else {
                self.full = true;
                let last = "The log is full: what follows is not kept.".to_owned();
                self.push(time, step, LogStream::System, last);
                return Err(LogFull);
            }
            self.push(time, step, stream, text);
        }
        Ok(())
    }

    fn push(&mut self, time: OffsetDateTime, step: StepName, stream: LogStream, text: String) {
        let seq = self.base + 1 + self.own.len() as u64;
        self.own.push(LogLine { seq, time, stream, step, text });
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

    fn add(lines: &mut Lines, stream: LogStream, text: &str) -> Result<(), LogFull> {
        lines.add(|| OffsetDateTime::UNIX_EPOCH, (StepName::Build, stream, text))
    }

    fn texts(lines: &Lines) -> Vec<&str> {
        lines.own.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_numbered_in_their_order() {
        let mut lines = Lines::new(Mask::default(), 1_000, 0);
        add(&mut lines, LogStream::Stdout, "a\nb").unwrap();
        add(&mut lines, LogStream::Stderr, "c").unwrap();
        let numbers: Vec<_> = lines.own.iter().map(|line| line.seq).collect();
        assert_eq!((numbers, texts(&lines)), (vec![1, 2, 3], vec!["a", "b", "c"]));
    }

    #[test]
    fn a_full_log_says_so_once_and_still_takes_the_words_of_gv() {
        let mut lines = Lines::new(Mask::default(), 2 * (LINE_BYTES + 1), 0);
        assert_eq!(add(&mut lines, LogStream::Stdout, "a\nb\nc"), Err(LogFull));
        assert_eq!(add(&mut lines, LogStream::Stdout, "d"), Err(LogFull));
        assert_eq!(add(&mut lines, LogStream::System, "failed"), Ok(()));
        assert_eq!(texts(&lines), ["a", "b", "The log is full: what follows is not kept.", "failed"]);
    }

    #[test]
    fn even_the_words_of_gv_are_bounded_and_so_are_empty_lines() {
        let mut lines = Lines::new(Mask::default(), 0, 0);
        let mut said = 0;
        while add(&mut lines, LogStream::System, "").is_ok() {
            said += 1;
        }
        assert_eq!(said, LAST_WORDS_BYTES / LINE_BYTES);
    }

    #[test]
    fn what_comes_after_the_end_is_not_kept() {
        let mut lines = Lines::new(Mask::default(), 1_000, 0);
        lines.close();
        assert_eq!(add(&mut lines, LogStream::Stdout, "late"), Ok(()));
        assert!(lines.own.is_empty());
    }

    #[test]
    fn of_earlier_attempts_the_newest_lines_are_kept() {
        let mut earlier = Lines::new(Mask::default(), 1_000, 0);
        add(&mut earlier, LogStream::Stdout, "a\nb\nc").unwrap();
        let mut lines = Lines::new(Mask::default(), 2 * (LINE_BYTES + 1), 0);
        assert!(lines.recall(earlier.own[1..2].to_vec()));
        assert!(lines.recall(earlier.own.clone()));
        let kept: Vec<_> = lines.earlier.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(kept, ["b", "c"]);
        assert!(!lines.recall(earlier.own), "all of it that fits was known");
    }

    #[test]
    fn what_the_live_stream_has_not_is_given_in_order_and_in_pieces() {
        let mut earlier = Lines::new(Mask::default(), 1_000, 0);
        add(&mut earlier, LogStream::Stdout, "a\nb").unwrap();
        let base = LogLine::base(2);
        let mut lines = Lines::new(Mask::default(), 10_000_000, base);
        lines.recall(earlier.own);
        let long = "x".repeat(LogLine::MAX_TEXT);
        for _ in 0..200 {
            lines.add(|| OffsetDateTime::UNIX_EPOCH, (StepName::Build, LogStream::Stdout, &long)).unwrap();
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
    #[test]
    fn a_line_that_may_begin_a_secret_waits_for_the_next_one_and_others_behind_it() {
        let mut mask = Mask::default();
        mask.add(["hunter22".to_owned()]);
        let mut lines = Lines::new(mask, 10_000, 0);
        add(&mut lines, LogStream::Stdout, "hunt").unwrap();
        add(&mut lines, LogStream::Stderr, "warning 1").unwrap();
        assert!(texts(&lines).is_empty() && lines.next_due().is_some());
        add(&mut lines, LogStream::Stdout, "er22.").unwrap();
        assert_eq!(texts(&lines), ["***", "warning 1", "***."]);
        assert!(lines.next_due().is_none());
    }

    #[test]
    fn a_line_is_held_back_for_a_moment_only_and_the_rest_is_hidden_all_the_same() {
        let mut mask = Mask::default();
        mask.add(["hunter22".to_owned()]);
        let mut lines = Lines::new(mask, 10_000, 0);
        for begun in ["the hun", "hunt"] {
            add(&mut lines, LogStream::Stdout, begun).unwrap();
            assert!(lines.next_due().is_some());
            std::thread::sleep(HOLD);
            lines.release().unwrap();
        }
        add(&mut lines, LogStream::Stdout, "er22.").unwrap();
        assert_eq!(texts(&lines), ["the hun", "***", "***."]);
    }

    #[test]
    fn the_beginning_of_a_value_stays_hidden_when_others_are_to_be_hidden_too() {
        let mut lines = Lines::new(Mask::default(), 10_000, 0);
        lines.hide(["hunter22".to_owned()]);
        add(&mut lines, LogStream::Stdout, "a hunt").unwrap();
        lines.hide(["another-secret".to_owned()]);
        assert_eq!(texts(&lines), ["a ***"]);
    }

    #[test]
    fn what_is_held_is_bounded_and_kept_at_the_end() {
        let mut mask = Mask::default();
        mask.add(["x".repeat(500)]);
        let mut lines = Lines::new(mask, 100_000_000, 0);
        for _ in 0..2_000 {
            add(&mut lines, LogStream::Stdout, &"x".repeat(400)).unwrap();
        }
        assert!(lines.held_bytes <= HELD_BYTES);
        lines.close();
        assert_eq!(lines.own.len(), 2_000);
    }
}
