//! What is read of every request before a rule or a file is looked at, and what decides about the
//! bytes of its answer.

use crate::Measure;
use crate::domain::coding::{Coding, CodingSet};
use crate::domain::http::accept_encoding::Accepted;
use crate::domain::http::conditions::{Conditions, Lines, evaluate};
use crate::domain::request_path::RequestPath;
use std::hint::black_box;

const PATHS: [(&str, &str); 4] = [
    ("root", "/"),
    ("plain", "/docs/chapter-0042/page-004242"),
    ("escaped", "/docs/caf%C3%A9%20au%20lait/page-004242"),
    ("dots", "/docs/../docs/./chapter-0042//page-004242"),
];

/// What browsers and other clients send.
const ACCEPTED: [(&str, &str); 4] = [
    ("chrome", "gzip, deflate, br, zstd"),
    ("safari", "gzip, deflate, br"),
    ("curl", "deflate, gzip, br, zstd"),
    ("weighted", "br;q=1.0, gzip;q=0.8, *;q=0.1"),
];

const ETAG: &str = "\"0f343b0931126a20f133d67c2b018a3b\"";
const OTHER: &str = "\"1c344a0931126a20f133d67c2b018a3b\"";
const SIZE: u64 = 120_000;

pub fn all(measure: &mut impl Measure) {
    for (name, path) in PATHS {
        measure.measure(&format!("path/{name}"), || {
            move || black_box(RequestPath::parse(black_box(path))).is_ok()
        });
    }
    let kept = Coding::ALL.into_iter().fold(CodingSet::default(), CodingSet::with);
    for (name, line) in ACCEPTED {
        measure.measure(&format!("negotiation/{name}"), || {
            move || Accepted::parse([black_box(line)]).choose(black_box(kept))
        });
    }
    let several = format!("{OTHER}, W/{OTHER}, W/{ETAG}");
    let fields = [
        ("none", Conditions::default()),
        ("if_none_match_same", if_none_match(ETAG)),
        ("if_none_match_weak", if_none_match("W/\"0f343b0931126a20f133d67c2b018a3b\"")),
        ("if_none_match_other", if_none_match(OTHER)),
        ("if_none_match_third_of_three", if_none_match(&several)),
        ("range", Conditions { range: Lines::One(b"bytes=0-65535"), ..Conditions::default() }),
    ];
    for (name, conditions) in fields {
        measure.measure(&format!("conditions/{name}"), || {
            move || evaluate(black_box(&conditions), true, black_box(ETAG), SIZE)
        });
    }
}

fn if_none_match(line: &str) -> Conditions<'_> {
    Conditions { if_none_match: Lines::One(line.as_bytes()), ..Conditions::default() }
}
