//! What a request's conditions and its range make of a file: the whole, a part, or no bytes.
//! In the order of RFC 9110, 13.2.2. Files have an ETag and no date, so that conditions on dates
//! say nothing.

use actix_web::http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Whole,
    Part(Range<u64>),
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
}

/// `etag` is strong, with its quotes; `size` is the file's, in bytes. Ranges are for GET alone
/// (RFC 9110, 14.2).
pub fn evaluate(headers: &HeaderMap, is_get: bool, etag: &str, size: u64) -> Outcome {
    if headers.contains_key(IF_MATCH) && !any_tag(headers, IF_MATCH, |tag| tag == etag) {
        return Outcome::PreconditionFailed;
    }
    let weakly = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if headers.contains_key(IF_NONE_MATCH) && any_tag(headers, IF_NONE_MATCH, weakly) {
        return Outcome::NotModified;
    }
    if !is_get || !if_range_holds(headers, etag) {
        return Outcome::Whole;
    }
    let mut ranges = headers.get_all(RANGE);
    match (ranges.next().and_then(|range| range.to_str().ok()), ranges.next()) {
        (Some(range), None) => part(range, size),
        _ => Outcome::Whole,
    }
}

/// Only the same strong tag, alone, holds; a date never does.
fn if_range_holds(headers: &HeaderMap, etag: &str) -> bool {
    let mut values = headers.get_all(IF_RANGE);
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes().trim_ascii() == etag.as_bytes(),
        _ => false,
    }
}

/// Whether a list of tags, over all fields of a name, has `*` or one that matches.
fn any_tag(headers: &HeaderMap, name: HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    headers.get_all(name).filter_map(|value| value.to_str().ok()).any(|list| {
        let mut rest = list.trim();
        if rest == "*" {
            return true;
        }
        while !rest.is_empty() {
            // A tag may hold commas, so it ends at its quote.
            let tag_end = rest.find('"').and_then(|open| {
                let close = rest[open + 1..].find('"')?;
                matches!(&rest[..open], "" | "W/").then_some(open + 1 + close + 1)
            });
            let Some(end) = tag_end else { return false };
            let (tag, behind) = rest.split_at(end);
            if matches(tag) {
                return true;
            }
            let behind = behind.trim_start();
            if !behind.is_empty() && !behind.starts_with(',') {
                return false;
            }
            rest = behind.trim_start_matches([',', ' ', '\t']);
        }
        false
    })
}

/// One range of bytes, clipped. Several ranges, another unit and what is no range mean the whole.
fn part(range: &str, size: u64) -> Outcome {
    let Some((unit, spec)) = range.split_once('=') else { return Outcome::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Outcome::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return Outcome::Whole };
    let (first, last) = match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => (first, u64::MAX),
        (Some(first), Some(last)) if first <= last => (first, last),
        (None, Some(suffix)) if first.is_empty() => (size - suffix.min(size), u64::MAX),
        _ => return Outcome::Whole,
    };
    if first >= size {
        return Outcome::Unsatisfiable;
    }
    Outcome::Part(first..last.saturating_add(1).min(size))
}

/// Digits alone; what is too large for a number is still larger than any file.
fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETAG: &str = "\"abc\"";

    fn outcome(fields: &[(&'static str, &str)], is_get: bool) -> Outcome {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        evaluate(&headers, is_get, ETAG, 10)
    }

    #[test]
    fn ranges_are_clipped_refused_or_ignored_as_rfc_9110_says() {
        for (range, expected) in [
            ("bytes=0-3", Outcome::Part(0..4)),
            ("bytes=4-", Outcome::Part(4..10)),
            ("bytes=-3", Outcome::Part(7..10)),
            ("bytes=-30", Outcome::Part(0..10)),
            ("bytes=8-99", Outcome::Part(8..10)),
            ("bytes=0-99999999999999999999999", Outcome::Part(0..10)),
            ("BYTES=0-0", Outcome::Part(0..1)),
            ("bytes=10-", Outcome::Unsatisfiable),
            ("bytes=99999999999999999999999-", Outcome::Unsatisfiable),
            ("bytes=-0", Outcome::Unsatisfiable),
            ("bytes=0-1,3-4", Outcome::Whole),
            ("bytes=3-1", Outcome::Whole),
            ("bytes=a-b", Outcome::Whole),
            ("bytes=1-b", Outcome::Whole),
            ("bytes=-", Outcome::Whole),
            ("bytes=--1", Outcome::Whole),
            ("bytes=+1-2", Outcome::Whole),
            ("bytes", Outcome::Whole),
            ("lines=1-2", Outcome::Whole),
        ] {
            assert_eq!(outcome(&[("range", range)], true), expected, "{range}");
            assert_eq!(outcome(&[("range", range)], false), Outcome::Whole, "HEAD {range}");
        }
        assert_eq!(outcome(&[("range", "bytes=0-1"), ("range", "bytes=2-3")], true), Outcome::Whole);
    }

    #[test]
    fn conditions_are_met_in_their_order() {
        let part = Outcome::Part(0..2);
        for (fields, expected) in [
            (&[("if-none-match", "\"abc\"")][..], Outcome::NotModified),
            (&[("if-none-match", "W/\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"x\", \"a,b\" ,W/\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "*")], Outcome::NotModified),
            (&[("if-none-match", "\"x\"")], Outcome::Whole),
            (&[("if-none-match", "abc")], Outcome::Whole),
            (&[("if-none-match", "\"abc")], Outcome::Whole),
            (&[("if-match", "\"abc\"")], Outcome::Whole),
            (&[("if-match", "*")], Outcome::Whole),
            (&[("if-match", "\"x\"")], Outcome::PreconditionFailed),
            (&[("if-match", "W/\"abc\"")], Outcome::PreconditionFailed),
            (&[("if-match", "\"x\""), ("if-none-match", "\"abc\"")], Outcome::PreconditionFailed),
            (&[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")], Outcome::NotModified),
            (&[("if-none-match", "\"abc\""), ("range", "bytes=0-1")], Outcome::NotModified),
            (&[("if-range", "\"abc\""), ("range", "bytes=0-1")], part.clone()),
            (&[("if-range", "\"x\""), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", "W/\"abc\""), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-range", "Sat, 29 Oct 1994 19:43:31 GMT"), ("range", "bytes=0-1")], Outcome::Whole),
            (&[("if-modified-since", "Sat, 29 Oct 2094 19:43:31 GMT")], Outcome::Whole),
            (&[("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"), ("range", "bytes=0-1")], part),
        ] {
            assert_eq!(outcome(fields, true), expected, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_a_part_lies_within_the_file(
            range in "(bytes)?=?[0-9]{0,21}-?[0-9]{0,21}", size in 0u64..30,
        ) {
            if let Outcome::Part(range) = part(&range, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn no_list_of_tags_panics(list in "[ -~]{0,30}") {
            outcome(&[("if-none-match", &list), ("if-match", &list), ("if-range", &list)], true);
        }
    }
}
