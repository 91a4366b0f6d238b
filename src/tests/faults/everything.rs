//! The power pulled everywhere at once, and a start of everything in any order: no hand is needed.

use super::{Fleet, Site, Size, Traces, page_of, submit_build};
use crate::support::fault_proxy::Mode;
use rand::Rng;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::time::Duration;

/// What can be started again.
#[derive(Clone, Copy, Debug)]
enum Part {
    Api,
    Worker(usize),
    Edge(usize),
    Postgres,
    Rabbit,
    Redis,
    S3,
}

const PARTS: [Part; 9] = [
    Part::Api,
    Part::Worker(0),
    Part::Worker(1),
    Part::Edge(0),
    Part::Edge(1),
    Part::Postgres,
    Part::Rabbit,
    Part::Redis,
    Part::S3,
];

fn kill(fleet: &mut Fleet) {
    let Fleet { apis, workers, edges, services, chance, .. } = fleet;
    services.set_all(Mode::Refuse);
    for member in apis.iter_mut().chain(workers).chain(edges) {
        member.kill();
    }
    services.redis_server.kill();
    // Until its turn comes, each looks stopped or hangs.
    for proxy in [&services.postgres, &services.rabbit, &services.redis, &services.s3.door] {
        let mode = if chance.random() { Mode::Refuse } else { Mode::Silent };
        proxy.set(mode);
    }
}

fn start(fleet: &mut Fleet, part: Part) {
    match part {
        Part::Api => fleet.restart_api(),
        Part::Worker(n) => fleet.workers[n].start(),
        Part::Edge(n) => fleet.edges[n].start(),
        Part::Postgres => fleet.services.postgres.set(Mode::Pass),
        Part::Rabbit => fleet.services.rabbit.set(Mode::Pass),
        Part::Redis => {
            fleet.services.redis_server.run();
            fleet.services.redis.set(Mode::Pass);
        }
        Part::S3 => fleet.services.s3.door.set(Mode::Pass),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pull_of_the_power_and_a_start_in_any_order_all_end_and_all_sites_are_served() {
    let mut fleet = Fleet::start(Size { apis: 1, workers: 2, edges: 2 }).await;
    let traces = Traces::new();
    let site = Site::publish(&fleet, "served", "one", 20).await;
    let mut ids = Vec::new();
    // Four are built at a time: some have ended, some are under way, some wait.
    for n in 0..10 {
        let script =
            format!("{}; sleep {}; {}", traces.leave("built"), 1 + n % 3, page_of(&format!("site {n}")));
        ids.push(submit_build(&fleet, &format!("site-{n}"), &script).await);
    }
    let moment = fleet.chance.random_range(500..3_500);
    tokio::time::sleep(Duration::from_millis(moment)).await;
    let mut states = Vec::new();
    for id in &ids {
        states.push(fleet.get(&format!("/deployments/{id}")).await["state"].clone());
    }
    println!("killed after {moment} ms, in these states: {}", Value::from(states));
    kill(&mut fleet);

    let mut order = PARTS;
    order.shuffle(&mut fleet.chance);
    println!("started in this order: {order:?}");
    for part in order {
        start(&mut fleet, part);
        let gap = fleet.chance.random_range(0..800);
        tokio::time::sleep(Duration::from_millis(gap)).await;
    }
    let began = std::time::Instant::now();
    for (n, id) in ids.iter().enumerate() {
        let ready = async || {
            let asked = fleet.call(reqwest::Method::GET, &format!("/deployments/{id}")).send().await.unwrap();
            asked.status() == 200 && asked.text().await.unwrap().contains("\"state\":\"ready\"")
        };
        super::eventually(&format!("{id} is ready"), Duration::from_secs(60), ready).await;
        super::expect_page(&fleet, &format!("site-{n}.localhost"), &format!("site {n}\n")).await;
    }
    println!(
        "all are ready {:?} after the last was started, by {} builds",
        began.elapsed(),
        traces.count("built")
    );
    for edge in &fleet.edges {
        for page in site.pages() {
            assert_eq!(edge.page(&fleet.client, &page.host, &page.path).await, (200, page.text));
        }
    }
}
