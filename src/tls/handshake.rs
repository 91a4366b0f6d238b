//! How a connection becomes one by TLS: with the operator's certificate from files, or with one that gv
//! got itself, which a first client waits for; or to prove to an authority that a host is ours.
//!
//! A host that nothing is shown for hears `unrecognized_name` (RFC 6066, 3). Start with
//! [`Handshakes::accept`].

use crate::domain::host::Hostname;
use crate::tls::Hosts;
use crate::tls::certificates::{ACME_TLS, Certificates};
use crate::tls::files::{Certificate, acceptor};
use crate::tls::wire::Wire;
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

/// How long a client may take for each half of a handshake: before and after a wait for its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long it may take to hear that there is nothing for it.
const FAREWELL: Duration = Duration::from_secs(2);
/// A record with a fatal alert (RFC 8446, 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

pub struct Handshakes {
    acceptor: TlsAcceptor,
    hosts: Hosts,
    certificates: Option<Arc<Certificates>>,
    files: Option<Arc<Certificate>>,
}

impl Handshakes {
    /// Fails where there is nothing to show.
    pub fn new(
        hosts: Hosts,
        certificates: Option<Arc<Certificates>>,
        files: Option<Arc<Certificate>>,
    ) -> anyhow::Result<Self> {
        let acceptor = match (&files, &certificates) {
            (Some(files), None) => files.acceptor(),
            (_, Some(certificates)) => {
                let (hosts, certificates) = (hosts.clone(), Arc::clone(certificates));
                acceptor(Arc::new(Shown { hosts, certificates, files: files.clone() }))
            }
            (None, None) => anyhow::bail!("a listener for TLS needs a certificate"),
        };
        Ok(Self { acceptor, hosts, certificates, files })
    }

    /// `None`: there is nobody to talk to.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<Wire>> {
        match &self.certificates {
            None => timeout(HANDSHAKE, self.acceptor.accept(Wire(stream))).await.ok()?.ok(),
            Some(certificates) => self.accept_by_name(certificates, Wire(stream)).await,
        }
    }

    async fn accept_by_name(&self, certificates: &Certificates, wire: Wire) -> Option<TlsStream<Wire>> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), wire);
        let mut start = timeout(HANDSHAKE, hello).await.ok()?.ok()?;
        let hello = start.client_hello();
        let host = hello.server_name().and_then(|name| Hostname::parse(name).ok());
        let is_proof = hello.alpn().is_some_and(|mut protocols| protocols.any(|it| it == ACME_TLS));
        let config = match (&host, is_proof) {
            (Some(host), true) => certificates.proof(&self.hosts, host).await,
            (None, true) => None,
            (host, false) => self.config(certificates, host.as_ref()).await,
        };
        let Some(config) = config else {
            refuse(&mut start.io).await;
            return None;
        };
        let mut stream = timeout(HANDSHAKE, start.into_stream(config)).await.ok()?.ok()?;
        if is_proof {
            // The handshake was all that the authority wanted (RFC 8737, 3).
            let _ = timeout(FAREWELL, stream.shutdown()).await;
            return None;
        }
        Some(stream)
    }

    /// Waits for the host's certificate, where files have none for it. Whoever gets none is shown that of
    /// the files, where there is one.
    async fn config(
        &self,
        certificates: &Certificates,
        host: Option<&Hostname>,
    ) -> Option<Arc<ServerConfig>> {
        let config = || Arc::clone(self.acceptor.config());
        let is_in_files = host.is_none_or(|host| self.files.as_ref().is_some_and(|files| files.covers(host)));
        if let Some(host) = host.filter(|_| !is_in_files)
            && certificates.ready(&self.hosts, host).await.is_ok()
        {
            return Some(config());
        }
        self.files.as_ref().map(|_| config())
    }
}

async fn refuse(wire: &mut Wire) {
    let farewell = async {
        wire.write_all(&UNRECOGNIZED_NAME).await?;
        wire.shutdown().await
    };
    // Nobody has to hear it.
    let _ = timeout(FAREWELL, farewell).await;
}

/// What is shown to a client, by the name that it asks for, as memory has it now.
struct Shown {
    hosts: Hosts,
    certificates: Arc<Certificates>,
    files: Option<Arc<Certificate>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let of_files = || self.files.as_ref().map(|files| files.shown());
        let Some(host) = hello.server_name().and_then(|name| Hostname::parse(name).ok()) else {
            return of_files();
        };
        if self.files.as_ref().is_some_and(|files| files.covers(&host)) {
            return of_files();
        }
        self.certificates.held(&self.hosts, &host).or_else(of_files)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("hosts", &self.hosts)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
