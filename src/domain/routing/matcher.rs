//! Regular expressions that strangers wrote, run so that none can hold a thread.
//!
//! Where the pattern allows, the time is linear in the text (`regex-lite`). Look-ahead and
//! look-behind need backtracking (`fancy-regex`): its steps are counted, and it gives up. On top
//! of both, each request has a [`Budget`] for all the patterns that it is compared with. What could
//! not be decided spends it, so that nobody takes "unknown" for "no". Start with [`Matcher`].

use crate::domain::text::Invalid;
use fancy_regex::{Expr, Regex as Backtracking};
use regex_lite::Regex as Linear;
use std::ops::Range;

/// Of compiled programs, in bytes. The engine does not tell a program's size, so the smallest that fits
/// stands for it, which is at most twice as large; beyond the last, there is no pattern.
const PROGRAM_BYTES: [usize; 9] = {
    const KIB: usize = 1024;
    [KIB / 2, KIB, 2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, MAX_PROGRAM_BYTES]
};
const MAX_PROGRAM_BYTES: usize = 128 * 1024;
/// What a state of a program takes, in bytes, at least.
const STATE_BYTES: u64 = 32;
/// What a group takes for each state while a text is gone through, in bytes: where it begins and ends, of
/// this character and of the next.
const GROUP_BYTES: u64 = 32;
/// So much of it is not counted: what ordinary patterns take, of which few are in use at a time.
const ORDINARY_BYTES: u64 = 8 * 1024;
/// How often a backtracking pattern may turn back.
const BACKTRACKS: usize = 2_000;
/// The longest text that a backtracking pattern is compared with, in bytes: a request target is no
/// longer, and a field that is may stay undecided.
const BACKTRACKED_BYTES: usize = 16 * 1024;
/// What comparing so many bytes costs, in steps. What a pattern does between two turns grows with the
/// text, and no faster ([`pass`]).
const BACKTRACKING_COST: u64 = 100_000;
const BYTES_AT_THAT_COST: usize = 2_048;
/// What going through a backtracking pattern once may take over [`BYTES_AT_THAT_COST`], in steps: turning back is counted by the
/// engine, going on is not, and a counted repetition of what is empty goes on without an end in sight.
const MAX_PASS: u64 = 20_000;

/// A compiled pattern. Two are equal when their texts are.
pub struct Matcher {
    text: String,
    engine: Engine,
    names: Vec<Option<String>>,
    /// Steps for each byte of what it is compared with.
    weight: u64,
    /// What the program takes in memory, about.
    bytes: u64,
}

enum Engine {
    Linear(Linear),
    Backtracking(Box<Backtracking>),
}

/// What comparing one request with patterns may cost, in steps.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    is_spent: bool,
}

impl Default for Budget {
    fn default() -> Self {
        // A tenth of a second or two at the worst; a thousand ordinary patterns take a tenth of it.
        Self { left: 20_000_000, is_spent: false }
    }
}

impl Budget {
    /// Some pattern was not decided: what was found without it may be wrong.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// From here on nothing that is found counts.
    pub(super) fn give_up(&mut self) {
        self.is_spent = true;
    }

    pub(super) fn spend(&mut self, steps: u64) -> bool {
        match self.left.checked_sub(steps) {
            Some(left) => self.left = left,
            None => self.is_spent = true,
        }
        !self.is_spent
    }
}

/// Where each group of a match lies, the whole first.
pub type Groups = Vec<Option<Range<usize>>>;

impl Matcher {
    /// Compiles a pattern in the syntax that JavaScript, Rust and others share.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let mut problem = String::new();
        for bytes in PROGRAM_BYTES {
            match regex_lite::RegexBuilder::new(text).size_limit(bytes).build() {
                Ok(regex) => {
                    let names: Vec<_> = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
                    let (states, groups) = (bytes as u64 / STATE_BYTES, names.len() as u64);
                    let program = (bytes as u64).max(60 * text.len() as u64);
                    let in_use = (states * groups * GROUP_BYTES).saturating_sub(ORDINARY_BYTES);
                    return Ok(Self {
                        text: text.to_owned(),
                        engine: Engine::Linear(regex),
                        names,
                        // In each state where a byte may lead, the groups so far are copied.
                        weight: states * (4 + groups) / 4,
                        bytes: 500 + program + in_use,
                    });
                }
                Err(error) => problem = error.to_string(),
            }
        }
        if !looks_around(text) {
            return Err(Invalid::new(format!("is no pattern that can be used: {problem}")));
        }
        let unusable = |why: &str| Invalid::new(format!("is no pattern that can be used: {why}"));
        let tree = Expr::parse_tree(text).map_err(|error| unusable(&one_line(&error)))?;
        if pass(&tree.expr, false) > MAX_PASS {
            return Err(unusable("it repeats too much for one that looks ahead"));
        }
        let built = fancy_regex::RegexBuilder::new(text)
            .backtrack_limit(BACKTRACKS)
            .delegate_size_limit(MAX_PROGRAM_BYTES)
            .delegate_dfa_size_limit(MAX_PROGRAM_BYTES)
            .build();
        let regex = built.map_err(|error| unusable(&one_line(&error)))?;
        let names = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
        let engine = Engine::Backtracking(Box::new(regex));
        let bytes = 20_000 + 600 * text.len() as u64;
        Ok(Self { text: text.to_owned(), engine, names, weight: 64, bytes })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it takes in memory, in bytes, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it needs more than linear time.
    pub fn is_backtracking(&self) -> bool {
        matches!(self.engine, Engine::Backtracking(_))
    }

