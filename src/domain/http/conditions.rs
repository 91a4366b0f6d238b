//! What a request's conditions and its range make of a file: the whole, a part, or no bytes.
//! In the order of RFC 9110, 13.2.2. Files have an ETag and no date, so that conditions on dates
//! say nothing.
//!
//! Start with [`evaluate`].

use crate::domain::http::range::{self, Unsatisfiable};
use std::ops::Range;

/// The lines of the fields that an answer's bytes depend on, as they were sent. Nearly all requests
/// have none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'r> {
    pub if_match: Lines<'r>,
    pub if_none_match: Lines<'r>,
    pub if_range: Lines<'r>,
    pub range: Lines<'r>,
}

/// The lines of one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lines<'r> {
    #[default]
    None,
    One(&'r [u8]),
    Several(Vec<&'r [u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Whole,
    Part(Range<u64>),
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
}

/// `etag` is strong, with its quotes, and `size` in bytes: both of what would be sent, so of the
/// coded bytes where a coding was chosen. Ranges are for GET alone (RFC 9110, 14.2).
pub fn evaluate(conditions: &Conditions<'_>, is_get: bool, etag: &str, size: u64) -> Outcome {
    let Conditions { if_match, if_none_match, if_range, range } = conditions;
    let etag = etag.as_bytes();
    if !if_match.is_none() && !if_match.any_tag(|tag| tag == etag) {
        return Outcome::PreconditionFailed;
    }
    if if_none_match.any_tag(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == etag) {
        return Outcome::NotModified;
    }
    let Lines::One(range) = range else { return Outcome::Whole };
    // Only the same strong tag, alone, holds; a date never does.
    let is_same = match if_range {
        Lines::None => true,
        Lines::One(tag) => tag.trim_ascii() == etag,
        Lines::Several(_) => false,
    };
    if !is_get || !is_same {
        return Outcome::Whole;
    }
    match range::part(range, size) {
        Ok(Some(part)) => Outcome::Part(part),
        Ok(None) => Outcome::Whole,
        Err(Unsatisfiable) => Outcome::Unsatisfiable,
    }
}

impl Conditions<'_> {
    pub fn is_empty(&self) -> bool {
        let Self { if_match, if_none_match, if_range, range } = self;
        [if_match, if_none_match, if_range, range].into_iter().all(Lines::is_none)
    }
}

impl<'r> Lines<'r> {
    pub fn add(&mut self, line: &'r [u8]) {
        match self {
            Self::None => *self = Self::One(line),
            Self::One(first) => *self = Self::Several(vec![first, line]),
            Self::Several(lines) => lines.push(line),
        }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    fn as_slice(&self) -> &[&'r [u8]] {
        match self {
            Self::None => &[],
            Self::One(line) => std::slice::from_ref(line),
            Self::Several(lines) => lines,
        }
    }

    /// Whether a list of tags, over all lines, has `*` or one that matches.
    fn any_tag(&self, matches: impl Fn(&[u8]) -> bool) -> bool {
        self.as_slice().iter().any(|line| line.trim_ascii() == b"*" || tags(line).any(&matches))
    }
}

impl<'r> FromIterator<&'r [u8]> for Lines<'r> {
    fn from_iter<I: IntoIterator<Item = &'r [u8]>>(lines: I) -> Self {
        let mut all = Self::None;
        lines.into_iter().for_each(|line| all.add(line));
        all
    }
}

