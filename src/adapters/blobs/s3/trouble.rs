//! Why a request brought no answer, or not the one that was hoped for; what is tried again; and
//! what an operator reads about it. Start with [`Trouble`].

use crate::ports::error::{StoreError, StoreErrorKind};
use std::error::Error;
use std::fmt::Write as _;

#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer, or not the whole of it: whether the storage did what was asked is unknown.
    Lost(String),
    /// The storage says no.
    Refused(Refusal),
    /// An answer that is of no use, however often it is asked for.
    Unusable(String),
}

/// An answer with an error's status.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub status: u16,
    /// S3's own word for it, `NoSuchKey` for example; empty where the answer has none.
    pub code: String,
    pub message: String,
}

impl Trouble {
    pub(super) fn lost(error: reqwest::Error) -> Self {
        // Not its URL: names of objects are in `doing`, and the rest is the operator's to know.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Writing to a `String` cannot fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        Self::Lost(text)
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same request may fare better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Unusable(_) => false,
            Self::Refused(Refusal { status, code, .. }) => {
                // 499: what was sent did not arrive whole.
                matches!(status, 408 | 425 | 429 | 499)
                    || (*status >= 500 && *status != 501)
                    || matches!(
                        code.as_str(),
                        "SlowDown"
                            | "InternalError"
                            | "ServiceUnavailable"
                            | "RequestTimeout"
                            | "IncompleteBody"
                            | "BadDigest"
                            | "XAmzContentSHA256Mismatch"
                            | "OperationAborted"
                            | "ConditionalRequestConflict"
                    )
            }
        }
    }

    /// There is a bucket, and no such object in it.
    pub(super) fn is_absence(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 404 && refusal.code != "NoSuchBucket")
    }

    /// The condition of a conditional request does not hold.
    pub(super) fn is_failed_condition(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 412)
    }

    /// The storage does not take the condition, whether it holds or not.
    pub(super) fn is_unknown_condition(&self) -> bool {
        self.refusal().is_some_and(|refusal| matches!(refusal.status, 400 | 405 | 501))
    }

    pub(super) fn is_unsatisfiable_range(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 416)
    }

    pub(super) fn is_clock_skew(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == "RequestTimeTooSkewed")
    }

    /// The upload is over, one way or the other.
    pub(super) fn is_unknown_upload(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == "NoSuchUpload")
    }

    /// A word of a fixed set, for metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::Unusable(_) => "unusable",
            Self::Refused(Refusal { status, code, .. }) => match status {
                404 => "absent",
                409 | 412 => "conflict",
                416 => "range",
                429 | 503 => "throttled",
                _ if code == "SlowDown" => "throttled",
                500.. => "failed",
                _ => "refused",
            },
        }
    }

    /// For the port: what an operator can mend while gv runs counts as unavailable, as it does for
    /// a folder.
    pub(super) fn into_error(self, doing: impl Into<String>, bucket: &str) -> StoreError {
        let kind = match &self {
            Self::Lost(_) => StoreErrorKind::Unavailable,
            Self::Unusable(_) => StoreErrorKind::Internal,
            Self::Refused(Refusal { status: 301 | 307 | 401 | 403 | 404, .. }) => StoreErrorKind::Unavailable,
            Self::Refused(Refusal { code, .. }) if code == "AuthorizationHeaderMalformed" => {
                StoreErrorKind::Unavailable
            }
            passing if passing.is_passing() => StoreErrorKind::Unavailable,
            Self::Refused(_) => StoreErrorKind::Internal,
        };
        StoreError::new(kind, doing, self.words(bucket))
    }

    fn words(&self, bucket: &str) -> String {
        let refusal = match self {
            Self::Lost(what) => return format!("the storage cannot be reached or does not answer: {what}"),
            Self::Unusable(what) => return what.clone(),
            Self::Refused(refusal) => refusal,
        };
        let advice = match (refusal.status, refusal.code.as_str()) {
            (404, "NoSuchBucket" | "") => format!("the bucket {bucket} does not exist: create it"),
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken") => {
                "the storage does not accept the keys: check blobs.access_key and blobs.secret_key (or the AWS_* \
                 variables)"
                    .to_owned()
            }
            (_, "RequestTimeTooSkewed") => "this machine's clock and the storage's differ: set the clock".to_owned(),
            (301 | 307, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => {
                format!("the bucket {bucket} is elsewhere: check region= and endpoint= in blobs.url")
            }
            (401 | 403, _) => format!(
                "the keys may not do this in the bucket {bucket}: allow what docs/storage.md lists, or check the keys"
            ),
            (429 | 503, _) | (_, "SlowDown") => "the storage is overloaded or not ready".to_owned(),
            (500.., _) => "the storage failed".to_owned(),
            _ => "the storage refuses the request".to_owned(),
        };
        let Refusal { status, code, message } = refusal;
        let detail = [code.as_str(), message.as_str()].iter().any(|text| !text.is_empty());
        if detail { format!("{advice} ({status} {code}: {message})") } else { format!("{advice} ({status})") }
    }
}

/// What stands between an element's tags in a small document without nesting or entities.
pub(super) fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

impl Refusal {
    /// Reads S3's error document, or does without.
    pub(super) fn read(status: u16, document: &str) -> Self {
        let text = |name, most| {
            let text = element(document, name).unwrap_or_default();
            text.chars().filter(|c| !c.is_control()).take(most).collect()
        };
        Self { status, code: text("Code", 60), message: text("Message", 200) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, document: &str) -> Trouble {
        Trouble::Refused(Refusal::read(status, document))
    }

    #[test]
    fn an_operator_is_told_what_to_do() {
        let cases = [
            (404, "<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>", "create it"),
            (404, "", "the bucket site does not exist"),
            (403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", "blobs.secret_key"),
            (403, "<Error><Code>AccessDenied</Code></Error>", "docs/storage.md"),
            (403, "", "may not do this"),
            (301, "<Error><Code>PermanentRedirect</Code></Error>", "region="),
            (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", "clock"),
            (503, "<html>busy</html>", "overloaded"),
        ];
        for (status, document, word) in cases {
            let error = refused(status, document).into_error("checking", "site");
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
        }
        let defect =
            refused(400, "<Error><Code>InvalidArgument</Code></Error>").into_error("checking", "site");
        assert_eq!(defect.kind, StoreErrorKind::Internal);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, document, again) in [
            (500, "", true),
            (503, "", true),
            (429, "", true),
            (499, "", true),
            (400, "<Code>RequestTimeout</Code>", true),
            (409, "<Code>ConditionalRequestConflict</Code>", true),
            (501, "<Code>NotImplemented</Code>", false),
            (403, "<Code>AccessDenied</Code>", false),
            (404, "<Code>NoSuchKey</Code>", false),
            (412, "<Code>PreconditionFailed</Code>", false),
        ] {
            assert_eq!(refused(status, document).is_passing(), again, "{status} {document}");
        }
        assert!(Trouble::Lost(String::new()).is_passing());
        assert!(!Trouble::Unusable(String::new()).is_passing());
    }

    #[test]
    fn absence_is_of_an_object_and_not_of_its_bucket() {
        assert!(refused(404, "<Code>NoSuchKey</Code>").is_absence());
        assert!(refused(404, "").is_absence(), "an answer to HEAD has no document");
        assert!(!refused(404, "<Code>NoSuchBucket</Code>").is_absence());
    }
}
