//! The api killed under those who submit and those who follow: what was accepted exists, ends, and
//! is there once.

use super::follower::{Address, Follower};
use super::{Fleet, Size, Traces, page_of, submit_build, try_to_submit};
use crate::support::account::{Account, id_of};
use serde_json::json;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const SIZE: Size = Size { apis: 1, workers: 2, edges: 1 };

fn at(account: &Account, address: &Address) -> Account {
    Account { api: address.lock().unwrap().clone(), ..account.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_exists_and_ends_though_the_api_is_killed_again_and_again() {
    use rand::Rng;
    let mut fleet = Fleet::start(SIZE).await;
    let repository = fleet.git.repository("site", &[("index.html", "hello")]).await;
    // A commit: of a branch, each would take the place of those that wait before it.
    let commit = repository.commit(&[("index.html", "hello, again")], "again").await;
    let address: Address = Arc::new(Mutex::new(fleet.apis[0].url()));
    let mut submits = JoinSet::new();
    for n in 0..60 {
        let (account, address) = (Account::clone(&fleet), address.clone());
        let project = format!("site-{}", n % 6);
        let body =
            json!({"repo_url": repository.url(), "project": project, "ref": commit, "target": "production"});
        submits.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n * 40)).await;
            // As clients do: again, with the same key, until there is an answer.
            let mut accepted = Vec::new();
            while accepted.is_empty() {
                let account = at(&account, &address);
                accepted.extend(try_to_submit(&account, &body, &format!("submit-{n}")).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // A client that lost the answer asks once more.
            accepted.extend(try_to_submit(&at(&account, &address), &body, &format!("submit-{n}")).await);
            accepted
        });
    }
    for _ in 0..3 {
        let moment = fleet.chance.random_range(300..700);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        fleet.apis[0].kill();
        fleet.restart_api();
        *address.lock().unwrap() = fleet.apis[0].url();
    }
    let mut ids = HashSet::new();
    for accepted in submits.join_all().await {
        assert!(accepted.iter().all(|id| *id == accepted[0]), "one key, one deployment: {accepted:?}");
        ids.insert(accepted[0].clone());
    }
    assert_eq!(ids.len(), 60);
    for id in &ids {
        let deployment = fleet.wait_until_ended(id).await;
        // Of those that wait for one branch the newest supersedes the others.
        assert!(["ready", "canceled"].contains(&deployment["state"].as_str().unwrap()), "{deployment}");
    }
    let (mut listed, mut cursor) = (HashSet::new(), String::new());
    loop {
        let page = fleet.get(&format!("/deployments?limit=50{cursor}")).await;
        listed.extend(page["items"].as_array().unwrap().iter().map(id_of));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, ids, "each submit once, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_sent_twelve_times_at_once_is_one_deployment() {
    let mut fleet = Fleet::start(SIZE).await;
    fleet.add_api();
    let traces = Traces::new();
    let script = format!("{}; {}", traces.leave("built"), page_of("x"));
    let files = super::built_by(&script);
    let repository = fleet.git.repository("site", &super::borrowed(&files)).await;
    let body = json!({"repo_url": repository.url(), "force": true});
    for key in ["one", "two", "three"] {
        let mut submits = JoinSet::new();
        for n in 0..12 {
            let account = Account { api: fleet.apis[n % 2].url(), ..Account::clone(&fleet) };
            let body = body.clone();
            submits.spawn(async move { try_to_submit(&account, &body, key).await });
        }
        let ids: HashSet<_> = submits.join_all().await.into_iter().map(Option::unwrap).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        fleet.wait_for(ids.iter().next().unwrap(), &["ready"]).await;
    }
    assert_eq!(fleet.get("/deployments").await["items"].as_array().unwrap().len(), 3);
    assert_eq!(traces.count("built"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_has_every_line_once_and_in_order_across_two_kills_of_the_api() {
    let mut fleet = Fleet::start(SIZE).await;
    let script = format!(
        "n=0; while [ $n -lt 120 ]; do n=$((n+1)); echo line $n; sleep 0.05; done; {}",
        page_of("built")
    );
    let id = submit_build(&fleet, "site", &script).await;
    let address: Address = Arc::new(Mutex::new(fleet.apis[0].url()));
    let follower = Follower::start(&fleet, address.clone(), &id);
    for lines in [20, 60] {
        let there = async || follower.lines() > lines;
        super::eventually("lines come", Duration::from_secs(30), there).await;
        fleet.apis[0].kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        fleet.restart_api();
        *address.lock().unwrap() = fleet.apis[0].url();
    }
    let followed = follower.followed().await;
    println!("{} lines in {} streams", followed.lines.len(), followed.streams);
    assert!(followed.streams >= 3);
    assert_eq!(followed.end.as_deref(), Some("ready"));
    followed.expect((1..=120).map(|n| format!("line {n}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_over_the_attempts_of_two_workers() {
    let mut fleet = Fleet::start(Size { workers: 1, ..SIZE }).await;
    let traces = Traces::new();
    // The first try counts to 30 and waits to be killed; the second begins at 101.
    let script = format!(
        "if {tried}; then n=100; else n=0; fi; most=$((n+30)); \
         while [ $n -lt $most ]; do n=$((n+1)); echo line $n; done; \
         if {tried}; then {page}; else sleep 0.5; {try}; sleep 60; fi",
        tried = traces.has("tried"),
        r#try = traces.leave("tried"),
        page = page_of("built"),
    );
    let id = submit_build(&fleet, "site", &script).await;
    let follower = Follower::start(&fleet, Arc::new(Mutex::new(fleet.apis[0].url())), &id);
    traces.wait_for("tried").await;
    fleet.add_worker(&crate::support::process::Settings::default());
    fleet.workers[0].kill();
    let followed = follower.followed().await;
    assert_eq!(followed.end.as_deref(), Some("ready"));
    followed.expect((1..=30).chain(101..=130).map(|n| format!("line {n}")));
    // Who comes later reads the same.
    let later = Follower::start(&fleet, Arc::new(Mutex::new(fleet.apis[0].url())), &id).followed().await;
    assert_eq!(later.lines, followed.lines);
}
