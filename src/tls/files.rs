//! A certificate and its key from files, which are read again when they change, so that a renewed
//! certificate needs no restart.

use crate::domain::host::Hostname;
use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whose they are: `edge` or `api`, as its keys of the configuration begin.
    pub role: &'static str,
    /// PEM: the certificate, then those that lead to its root.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What is offered, as TLS names it (RFC 7301, 6): which of them a client takes is for it to say.
pub const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// What is shown to clients, as it was read last.
pub struct Certificate {
    files: TlsFiles,
    /// How the files were before they were read first.
    marks: Marks,
    shown: RwLock<Arc<CertifiedKey>>,
}

/// Tells whether a file is another one than before, or was written to. `None`: it is not there.
type Marks = [Option<(u64, u64, i64, i64)>; 2];

impl TlsFiles {
    /// Fails when the files cannot be read or do not belong together.
    pub fn certificate(self) -> anyhow::Result<Arc<Certificate>> {
        let marks = self.marks();
        let shown = RwLock::new(Arc::new(self.read()?));
        Ok(Arc::new(Certificate { files: self, marks, shown }))
    }

    fn read(&self) -> anyhow::Result<CertifiedKey> {
        let role = self.role;
        let of = |key: &str, path: &Path| format!("{role}.{key}: {}", path.display());
        let certs = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| of("tls_cert", &self.cert))?;
        anyhow::ensure!(!certs.is_empty(), "{}: has no certificate", of("tls_cert", &self.cert));
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| of("tls_key", &self.key))?;
        CertifiedKey::from_der(certs, key, &ring::default_provider())
            .with_context(|| format!("{} does not fit {role}.tls_cert", of("tls_key", &self.key)))
    }

    fn marks(&self) -> Marks {
        [&self.cert, &self.key].map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
        })
    }
}

/// Accepts handshakes, with the certificate that the resolver names for each.
pub fn acceptor(resolver: Arc<dyn ResolvesServerCert>) -> TlsAcceptor {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = [HTTP_2, HTTP_1_1].map(<[u8]>::to_vec).to_vec();
    TlsAcceptor::from(Arc::new(config))
}

impl Certificate {
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        acceptor(Arc::clone(self) as Arc<dyn ResolvesServerCert>)
    }

    pub fn shown(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is for this host too.
    pub fn covers(&self, host: &Hostname) -> bool {
        let shown = self.shown();
        let parsed = shown.end_entity_cert().ok().and_then(|cert| ParsedCertificate::try_from(cert).ok());
        let name = ServerName::try_from(host.as_str());
        parsed.zip(name.ok()).is_some_and(|(parsed, name)| verify_server_name(&parsed, &name).is_ok())
    }

    /// Reads the files again whenever they change, for ever. What cannot be used is told, and the
    /// certificate before it goes on being shown.
    pub async fn follow(&self) {
        // What changed since then is seen, too: a role may begin to serve long after.
        let (mut seen, role) = (self.marks, self.files.role);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let marks = self.files.marks();
            if marks == seen {
                continue;
            }
            // Both are written one after the other: the second one is another change.
            seen = marks;
            match self.files.read() {
                Ok(read) => {
                    *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                    tracing::info!("the {role} shows another certificate");
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the {role} keeps the certificate that it has"
                    );
                }
            }
        }
    }
}

/// Follows a certificate's files, where there is one, for ever.
pub async fn following(certificate: Option<&Certificate>) {
    match certificate {
        Some(certificate) => certificate.follow().await,
        None => std::future::pending().await,
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}
