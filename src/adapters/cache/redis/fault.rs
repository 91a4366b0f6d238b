//! What can go wrong between us and the server, and which of a store's few kinds of error it is.
//!
//! Start with [`Fault::kind`].

use crate::ports::error::{StoreError, StoreErrorKind};
use fred::error::{Error, ErrorKind};
use std::fmt;
use std::time::Duration;

/// Before it is known what was being done.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("there is no connection to the server")]
    Away,
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("too much waits for the server already")]
    Busy,
    #[error("the server was left alone: it failed several times in a row")]
    LeftAlone,
    /// The connection broke, or the server refused.
    #[error("{0}")]
    Server(Error),
    #[error("the server answered something else than asked for: {0}")]
    Form(&'static str),
}

impl Fault {
    /// Whether it is a sign that the server is down or too slow, rather than its answer.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Slow(_) => true,
            Self::Server(error) => answer_word(error).is_none(),
            Self::Away | Self::Busy | Self::LeftAlone | Self::Form(_) => false,
        }
    }

    pub(super) fn doing(self, doing: impl fmt::Display) -> StoreError {
        StoreError::new(self.kind(), doing.to_string(), self)
    }

    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Away | Self::Slow(_) | Self::Busy | Self::LeftAlone => StoreErrorKind::Unavailable,
            Self::Form(_) => StoreErrorKind::Corrupt,
            Self::Server(error) => match answer_word(error) {
                None => StoreErrorKind::Unavailable,
                // Somebody else's key, or one of an older gv.
                Some("WRONGTYPE") => StoreErrorKind::Corrupt,
                Some(word) if PASSING.contains(&word) => StoreErrorKind::Unavailable,
                // How servers before version 7 say it when it happens in a script.
                Some(_) if error.details().contains("OOM command not allowed") => StoreErrorKind::Unavailable,
                Some(_) => StoreErrorKind::Internal,
            },
        }
    }
}

/// First words of answers that may be others later: <https://redis.io/docs/latest/develop/reference/protocol-spec/>,
/// "simple errors", and the server's own list in `server.c`.
const PASSING: &[&str] = &[
    "OOM",
    "LOADING",
    "BUSY",
    "MISCONF",
    "READONLY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "EXECABORT",
];

/// The first word of an error that the server answered with; `None`: it did not come from there.
fn answer_word(error: &Error) -> Option<&str> {
    if matches!(
        error.kind(),
        ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Backpressure
    ) {
        return None;
    }
    let word = error.details().split_whitespace().next()?;
    (word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &'static str) -> Fault {
        Fault::Server(Error::new(ErrorKind::Unknown, words))
    }

    #[test]
    fn a_full_or_starting_server_may_answer_later_and_is_not_silent() {
        for words in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed when used memory",
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
        ] {
            let fault = said(words);
            assert_eq!(fault.kind(), StoreErrorKind::Unavailable, "{words}");
            assert!(!fault.is_silence(), "{words}");
        }
    }

    #[test]
    fn a_broken_connection_is_silence_and_a_refusal_is_none() {
        let broken = Fault::Server(Error::new(ErrorKind::IO, "Connection closed."));
        assert!(broken.is_silence() && broken.kind() == StoreErrorKind::Unavailable);
        let dropped = said("channel closed");
        assert!(dropped.is_silence() && dropped.kind() == StoreErrorKind::Unavailable);
        assert!(Fault::Slow(Duration::from_millis(75)).is_silence());
        for (words, kind) in [
            ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreErrorKind::Corrupt),
            ("NOPERM this user has no permissions", StoreErrorKind::Internal),
            ("ERR syntax error", StoreErrorKind::Internal),
        ] {
            assert_eq!(said(words).kind(), kind);
            assert!(!said(words).is_silence());
        }
    }
}
