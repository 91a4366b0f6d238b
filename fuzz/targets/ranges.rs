//! Conditions and ranges, one field a line below a line with the method and the size: a part lies
//! within the file, and fields that are not there do nothing.
#![no_main]

use gv_fuzz::domain::http::conditions::{Conditions, Lines, Outcome, evaluate};
use libfuzzer_sys::fuzz_target;

const ETAG: &str = "\"0123abcd\"";

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let (method, size) = first.split_once(' ').unwrap_or((&first, "10"));
    let (is_get, size) = (method != "HEAD", size.parse::<u64>().unwrap_or(10));
    let mut conditions = Conditions::default();
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        match name {
            b"If-Match" => conditions.if_match.add(value),
            b"If-None-Match" => conditions.if_none_match.add(value),
            b"If-Range" => conditions.if_range.add(value),
            b"Range" => conditions.range.add(value),
            _ => {}
        }
    }
    let outcome = evaluate(&conditions, is_get, ETAG, size);
    check(&conditions, is_get, size, &outcome);

    // What comes first is not changed by what comes later.
    let without = Conditions { range: Lines::None, if_range: Lines::None, ..conditions.clone() };
    let first = evaluate(&without, is_get, ETAG, size);
    assert!(!matches!(first, Outcome::Part(_) | Outcome::Unsatisfiable));
    if first != Outcome::Whole {
        assert_eq!(outcome, first);
    }
    if without.is_empty() {
        assert_eq!(first, Outcome::Whole);
    }
    // A HEAD gets no part, and what a GET gets otherwise.
    let head = evaluate(&conditions, false, ETAG, size);
    assert_eq!(head, first);
    // With the tag itself in front, a list matches whatever stands behind.
    if !conditions.if_match.is_none() {
        let mut listed = Conditions { if_none_match: Lines::None, ..without };
        listed.if_match.add(ETAG.as_bytes());
        assert_eq!(evaluate(&listed, is_get, ETAG, size), Outcome::Whole);
    }
});

fn check(conditions: &Conditions<'_>, is_get: bool, size: u64, outcome: &Outcome) {
    match outcome {
        Outcome::Part(part) => {
            assert!(is_get && part.start < part.end && part.end <= size, "{part:?} of {size}");
            let line = format!("bytes={}-{}", part.start, part.end - 1);
            let again = Conditions { range: Lines::One(line.as_bytes()), ..Conditions::default() };
            assert_eq!(evaluate(&again, true, ETAG, size), *outcome);
        }
        Outcome::Unsatisfiable => assert!(is_get && matches!(conditions.range, Lines::One(_))),
        Outcome::PreconditionFailed => assert!(!conditions.if_match.is_none()),
        Outcome::NotModified => assert!(!conditions.if_none_match.is_none()),
        Outcome::Whole => {}
    }
}
