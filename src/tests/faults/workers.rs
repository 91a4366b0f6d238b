//! Workers that are killed or stopped at each step: another finishes what they held, and they
//! change nothing any more.

use super::{Fleet, GRACE, Size, Traces, eventually, expect_page, page_of, submit_build};
use crate::support::account::id_of;
use crate::support::fault_proxy::Mode;
use crate::support::fleet::LEASE;
use crate::support::process::Settings;
use crate::support::s3_proxy::Seen;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SIZE: Size = Size { apis: 1, workers: 1, edges: 1 };

/// The first worker holds a deployment and is killed: the second one finishes it within one lease
/// period and the build's own time. Returns the deployment as it ended.
async fn expect_another_finishes(fleet: &mut Fleet, id: &str, own_time: Duration) -> Value {
    fleet.add_worker(&Settings::default());
    // It has heard what there is to hear before the first one dies.
    tokio::time::sleep(Duration::from_millis(500)).await;
    fleet.workers[0].kill();
    let killed = Instant::now();
    let deployment = fleet.wait_for(id, &["ready"]).await;
    let took = killed.elapsed();
    println!("{:?} after the kill it is ready; lease {LEASE:?}, the build itself {own_time:?}", took);
    assert!(took <= LEASE + own_time + GRACE, "{took:?}");
    assert_eq!(deployment["attempt"], 2);
    assert_eq!(fleet.get("/deployments?limit=50").await["items"].as_array().unwrap().len(), 1);
    deployment
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_cloning_another_finishes_within_a_lease() {
    let mut fleet = Fleet::start(SIZE).await;
    let repository = fleet.git.repository("site", &[("index.html", "hello")]).await;
    fleet.git.delay(Duration::from_secs(3));
    let id = fleet.submit_site(&repository, "site").await;
    let asked = async || fleet.git.request_count() > 0;
    eventually("the Git server is asked", Duration::from_secs(20), asked).await;
    // The one that was asked already still takes its time.
    fleet.git.delay(Duration::ZERO);
    expect_another_finishes(&mut fleet, &id, Duration::ZERO).await;
    expect_page(&fleet, "site.localhost", "hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_building_another_finishes_within_a_lease_and_the_build() {
    let mut fleet = Fleet::start(SIZE).await;
    let traces = Traces::new();
    // Its own time is 2 s; what the killed worker's build would have made is never seen.
    let script = format!(
        "n=$(cat {count} 2>/dev/null | wc -l); {begun}; sleep 2; {made}; mkdir dist; echo try $n > dist/index.html",
        count = traces.path("begun").display(),
        begun = traces.leave("begun"),
        made = traces.leave("made"),
    );
    let id = submit_build(&fleet, "site", &script).await;
    traces.wait_for("begun").await;
    expect_another_finishes(&mut fleet, &id, Duration::from_secs(2)).await;
    expect_page(&fleet, "site.localhost", "try 1\n").await;
    assert_eq!(
        (traces.count("begun"), traces.count("made")),
        (2, 1),
        "the killed worker's build died with it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_uploading_another_finishes_within_a_lease_and_the_build() {
    let mut fleet = Fleet::start(Size { workers: 0, ..SIZE }).await;
    let chance = fleet.chance.clone();
    let (storage, settings) = fleet.services.s3_beside(chance).await;
    fleet.add_worker(&settings);
    let traces = Traces::new();
    let script = format!("{}; {}", traces.leave("built"), page_of("built"));
    storage.door.set(Mode::Silent);
    let id = submit_build(&fleet, "site", &script).await;
    fleet.wait_for(&id, &["uploading"]).await;
    assert_eq!(fleet.edges[0].page(&fleet.client, "site.localhost", "/").await.0, 404, "nothing half-made");
    expect_another_finishes(&mut fleet, &id, Duration::from_secs(1)).await;
    expect_page(&fleet, "site.localhost", "built\n").await;
    assert_eq!(traces.count("built"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_for_longer_than_its_lease_changes_nothing_when_it_wakes() {
    let mut fleet = Fleet::start(SIZE).await;
    let traces = Traces::new();
    let script = format!(
        "if {begun}; then echo second > page; else {begin}; sleep 2; echo first > page; fi; mkdir dist; mv page dist/index.html",
        begun = traces.has("begun"),
        begin = traces.leave("begun"),
    );
    let id = submit_build(&fleet, "site", &script).await;
    traces.wait_for("begun").await;
    fleet.workers[0].signal(Signal::STOP);
    fleet.add_worker(&Settings::default());
    let deployment = fleet.wait_for(&id, &["ready"]).await;
    let log = fleet.deployment_log(&id).await;
    fleet.services.s3.forget();
    fleet.workers[0].signal(Signal::CONT);
    // Long enough for the woken one to have finished its own build, had it gone on.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fleet.get(&format!("/deployments/{id}")).await, deployment);
    assert_eq!(fleet.deployment_log(&id).await, log);
    // The object by which an adapter learns what its storage can do is nobody's.
    let is_write = |seen: &Seen| seen.method == "PUT" && !seen.path.ends_with("/gv-probe");
    let written: Vec<_> = fleet.services.s3.seen().into_iter().filter(is_write).collect();
    assert_eq!(written, [], "nothing was written to storage");
    expect_page(&fleet, "site.localhost", "second\n").await;
    // And it works on: the other one is gone.
    fleet.workers[1].kill();
    let next = submit_build(&fleet, "next", &page_of("next")).await;
    fleet.wait_for(&next, &["ready"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_kills_each_worker_fails_as_worker_lost_and_others_go_on() {
    let settings = Settings::default().set("GV_WORKER__MAX_ATTEMPTS", 3).set("GV_WORKER__CONCURRENCY", 2);
    let mut fleet = Fleet::start_with(Size { workers: 2, ..SIZE }, settings).await;
    let traces = Traces::new();
    // Up through its parents to the one that is named gv, which is not the guard between them.
    let script = format!(
        "{}; pid=$$; while [ $pid -gt 1 ]; do \
         if [ \"$(cat /proc/$pid/comm)\" = gv ]; then kill -9 $pid; sleep 60; fi; \
         pid=$(sed 's/.*) . \\([0-9]*\\) .*/\\1/' /proc/$pid/stat); done; exit 1",
        traces.leave("tried")
    );
    let killer = submit_build(&fleet, "killer", &script).await;
    let mut others = Vec::new();
    for n in 0..4 {
        others.push(
            submit_build(&fleet, &format!("other-{n}"), &format!("sleep 1; {}", page_of("fine"))).await,
        );
    }
    // Their service manager starts them again.
    let mut deaths = 0;
    let ended = async {
        loop {
            for worker in &mut fleet.workers {
                if !worker.is_alive() {
                    deaths += 1;
                    worker.start();
                }
            }
            let deployment: Value = fleet.get(&format!("/deployments/{killer}")).await;
            if deployment["state"] == "failed" {
                return deployment;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let deployment = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
    println!("{deaths} workers died");
    assert_eq!((deployment["error"]["code"].as_str(), deaths), (Some("worker_lost"), 3), "{deployment}");
    assert_eq!(traces.count("tried"), 3);
    for (n, id) in others.iter().enumerate() {
        fleet.wait_for(id, &["ready"]).await;
        expect_page(&fleet, &format!("other-{n}.localhost"), "fine\n").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_wakes_in_the_middle_of_going_live_takes_nothing_back() {
    use rand::Rng;
    let mut fleet = Fleet::start(Size { workers: 0, ..SIZE }).await;
    let chance = fleet.chance.clone();
    let (storage, settings) = fleet.services.s3_beside(chance).await;
    fleet.add_worker(&settings);
    // Each of its calls of storage takes half a second: it is stopped somewhere between two.
    storage.door.set(Mode::Slow(Duration::from_millis(250)));
    let repository = fleet.git.repository("site", &[("index.html", "none")]).await;
    for round in 0..2 {
        repository.commit(&[("index.html", &format!("old {round}"))], "old").await;
        let old = fleet.submit_site(&repository, "site").await;
        fleet.wait_for(&old, &["uploading"]).await;
        let moment = fleet.chance.random_range(0..4_000);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        fleet.workers[0].signal(Signal::STOP);
        fleet.add_worker(&Settings::default());
        let deployment = fleet.wait_for(&old, &["ready"]).await;
        println!("stopped after {moment} ms: ready at attempt {}", deployment["attempt"]);
        let text = format!("new {round}");
        repository.commit(&[("index.html", &text)], "new").await;
        let new = fleet.submit_site(&repository, "site").await;
        let newest = fleet.wait_for(&new, &["ready"]).await;
        expect_page(&fleet, "site.localhost", &text).await;
        let deployment = fleet.get(&format!("/deployments/{old}")).await;
        fleet.workers[0].signal(Signal::CONT);
        let woken = Instant::now();
        while woken.elapsed() < Duration::from_secs(4) {
            assert_eq!(fleet.edges[0].page(&fleet.client, "site.localhost", "/").await.1, text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(fleet.get(&format!("/deployments/{old}")).await, deployment);
        assert_eq!(fleet.get(&format!("/deployments/{new}")).await, newest);
        let own = deployment["url"].as_str().unwrap();
        expect_page(&fleet, own, &format!("old {round}")).await;
        fleet.workers.last_mut().unwrap().kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_build_stops_on_whichever_worker_it_is_while_notices_are_lost() {
    let fleet = Fleet::start(Size { workers: 2, ..SIZE }).await;
    let traces = Traces::new();
    let marker = format!("{}.5", 8_000_000 + std::process::id());
    let script = format!("{}; sleep {marker}", traces.leave("begun"));
    let body = json!({"repo_url": fleet.git.repository("site", &super::borrowed(&super::built_by(&script))).await.url()});
    let id = id_of(&fleet.submit(body).await);
    traces.wait_for("begun").await;
    fleet.services.redis.set(Mode::Refuse);
    fleet.post(&format!("/deployments/{id}/cancel"), &json!({}), 200).await;
    fleet.wait_for(&id, &["canceled"]).await;
    let gone = async || super::processes_with(&marker) == 0;
    eventually("the build's processes are gone", Duration::from_secs(10), gone).await;
}
