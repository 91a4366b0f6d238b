//! What is renewed in time, and by whom.

use super::fleet::{Fleet, eventually};
use crate::support::process::Settings;
use std::time::Duration;

const HOST: &str = "www.customer.example";

#[tokio::test(flavor = "multi_thread")]
async fn renewal_happens_once_with_two_edges_and_both_show_what_came_of_it() {
    // Renewed after about 20 s: longer than it takes to look twice.
    let fleet = Fleet::start(Duration::from_secs(30), Settings::default()).await;
    fleet.publish(HOST, "by TLS").await;
    let visit =
        async |edge| fleet.visit(edge, HOST).await.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()));
    let (first, beside) = (visit(0).await, visit(1).await);
    assert_eq!(first, beside);
    eventually("both edges show another certificate", async || {
        let [one, other] = [visit(0).await, visit(1).await];
        one == other && one.certificate != first.certificate
    })
    .await;
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (2, 2), "{}", fleet.logs());
}
