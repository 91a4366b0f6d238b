//! What a line of a build's output goes through before it is kept: split, cleaned, masked, cut.
//!
//! The output is a stranger's and ends on people's terminals: colours are kept, whatever else a
//! terminal would obey is not. Start with [`Mask::lines`].

use crate::domain::log::LogLine;
use aho_corasick::AhoCorasick;
use std::collections::BTreeSet;
use std::ops::Range;

/// What stands for a hidden value.
const HIDDEN: &str = "***";
/// Shorter values are everywhere: hiding them would make a log unreadable and hide nothing.
const LEAST_CHARS: usize = 4;
/// A colour sequence is never longer.
const LONGEST_COLOUR: usize = 40;

/// The values that must not be seen.
#[derive(Default)]
pub(super) struct Mask {
    values: BTreeSet<String>,
    search: Option<AhoCorasick>,
}

impl Mask {
    /// Hides these as well. Of a value with several lines each line is hidden, since a log has
    /// no other.
    pub(super) fn add(&mut self, secrets: impl IntoIterator<Item = String>) {
        for secret in secrets {
            let lines = secret.lines().map(|line| clean(line).trim().to_owned());
            self.values.extend(lines.filter(|line| line.chars().count() >= LEAST_CHARS));
        }
        // It fails on more than gigabytes of values only; a build's variables are kilobytes.
        self.search = AhoCorasick::new(&self.values).ok();
    }

    /// The lines of `text` as they are kept, none longer than [`LogLine::MAX_TEXT`]. A text
    /// without any line break is one line, an empty one too.
    pub(super) fn lines<'a>(&'a self, text: &'a str) -> impl Iterator<Item = String> + 'a {
        let text = text.strip_suffix('\n').unwrap_or(text);
        text.split('\n').flat_map(|line| cut(self.hide(clean(as_last_written(line)))))
    }

    fn hide(&self, line: String) -> String {
        let Some(search) = &self.search else { return line };
        // All places, overlapping ones too: of two values that overlap neither may show its end.
        let mut places: Vec<Range<usize>> =
            search.find_overlapping_iter(&line).map(|found| found.range()).collect();
        if places.is_empty() {
            return line;
        }
        places.sort_by_key(|place| place.start);
        let mut shown = String::with_capacity(line.len());
        let mut end = 0;
        for place in places {
            if place.start > end || (place.start == 0 && end == 0) {
                shown.push_str(&line[end..place.start]);
                shown.push_str(HIDDEN);
            }
            end = end.max(place.end);
        }
        shown.push_str(&line[end..]);
        shown
    }
}

/// What a terminal would show of a line that was written over from its beginning (a progress bar).
fn as_last_written(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or(line)
}

/// Without control characters, but for tabs and for sequences that set colours.
fn clean(line: &str) -> String {
    if !line.contains(|c: char| c.is_control()) {
        return line.to_owned();
    }
    let mut cleaned = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c == '\u{1b}' {
            let length = sequence(rest);
            if is_colour(&rest[..length]) {
                cleaned.push_str(&rest[..length]);
            }
            rest = &rest[length..];
            continue;
        }
        if c == '\t' || !c.is_control() {
            cleaned.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    cleaned
}

/// The length in bytes of the escape sequence that `text` begins with (ECMA-48, 5.3 to 5.6); of
/// one that is malformed or cut off, that of its beginning.
fn sequence(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, range: std::ops::RangeInclusive<u8>| {
        from + bytes[from..].iter().take_while(|byte| range.contains(byte)).count()
    };
    match bytes.get(1) {
        Some(b'[') => {
            let end = run(run(2, 0x30..=0x3f), 0x20..=0x2f);
            if bytes.get(end).is_some_and(|byte| (0x40..=0x7e).contains(byte)) { end + 1 } else { end }
        }
        // Strings for the terminal (titles, the clipboard): up to BEL or ESC \, else to the end.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let bell = text.find('\u{7}').map(|at| at + 1);
            let terminator = text.find("\u{1b}\\").map(|at| at + 2);
            bell.into_iter().chain(terminator).min().unwrap_or(text.len())
        }
        Some(_) => {
            let end = run(1, 0x20..=0x2f);
            if bytes.get(end).is_some_and(|byte| (0x30..=0x7e).contains(byte)) { end + 1 } else { end }
        }
        None => 1,
    }
}

