//! Hiding values in a log that comes line by line.
//!
//! What a stream prints is looked through as one text without white space and colours, whatever its lines:
//! so a value is found that a tool wrapped, indented, coloured or wrote in two pieces. A line is held back
//! while its end may be the beginning of a value, for a moment at most; then it goes, without that beginning
//! if it is a good part of the value, and what follows is still hidden. Start with [`Mask::take`]; `forms`
//! says what is looked for.

use super::forms::forms;
use super::text::{lines, sequence};
use crate::domain::log::LogStream;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use std::collections::BTreeSet;
use std::ops::Range;

/// What stands for a hidden value.
const HIDDEN: &str = "***";

/// A value's beginning is hidden though nothing more of it came, when it is half of the value or so many
/// bytes: fewer begin other words as well.
const TELLING: usize = 8;

/// The values that must not be seen, and how far each stream has come with any of them.
#[derive(Default)]
pub(super) struct Mask {
    values: BTreeSet<Vec<u8>>,
    search: Option<NFA>,
    flows: [Flow; 3],
}

/// One stream as one text. Places in it count its bytes without white space.
#[derive(Default)]
struct Flow {
    state: Option<StateID>,
    end: u64,
    /// No value that is still to come begins before.
    decided: u64,
    /// Its last bytes, of which a value's beginning may consist.
    tail: Vec<u8>,
}

/// A line that was looked through.
pub(super) struct Seen {
    stream: LogStream,
    text: String,
    /// Where in its stream it begins.
    from: u64,
    /// Where in `text` each byte stands that counts.
    places: Vec<u32>,
    hidden: Vec<Range<usize>>,
}

impl Mask {
    /// Hides these as well, from here on.
    pub(super) fn add(&mut self, secrets: impl IntoIterator<Item = String>) {
        for secret in secrets {
            self.values.extend(forms(&secret));
        }
        let built = NFA::builder().match_kind(MatchKind::Standard).build(&self.values);
        // It fails on more than gigabytes of values only; a build's variables are kilobytes.
        self.search = built.ok().filter(|_| !self.values.is_empty());
        for flow in &mut self.flows {
            *flow = Flow { end: flow.end, decided: flow.end, ..Flow::default() };
        }
    }

    /// Looks through the next line of a stream. `held` are those before it that were not let go; what turns
    /// out to be a value's beginning is hidden in them.
    pub(super) fn take<'a>(
        &mut self,
        stream: LogStream,
        text: String,
        held: impl DoubleEndedIterator<Item = &'a mut Seen>,
    ) -> Seen {
        let flow = &mut self.flows[index(stream)];
        let mut seen = Seen { stream, text, from: flow.end, places: Vec::new(), hidden: Vec::new() };
        let Some(search) = &self.search else { return seen };
        let mut found = Vec::new();
        if let Ok(start) = search.start_state(Anchored::No) {
            found = flow.follow(search, start, &mut seen);
        }
        if found.is_empty() {
            return seen;
        }
        let least = found.iter().map(|place| place.start).min().unwrap_or(seen.from);
        for line in held.rev().filter(|line| line.stream == stream) {
            if line.from + line.places.len() as u64 <= least {
                break;
            }
            found.iter().for_each(|place| line.hide(place));
        }
        found.iter().for_each(|place| seen.hide(place));
        seen
    }

    /// Hides the beginning of a value at the end of its stream, in a line that is let go before the rest came.
    pub(super) fn hide_begun(&self, line: &mut Seen) {
        let flow = &self.flows[index(line.stream)];
        let begun = self.values.iter().filter_map(|value| begun(value, &flow.tail)).max();
        if let Some(length) = begun {
            line.hide(&(flow.end - length as u64..flow.end));
        }
    }

    /// A text by itself, as it may be seen.
    pub(super) fn whole(&self, text: &str) -> String {
        let mut alone = Self { search: self.search.clone(), ..Self::default() };
        let mut seen: Vec<Seen> = Vec::new();
        for line in lines(text) {
            let next = alone.take(LogStream::Stdout, line, seen.iter_mut());
            seen.push(next);
        }
        seen.into_iter().map(Seen::shown).collect::<Vec<_>>().join("\n")
    }

    /// Whether nothing that is still to come can hide more of it.
    pub(super) fn is_decided(&self, seen: &Seen) -> bool {
        let end = seen.from + seen.places.len() as u64;
        self.search.is_none() || self.flows[index(seen.stream)].decided >= end
    }
}

