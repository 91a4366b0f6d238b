//! The error that every storage-like port gives: a kind to act on, and the cause for the log.

use std::error::Error;
use std::fmt;

#[derive(Debug)]
pub struct StoreError {
    pub kind: StoreErrorKind,
    /// What was being done, for the log: `reading blobs/...`.
    pub doing: String,
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Cannot be reached, too slow, or full: the same call may work later.
    Unavailable,
    /// What was to be new is there already.
    Conflict,
    /// What came back is not what was written: wrong digest, length or form.
    Corrupt,
    /// Sealed by a key that this process does not have: its operator can bring the key back.
    Locked,
    /// A defect of gv or of its configuration: trying again will not help.
    Internal,
}

impl StoreError {
    pub fn new(
        kind: StoreErrorKind,
        doing: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, doing: doing.into(), source: Some(source.into()) }
    }

    pub fn conflict(doing: impl Into<String>) -> Self {
        Self { kind: StoreErrorKind::Conflict, doing: doing.into(), source: None }
    }

    pub fn is_conflict(&self) -> bool {
        self.kind == StoreErrorKind::Conflict
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            StoreErrorKind::Unavailable => "unavailable",
            StoreErrorKind::Conflict => "already there",
            StoreErrorKind::Corrupt => "corrupt",
            StoreErrorKind::Locked => "locked",
            StoreErrorKind::Internal => "failed",
        };
        write!(f, "{}: {kind}", self.doing)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
