//! The API's own hosts: their certificates, at whichever process, and nobody else's.

use super::fleet::{Fleet, Prover, Shown, Size, eventually, metric_of};
use super::wildcard::rfc2136;
use crate::support::name_server::NameServer;
use crate::support::process::Settings;
use futures_util::future::join_all;
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(86_400);
const HOST: &str = "api.sites.example";
const CUSTOM: &str = "www.customer.example";

async fn api(fleet: &Fleet, number: usize, host: &str) -> Shown {
    let shown = fleet.visit_at(fleet.apis[number].tls, host).await;
    shown.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()))
}

async fn got_by(challenge: &str) {
    let settings = Settings::default()
        .set("GV_ACME__CHALLENGES", challenge)
        // Sites get none here.
        .set("GV_ACME__ON_DEMAND", "none")
        .set("GV_API__HTTPS_REDIRECT", true);
    let size = Size { edges: 0, apis: 2 };
    let fleet = Fleet::start_of(LIFE, size, Prover::Api(1), |_| settings).await;
    // Many at once, at both: whoever is not first waits for it.
    let shown = join_all((0..20).map(|number| api(&fleet, number % 2, HOST))).await;
    for one in &shown {
        assert_eq!(one.status, 200);
        assert!(one.text.contains("openapi"), "{}", one.text);
        assert_eq!(one.certificate, shown[0].certificate, "both show the same");
    }
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (1, 1), "{}", fleet.logs());
    // Its other name has one of its own.
    assert_ne!(api(&fleet, 0, "sites.example").await.certificate, shown[0].certificate);
    assert_eq!(fleet.pebble.ordered(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apis_host_gets_its_certificate_on_the_first_hello_and_both_apis_show_it() {
    got_by("tls-alpn-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_document_one_api_proves_what_another_one_orders_though_all_else_is_sent_to_tls() {
    got_by("http-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_prove_the_apis_hosts_and_order_nothing_for_them() {
    for challenge in ["tls-alpn-01", "http-01"] {
        let settings = Settings::default().set("GV_ACME__CHALLENGES", challenge);
        let size = Size { edges: 1, apis: 1 };
        let fleet = Fleet::start_of(LIFE, size, Prover::Edge(0), |_| settings).await;
        let refused = fleet.visit(0, HOST).await.unwrap_err();
        assert!(refused.contains("UnrecognisedName"), "{refused}");
        assert_eq!(fleet.pebble.ordered(), 0);
        assert_eq!(api(&fleet, 0, HOST).await.status, 200);
        assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (1, 1), "{}", fleet.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_the_apis_gets_none_from_it() {
    let size = Size { edges: 0, apis: 1 };
    let settings = Settings::default().set("GV_ACME__ON_DEMAND", "all");
    let fleet = Fleet::start_of(LIFE, size, Prover::Api(0), |_| settings).await;
    for host in [CUSTOM, "blog.sites.example"] {
        fleet.publish(host, "a site").await;
    }
    for host in [CUSTOM, "blog.sites.example", "nobody.sites.example", "www.api.sites.example"] {
        let refused = fleet.visit_at(fleet.apis[0].tls, host).await.unwrap_err();
        assert!(refused.contains("UnrecognisedName"), "{host}: {refused}");
    }
    assert_eq!(fleet.pebble.ordered(), 0, "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_dns_the_api_shows_the_wildcard_of_the_edges() {
    let size = Size { edges: 1, apis: 1 };
    let nowhere = Prover::At(1, 1);
    let settings = |names: &NameServer| rfc2136(Settings::default(), names);
    let fleet = Fleet::start_of(LIFE, size, nowhere, settings).await;
    fleet.publish("blog.sites.example", "a site").await;
    let site = fleet.visit(0, "blog.sites.example").await;
    let site = site.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()));
    for host in [HOST, "sites.example"] {
        assert_eq!(api(&fleet, 0, host).await.certificate, site.certificate);
    }
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (1, 1), "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_happens_once_with_two_apis_and_both_show_what_came_of_it() {
    // Renewed after about 20 s: longer than it takes to look twice.
    let size = Size { edges: 0, apis: 2 };
    let life = Duration::from_secs(30);
    let fleet = Fleet::start_of(life, size, Prover::Api(1), |_| Settings::default()).await;
    let (first, beside) = (api(&fleet, 0, HOST).await, api(&fleet, 1, HOST).await);
    assert_eq!(first.certificate, beside.certificate);
    eventually("both apis show another certificate", async || {
        let [one, other] = [api(&fleet, 0, HOST).await, api(&fleet, 1, HOST).await];
        one.certificate == other.certificate && one.certificate != first.certificate
    })
    .await;
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (2, 2), "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_of_all_roles_gets_and_renews_those_of_sites_and_of_the_api() {
    use crate::support::free_port::free_port;
    let (plain, tls) = (free_port(), free_port());
    let size = Size { edges: 0, apis: 0 };
    let settings =
        Settings::default().set("GV_WORKER__SANDBOX", "unsafe-none").set("GV_WORKER__REGISTRY", "");
    let life = Duration::from_secs(30);
    let fleet = Fleet::start_of(life, size, Prover::At(plain, tls), |_| settings).await;
    let listen = [
        ("GV_EDGE__LISTEN", format!("127.0.0.1:{plain}")),
        ("GV_EDGE__TLS_LISTEN", format!("127.0.0.1:{tls}")),
        ("GV_API__LISTEN", "127.0.0.1:0".to_owned()),
        ("GV_API__TLS_LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let up = fleet.process("up", "up", listen.map(|(name, value)| (name.to_owned(), value)));
    fleet.publish(CUSTOM, "a site").await;
    let at = |listener: &str| up.url(listener).trim_start_matches("https://").parse().unwrap();
    let (edge, api) = (at("edge_tls"), at("api_tls"));
    let visit = async |address, host| {
        let shown = fleet.visit_at(address, host).await;
        shown.unwrap_or_else(|why| panic!("{why}\n{}\n{}", up.log(), fleet.logs()))
    };
    let (site, own) = (visit(edge, CUSTOM).await, visit(api, HOST).await);
    assert_eq!((site.text.as_str(), own.status), ("a site", 200));
    assert_eq!(fleet.pebble.issued(), 2);
    for (address, host) in [(api, CUSTOM), (api, "nobody.sites.example"), (edge, "nobody.customer.example")] {
        let refused = fleet.visit_at(address, host).await.unwrap_err();
        assert!(refused.contains("UnrecognisedName"), "{host}: {refused}");
    }
    eventually("both are renewed", async || {
        visit(edge, CUSTOM).await.certificate != site.certificate
            && visit(api, HOST).await.certificate != own.certificate
    })
    .await;
    assert_eq!(metric_of(&up.url("ops"), "gv_certificates_held", "").await, 2.0);
}
