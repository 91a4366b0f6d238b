//! Why a build failed, told by what it said last, and what to do about it: `config/diagnoses.toml`,
//! whose causes are looked for in its order.
//!
//! What is recognised is what tools print. A cause that is not known is no fault: the log has the
//! words themselves. Start with [`Diagnosis::of`].

use crate::domain::failure::FailureCode;
use crate::worker::plan::CommandKind;
use crate::worker::presets::Pattern;
use regex::Captures;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::OnceLock;

/// Of a capture, in characters.
const MAX_SHOWN: usize = 120;
/// Of what a command said last, in lines and in bytes.
const MAX_LINES: usize = 400;
const MAX_BYTES: usize = 128 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Causes {
    cause: Vec<Cause>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cause {
    /// What it is called here.
    name: String,
    /// Where it can happen alone.
    step: Option<Step>,
    code: Option<FailureCode>,
    matches: Pattern,
    /// What is told, with `{1}` for the first group of `matches`.
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Install,
    Build,
}

/// A cause that was recognised.
#[derive(Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub name: &'static str,
    /// Where a limit of gv's own is the cause.
    pub code: Option<FailureCode>,
    /// The cause and its remedy, in whole sentences.
    pub message: String,
}

fn causes() -> &'static [Cause] {
    static CAUSES: OnceLock<Causes> = OnceLock::new();
    let read = || {
        #[expect(clippy::expect_used, reason = "the text is part of the binary, and a test reads it")]
        toml::from_str(include_str!("../../../config/diagnoses.toml"))
            .expect("config/diagnoses.toml is valid")
    };
    &CAUSES.get_or_init(read).cause
}

impl Diagnosis {
    /// The first known cause in what a command said, without secrets.
    pub fn of(kind: CommandKind, said: &str) -> Option<Self> {
        let step = match kind {
            CommandKind::Install => Step::Install,
            CommandKind::Build => Step::Build,
        };
        let said = console::strip_ansi_codes(said);
        let here = causes().iter().filter(|cause| cause.step.is_none_or(|only| only == step));
        here.into_iter().find_map(|cause| {
            let found = cause.matches.0.captures(&said)?;
            Some(Self { name: &cause.name, code: cause.code, message: cause.tell(&found) })
        })
    }
}

impl Cause {
    fn tell(&self, found: &Captures<'_>) -> String {
        let filled = |text: &str| {
            let mut filled = text.to_owned();
            for number in 1..found.len() {
                let group = found.get(number).map_or("", |group| group.as_str());
                let shown: String =
                    group.trim().chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
                filled = filled.replace(&format!("{{{number}}}"), &shown);
            }
            filled
        };
        let mut told = String::new();
        let mut rest = self.message.as_str();
        // What stands in brackets is said where one of its groups took part.
        while let Some((before, inner, after)) = optional(rest) {
            told.push_str(&filled(before));
            let without =
                (1..found.len()).fold(inner.to_owned(), |text, n| text.replace(&format!("{{{n}}}"), ""));
            let inner = filled(inner);
            if inner != without {
                told.push_str(&inner);
            }
            rest = after;
        }
        told + &filled(rest)
    }
}

/// What stands before, in and after the first brackets.
fn optional(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('[')?;
    let (inner, after) = rest.split_once(']')?;
    Some((before, inner, after))
}

/// The last lines that a command said.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    pub fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.len();
        }
    }

    pub fn text(&self) -> String {
        self.lines
            .iter()
            .fold(String::with_capacity(self.bytes + self.lines.len()), |text, line| text + line + "\n")
    }
}

#[cfg(test)]
mod tests;
