//! Sites by HTTP/2. `parity`: every answer is the one that HTTP/1.1 gets. `hostile`: what one connection
//! can do to the edge and to others. `frames`: a connection whose frames a test writes itself. Here: an
//! edge with TLS, and a client that keeps to the rules.

mod frames;
mod hostile;
mod parity;

use super::tls::certificate;
use super::{Answer, HOUR, Running, Secured};
use bytes::Bytes;
use gv::edge::EdgeSettings;
use h2::client::SendRequest;
use http::{Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An edge with TLS, and the certificate to trust.
struct Secure {
    edge: Running,
    cert: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

impl Secure {
    async fn start() -> Self {
        Self::with(EdgeSettings::default()).await
    }

    async fn with(settings: EdgeSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(folder.path());
        let cert = CertificateDer::from_pem_file(&files.cert).unwrap();
        let settings = EdgeSettings { pointer_ttl: HOUR, ..settings };
        let secured = Secured { files: Some(files.certificate().unwrap()), ..Secured::default() };
        Self { edge: Running::with_tls(settings, secured).await, cert, _folder: folder }
    }

    /// A connection by TLS for one of these protocols.
    async fn connect(&self, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.edge.tls_address.unwrap()).await.unwrap();
        let name = ServerName::try_from("blog.localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn client(&self) -> Client {
        self.client_of(&h2::client::Builder::new()).await
    }

    async fn client_of(&self, builder: &h2::client::Builder) -> Client {
        let stream = self.connect(&[b"h2"]).await;
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        // Its end is seen by the requests on it.
        tokio::spawn(async move { connection.await.ok() });
        Client { requests }
    }
}

/// A client on one connection.
#[derive(Clone)]
struct Client {
    requests: SendRequest<Bytes>,
}

impl Client {
    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", "blog.localhost", path, &[]).await
    }

    async fn ask(&self, method: &str, host: &str, path: &str, fields: &[&str]) -> Answer {
        let response = self.send(method, host, path, fields).await.unwrap();
        self::answer(response).await
    }

    /// The head of an answer.
    async fn send(
        &self,
        method: &str,
        host: &str,
        path: &str,
        fields: &[&str],
    ) -> Result<Response<h2::RecvStream>, h2::Error> {
        let mut request = Request::builder().method(method).uri(format!("https://{host}{path}"));
        for field in fields {
            let (name, value) = field.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let mut requests = self.requests.clone().ready().await?;
        requests.send_request(request.body(()).unwrap(), true)?.0.await
    }
}

async fn answer(response: Response<h2::RecvStream>) -> Answer {
    let (head, mut content) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = tokio::time::timeout(Duration::from_secs(60), content.data()).await.unwrap() {
        let piece = piece.unwrap();
        body.extend_from_slice(&piece);
        content.flow_control().release_capacity(piece.len()).unwrap();
    }
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Answer { status: head.status.as_u16(), fields: head.headers.iter().map(text).collect(), body }
}
