//! A host's certificate on its first hello.

use super::fleet::Fleet;
use crate::support::process::Settings;
use futures_util::future::join_all;
use gv::domain::certificate::{AuthorityId, CertificateName};
use gv::domain::host::Hostname;
use gv::ports::blobs::Key;
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(86_400);
const HOST: &str = "www.customer.example";

async fn got_by(challenge: &str) {
    let fleet = Fleet::start(LIFE, Settings::default().set("GV_ACME__CHALLENGES", challenge)).await;
    fleet.publish(HOST, "by TLS").await;
    // Many at once, at both edges: whoever is not first waits for it.
    let visits = (0..20).map(|number| fleet.visit(number % 2, HOST));
    let shown = join_all(visits).await;
    let shown: Result<Vec<_>, _> = shown.into_iter().collect();
    let shown = shown.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()));
    for one in &shown {
        assert_eq!((one.status, one.text.as_str()), (200, "by TLS"));
        assert_eq!(one.certificate, shown[0].certificate, "all edges show the same");
    }
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (1, 1), "{}", fleet.pebble.log());
    let authority = AuthorityId::of(&fleet.pebble.directory());
    let name = CertificateName::Host(Hostname::parse(HOST).unwrap());
    for key in [Key::certificate(&authority, &name), Key::account(&authority)] {
        let stored = fleet.stored(&key).await.unwrap();
        assert!(stored.contains("gve1.test."), "sealed: {stored}");
        assert!(!stored.contains("PRIVATE KEY") && !stored.contains("key_pkcs8"), "{stored}");
    }
    let mut issued = 0.0;
    for edge in 0..2 {
        issued += fleet.metric(edge, "gv_certificate_orders_total", "issued").await;
    }
    assert_eq!(issued, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_host_gets_its_certificate_on_the_first_hello_and_both_edges_show_it() {
    got_by("tls-alpn-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_document_any_edge_proves_what_another_one_orders() {
    got_by("http-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_gets_none_and_nothing_is_ordered_for_it() {
    let fleet = Fleet::start(LIFE, Settings::default()).await;
    fleet.publish("blog.sites.example", "not a custom one").await;
    for host in ["nobody.customer.example", "blog.sites.example", "nobody.sites.example"] {
        let refused = fleet.visit(0, host).await.unwrap_err();
        assert!(refused.contains("UnrecognisedName"), "{host}: {refused}");
    }
    assert_eq!(fleet.pebble.ordered(), 0);
    assert_eq!(fleet.metric(0, "gv_tls_refused_total", "unknown").await, 3.0);
    // It becomes known while strangers ask for it.
    fleet.publish("nobody.customer.example", "somebody").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let shown = fleet.visit(0, "nobody.customer.example").await;
    assert_eq!(shown.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs())).text, "somebody");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_starts_anew_shows_what_was_got_before() {
    let mut fleet = Fleet::start(LIFE, Settings::default()).await;
    fleet.publish(HOST, "by TLS").await;
    let before = fleet.visit(0, HOST).await.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()));
    fleet.restart(0);
    assert_eq!(fleet.visit(0, HOST).await.unwrap(), before);
    assert_eq!(fleet.pebble.ordered(), 1);
}
