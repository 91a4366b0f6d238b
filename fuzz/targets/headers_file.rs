//! `_headers`, below a line with a dialect and a path that is asked for: no field comes out of it that
//! a rule must not set, and no value that ends its line.
#![no_main]

use gv_fuzz::domain::routing::headers::{MAX_RULES, name_of};
use gv_fuzz::domain::routing::rules::{MAX_WEIGHT, Weighs};
use gv_fuzz::domain::routing::sources::Sources;
use gv_fuzz::site::{MAX_INPUT, Site, head, listed};
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

fuzz_target!(|text: &str| {
    if text.len() > MAX_INPUT {
        return;
    }
    let (words, file) = head(text);
    let sources = Sources { headers: Some(file.to_owned()), ..Sources::default() };
    let site = Site::compile(&sources, Some(listed(words[0]))).expect("only a vercel.json is refused");
    let rules = &site.manifest.rules.headers;
    let sources: HashSet<_> = rules.iter().map(|rule| (&rule.source.source, format!("{:?}", rule.host))).collect();
    assert!(sources.len() <= MAX_RULES && rules.iter().map(Weighs::weight).sum::<u64>() <= MAX_WEIGHT);
    for rule in rules.iter() {
        assert!(!rule.edits.is_empty() && rule.guard.is_empty());
        for edit in &rule.edits {
            assert_eq!(name_of(&edit.name).as_ref(), Ok(&edit.name));
        }
    }
    site.ask_around(words.last().copied().unwrap_or_default());
});