/// The tags of a list, with their quotes, up to what is none.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    let mut is_behind_comma = true;
    std::iter::from_fn(move || {
        // Members may be empty (RFC 9110, 5.6.1.2).
        while let [b',' | b' ' | b'\t', behind @ ..] = rest {
            is_behind_comma |= rest[0] == b',';
            rest = behind;
        }
        if !std::mem::replace(&mut is_behind_comma, false) {
            return None;
        }
        // A tag may hold commas, so it ends at its quote.
        let open = if rest.starts_with(b"W/") { 2 } else { 0 };
        let inside = rest.get(open..)?.strip_prefix(b"\"")?;
        let close = inside.iter().position(|byte| *byte == b'"')?;
        let (tag, behind) = rest.split_at(open + 1 + close + 1);
        rest = behind;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETAG: &str = "\"abc\"";

    fn outcome(fields: &[(&str, &str)], is_get: bool) -> Outcome {
        let mut conditions = Conditions::default();
        for (name, value) in fields {
            let lines = match *name {
                "if-match" => &mut conditions.if_match,
                "if-none-match" => &mut conditions.if_none_match,
                "if-range" => &mut conditions.if_range,
                "range" => &mut conditions.range,
                other => panic!("{other} is no condition"),
            };
            lines.add(value.as_bytes());
        }
        assert_eq!(conditions.is_empty(), fields.is_empty());
        evaluate(&conditions, is_get, ETAG, 10)
    }

    #[test]
    fn conditions_are_met_in_their_order() {
        let part = Outcome::Part(0..2);
        for (fields, expected) in [
            (&[][..], Outcome::Whole),
            (&[("if-none-match", "\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "W/\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"x\", \"a,b\" ,W/\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"x\",\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", " , ,\"x\",, \"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "*")], Outcome::NotModified),
            (&[("if-none-match", " * ")], Outcome::NotModified),
            (&[("if-none-match", "\"x\"")], Outcome::Whole),
            (&[("if-none-match", "")], Outcome::Whole),
            (&[("if-none-match", "abc")], Outcome::Whole),
            (&[("if-none-match", "\"abc")], Outcome::Whole),
            (&[("if-none-match", "w/\"abc\"")], Outcome::Whole),
            (&[("if-none-match", "W/W/\"abc\"")], Outcome::Whole),
            (&[("if-none-match", "\"x\" \"abc\"")], Outcome::Whole),
            (&[("if-none-match", "\"x\", *")], Outcome::Whole),
            (&[("if-match", "\"abc\"")], Outcome::Whole),
            (&[("if-match", "*")], Outcome::Whole),
            (&[("if-match", "")], Outcome::PreconditionFailed),
            (&[("if-match", "\"x\"")], Outcome::PreconditionFailed),
            (&[("if-match", "W/\"abc\"")], Outcome::PreconditionFailed),
            (&[("if-match", "\"x\""), ("if-match", "\"y\", \"abc\"")], Outcome::Whole),
            (&[("if-match", "\"x\""), ("if-none-match", "\"abc\"")], Outcome::PreconditionFailed),
            (&[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"abc\""), ("range", "bytes=0-1")], Outcome::NotModified),
            (&[("if-none-match", "\"x\""), ("range", "bytes=0-1")], part.clone()),
            (&[("if-match", "\"abc\""), ("range", "bytes=10-")], Outcome::Unsatisfiable),
            (&[("if-range", "\"abc\""), ("range", "bytes=0-1")], part.clone()),
            (&[("if-range", " \"abc\" "), ("range", "bytes=0-1")], part),
            (&[("if-range", "\"abc\"")], Outcome::Whole),
            (&[("if-range", "\"x\""), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", "\"x\""), ("range", "bytes=10-")], Outcome::Whole),
            (&[("if-range", "W/\"abc\""), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", "*"), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", "\"abc\", \"x\""), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", ETAG), ("if-range", ETAG), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", "Sat, 29 Oct 1994 19:43:31 GMT"), ("range", "bytes=0-1")], Outcome::Whole),
        ] {
            assert_eq!(outcome(fields, true), expected, "{fields:?}");
        }
    }

    #[test]
    fn ranges_are_for_get_and_one_at_a_time() {
        for (range, expected) in [
            ("bytes=0-3", Outcome::Part(0..4)),
            ("bytes=10-", Outcome::Unsatisfiable),
            ("bytes=0-1,3-4", Outcome::Whole),
        ] {
            assert_eq!(outcome(&[("range", range)], true), expected, "{range}");
            assert_eq!(outcome(&[("range", range)], false), Outcome::Whole, "HEAD {range}");
        }
        assert_eq!(outcome(&[("range", "bytes=0-1"), ("range", "bytes=2-3")], true), Outcome::Whole);
    }

    #[test]
    fn lines_keep_their_order() {
        let lines: Lines<'_> = [&b"a"[..], b"b", b"c"].into_iter().collect();
        assert_eq!(lines, Lines::Several(vec![b"a", b"b", b"c"]));
        assert_eq!([].into_iter().collect::<Lines<'_>>(), Lines::None);
        assert_eq!([&b"a"[..]].into_iter().collect::<Lines<'_>>(), Lines::One(b"a"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(list in prop::collection::vec(any::<u8>(), 0..30), is_get: bool, size: u64) {
            let line = Lines::One(&list);
            let (if_none_match, range) = (line.clone(), line.clone());
            let conditions = Conditions { if_none_match, range, ..Conditions::default() };
            evaluate(&conditions, is_get, ETAG, size);
            let conditions = Conditions { if_match: line.clone(), if_range: line, ..conditions };
            evaluate(&conditions, is_get, ETAG, size);
        }

        #[test]
        fn a_tag_is_found_wherever_it_stands_in_a_list(
            before in prop::collection::vec("(W/)?\"[a-z,*]{0,4}\"", 0..4),
            comma in "[ \\t,]{0,3},[ \\t,]{0,3}", behind in "(,.{0,10})?",
        ) {
            let tags = before.iter().map(String::as_str).chain(["\"yes\""]).collect::<Vec<_>>();
            let list = tags.join(&comma) + &behind;
            let if_none_match = Lines::One(list.as_bytes());
            let conditions = Conditions { if_none_match, ..Conditions::default() };
            prop_assert_eq!(evaluate(&conditions, true, "\"yes\"", 5), Outcome::NotModified, "{}", list);
        }
    }
}