impl Flow {
    /// Goes on with a line; gives the places of values that end in it.
    fn follow(&mut self, search: &NFA, start: StateID, seen: &mut Seen) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        let mut state = self.state.unwrap_or(start);
        let bytes = seen.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                // What is left of escape sequences are whole ones that set colours.
                0x1b => at += sequence(&seen.text[at..]).max(1),
                b' ' | b'\t' => at += 1,
                byte => {
                    state = search.next_state(Anchored::No, state, byte);
                    seen.places.push(at as u32);
                    at += 1;
                    self.end += 1;
                    if state == start {
                        self.decided = self.end;
                    } else if search.is_match(state) {
                        for which in 0..search.match_len(state) {
                            let length = search.pattern_len(search.match_pattern(state, which)) as u64;
                            found.push(self.end.saturating_sub(length)..self.end);
                        }
                    }
                }
            }
        }
        // None is longer, so none that is unfinished begins before.
        self.decided = self.decided.max((self.end + 1).saturating_sub(search.max_pattern_len() as u64));
        self.state = Some(state);
        self.tail.extend(seen.places.iter().map(|place| bytes[*place as usize]));
        self.tail.drain(..self.tail.len().saturating_sub(search.max_pattern_len()));
        found
    }
}

/// How much of a value a text ends with, where that is a telling part but not all of it.
fn begun(value: &[u8], text: &[u8]) -> Option<usize> {
    let least = TELLING.min(value.len().div_ceil(2));
    let most = text.len().min(value.len().saturating_sub(1));
    (least..=most).rev().find(|length| text.ends_with(&value[..*length]))
}

impl Seen {
    /// How much memory it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + self.places.len() * size_of::<u32>() + size_of::<Self>()
    }

    fn hide(&mut self, place: &Range<u64>) {
        let inside = |at: u64| (at.saturating_sub(self.from) as usize).min(self.places.len());
        let (from, to) = (inside(place.start), inside(place.end));
        if from < to && place.end > self.from {
            self.hidden.push(self.places[from] as usize..self.places[to - 1] as usize + 1);
        }
    }

    /// As it may be seen.
    pub(super) fn shown(mut self) -> String {
        if self.hidden.is_empty() {
            return self.text;
        }
        self.hidden.sort_by_key(|place| place.start);
        let mut shown = String::with_capacity(self.text.len());
        let mut end = 0;
        let mut hiding = false;
        for place in &self.hidden {
            if place.start > end || !hiding {
                shown.push_str(&self.text[end.min(place.start)..place.start]);
                shown.push_str(HIDDEN);
                hiding = true;
            }
            // A piece of a long value may end within a character.
            end = end.max(self.text.ceil_char_boundary(place.end));
        }
        shown.push_str(&self.text[end..]);
        shown
    }
}

