//! `vercel.json`, below a line with a path that is asked for: it is read, or refused with the place
//! where it is wrong.
#![no_main]

use gv_fuzz::domain::routing::dialect::Dialect;
use gv_fuzz::domain::routing::sources::Sources;
use gv_fuzz::site::{MAX_INPUT, Site, head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.len() > MAX_INPUT {
        return;
    }
    let (words, json) = head(text);
    let sources = Sources { vercel_json: Some(json.to_owned()), ..Sources::default() };
    match Site::compile(&sources, Some(Dialect::Vercel)) {
        Ok(site) => {
            let rules = &site.manifest.rules;
            assert!(rules.redirects.iter().all(|rule| rule.is_redirect()));
            let is_inside = |status: u16, leaves: bool| matches!(status, 200 | 400..600) && !leaves;
            assert!(rules.rewrites.iter().all(|rule| is_inside(rule.status, rule.target.leaves_site())));
            let rules = rules.redirects.iter().chain(rules.rewrites.iter());
            let backtracking: usize = rules
                .map(|rule| usize::from(rule.source.is_backtracking()) + rule.guard.backtracking())
                .sum();
            assert!(backtracking <= 100);
            site.ask_around(words.last().copied().unwrap_or_default());
        }
        Err(refused) => {
            let (note, lines) = (refused.0, json.matches('\n').count() + 1);
            let line = note.line.expect("a line") as usize;
            assert!((1..=lines).contains(&line), "{line} of {lines}: {note}");
            assert!(note.column.is_some());
            assert!(note.message.len() < 40_000 && !note.message.contains(['\n', '\0']), "{note:?}");
        }
    }
});
