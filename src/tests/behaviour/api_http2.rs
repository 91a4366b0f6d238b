//! What one connection by HTTP/2 can do to the API and to others.

use super::api_tls::{HOST, Secured};
use crate::support::gv::Settings;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Version};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// What the API allows, once it has said so.
const MAX_STREAMS: usize = 100;

/// A connection, and its end.
async fn connect(secured: &Secured) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&secured.files[0]).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", secured.port())).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    (requests, tokio::spawn(async move { drop(connection.await) }))
}

fn request(secured: &Secured, path: &str) -> Request<()> {
    let request = Request::builder().method(Method::GET).version(Version::HTTP_2);
    let token = format!("Bearer {}", secured.stage.gv.token);
    request.uri(format!("https://{HOST}{path}")).header("authorization", token).body(()).unwrap()
}

async fn status(requests: &SendRequest<Bytes>, request: Request<()>) -> u16 {
    let (answer, _) = requests.clone().ready().await.unwrap().send_request(request, true).unwrap();
    answer.await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_so_many_requests_at_a_time_and_those_given_up_cost_nobody_else() {
    let secured = Secured::set(Settings::default()).await;
    let (requests, _end) = connect(&secured).await;
    assert_eq!(status(&requests, request(&secured, "/api/v1/me")).await, 200);
    assert_eq!(requests.current_max_send_streams(), MAX_STREAMS);
    for _ in 0..10 * MAX_STREAMS {
        let asked = request(&secured, "/api/v1/deployments");
        // Dropped, so given up. Whoever goes on like that is left (RFC 9113, 10.5).
        let Ok(mut requests) = requests.clone().ready().await else { break };
        drop(requests.send_request(asked, true));
    }
    let (others, _other_end) = connect(&secured).await;
    assert_eq!(status(&others, request(&secured, "/api/v1/me")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_a_head_is_refused() {
    let secured = Secured::set(Settings::default()).await;
    let (requests, _end) = connect(&secured).await;
    let mut many = request(&secured, "/api/v1/me");
    for number in 0..200 {
        let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        many.headers_mut().insert(name, "x".parse().unwrap());
    }
    assert_eq!(status(&requests, many).await, 400);
    let mut large = request(&secured, "/api/v1/me");
    large.headers_mut().insert("x-large", "x".repeat(100_000).parse().unwrap());
    assert_eq!(status(&requests, large).await, 431);
    assert_eq!(status(&requests, request(&secured, "/api/v1/me")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_connections_that_lie_idle() {
    let mut secured = Secured::set(Settings::default().set("GV_OPS__WITHDRAW_S", 0)).await;
    let (requests, end) = connect(&secured).await;
    assert_eq!(status(&requests, request(&secured, "/api/v1/me")).await, 200);
    let began = Instant::now();
    assert!(secured.stage.gv.terminate().success(), "{}", secured.stage.gv.log());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    end.await.unwrap();
    drop(requests);
}
