//! RabbitMQ away, its queue deleted, its messages three times or given up on: each deployment is
//! built once all the same.

use super::{Fleet, Size, Traces, eventually, page_of, submit_build};
use crate::support::account::with_json;
use crate::support::fault_proxy::Mode;
use crate::support::process::Settings;
use gv::adapters::queue::amqp::AmqpQueue;
use gv::ports::queue::Queue;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SIZE: Size = Size { apis: 1, workers: 1, edges: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_while_the_broker_is_away_is_accepted_at_once_and_built_when_it_is_back() {
    let fleet = Fleet::start(SIZE).await;
    let repository = fleet.git.repository("site", &[("index.html", "hello")]).await;
    let mut ids = Vec::new();
    for (n, mode) in [Mode::Refuse, Mode::Silent].into_iter().enumerate() {
        fleet.services.rabbit.set(mode);
        for m in 0..3 {
            let body = json!({"repo_url": repository.url(), "project": format!("site-{n}-{m}")});
            let began = Instant::now();
            let response = with_json(fleet.call(Method::POST, "/deployments"), &body).send().await.unwrap();
            let took = began.elapsed();
            println!("{mode:?}: accepted after {took:?}");
            assert_eq!(response.status(), 201);
            assert!(took < Duration::from_secs(2), "{mode:?}: {took:?}");
            let deployment: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            ids.push(crate::support::account::id_of(&deployment));
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
    fleet.services.rabbit.set(Mode::Pass);
    let back = Instant::now();
    for id in &ids {
        fleet.wait_for(id, &["ready"]).await;
    }
    println!("all are ready {:?} after the broker was back", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_that_wait_in_a_queue_that_is_deleted_are_built_all_the_same() {
    let fleet = Fleet::start_with(SIZE, Settings::default().set("GV_WORKER__CONCURRENCY", 1)).await;
    let traces = Traces::new();
    let busy =
        submit_build(&fleet, "busy", &format!("{}; sleep 4; {}", traces.leave("busy"), page_of("x"))).await;
    traces.wait_for("busy").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let script = format!("{}; {}", traces.leave(&format!("site-{n}")), page_of("x"));
        ids.push(submit_build(&fleet, &format!("site-{n}"), &script).await);
    }
    // Announced by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let queue = &fleet.services.queue;
    let hand = queue.hand().await;
    println!("{} messages wait in the queue that is deleted", hand.waiting(&queue.name).await);
    hand.delete(&queue.name).await;
    let deleted = Instant::now();
    for id in ids.iter().chain([&busy]) {
        fleet.wait_for(id, &["ready"]).await;
    }
    println!("all are ready {:?} after the queue was deleted", deleted.elapsed());
    assert!(deleted.elapsed() < Duration::from_secs(90));
    for n in 0..5 {
        assert_eq!(traces.count(&format!("site-{n}")), 1);
    }
    // And the queue is there again: the next one does not wait for a sweep.
    let began = Instant::now();
    let next = submit_build(&fleet, "next", &page_of("x")).await;
    fleet.wait_for(&next, &["ready"]).await;
    println!("the next one is ready after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_delivered_three_times_is_one_build() {
    let fleet = patient_fleet().await;
    let traces = Traces::new();
    let bell = AmqpQueue::connect(&fleet.services.queue.url).unwrap();
    eventually("the bell is there", Duration::from_secs(10), async || bell.ping().await.is_ok()).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let script = format!("{}; sleep 1; {}", traces.leave(&format!("site-{n}")), page_of("x"));
        ids.push(submit_build(&fleet, &format!("site-{n}"), &script).await);
        for _ in 0..2 {
            bell.announce(ids[n].parse().unwrap(), None).await.unwrap();
        }
    }
    for id in &ids {
        fleet.wait_for(id, &["ready"]).await;
        // Late ones find it ended.
        bell.announce(id.parse().unwrap(), None).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(traces.count(&format!("site-{n}")), 1, "site-{n}");
        assert_eq!(fleet.get(&format!("/deployments/{id}")).await["attempt"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_longer_than_the_brokers_patience_is_one_build() {
    // The broker of scripts/with-services gives up on a consumer after 10 s.
    let fleet = patient_fleet().await;
    let traces = Traces::new();
    let script = format!("{}; sleep 15; {}", traces.leave("built"), page_of("x"));
    let id = submit_build(&fleet, "site", &script).await;
    let deployment = fleet.wait_for(&id, &["ready"]).await;
    assert_eq!((traces.count("built"), &deployment["attempt"]), (1, &json!(1)));
    // The workers still hear.
    let next = submit_build(&fleet, "next", &page_of("x")).await;
    fleet.wait_for(&next, &["ready"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_cut_again_and_again_each_is_built_once() {
    let fleet = patient_fleet().await;
    let traces = Traces::new();
    fleet.services.rabbit.set(Mode::Reset(Duration::from_millis(700)));
    let mut ids = Vec::new();
    for n in 0..10 {
        let script = format!("{}; sleep 1; {}", traces.leave(&format!("site-{n}")), page_of("x"));
        ids.push(submit_build(&fleet, &format!("site-{n}"), &script).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (n, id) in ids.iter().enumerate() {
        let deployment = fleet.wait_for(id, &["ready"]).await;
        assert_eq!(traces.count(&format!("site-{n}")), 1, "site-{n}: {deployment}");
    }
}

/// One in which only the broker can bring a build about twice: a machine that stands still for some seconds loses no
/// lease.
async fn patient_fleet() -> Fleet {
    Fleet::start_with(Size { workers: 2, ..SIZE }, Settings::default().set("GV_WORKER__LEASE_S", 12)).await
}
