//! What goes wrong, and that nobody hammers an authority because of it.

use super::fleet::Fleet;
use crate::support::free_port::free_port;
use crate::support::process::Settings;
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(86_400);
const HOST: &str = "www.customer.example";

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_proved_is_not_ordered_again_by_any_edge_nor_after_a_restart() {
    // Nobody is there where the authority looks.
    let nowhere = Some((free_port(), free_port()));
    let mut fleet = Fleet::start_with_proofs_at(LIFE, nowhere, |_| Settings::default()).await;
    fleet.publish(HOST, "never seen").await;
    let refused = fleet.visit(0, HOST).await.unwrap_err();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    fleet.restart(0);
    for edge in [0, 1, 0, 1] {
        assert!(fleet.visit(edge, HOST).await.unwrap_err().contains("UnrecognisedName"));
    }
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (1, 0), "{}", fleet.logs());
    assert!(fleet.logs().contains("no certificate was got"), "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_ordered_within_an_hour_than_the_operator_allows_all_edges_together() {
    let fleet = Fleet::start(LIFE, Settings::default().set("GV_ACME__ORDERS_PER_HOUR", 2)).await;
    let hosts = ["a.customer.example", "b.customer.example", "c.customer.example"];
    for host in hosts {
        fleet.publish(host, host).await;
    }
    for (edge, host) in [(0, hosts[0]), (1, hosts[1])] {
        fleet.visit(edge, host).await.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()));
    }
    for edge in [0, 1] {
        assert!(fleet.visit(edge, hosts[2]).await.unwrap_err().contains("UnrecognisedName"));
    }
    assert_eq!(fleet.pebble.ordered(), 2);
    assert!(fleet.visit(1, hosts[0]).await.is_ok(), "what was got is shown");
}
