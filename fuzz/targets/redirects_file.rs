//! `_redirects`, below a line with a dialect and a path that is asked for: whatever stands in it, what
//! was read is within its limits, can be written and read, and leads nowhere that it must not.
#![no_main]

use gv_fuzz::domain::request_path::RequestPath;
use gv_fuzz::domain::routing::dialect::Dialect;
use gv_fuzz::domain::routing::redirects::limits;
use gv_fuzz::domain::routing::resolve::Outcome;
use gv_fuzz::domain::routing::rules::{MAX_WEIGHT, Rule, Weighs};
use gv_fuzz::domain::routing::sources::Sources;
use gv_fuzz::site::{MAX_INPUT, Site, Visitor, head, listed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.len() > MAX_INPUT {
        return;
    }
    let (words, file) = head(text);
    let dialect = listed(words[0]);
    let sources = Sources { redirects: Some(file.to_owned()), ..Sources::default() };
    let site = Site::compile(&sources, Some(dialect)).expect("only a vercel.json is refused");
    let rules: Vec<&Rule> = site.manifest.rules.redirects.iter().collect();
    let limits = limits(dialect);
    let dynamic = rules.iter().filter(|rule| rule.source.is_dynamic()).count();
    assert!(dynamic <= limits.dynamic && rules.len() - dynamic <= limits.plain);
    assert!(rules.iter().map(|rule| rule.weight()).sum::<u64>() <= MAX_WEIGHT);
    for rule in &rules {
        check_rule(rule, dialect);
        check_circle(&site, rule);
    }
    // Each line is a rule or is told.
    let lines = file.trim_start_matches('\u{feff}').lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert!(rules.len() <= lines && (lines == 0 || rules.len() + site.notes.len() > 1));
    site.ask_around(words.last().copied().unwrap_or_default());
});

fn check_rule(rule: &Rule, dialect: Dialect) {
    let is_possible = match dialect {
        Dialect::Cloudflare => matches!(rule.status, 200 | 301 | 302 | 303 | 307 | 308) && rule.forced,
        _ => matches!(rule.status, 200 | 301 | 302 | 303 | 307 | 308 | 400..600),
    };
    assert!(is_possible, "{rule:?}");
    assert!(rule.is_redirect() || !rule.target.leaves_site(), "content of another site: {rule:?}");
    assert!(rule.guard.missing.is_empty() && rule.source.names().len() < 1_000);
    if let Some(path) = rule.target.fixed_path() {
        assert!(path.starts_with('/') && !path.starts_with("//"), "{path}");
    }
}

/// No redirect from a fixed path leads to a path that it is for itself.
fn check_circle(site: &Site, rule: &Rule) {
    if !rule.is_redirect() || !rule.guard.is_empty() || rule.host.is_some() || rule.target.leaves_site() {
        return;
    }
    for from in rule.source.exact_paths().unwrap_or_default() {
        let visitor = Visitor { host: "blog.example".to_owned(), ..Visitor::default() };
        let answer = site.ask(from, &visitor);
        let Some(Outcome::Moved { location, by_rule: true, .. }) = answer.map(|answer| answer.outcome) else {
            continue;
        };
        let path = location.split(['?', '#']).next().unwrap_or_default();
        let Ok(to) = RequestPath::parse(path) else { continue };
        let asked = RequestPath::parse(from).expect("it was asked for");
        let first = site.manifest.rules.redirects.iter().find(|rule| is_for(rule, &asked));
        if let Some(first) = first.filter(|rule| !rule.source.is_dynamic() && rule.is_for_all()) {
            assert!(!is_for(first, &to), "{from} leads in circles: {first:?}");
        }
    }
}

fn is_for(rule: &Rule, path: &RequestPath<'_>) -> bool {
    rule.source.find(path, &mut Default::default()).is_some()
}
