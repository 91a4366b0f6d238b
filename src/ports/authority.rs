//! A certificate authority: gives certificates to whoever proves that a name is his.
//!
//! The authority says how a name is to be proved; what it asks for is shown to it by the caller's
//! [`Proofs`]. Waiting, trying again and keeping what was got are the caller's.

use crate::domain::digest::Digest;
use crate::domain::secret::Secret;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::time::Duration;

#[async_trait]
pub trait CertificateAuthority: Send + Sync {
    /// The address that it is known by: accounts and certificates of another one are none here.
    fn directory(&self) -> &str;

    /// Makes an account. What is returned stands for it from then on, its key included.
    async fn register(&self) -> Result<Secret, OrderError>;

    /// Gets one certificate for all these names (`*.example.com` is one), each of which is proved in the
    /// way that is given. All that was shown is hidden again when this returns.
    async fn order(
        &self,
        account: &Secret,
        names: &[String],
        way: Way,
        proofs: &dyn Proofs,
    ) -> Result<Issued, OrderError>;
}

/// Shows an authority what it asks for.
#[async_trait]
pub trait Proofs: Send + Sync {
    /// When it returns, the authority finds the proof wherever it looks.
    async fn show(&self, proof: &Proof) -> Result<(), String>;

    /// Nobody needs it any more. What fails here is logged where it fails.
    async fn hide(&self, proof: &Proof);
}

/// How a name is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a document at the name (RFC 8555, 8.3).
    Http,
    /// By a certificate of our own in a handshake with the name (RFC 8737).
    TlsAlpn,
    /// By a record of the name in DNS (RFC 8555, 8.4); the only one for wildcards.
    Dns,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::TlsAlpn => "tls-alpn-01",
            Self::Dns => "dns-01",
        }
    }
}

/// What is to be shown for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub way: Way,
    /// Without `*.`.
    pub name: String,
    pub token: String,
    /// The text of the document of [`Way::Http`].
    pub key_authorization: String,
}

impl Proof {
    /// The name and the value of the record of [`Way::Dns`].
    pub fn record(&self) -> (String, String) {
        let digest = Digest::of(self.key_authorization.as_bytes());
        (format!("_acme-challenge.{}", self.name), URL_SAFE_NO_PAD.encode(digest.as_bytes()))
    }
}

pub struct Issued {
    /// PEM: the certificate, then those that lead to its root.
    pub chain: String,
    /// PEM: its private key, which nobody else has seen.
    pub key: Secret,
}

#[derive(Clone, Debug)]
pub struct OrderError {
    pub kind: OrderErrorKind,
    /// For the operator: what was being done, and what the authority says about it.
    pub message: String,
    /// When the authority wants to be asked again, from now.
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderErrorKind {
    /// The name was not proved, or is one that it gives nothing for.
    Refused,
    /// It was asked too often: nothing at all is to be ordered for a while.
    RateLimited,
    /// It does not know the account.
    NoAccount,
    /// It cannot be reached, or is in trouble.
    Unavailable,
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OrderErrorKind::Refused => "refused",
            OrderErrorKind::RateLimited => "asked too often",
            OrderErrorKind::NoAccount => "no such account",
            OrderErrorKind::Unavailable => "unavailable",
        };
        write!(f, "{kind}: {}", self.message)
    }
}

impl std::error::Error for OrderError {}

/// What the caller needs for an order could not be read or kept.
impl From<StoreError> for OrderError {
    fn from(error: StoreError) -> Self {
        Self { kind: OrderErrorKind::Unavailable, message: error.to_string(), retry_after: None }
    }
}