fn index(stream: LogStream) -> usize {
    match stream {
        LogStream::System => 0,
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines of standard output that were looked through, and how many were held meanwhile.
    fn look(secrets: &[&str], lines: &[&str]) -> (Mask, Vec<Seen>, usize) {
        let mut mask = Mask::default();
        mask.add(secrets.iter().map(|secret| (*secret).to_owned()));
        let mut seen: Vec<Seen> = Vec::new();
        let mut held = 0;
        for line in lines {
            let next = mask.take(LogStream::Stdout, (*line).to_owned(), seen.iter_mut());
            held += usize::from(!mask.is_decided(&next));
            seen.push(next);
        }
        (mask, seen, held)
    }

    fn shown(seen: Vec<Seen>) -> String {
        seen.into_iter().map(Seen::shown).collect::<Vec<_>>().join("\n")
    }

    /// As they are shown in the end.
    fn run(secrets: &[&str], lines: &[&str]) -> (String, usize) {
        let (_, seen, held) = look(secrets, lines);
        (shown(seen), held)
    }

    /// As they are shown when they are let go before anything else comes.
    fn let_go(secret: &str, lines: &[&str]) -> String {
        let (mask, mut seen, _) = look(&[secret], lines);
        seen.iter_mut().for_each(|line| mask.hide_begun(line));
        shown(seen)
    }

    fn masked(secrets: &[&str], line: &str) -> String {
        run(secrets, &[line]).0
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        assert_eq!(masked(&["hunter22"], "hunter22 is hunter22, ahunter22b"), "*** is ***, a***b");
        assert_eq!(masked(&["hunter", "hunter22"], "hunter22!"), "***!");
        assert_eq!(masked(&["abcdef", "defghi"], "<abcdefghi>"), "<***>");
        assert_eq!(masked(&["ababab"], "abababab"), "***");
        assert_eq!(masked(&["one111", "two222"], "one111two222."), "***.");
        assert_eq!(masked(&["schlüssel-größe"], "der schlüssel-größe!"), "der ***!");
    }

    #[test]
    fn a_value_over_several_lines_is_hidden_in_each() {
        assert_eq!(run(&["hunter22-long"], &["a hunte", "r22-", "long b"]).0, "a ***\n***\n*** b");
        let indented = run(&["hunter22-long"], &["  key: hunter22", "       -long"]).0;
        assert_eq!(indented, "  key: ***\n       ***");
        let coloured = masked(&["hunter22"], "\u{1b}[31mhun\u{1b}[0mter22\u{1b}[0m");
        assert_eq!(coloured, "\u{1b}[31m***\u{1b}[0m");
        assert_eq!(masked(&["two words"], "two  words, twowords"), "***, ***");
    }

    #[test]
    fn wrapped_base64_is_hidden() {
        use base64::Engine as _;
        let secret = "0123456789-secret-".repeat(20);
        let encoded = base64::engine::general_purpose::STANDARD.encode(&secret);
        let lines: Vec<String> =
            encoded.as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let shown = run(&[&secret], &lines).0;
        assert!(shown.lines().all(|line| line.len() < 10), "{shown}");
    }

    #[test]
    fn a_line_is_held_only_while_its_end_may_begin_a_value() {
        assert_eq!(run(&["hunter22"], &["npm warn deprecated", "added 12 packages 100%"]).1, 0);
        assert_eq!(run(&["hunter22"], &["hunt", "ed"]).1, 1);
        assert_eq!(run(&[], &["hunt"]).1, 0);
    }

    #[test]
    fn a_telling_part_of_a_value_is_hidden_though_the_rest_never_comes() {
        assert_eq!(let_go("hunter22", &["it is hunt"]), "it is ***");
        assert_eq!(let_go("hunter22", &["in a ", "hun", "ter2"]), "in a \n***\n***");
        assert_eq!(let_go("postgres://user:word@host/name", &["postgres", "://"]), "***\n***");
        assert_eq!(let_go("schlüssel-größe", &["der schlüsse"]), "der ***");
        for harmless in ["the hun", "hunter", "hunt and gather", "a hunter22 b"] {
            let shown = let_go("hunter22-and-more", &[harmless]);
            assert_eq!(shown, harmless, "too little of it, or no beginning of it");
        }
    }

    #[test]
    fn streams_are_texts_of_their_own() {
        let mut mask = Mask::default();
        mask.add(["hunter22".to_owned()]);
        let mut seen: Vec<Seen> = Vec::new();
        for (stream, text) in
            [(LogStream::Stdout, "hunt"), (LogStream::Stderr, "warning"), (LogStream::Stdout, "er22")]
        {
            let next = mask.take(stream, text.to_owned(), seen.iter_mut());
            seen.push(next);
        }
        let shown: Vec<String> = seen.into_iter().map(Seen::shown).collect();
        assert_eq!(shown, ["***", "warning", "***"]);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_lines_no_secret_is_left(
            noise in "[ab12 \t]{0,40}", cuts in prop::collection::vec(0usize..60, 0..6)
        ) {
            let mut text = format!("{noise}ab12ab12{noise}");
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            for cut in cuts.iter().rev() {
                text.insert(*cut, '\n');
            }
            let lines: Vec<&str> = text.split('\n').collect();
            let shown = run(&["ab12ab12"], &lines).0;
            let squeezed: String = shown.split_whitespace().collect();
            prop_assert!(!squeezed.contains("ab12ab12"), "{shown}");
        }
    }
}
