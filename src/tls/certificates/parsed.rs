//! A certificate and its key, read for showing them, and how long they hold.

use anyhow::Context as _;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use time::OffsetDateTime;

/// How long a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

/// Reads what an authority gave, or what was kept of it: PEM.
pub fn parse(chain: &str, key: &str) -> anyhow::Result<(Arc<CertifiedKey>, Parsed)> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("reading the chain")?;
    let first = chain.first().context("the chain has no certificate")?;
    let (_, leaf) = x509_parser::parse_x509_certificate(first).context("reading the certificate")?;
    let validity = leaf.validity();
    let moment = |time: &x509_parser::time::ASN1Time| OffsetDateTime::from_unix_timestamp(time.timestamp());
    let parsed =
        Parsed { not_before: moment(&validity.not_before)?, not_after: moment(&validity.not_after)? };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("reading the key")?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
    Ok((Arc::new(certified.context("the key is not the certificate's")?), parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read_with_its_life_and_refused_with_another_key() {
        let [one, other] =
            [(); 2].map(|()| rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap());
        let (_, parsed) = parse(&one.cert.pem(), &one.signing_key.serialize_pem()).unwrap();
        assert_eq!((parsed.not_before.year(), parsed.not_after.year()), (1975, 4096));
        assert!(parse(&one.cert.pem(), &other.signing_key.serialize_pem()).is_err());
        assert!(parse("", &one.signing_key.serialize_pem()).is_err());
        assert!(parse(&one.cert.pem(), "").is_err());
    }
}
