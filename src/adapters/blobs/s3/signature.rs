//! Signs requests, by AWS's signature version 4 as rust-s3 has it.
//!
//! What is signed includes the body's SHA-256, so that nothing else can be stored in its name; a
//! `Content-MD5` beside it is for servers that do not compare the first (SeaweedFS 4.48 does not).
//! Start with [`Signer::sign`].

use super::credentials::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::Mac as _;
use reqwest::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use s3::error::S3Error;
use s3::region::Region;
use s3::signing;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use time::OffsetDateTime;
use time::macros::format_description;
use url::Url;

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
pub(super) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The body of a request, and what its server checks it by.
#[derive(Clone, Debug, Default)]
pub(super) struct Payload {
    pub bytes: Bytes,
    /// In hexadecimal digits.
    sha256: String,
    md5: Option<md5::Digest>,
}

impl Payload {
    /// Takes a moment for large bodies: see [`super::source`], which does it off the runtime.
    pub(super) fn of(bytes: Bytes) -> Self {
        let sha256 = crate::domain::digest::Digest::of(&bytes).to_string();
        let md5 = (!bytes.is_empty()).then(|| md5::compute(&bytes));
        Self { bytes, sha256, md5 }
    }

    pub(super) fn md5_header(&self) -> Option<HeaderValue> {
        let encoded = self.md5.map(|md5| STANDARD.encode(md5.0))?;
        HeaderValue::try_from(encoded).ok()
    }
}

pub(super) struct Signer {
    region: Region,
    credentials: Credentials,
    /// How far the storage's clock is ahead of ours, in seconds.
    clock_ahead: AtomicI64,
}

impl Signer {
    pub(super) fn new(region: Region, credentials: Credentials) -> Self {
        Self { region, credentials, clock_ahead: AtomicI64::new(0) }
    }

    /// The present moment by the storage's clock, as far as that is known.
    pub(super) fn now(&self) -> OffsetDateTime {
        s3::utils::now_utc() + time::Duration::seconds(self.clock_ahead.load(Ordering::Relaxed))
    }

    /// Goes by the storage's clock from now on. `false`: a request that was signed at `signed` cannot
    /// have been refused for its time.
    pub(super) fn correct_clock(&self, signed: OffsetDateTime, theirs: OffsetDateTime) -> bool {
        let ahead = (theirs - s3::utils::now_utc()).whole_seconds();
        self.clock_ahead.store(ahead, Ordering::Relaxed);
        (theirs - signed).abs() > time::Duration::minutes(1)
    }

    /// Adds what proves who sends the request. All headers that are there are signed.
    pub(super) fn sign(
        &self,
        method: &str,
        url: &Url,
        headers: &mut HeaderMap,
        payload: &Payload,
        now: OffsetDateTime,
    ) -> Result<(), S3Error> {
        let long_date = now.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
        let sha256 = if payload.sha256.is_empty() { EMPTY_SHA256 } else { &payload.sha256 };
        headers.insert(HOST, authority(url).parse()?);
        headers.insert(CONTENT_SHA256, HeaderValue::from_str(sha256)?);
        headers.insert(DATE, long_date.parse()?);
        if let Some(token) = &self.credentials.session_token {
            let mut token = HeaderValue::from_str(token.expose())?;
            token.set_sensitive(true);
            headers.insert(SECURITY_TOKEN, token);
        }
        let canonical = signing::canonical_request(method, url, headers, sha256)?;
        let to_sign = signing::string_to_sign(&now, &self.region, &canonical)?;
        let key = signing::signing_key(&now, self.credentials.secret_key.expose(), &self.region, "s3")?;
        let mut hmac = signing::HmacSha256::new_from_slice(&key)?;
        hmac.update(to_sign.as_bytes());
        let signature = hex(&hmac.finalize().into_bytes());
        let signed = signing::signed_header_string(headers);
        let access_key = self.credentials.access_key.expose();
        let authorization =
            signing::authorization_header(access_key, &now, &self.region, &signed, &signature)?;
        let mut authorization = HeaderValue::from_str(&authorization)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }
}

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `Host` as clients send it: without the scheme's own port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;
    use reqwest::header::RANGE;
    use time::macros::datetime;

    /// The example of Amazon's documentation, "Authenticating Requests: Using the Authorization
    /// Header", GET Object.
    #[test]
    fn the_documented_example_gets_its_documented_signature() {
        let credentials = Credentials {
            access_key: Secret::new("AKIAIOSFODNN7EXAMPLE"),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let region = Region::Custom { region: "us-east-1".into(), endpoint: String::new() };
        let signer = Signer::new(region, credentials);
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let mut headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-9"))]);
        let now = datetime!(2013-05-24 00:00:00 UTC);
        signer.sign("GET", &url, &mut headers, &Payload::default(), now).unwrap();
        let authorization = headers[AUTHORIZATION].to_str().unwrap();
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(authorization.ends_with(expected), "{authorization}");
        assert!(!format!("{headers:?}").contains(expected), "it is not for logs");
    }

    #[test]
    fn a_clock_that_is_off_is_corrected_and_what_was_signed_by_it_is_worth_another_try() {
        let credentials =
            Credentials { access_key: Secret::new("a"), secret_key: Secret::new("b"), session_token: None };
        let region = Region::Custom { region: "us-east-1".into(), endpoint: String::new() };
        let signer = Signer::new(region, credentials);
        let signed = signer.now();
        let theirs = signed + time::Duration::hours(1);
        assert!(signer.correct_clock(signed, theirs));
        assert!((signer.now() - theirs).abs() < time::Duration::minutes(1));
        assert!(signer.correct_clock(signed, theirs), "of several at the same time each one is");
        assert!(!signer.correct_clock(signer.now(), theirs));
    }
}
