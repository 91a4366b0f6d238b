//! What a line of a build's output goes through before it is kept: split and cleaned, then masked (see
//! [`super::mask`]), then cut.
//!
//! The output is a stranger's and ends on people's terminals: colours are kept, whatever else a
//! terminal would obey is not. Start with [`lines`] and [`cut`].

use crate::domain::log::LogLine;

/// A colour sequence is never longer.
const LONGEST_COLOUR: usize = 40;

/// The lines of `text`, each without what a terminal would obey but for colours. A text without any line
/// break is one line, an empty one too.
pub(super) fn lines(text: &str) -> impl Iterator<Item = String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| clean(as_last_written(line)))
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
pub(super) fn sequence(text: &str) -> usize {
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

/// In pieces that are none longer than [`LogLine::MAX_TEXT`].
pub(super) fn cut(line: String) -> Vec<String> {
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
        super::lines(text).flat_map(cut).collect()
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

    proptest! {
        #[test]
        fn whatever_comes_in_is_clean_and_short(text in ".{0,200}|[\u{1b}\\[\\]m0-9;\n\r\tab]{0,200}") {
            for line in lines(&text) {
                prop_assert!(line.len() <= LogLine::MAX_TEXT);
                let kept = |c: char| matches!(c, '\t' | '\x1b') || !c.is_control();
                prop_assert!(line.chars().all(kept));
            }
        }
    }
}
