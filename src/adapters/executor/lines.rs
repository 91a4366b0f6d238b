//! Bytes of a command's output in, lines for its log out.
//!
//! A progress bar returns to the start of its line and writes it again: of such a line the log
//! keeps what stood there last. No more than one piece is held, however long a line is.

use crate::domain::log::{LogLine, LogStream};
use crate::ports::executor::OutputLine;

pub(super) struct Lines {
    stream: LogStream,
    /// Of the line that has not ended. Shorter than [`LogLine::MAX_TEXT`].
    pending: Vec<u8>,
    /// The last byte was a carriage return: a line feed makes it a line's end, all else overwrites.
    has_returned: bool,
    /// A piece of this line is out, so that its end alone is no empty line.
    is_continued: bool,
}

impl Lines {
    pub(super) fn new(stream: LogStream) -> Self {
        Self { stream, pending: Vec::new(), has_returned: false, is_continued: false }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<OutputLine> {
        let mut lines = Vec::new();
        while let Some(first) = bytes.first() {
            match first {
                b'\n' => {
                    self.end(&mut lines);
                    bytes = &bytes[1..];
                }
                b'\r' => {
                    self.has_returned = true;
                    bytes = &bytes[1..];
                }
                _ => {
                    if std::mem::take(&mut self.has_returned) {
                        self.pending.clear();
                    }
                    let text = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    let room = LogLine::MAX_TEXT - self.pending.len();
                    let (taken, rest) = bytes.split_at(text.unwrap_or(bytes.len()).min(room));
                    self.pending.extend_from_slice(taken);
                    bytes = rest;
                    if self.pending.len() == LogLine::MAX_TEXT {
                        self.cut(&mut lines);
                    }
                }
            }
        }
        lines
    }

    /// What stands after the last line break, when no more will come.
    pub(super) fn finish(&mut self) -> Vec<OutputLine> {
        let mut lines = Vec::new();
        if !self.pending.is_empty() {
            self.end(&mut lines);
        }
        lines
    }

    fn end(&mut self, lines: &mut Vec<OutputLine>) {
        let line = std::mem::take(&mut self.pending);
        if !line.is_empty() || !self.is_continued {
            self.emit(&line, lines);
        }
        self.has_returned = false;
        self.is_continued = false;
    }

    /// Gives out a full piece, but keeps the start of a character that has not come whole.
    fn cut(&mut self, lines: &mut Vec<OutputLine>) {
        let rest = self.pending.split_off(self.pending.len() - unfinished(&self.pending));
        let piece = std::mem::replace(&mut self.pending, rest);
        self.emit(&piece, lines);
        self.is_continued = true;
    }

    /// A byte that is no UTF-8 becomes three, so what fitted before may not fit now.
    fn emit(&self, bytes: &[u8], lines: &mut Vec<OutputLine>) {
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.as_ref();
        loop {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(LogLine::MAX_TEXT));
            lines.push(OutputLine { stream: self.stream, text: piece.to_owned() });
            rest = after;
            if rest.is_empty() {
                return;
            }
        }
    }
}

/// How many bytes at the end begin a character that is longer than what is there.
fn unfinished(bytes: &[u8]) -> usize {
    let from_lead = bytes.iter().rev().take(3).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    from_lead.map_or(0, |behind| {
        let present = behind + 1;
        let needed = match bytes[bytes.len() - present] {
            0b1100_0000..=0b1101_1111 => 2,
            0b1110_0000..=0b1110_1111 => 3,
            0b1111_0000..=0b1111_0111 => 4,
            _ => 1,
        };
        if needed > present { present } else { 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(LogStream::Stdout);
        let mut out: Vec<_> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
        out.extend(lines.finish());
        out.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = "one\n\n  two\r\nré\u{1f600}\r\r\nlast".as_bytes();
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(all(&[text]), ["one", "", "  two", "ré\u{1f600}", "last"]);
        assert_eq!(all(&bytes), all(&[text]));
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        assert_eq!(all(&[b" 10%\r 50%", b"\r", b"100%\ndone\n"]), ["100%", "done"]);
        assert_eq!(all(&[b"half\r"]), ["half"]);
        assert_eq!(all(&[b"\r"]), Vec::<String>::new());
    }

    #[test]
    fn a_line_of_exactly_one_piece_brings_no_empty_line() {
        let full = "x".repeat(LogLine::MAX_TEXT);
        assert_eq!(all(&[full.as_bytes(), b"\n", b"next\n"]), [full.as_str(), "next"]);
        assert_eq!(all(&[full.as_bytes(), b"\n\n"]), [full.as_str(), ""]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        for (before, character) in [(0, "é"), (1, "é"), (1, "€"), (2, "\u{1f600}"), (3, "\u{1f600}")] {
            let text = format!("{}{}\n", "x".repeat(before), character.repeat(5000));
            let pieces = all(&[text.as_bytes()]);
            assert!(pieces.iter().all(|piece| piece.len() <= LogLine::MAX_TEXT));
            assert_eq!(pieces.concat(), text.trim_end());
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced_and_still_fit() {
        assert_eq!(all(&[b"a\xffb\xe2\x82\n"]), ["a\u{fffd}b\u{fffd}"]);
        let pieces = all(&[&[0xff; 10_000], b"\n"]);
        assert!(pieces.iter().all(|piece| piece.len() <= LogLine::MAX_TEXT));
        assert_eq!(pieces.concat().chars().count(), 10_000);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]
        #[test]
        fn valid_text_without_returns_comes_out_as_it_went_in(
            text in "[a-zé€\u{1f600}\n]{0,9000}", at in 0_usize..9000,
        ) {
            let (head, tail) = text.as_bytes().split_at(at.min(text.len()));
            let pieces = all(&[head, tail]);
            proptest::prop_assert!(pieces.iter().all(|piece| piece.len() <= LogLine::MAX_TEXT));
            proptest::prop_assert_eq!(pieces.concat(), text.replace('\n', ""));
        }
    }
}
