//! The same sites by TLS.

use super::{HOUR, Running, Secured, noise};
use gv::edge::EdgeSettings;
use gv::tls::files::TlsFiles;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A certificate of its own.
pub fn certificate(folder: &Path) -> TlsFiles {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["blog.localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    TlsFiles { role: "edge", cert, key }
}

/// Trusts this certificate alone.
pub fn client(cert: &[u8], address: SocketAddr) -> reqwest::Client {
    trusting(cert, address).build().unwrap()
}

fn trusting(cert: &[u8], address: SocketAddr) -> reqwest::ClientBuilder {
    let trusted = reqwest::Certificate::from_pem(cert).unwrap();
    reqwest::Client::builder().tls_certs_only([trusted]).resolve("blog.localhost", address)
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_come_by_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let root = std::fs::read(&files.cert).unwrap();
    let edge = by_tls(&files).await;
    let large = noise(9 * 1024 * 1024, 1);
    edge.publish_files(&[("index.html", b"by TLS"), ("404.html", b"lost"), ("large", &large)]).await;
    let address = edge.tls_address.unwrap();
    let old = trusting(&root, address).http1_only().build().unwrap();
    let new = client(&root, address);
    let url = format!("https://blog.localhost:{}", address.port());
    let versions = [(&old, reqwest::Version::HTTP_11), (&new, reqwest::Version::HTTP_2)];
    for (client, version) in versions.into_iter().chain(versions) {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(answer.text().await.unwrap(), "by TLS");
        let lost = client.get(format!("{url}/no")).send().await.unwrap();
        assert_eq!((lost.status().as_u16(), lost.text().await.unwrap()), (404, "lost".to_owned()));
        let head = client.head(&url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"6".parse().unwrap()));
        // By HTTP/1.1 of actix-web, since it has a content.
        let unusual = client.get(format!("{url}/large")).body("x").send().await.unwrap();
        assert!(unusual.bytes().await.unwrap() == large);
        assert!(client.get(format!("{url}/large")).send().await.unwrap().bytes().await.unwrap() == large);
    }
}

/// An edge that shows what these files have now.
async fn by_tls(files: &TlsFiles) -> Running {
    let settings = EdgeSettings { pointer_ttl: HOUR, ..EdgeSettings::default() };
    let files = Some(files.clone().certificate().unwrap());
    Running::with_tls(settings, Secured { files, ..Secured::default() }).await
}

#[test]
fn a_certificate_that_does_not_fit_its_key_is_refused_before_anything_serves() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = TlsFiles { key: certificate(other.path()).key, ..certificate(folder.path()) };
    let refused = files.certificate().unwrap_err().to_string();
    assert!(refused.contains("does not fit edge.tls_cert"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let old = std::fs::read(&files.cert).unwrap();
    let edge = by_tls(&files).await;
    edge.publish_files(&[("index.html", b"by TLS")]).await;
    let address = edge.tls_address.unwrap();
    let url = format!("https://blog.localhost:{}", address.port());
    let shows = async |cert: &[u8]| client(cert, address).get(&url).send().await.is_ok();
    assert!(shows(&old).await);
    std::fs::write(&files.key, "no key").unwrap();
    // Longer than it takes to look.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(shows(&old).await, "what cannot be read changes nothing");
    let new = std::fs::read(certificate(folder.path()).cert).unwrap();
    let mut looks = 0;
    while !shows(&new).await {
        looks += 1;
        assert!(looks < 100, "the new one is never shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!shows(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_renewed_before_the_edge_began_to_serve_is_shown_too() {
    let folder = tempfile::tempdir().unwrap();
    let read = certificate(folder.path()).certificate().unwrap();
    // A file system's clock is coarse.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let new = std::fs::read(certificate(folder.path()).cert).unwrap();
    let settings = EdgeSettings { pointer_ttl: HOUR, ..EdgeSettings::default() };
    let edge = Running::with_tls(settings, Secured { files: Some(read), ..Secured::default() }).await;
    edge.publish_files(&[("index.html", b"by TLS")]).await;
    let address = edge.tls_address.unwrap();
    let url = format!("https://blog.localhost:{}", address.port());
    let mut looks = 0;
    while client(&new, address).get(&url).send().await.is_err() {
        looks += 1;
        assert!(looks < 100, "the new one is never shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