    /// The names of its groups, the whole first, which has none.
    pub fn names(&self) -> impl Iterator<Item = Option<&str>> {
        self.names.iter().map(Option::as_deref)
    }

    /// Finds the pattern in `text`. What cannot be decided within the bounds spends the budget.
    pub fn find(&self, text: &str, budget: &mut Budget) -> Option<Groups> {
        if !budget.spend(self.weight * (text.len() as u64 + 16)) {
            return None;
        }
        match &self.engine {
            Engine::Linear(regex) => {
                let found = regex.captures(text)?;
                Some((0..found.len()).map(|at| found.get(at).map(|group| group.range())).collect())
            }
            Engine::Backtracking(regex) => {
                let times = text.len().div_ceil(BYTES_AT_THAT_COST).max(1) as u64;
                if text.len() > BACKTRACKED_BYTES {
                    budget.give_up();
                }
                if !budget.spend(BACKTRACKING_COST * times) {
                    return None;
                }
                let Ok(found) = regex.captures(text) else {
                    budget.give_up();
                    return None;
                };
                let found = found?;
                Some((0..found.len()).map(|at| found.get(at).map(|group| group.range())).collect())
            }
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Clone for Matcher {
    fn clone(&self) -> Self {
        let engine = match &self.engine {
            Engine::Linear(regex) => Engine::Linear(regex.clone()),
            Engine::Backtracking(regex) => Engine::Backtracking(regex.clone()),
        };
        Self {
            text: self.text.clone(),
            engine,
            names: self.names.clone(),
            weight: self.weight,
            bytes: self.bytes,
        }
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

impl serde::Serialize for Matcher {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Matcher {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// What going through a pattern once takes at most, in steps. A repetition without a bound takes a byte
/// each time, and so do those within it, of the same text; one that is counted may take none, and what
/// looks ahead reads the text anew.
fn pass(expr: &Expr, is_reading: bool) -> u64 {
    let sum = |parts: &[Expr]| parts.iter().map(|part| pass(part, is_reading)).fold(1, u64::saturating_add);
    match expr {
        Expr::Concat(parts) | Expr::Alt(parts) => sum(parts),
        Expr::Group(inner) | Expr::AtomicGroup(inner) => pass(inner, is_reading).saturating_add(1),
        Expr::LookAround(inner, _) => pass(inner, false).saturating_add(1),
        Expr::Repeat { child, lo, hi: usize::MAX, .. } => {
            let times = if is_reading { 1 } else { BYTES_AT_THAT_COST as u64 };
            pass(child, true).saturating_mul(times.max(*lo as u64))
        }
        Expr::Repeat { child, hi, .. } => pass(child, is_reading).saturating_mul((*hi as u64).max(1)),
        Expr::Literal { .. }
        | Expr::Any { .. }
        | Expr::Assertion(_)
        | Expr::Delegate { .. }
        | Expr::Empty => 1,
        // Back-references, conditions and what is yet to come: no pattern of a rule file needs them.
        _ => u64::MAX,
    }
}

fn looks_around(text: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|mark| text.contains(mark))
}

fn one_line(error: &fancy_regex::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text as a pattern that matches it and nothing else.
pub fn escaped(text: &str) -> String {
    regex_lite::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn finds(pattern: &str, text: &str) -> bool {
        Matcher::new(pattern).unwrap().find(text, &mut Budget::default()).is_some()
    }

    #[test]
    fn groups_are_found_with_and_without_look_ahead() {
        for pattern in ["^/a/([^/]+)/(.*)$", "^/a/(?!x)([^/]+)/(.*)$"] {
            let found = Matcher::new(pattern).unwrap().find("/a/bé/c/d", &mut Budget::default()).unwrap();
            assert_eq!(found, [Some(0..10), Some(3..6), Some(7..10)], "{pattern}");
            assert!(!finds(pattern, "/b/c/d"));
        }
        assert!(!finds("^/a/(?!x)([^/]+)$", "/a/xy"));
    }

    #[test]
    fn no_pattern_holds_a_thread() {
        for length in [2_000, 8_000] {
            holds_no_thread(&"a".repeat(length));
        }
    }

    fn holds_no_thread(text: &str) {
        for pattern in [
            "^((a+)+)b$",
            "^(?:(?:a+)+)b$",
            "^(?!x)((a+)+)b$",
            "^(?=(a+))((?:a|aa)+)+b$",
            "^(?:(?!b)a|aa?)+(?!.*a)b$",
            "^(a*)*(a*)*(a*)*(?=b)b$",
        ] {
            let matcher = Matcher::new(pattern).unwrap();
            let began = Instant::now();
            assert!(matcher.find(text, &mut Budget::default()).is_none(), "{pattern}");
            let allowed = Duration::from_secs(text.len().div_ceil(1_000) as u64);
            assert!(began.elapsed() < allowed, "{pattern}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn what_cannot_be_decided_is_not_taken_for_no() {
        let find = |pattern: &str, text: &str| {
            let mut budget = Budget::default();
            let found = Matcher::new(pattern).unwrap().find(text, &mut budget).is_some();
            (found, budget.is_spent())
        };
        let long = |length: usize| format!("/{}", "a".repeat(length));
        // An ordinary one is decided on whatever a target may be.
        for length in [10, 2_047, 2_048, 8_000, 16_000] {
            assert_eq!(find("^/((?!embed/).*)$", &long(length)), (true, false), "{length}");
            assert_eq!(find("^/((?!a).*)$", &long(length)), (false, false), "{length}");
        }
        // It turns back at each character.
        assert_eq!(find("^/((?:(?!no).)*)$", &long(1_000)), (true, false));
        assert_eq!(find("^/((?:(?!no).)*)$", &long(8_000)), (false, true));
        assert_eq!(find("^/((?!embed/).*)$", &long(20_000)), (false, true));
    }

    #[test]
    fn programs_that_are_too_large_and_what_is_no_pattern_are_refused() {
        for bad in ["(a{1000}){1000}", "(", "\\1", "[z-a]", "(?<x", "(?!"] {
            assert!(Matcher::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_would_go_on_and_on_without_turning_back_is_refused() {
        for endless in [
            "^/((?:(?:(?:(?=a)(?=a)){9999}){9999}){9999}a)$",
            "^(?:(?=a){1000}){1000}",
            "^(?:(?=.*b).)*$",
            "^(?=a)(a)\\1$",
        ] {
            assert!(Matcher::new(endless).is_err(), "{endless}");
        }
        for usual in [
            "^/((?!api/|_next/|favicon\\.ico).*)$",
            "^/(?!a)([^/]+?)(?:/([^/]+?))*$",
            "^/(?=x)(.*)/(\\d{1,4})$",
        ] {
            assert!(Matcher::new(usual).is_ok(), "{usual}");
        }
    }

    #[test]
    fn compiling_is_bounded_too() {
        let deep = format!("{}a{}", "(?:".repeat(2_000), ")".repeat(2_000));
        let deep_ahead = format!("(?!{deep})");
        for heavy in ["(?!a{1000}{1000}{100})b", "(?=(?:[a-z]{900}){900})", &deep, &deep_ahead] {
            let began = Instant::now();
            drop(Matcher::new(heavy));
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    }

    #[test]
    fn small_patterns_weigh_what_their_programs_do_and_not_what_their_texts_do() {
        let weight = |pattern: &str| Matcher::new(pattern).unwrap().weight;
        for usual in ["^/a/([^/]+)/(.*)$", "^/blog/([^/]+?)$", "^/(.*)$"] {
            assert!(weight(usual) <= 60, "{usual}: {}", weight(usual));
        }
        // Sixty states and more, in a short text.
        for counted in ["^(?:a{0,12}){1,6}b$", "^[ab]{60}$", "^(?:.{6}){10}"] {
            assert!(weight(counted) >= 60, "{counted}: {}", weight(counted));
        }
        assert!(weight(&"(a*)".repeat(20)) >= 3 * weight(&"(?:a*)".repeat(20)), "groups are copied");
    }

    #[test]
    fn what_groups_take_while_a_text_is_gone_through_is_counted() {
        let bytes = |pattern: &str| Matcher::new(pattern).unwrap().bytes();
        assert!(bytes(&"(a*)".repeat(150)) > 3_000_000);
        assert!(bytes("^/blog/([^/]+?)/(.*)$") < 2_000);
    }

    #[test]
    fn a_request_that_costs_too_much_is_not_compared_any_more() {
        let matcher = Matcher::new("^(?:a{0,30}){0,30}b$").unwrap();
        let mut budget = Budget::default();
        let began = Instant::now();
        for _ in 0..100_000 {
            matcher.find(&"a".repeat(8_000), &mut budget);
        }
        assert!(budget.is_spent());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