fn is_colour(sequence: &str) -> bool {
    let parameters = sequence.strip_prefix("\u{1b}[").and_then(|rest| rest.strip_suffix('m'));
    parameters.is_some_and(|parameters| {
        parameters.len() <= LONGEST_COLOUR
            && parameters.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':'))
    })
}

fn cut(line: String) -> Vec<String> {
    if line.len() <= LogLine::MAX_TEXT {
        return vec![line];
    }
    let mut pieces = Vec::with_capacity(line.len() / LogLine::MAX_TEXT + 1);
    let mut rest = line.as_str();
    while rest.len() > LogLine::MAX_TEXT {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(LogLine::MAX_TEXT));
        pieces.push(piece.to_owned());
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest.to_owned());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        Mask::default().lines(text).collect()
    }

    fn masked(secrets: &[&str], text: &str) -> String {
        let mut mask = Mask::default();
        mask.add(secrets.iter().map(|secret| (*secret).to_owned()));
        mask.lines(text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_text_of_several_lines_becomes_several_lines() {
        assert_eq!(lines("a\r\nb\n"), ["a", "b"]);
        assert_eq!(lines("a\n\nb"), ["a", "", "b"]);
        assert_eq!(lines(""), [""]);
        assert_eq!(lines("\n"), [""]);
    }

    #[test]
    fn a_line_that_was_written_over_shows_what_a_terminal_would() {
        assert_eq!(lines("10%\r50%\r100%\r\ndone"), ["100%", "done"]);
    }

    #[test]
    fn colours_stay_and_other_control_goes() {
        assert_eq!(lines("\u{1b}[1;31mred\u{1b}[0m\tx\u{7}\0\u{9b}"), ["\u{1b}[1;31mred\u{1b}[0m\tx"]);
        assert_eq!(lines("a\u{1b}[2Jb\u{1b}[1Ac\u{1b}[?25ld"), ["abcd"]);
        assert_eq!(lines("a\u{1b}]52;c;aGk=\u{7}b\u{1b}]0;title\u{1b}\\c\u{1b}(Bd\u{1b}"), ["abcd"]);
        assert_eq!(lines("a\u{1b}]0;never ends"), ["a"]);
        assert_eq!(lines("a\u{1b}[é"), ["aé"]);
    }

    #[test]
    fn long_lines_are_continued_and_no_character_is_cut() {
        let pieces = lines(&format!("x{}", "é".repeat(LogLine::MAX_TEXT)));
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() <= LogLine::MAX_TEXT));
        assert_eq!(pieces.concat().chars().count(), LogLine::MAX_TEXT + 1);
        assert_eq!(lines(&"x".repeat(LogLine::MAX_TEXT)).len(), 1);
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        assert_eq!(masked(&["hunter22"], "hunter22 is hunter22, ahunter22b"), "*** is ***, a***b");
        assert_eq!(masked(&["hunter", "hunter22"], "hunter22!"), "***!");
        assert_eq!(masked(&["abcdef", "defghi"], "<abcdefghi>"), "<***>");
        assert_eq!(masked(&["abab"], "ababab"), "***");
        assert_eq!(masked(&["one1", "two2"], "one1two2."), "***.");
    }

    #[test]
    fn values_too_short_to_be_secrets_stay() {
        assert_eq!(masked(&["abc", "", "  \n"], "abc  def"), "abc  def");
    }

    #[test]
    fn each_line_of_a_secret_is_hidden() {
        assert_eq!(masked(&["-----BEGIN\n  c2VjcmV0\n"], "key:\nc2VjcmV0\n-----BEGIN"), "key:\n***\n***");
    }

    #[test]
    fn a_secret_at_the_place_of_a_cut_is_hidden_all_the_same() {
        let text = format!("{}hunter22", "x".repeat(LogLine::MAX_TEXT - 3));
        assert!(!masked(&["hunter22"], &text).replace('\n', "").contains("hunter"));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_clean_short_and_keeps_no_secret(text in ".{0,200}|[\u{1b}\\[\\]m0-9;\n\r\tab]{0,200}") {
            let mut mask = Mask::default();
            mask.add(["ab12".to_owned(), "12ab".to_owned()]);
            for line in mask.lines(&text) {
                prop_assert!(line.len() <= LogLine::MAX_TEXT);
                prop_assert!(!line.contains("ab12") && !line.contains("12ab"));
                let kept = |c: char| matches!(c, '\t' | '\x1b') || !c.is_control();
                prop_assert!(line.chars().all(kept));
            }
        }
    }
}
