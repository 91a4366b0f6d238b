//! What an examination found: one line for a person, one object for a program.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: String,
    pub verdict: Verdict,
    pub detail: String,
    /// What to do about it: the key, and the command where there is one.
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Well,
    /// It works, and may not be what is wanted, or not for long.
    Doubtful,
    /// What needs it does not work.
    Broken,
    /// There is nothing to look at.
    Skipped,
}

/// In the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn well(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check.into(), Verdict::Well, detail.into(), None);
    }

    pub(super) fn skipped(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check.into(), Verdict::Skipped, detail.into(), None);
    }

    pub(super) fn doubtful(
        &mut self,
        check: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check.into(), Verdict::Doubtful, detail.into(), Some(remedy.into()));
    }

    pub(super) fn broken(
        &mut self,
        check: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check.into(), Verdict::Broken, detail.into(), Some(remedy.into()));
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    fn add(&mut self, check: String, verdict: Verdict, detail: String, remedy: Option<String>) {
        self.0.push(Finding { check, verdict, detail, remedy });
    }
}

impl From<Findings> for Vec<Finding> {
    fn from(findings: Findings) -> Self {
        findings.0
    }
}
