//! What TLS shows where the edge is to get certificates itself, and the authority is out of reach. What a
//! real one gives is in `tests/certificates`.

use super::tls::{certificate, client};
use super::{HOUR, Running, Secured};
use gv::domain::host::{HostKind, Hostname};
use gv::edge::EdgeSettings;
use gv::ports::authority::Way;
use gv::tls::certificates::{CertificateSettings, OnDemand};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn edge_settings() -> EdgeSettings {
    EdgeSettings { pointer_ttl: HOUR, ..EdgeSettings::default() }
}

/// It gets certificates itself.
fn itself(on_demand: OnDemand) -> Secured {
    let certificates = CertificateSettings {
        domain: Hostname::parse("sites.example").unwrap(),
        api_hosts: vec![Hostname::parse("api.sites.example").unwrap()],
        shows_api: false,
        on_demand,
        ways: vec![Way::TlsAlpn],
        orders_per_hour: 10,
        dns_wait: Duration::ZERO,
    };
    Secured { certificates: Some(certificates), ..Secured::default() }
}

/// What a client that trusts nobody hears of a handshake with this host.
async fn refused(address: SocketAddr, host: &str) -> String {
    let client = reqwest::Client::builder().tls_certs_only([]).resolve(host, address).build().unwrap();
    let asked = client.get(format!("https://{host}:{}/", address.port())).send().await;
    format!("{:?}", asked.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_get_no_certificate_hear_so_at_once() {
    let edge = Running::with_tls(edge_settings(), itself(OnDemand::Custom)).await;
    for host in ["www.customer.example", "blog.sites.example"] {
        edge.publish((host, 1, HostKind::Production), &[("index.html", b"hello")]).await;
    }
    let address = edge.tls_address.unwrap();
    let begun = Instant::now();
    // Unknown; below the domain, which has no wildcard; known, but nobody can be asked for it.
    for host in ["nobody.customer.example", "blog.sites.example", "www.customer.example"] {
        let heard = refused(address, host).await;
        assert!(heard.contains("UnrecognisedName"), "{host}: {heard}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_cannot_be_reached_is_not_asked_again_at_each_hello() {
    let edge = Running::with_tls(edge_settings(), itself(OnDemand::All)).await;
    edge.publish(("blog.sites.example", 1, HostKind::Production), &[("index.html", b"hello")]).await;
    let address = edge.tls_address.unwrap();
    refused(address, "blog.sites.example").await;
    let before = edge.blobs.reads("certificates/");
    for _ in 0..10 {
        assert!(refused(address, "blog.sites.example").await.contains("UnrecognisedName"));
    }
    assert_eq!(edge.blobs.reads("certificates/"), before, "neither is storage");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_certificate_is_shown_where_it_fits_and_to_whoever_else_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let root = std::fs::read(&files.cert).unwrap();
    let secured = Secured { files: Some(files.certificate().unwrap()), ..itself(OnDemand::All) };
    let edge = Running::with_tls(edge_settings(), secured).await;
    edge.publish_files(&[("index.html", b"by TLS")]).await;
    let address = edge.tls_address.unwrap();
    let url = format!("https://blog.localhost:{}", address.port());
    assert_eq!(client(&root, address).get(url).send().await.unwrap().text().await.unwrap(), "by TLS");
    let other = refused(address, "nobody.customer.example").await;
    assert!(other.contains("UnknownIssuer") || other.contains("NotValidForName"), "{other}");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_may_have_proofs_of_its_own_and_strangers_who_look_for_ours_cost_little() {
    let edge = Running::with_tls(edge_settings(), itself(OnDemand::All)).await;
    let files: [(&str, &[u8]); 1] = [(".well-known/acme-challenge/theirs", b"of another authority")];
    edge.publish(("www.customer.example", 1, HostKind::Production), &files).await;
    let ask = async |token: &str| {
        let path = format!("/.well-known/acme-challenge/{token}");
        let head = format!("GET {path} HTTP/1.1\r\nHost: www.customer.example\r\nConnection: close\r\n\r\n");
        edge.send(head.as_bytes()).await
    };
    let begun = Instant::now();
    for number in 0..50 {
        assert_eq!(ask(&format!("no-{number}")).await.status, 404);
    }
    let moments = begun.elapsed().as_millis() / 250 + 1;
    assert!(
        edge.blobs.reads("certificates/") as u128 <= moments,
        "of one host storage is asked once in a moment"
    );
    let theirs = ask("theirs").await;
    assert_eq!((theirs.status, theirs.text()), (200, "of another authority"));
    edge.end().await;
}
