//! The lines of `_redirects` and `_headers`: what both kinds of file have in common.
//!
//! Start with [`read`].

use crate::domain::routing::rules::Place;
use crate::domain::routing::sources::{Note, shown, tell};
use crate::domain::text::Invalid;
use std::ops::ControlFlow;

/// Of a line, in characters.
const MAX_CHARS: usize = 2_000;

/// Gives every line that says something to `take`, in their order, until it breaks off. A line that
/// it refuses is left out, with a note that says why.
pub fn read(
    file: &str,
    text: &str,
    notes: &mut Vec<Note>,
    mut take: impl FnMut(&str, Place, &mut Vec<Note>) -> Result<ControlFlow<()>, Invalid>,
) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match take(line, Place { file: file.to_owned(), line: number }, notes) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(why) => {
                tell(notes, Note::warning(file, Some(number), format!("{why}: ignored: {}", shown(line))));
            }
        }
    }
}

/// What stands in a text for bytes that were no text.
const LOST: char = '\u{fffd}';

/// A line as it is, unless it is too long or not all of it is text.
pub fn bounded(line: &str) -> Result<&str, Invalid> {
    if line.contains(LOST) {
        return Err(Invalid::new("has bytes that are no UTF-8 text"));
    }
    // Bytes bound characters from above.
    if line.len() > MAX_CHARS && line.chars().count() > MAX_CHARS {
        return Err(Invalid::new(format!("has more than {MAX_CHARS} characters")));
    }
    Ok(line)
}
