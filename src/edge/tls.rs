//! TLS in front of sites: a certificate and its key from files.

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those that lead to its root.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// HTTP/2 is not offered: actix-web sets no bound on the requests of one connection.
const HTTP_1_1: &[u8] = b"http/1.1";

impl TlsFiles {
    /// Fails when the files cannot be read or do not belong together.
    pub fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let of = |key: &str, path: &Path| format!("{key}: {}", path.display());
        let certs = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| of("edge.tls_cert", &self.cert))?;
        anyhow::ensure!(!certs.is_empty(), "{}: has no certificate", of("edge.tls_cert", &self.cert));
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| of("edge.tls_key", &self.key))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certs, key)
            .with_context(|| format!("{} does not fit edge.tls_cert", of("edge.tls_key", &self.key)))?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
