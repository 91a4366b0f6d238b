//! SIGTERM: an edge cuts no download, a worker gives back what it holds and leaves nothing running,
//! an api finishes what it answers.

use super::{Fleet, Size, Traces, page_of, processes_with, submit_build};
use crate::support::process::Settings;
use futures_util::StreamExt;
use std::time::Duration;

const SIZE: Size = Size { apis: 1, workers: 1, edges: 1 };

/// What `seq 1 COUNT` prints.
fn numbers(count: usize) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_asked_to_end_finishes_its_downloads() {
    let mut fleet = Fleet::start(SIZE).await;
    // One that is held in memory, one that comes from storage as it is read.
    let (small, large) = (900_000, 4_000_000);
    let script = format!(
        "mkdir dist; echo hi > dist/index.html; seq 1 {small} > dist/small.txt; seq 1 {large} > dist/large.txt"
    );
    let id = submit_build(&fleet, "site", &script).await;
    fleet.wait_for(&id, &["ready"]).await;
    let mut downloads = tokio::task::JoinSet::new();
    for (path, count) in [("/small.txt", small), ("/large.txt", large)] {
        let response = fleet.edges[0].site(&fleet.client, "site.localhost", path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        downloads.spawn(async move {
            // Slowly: for several seconds after the signal.
            let (mut got, mut stream) = (Vec::new(), response.bytes_stream());
            let mut pause_at = 0;
            while let Some(piece) = stream.next().await {
                got.extend_from_slice(&piece.unwrap());
                if got.len() >= pause_at {
                    pause_at += 1_000_000;
                    tokio::time::sleep(Duration::from_millis(150)).await;
                }
            }
            assert!(got == numbers(count).as_bytes(), "{path}: {} bytes", got.len());
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (status, took) = fleet.edges[0].terminate().await;
    println!("the edge ended after {took:?}");
    assert!(status.success(), "{}", fleet.edges[0].log());
    assert!(took <= Duration::from_secs(30) + super::GRACE, "{took:?}");
    while let Some(download) = downloads.join_next().await {
        download.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_end_gives_its_lease_back_and_leaves_nothing_running() {
    // Given back, not run out: the lease would last ten minutes.
    let mut fleet = Fleet::start_with(SIZE, Settings::default().set("GV_WORKER__LEASE_S", 600)).await;
    let traces = Traces::new();
    let marker = format!("{}.75", 9_000_000 + std::process::id());
    let script = format!(
        "if {begun}; then {page}; else {begin}; (setsid sleep {marker} &); sleep {marker}; fi",
        begun = traces.has("begun"),
        begin = traces.leave("begun"),
        page = page_of("built"),
    );
    let id = submit_build(&fleet, "site", &script).await;
    traces.wait_for("begun").await;
    let sleeping = async || processes_with(&marker) == 2;
    super::eventually("it sleeps", Duration::from_secs(10), sleeping).await;
    let (status, took) = fleet.workers[0].terminate().await;
    println!("the worker ended after {took:?}");
    assert!(status.success(), "{}", fleet.workers[0].log());
    assert!(took <= Duration::from_secs(45), "{took:?}");
    assert_eq!(processes_with(&marker), 0, "no process of its build is left");
    assert_eq!(fleet.wait_for(&id, &["queued"]).await["state"], "queued");
    fleet.add_worker(&Settings::default());
    let deployment = fleet.wait_for(&id, &["ready"]).await;
    println!("{}", deployment["attempt"]);
    super::expect_page(&fleet, "site.localhost", "built\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_in_time_though_all_that_it_speaks_to_is_silent() {
    use crate::support::fault_proxy::Mode;
    let mut fleet = Fleet::start(SIZE).await;
    let traces = Traces::new();
    let marker = format!("{}.875", 9_500_000 + std::process::id());
    let script = format!("{}; sleep {marker}", traces.leave("begun"));
    submit_build(&fleet, "site", &script).await;
    traces.wait_for("begun").await;
    fleet.services.set_all(Mode::Silent);
    let (status, took) = fleet.workers[0].terminate().await;
    println!("the worker ended after {took:?}");
    assert!(status.success(), "{}", fleet.workers[0].log());
    assert!(took <= Duration::from_secs(45), "{took:?}");
    assert_eq!(processes_with(&marker), 0, "no process of its build is left");
    fleet.services.set_all(Mode::Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_asked_to_end_ends_although_logs_are_followed() {
    use super::follower::Follower;
    use std::sync::{Arc, Mutex};
    let mut fleet = Fleet::start(SIZE).await;
    let script = format!("for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 0.5; done; {}", page_of("built"));
    let id = submit_build(&fleet, "site", &script).await;
    let address = Arc::new(Mutex::new(fleet.apis[0].url()));
    let follower = Follower::start(&fleet, address.clone(), &id);
    super::eventually("lines come", Duration::from_secs(30), async || follower.lines() > 3).await;
    let (status, took) = fleet.apis[0].terminate().await;
    println!("the api ended after {took:?}");
    assert!(status.success(), "{}", fleet.apis[0].log());
    assert!(took <= Duration::from_secs(30) + super::GRACE, "{took:?}");
    fleet.restart_api();
    *address.lock().unwrap() = fleet.apis[0].url();
    let followed = follower.followed().await;
    followed.expect((1..=8).map(|n| format!("line {n}")));
    assert_eq!(followed.end.as_deref(), Some("ready"));
}
