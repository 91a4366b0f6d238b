//! Why a request is answered as it is: what was looked at, in order, and whether it decided.
//! Switched off, it costs nothing.

use serde::Serialize;
use std::fmt::Display;

/// How many steps are noted: a site may have thousands of rules.
const MAX_STEPS: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// A rule's place (`_redirects:3`), a file, or a word for a stage.
    pub what: String,
    /// Whether it decided something.
    pub taken: bool,
    pub because: String,
}

#[derive(Debug, Default)]
pub struct Trace(Option<Vec<Step>>);

impl Trace {
    pub fn off() -> Self {
        Self(None)
    }

    pub fn on() -> Self {
        Self(Some(Vec::new()))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub fn steps(self) -> Vec<Step> {
        self.0.unwrap_or_default()
    }

    pub fn take(&mut self, what: &(impl Display + ?Sized), because: impl FnOnce() -> String) {
        self.note(what, true, because);
    }

    pub fn pass(&mut self, what: &(impl Display + ?Sized), because: impl FnOnce() -> String) {
        self.note(what, false, because);
    }

    fn note(&mut self, what: &(impl Display + ?Sized), taken: bool, because: impl FnOnce() -> String) {
        if let Some(steps) = self.0.as_mut().filter(|steps| steps.len() < MAX_STEPS || taken) {
            steps.push(Step { what: what.to_string(), taken, because: because() });
        }
    }
}
