//! What went wrong, as the port names it, in words that a person may read: no path of this machine,
//! no token, no more of a server's own words than one clean line.
//!
//! The wire names its own failures; what is left are gix's. Start with [`server_error`].

use super::wire::Wire;
use crate::ports::source::SourceError;
use std::io;

/// What went wrong while speaking to the server. The wire knows best; what gix finds by itself are
/// answers that break off or that no Git server gives.
pub(super) fn server_error(wire: &Wire, error: &gix::Error) -> SourceError {
    tracing::debug!(?error, "the fetch failed");
    if let Some(fault) = wire.fault.take() {
        return fault;
    }
    if let Some(text) = wire.refusal() {
        return SourceError::Unreachable(format!("the Git server refused: {text}"));
    }
    if let Some(error) = error.downcast_any_ref::<io::Error>().filter(|error| is_full(error)) {
        return disk_error(error);
    }
    if error.is_resource_exhausted() {
        return SourceError::TooLarge { what: "bytes of files", limit: wire.limit_bytes };
    }
    if error.is_corrupted() || error.is_validation() || error.is_unsupported() {
        return SourceError::Invalid("the server sent what is no Git repository of a known form".to_owned());
    }
    SourceError::Unreachable("the Git server broke off".to_owned())
}

pub(super) fn write_error(error: &gix::Error) -> SourceError {
    tracing::debug!(?error, "the checkout failed");
    match error.downcast_any_ref::<io::Error>() {
        Some(error) if is_forged(error.kind()) => {
            SourceError::Invalid("the repository holds names or links that cannot be checked out".to_owned())
        }
        Some(error) => disk_error(error),
        None => SourceError::Invalid(
            "the repository cannot be checked out: objects are missing or broken".to_owned(),
        ),
    }
}

/// Kinds that writing into an empty folder meets only where names contradict each other.
fn is_forged(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    matches!(kind, AlreadyExists | InvalidFilename | InvalidInput | IsADirectory | NotADirectory)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(super) fn disk_error(error: &io::Error) -> SourceError {
    if is_full(error) {
        return SourceError::Internal("the disk is full".to_owned());
    }
    SourceError::Internal(format!("the checkout cannot be written: {}", error.kind()))
}

pub(super) fn internal(doing: &str, error: &gix::Error) -> SourceError {
    tracing::debug!(?error, doing, "a fault of this side");
    SourceError::Internal(format!("{doing} failed"))
}
