//! PostgreSQL and RabbitMQ away: every site is served as if nothing were, and the api says that it
//! cannot, and can again as soon as they are back.

use super::load::Load;
use super::{Fleet, GRACE, Site, Size, Traces, eventually, page_of, submit_build, try_to_submit};
use crate::support::account::with_json;
use crate::support::fault_proxy::Mode;
use crate::support::git::{borrowed, built_by};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long they are away.
const OUTAGE: Duration = Duration::from_secs(12);

async fn expect_sites_served_while_they_are(mode: Mode) {
    let fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 2 }).await;
    let (known, cold) =
        (Site::publish(&fleet, "known", "one", 20).await, Site::publish(&fleet, "cold", "one", 300).await);
    let load = Load::start(&fleet, known.pages(), cold.pages()).await;
    let calm = load.watch(Duration::from_secs(4)).await;
    calm.expect_right("calm");

    fleet.services.postgres.set(mode);
    fleet.services.rabbit.set(mode);
    let began = Instant::now();
    while began.elapsed() < OUTAGE {
        expect_unavailable(&fleet).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let during = load.seen();
    during.expect_right("without database and broker");
    during.expect_quick(&calm, "without database and broker");

    fleet.services.postgres.set(Mode::Pass);
    fleet.services.rabbit.set(Mode::Pass);
    let asks = async || fleet.call(Method::GET, "/deployments").send().await.unwrap().status() == 200;
    let back = eventually("the api is back", Duration::from_secs(15) + GRACE, asks).await;
    println!("the api is back after {back:?}");
    let id = submit_build(&fleet, "next", &page_of("x")).await;
    fleet.wait_for(&id, &["ready"]).await;
    load.seen().expect_right("afterwards");
}

/// The api answers within 5 s, that it cannot and when to come back.
async fn expect_unavailable(fleet: &Fleet) {
    let body = json!({"repo_url": "https://git.example.com/team/site.git"});
    let submit = with_json(fleet.call(Method::POST, "/deployments"), &body);
    for request in [submit, fleet.call(Method::GET, "/deployments")] {
        let began = Instant::now();
        let response = request.send().await.unwrap();
        let (took, status) = (began.elapsed(), response.status());
        println!("the api answers {status} after {took:?}");
        assert_eq!(status, 503);
        assert!(response.headers().contains_key("retry-after"));
        assert!(took <= Duration::from_secs(5) + GRACE / 3, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_are_served_while_database_and_broker_refuse() {
    expect_sites_served_while_they_are(Mode::Refuse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_are_served_while_database_and_broker_are_silent() {
    expect_sites_served_while_they_are(Mode::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_while_the_database_is_away_for_less_than_its_lease() {
    let fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 1 }).await;
    let traces = Traces::new();
    let script = format!("{}; sleep 4; {}", traces.leave("built"), page_of("x"));
    let id = submit_build(&fleet, "site", &script).await;
    traces.wait_for("built").await;
    fleet.services.postgres.set(Mode::Refuse);
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.services.postgres.set(Mode::Pass);
    let deployment = fleet.wait_for(&id, &["ready"]).await;
    assert_eq!((traces.count("built"), &deployment["attempt"]), (1, &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_lease_ran_out_while_the_database_was_away_is_made_again() {
    let fleet = Fleet::start(Size { apis: 1, workers: 2, edges: 1 }).await;
    let traces = Traces::new();
    let script = format!("{}; sleep 2; {}", traces.leave("built"), page_of("x"));
    let id = submit_build(&fleet, "site", &script).await;
    traces.wait_for("built").await;
    fleet.services.postgres.set(Mode::Refuse);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(fleet.edges[0].page(&fleet.client, "site.localhost", "/").await.0, 404, "nothing half-made");
    fleet.services.postgres.set(Mode::Pass);
    let ready = async || {
        let response = fleet.call(Method::GET, &format!("/deployments/{id}")).send().await.unwrap();
        response.status() == 200 && response.text().await.unwrap().contains("\"state\":\"ready\"")
    };
    let took = eventually("it is ready", Duration::from_secs(30), ready).await;
    println!("ready {took:?} after the database was back");
    super::expect_page(&fleet, "site.localhost", "x\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_while_the_database_is_cut_again_and_again_is_there_once_and_ends() {
    let fleet = Fleet::start(Size { apis: 1, workers: 2, edges: 1 }).await;
    let traces = Traces::new();
    let script = format!("{}; sleep 0.5; {}", traces.leave("built"), page_of("x"));
    let repository = fleet.git.repository("site", &borrowed(&built_by(&script))).await;
    fleet.services.postgres.set(Mode::Reset(Duration::from_millis(400)));
    let (mut ids, mut tries) = (Vec::new(), 0);
    for n in 0..15 {
        let body = json!({"repo_url": repository.url(), "project": format!("site-{n}")});
        let id = loop {
            tries += 1;
            if let Some(id) = try_to_submit(&fleet, &body, &format!("submit-{n}")).await {
                break id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.services.postgres.set(Mode::Pass);
    for (n, id) in ids.iter().enumerate() {
        fleet.wait_for(id, &["ready"]).await;
        super::expect_page(&fleet, &format!("site-{n}.localhost"), "x\n").await;
    }
    println!("15 were accepted in {tries} tries and built {} times", traces.count("built"));
    assert_eq!(fleet.get("/deployments?limit=50").await["items"].as_array().unwrap().len(), 15);
}
