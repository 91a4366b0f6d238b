//! What an authority finds while a certificate is being got, whichever process it asks: a
//! document (RFC 8555, 8.3), or a certificate of our own that carries the proof (RFC 8737).
//!
//! Strangers may ask for these too: what is found in storage, or not, is remembered for a moment.

use crate::domain::certificate::CertificateName;
use crate::domain::digest::Digest;
use crate::domain::host::Hostname;
use crate::tls::certificates::record::{Record, Shown, ShownWay};
use crate::tls::certificates::store::Store;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache as Memory;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What stands before the token in the address of the document (RFC 8555, 8.3).
pub const CHALLENGE_FOLDER: &str = "/.well-known/acme-challenge/";
/// The protocol of handshakes that ask for a proof.
pub const ACME_TLS: &[u8] = b"acme-tls/1";
/// A proof that is asked for again within so long is not looked for again.
const REMEMBERED: Duration = Duration::from_millis(250);
/// After so long every process looks again, its own slowness included.
pub const FORGOTTEN: Duration = Duration::from_millis(400);
const MAX_REMEMBERED: u64 = 1_000;
/// Of a token, in characters: they have 128 bits at least (RFC 8555, 8.3), and ours to come are short.
const MAX_TOKEN: usize = 256;

pub struct Challenges {
    seen: Memory<Hostname, (Instant, Option<Arc<Record>>)>,
}

impl Challenges {
    pub fn new() -> Self {
        Self { seen: Memory::with_weighter(10, MAX_REMEMBERED, UnitWeighter) }
    }

    /// The document that the authority is to find under this token.
    pub async fn document(&self, store: &Store, host: &Hostname, token: &str) -> Option<String> {
        let record = self.record(store, host).await?;
        let shown = record.shown(ShownWay::Http).filter(|shown| shown.token == token)?;
        Some(shown.key_authorization.clone())
    }

    /// What the authority is to meet in a handshake with the host.
    pub async fn handshake(&self, store: &Store, host: &Hostname) -> Option<Arc<ServerConfig>> {
        let record = self.record(store, host).await?;
        match proving(host, record.shown(ShownWay::TlsAlpn)?) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                tracing::warn!(%host, error = format!("{error:#}"), "a proof cannot be shown");
                None
            }
        }
    }

    async fn record(&self, store: &Store, host: &Hostname) -> Option<Arc<Record>> {
        if let Some((at, record)) = self.seen.get(host)
            && at.elapsed() < REMEMBERED
        {
            return record;
        }
        let begun = Instant::now();
        let found = store.read(&CertificateName::Host(host.clone())).await;
        let record = match found {
            Ok(found) => found.record.lease.is_some().then(|| Arc::new(found.record)),
            Err(error) => {
                tracing::warn!(%host, %error, "storage does not say what is to be proved");
                None
            }
        };
        self.seen.insert(host.clone(), (begun, record.clone()));
        record
    }
}

/// The token of a request for a document, where the address is one.
pub fn token_in(path: &str) -> Option<&str> {
    let token = path.strip_prefix(CHALLENGE_FOLDER)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(is_token)).then_some(token)
}

/// RFC 8737, 3.
fn proving(host: &Hostname, shown: &Shown) -> anyhow::Result<ServerConfig> {
    let mut params = CertificateParams::new([host.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    let digest = Digest::of(shown.key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_bytes())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    // Put together by hand: the extension is critical, so that nobody takes the certificate for another
    // one, and nobody but authorities knows it.
    let certified = CertifiedKey::new(vec![certificate], ring::sign::any_supported_type(&key)?);
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_looked_for() {
        assert_eq!(token_in("/.well-known/acme-challenge/aZ09-_"), Some("aZ09-_"));
        let long = format!("/.well-known/acme-challenge/{}", "a".repeat(MAX_TOKEN + 1));
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/a/b",
            "/.well-known/acme-challenge/a.b",
            "/.well-known/acme-challenge/%61",
            "/.well-known/acme-challenge",
            "/index.html",
            &long,
        ] {
            assert_eq!(token_in(other), None, "{other}");
        }
    }

    #[test]
    fn the_proof_of_a_handshake_carries_the_digest() {
        let host = Hostname::parse("a.example").unwrap();
        let shown =
            Shown { way: ShownWay::TlsAlpn, token: "t".to_owned(), key_authorization: "t.thumb".to_owned() };
        let config = proving(&host, &shown).unwrap();
        assert_eq!(config.alpn_protocols, [ACME_TLS]);
    }
}
