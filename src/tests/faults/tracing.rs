//! One trace over separate processes on real services, and over a worker that is killed.

use super::{Fleet, Size};
use crate::behaviour::tracing::{STEPS, built, is_whole, named};
use crate::support::account::id_of;
use crate::support::collector::Collector;
use crate::support::process::Settings;
use serde_json::json;
use std::time::Duration;

const SIZE: Size = Size { apis: 1, workers: 1, edges: 2 };

async fn fleet(collector: &Collector) -> Fleet {
    Fleet::start_with(SIZE, Settings::default().set("GV_TELEMETRY__OTLP_ENDPOINT", collector.url.clone()))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_deployment_is_one_trace_over_api_queue_worker_and_edges() {
    let collector = Collector::start();
    let fleet = fleet(&collector).await;
    let repository = fleet.git.repository("traced", &[("index.html", "source")]).await;
    let deployment = fleet.deploy(built(&repository.url())).await;
    let site = deployment["url"].as_str().unwrap();
    for edge in &fleet.edges {
        for _ in 0..3 {
            assert_eq!(edge.page(&fleet.client, site, "/").await, (200, "made\n".to_owned()));
        }
    }
    let mut names = STEPS.map(|(name, _)| name).to_vec();
    names.extend(["POST /api/v1/deployments", "first visit"]);
    collector.having(&names).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spans = collector.spans();
    is_whole(&spans, &id_of(&deployment));
    let by = |name: &str| &*named(&spans, name).service;
    assert_eq!((by("announce"), by("attempt"), by("publish")), ("gv-api", "gv-worker", "gv-worker"));
    let visits: Vec<_> = spans.iter().filter(|span| span.name == "first visit").collect();
    assert_eq!(visits.len(), 2, "each edge has a first visitor: {visits:#?}");
    assert!(visits.iter().all(|visit| visit.service == "gv-edge"), "{visits:#?}");
    // The message came with its own place in the trace.
    assert_eq!(named(&spans, "attempt").links, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempt_goes_on_in_the_same_trace() {
    let collector = Collector::start();
    let mut fleet = fleet(&collector).await;
    let repository = fleet.git.repository("again", &[("index.html", "source")]).await;
    let body = json!({"repo_url": repository.url(), "build_command": "sleep 8; mkdir dist; cp index.html dist", "output_dir": "dist"});
    let id = id_of(&fleet.submit(body).await);
    fleet.wait_for(&id, &["building"]).await;
    // Its spans of the clone are on their way.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.workers[0].kill();
    fleet.workers[0].start();
    fleet.wait_for(&id, &["ready"]).await;
    let spans = collector.having(&["attempt", "publish"]).await;
    assert!(spans.iter().filter(|span| span.name == "clone").count() >= 2, "{spans:#?}");
    assert_eq!(named(&spans, "attempt").attributes["gv.attempt"], "2");
    let request = named(&spans, "POST /api/v1/deployments");
    assert!(spans.iter().all(|span| span.trace == request.trace), "{spans:#?}");
}
