//! A rolling restart: each process of each role is asked to end and started anew, one after another, while
//! visitors come, people deploy, and logs are followed. Nobody notices.

use super::follower::{Address, Followed, Follower};
use super::load::Load;
use super::{Fleet, Member, Site, Size, Traces, eventually, page_of, submit_build, try_to_submit};
use crate::support::account::{Account, id_of};
use crate::support::balancer::Balancer;
use crate::support::git::{borrowed, built_by};
use crate::support::process::command;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SIZE: Size = Size { apis: 2, workers: 2, edges: 2 };
/// Deployments are submitted so often, all along.
const SUBMIT_EVERY: Duration = Duration::from_millis(500);

/// A build that says a line again and again until it is told that it is enough, and begins anew with
/// another number where another worker takes it up.
fn endless_build(traces: &Traces, name: &str) -> String {
    format!(
        "{begin}; try=$(wc -l < {tries}); n=0; \
         while ! {enough}; do n=$((n+1)); echo try $try line $n; sleep 0.1; done; echo try $try is done; {page}",
        begin = traces.leave(name),
        tries = traces.path(name).display(),
        enough = traces.has("enough"),
        page = page_of(name),
    )
}

/// Submits until it is told to stop. What was accepted, and what was not.
fn submit_all_along(
    account: Account,
    repo_url: String,
    commit: String,
    stop: CancellationToken,
) -> JoinHandle<(Vec<String>, usize)> {
    tokio::spawn(async move {
        let (mut accepted, mut refused) = (Vec::new(), 0);
        let mut ticks = tokio::time::interval(SUBMIT_EVERY);
        for n in 0.. {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                break;
            }
            let project = format!("site-{}", n % 5);
            let body = json!({"repo_url": repo_url, "project": project, "ref": commit, "force": true});
            // Once: a client that tries again would not notice.
            match try_to_submit(&account, &body, &format!("rolling-{n}")).await {
                Some(id) => accepted.push(id),
                None => refused += 1,
            }
        }
        (accepted, refused)
    })
}

/// `gv deploy`, as a person types it.
fn type_deploy(account: &Account, repo_url: &str, project: &str) -> Child {
    let mut deploy = command();
    deploy.args(["deploy", repo_url, "--project", project, "--api", &account.api]);
    deploy.env("GV_TOKEN", &account.token).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// SIGTERM, the end, and the next life.
async fn roll(member: &mut Member) {
    let (status, took) = member.terminate().await;
    println!("{} ended after {took:?}", member.name());
    assert!(status.success(), "{}", member.log());
    member.start();
}

async fn until_ready(fleet: &Fleet, member: &Member) {
    let asked = format!("{}/readyz", member.ops());
    let is_ready = async || fleet.client.get(&asked).send().await.is_ok_and(|answer| answer.status() == 200);
    eventually("it is ready", Duration::from_secs(30), is_ready).await;
}

/// Each try counted from 1 without a gap, one after another, and the last one to its end.
fn expect_whole(followed: &Followed, least_tries: u32) {
    let (mut try_, mut line, mut done) = (0, 0, None);
    for (_, text) in &followed.lines {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["try", now, "line", n] => {
                let (now, n): (u32, u32) = (now.parse().unwrap(), n.parse().unwrap());
                let follows = if now == try_ { n == line + 1 } else { now > try_ && n == 1 };
                assert!(follows, "try {now} line {n} after try {try_} line {line}: {followed:#?}");
                (try_, line) = (now, n);
            }
            ["try", now, "is", "done"] => done = Some(now.parse().unwrap()),
            _ => {}
        }
    }
    assert_eq!(done, Some(try_), "{followed:#?}");
    assert!(try_ >= least_tries, "{try_} tries");
}

async fn all_ids(account: &Account) -> HashSet<String> {
    let (mut listed, mut cursor) = (HashSet::new(), String::new());
    loop {
        let page = account.get(&format!("/deployments?limit=100{cursor}")).await;
        for item in page["items"].as_array().unwrap() {
            assert!(listed.insert(id_of(item)), "it is listed twice: {item}");
        }
        let Some(next) = page["next_cursor"].as_str() else { return listed };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_loses_no_deployment_and_no_line_of_a_log() {
    let mut fleet = Fleet::start(SIZE).await;
    let (known, cold) =
        (Site::publish(&fleet, "known", "one", 20).await, Site::publish(&fleet, "cold", "one", 400).await);
    let before = all_ids(&fleet).await;
    let (apis, edges) = (Balancer::before(&fleet.apis).await, Balancer::before(&fleet.edges).await);
    let account = Account { api: apis.url(), ..Account::clone(&fleet) };
    let traces = Traces::new();

    // Two logs are followed over everything: by a browser's way, and by a person's command.
    let followed_id = submit_build(&fleet, "followed", &endless_build(&traces, "followed")).await;
    let address: Address = Arc::new(Mutex::new(apis.url()));
    let follower = Follower::start(&account, address.clone(), &followed_id);
    let typed = fleet.git.repository("typed", &borrowed(&built_by(&endless_build(&traces, "typed")))).await;
    let typing = type_deploy(&account, &typed.url(), "typed");
    traces.wait_for("followed").await;
    traces.wait_for("typed").await;

    let plain = fleet.git.repository("plain", &[("index.html", "plain")]).await;
    let commit = plain.commit(&[("index.html", "plainer")], "again").await;
    let stop = CancellationToken::new();
    let submitting = submit_all_along(account.clone(), plain.url(), commit, stop.clone());
    let load = Load::at(vec![edges.url()], known.pages(), cold.pages()).await;
    load.watch(Duration::from_secs(3)).await.expect_right("calm");

    for n in 0..SIZE.workers {
        roll(&mut fleet.workers[n]).await;
        until_ready(&fleet, &fleet.workers[n]).await;
    }
    for n in 0..SIZE.edges {
        roll(&mut fleet.edges[n]).await;
        edges.replace(n, &fleet.edges[n]).await;
    }
    for n in 0..SIZE.apis {
        roll(&mut fleet.apis[n]).await;
        apis.replace(n, &fleet.apis[n]).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = load.seen();
    seen.expect_right("while every process was restarted");
    stop.cancel();
    let (accepted, refused) = submitting.await.unwrap();
    println!("{} requests of visitors, {} submits, p99 {:?}", seen.count(), accepted.len(), seen.p99());
    assert_eq!(refused, 0, "of {}", accepted.len());
    assert!(accepted.len() > 20);

    std::fs::write(traces.path("enough"), "").unwrap();
    for id in &accepted {
        let deployment = account.wait_until_ended(id).await;
        assert_eq!(deployment["state"], "ready", "{deployment}");
    }
    let typed_output = tokio::task::spawn_blocking(move || typing.wait_with_output().unwrap()).await.unwrap();
    assert!(typed_output.status.success(), "{typed_output:?}");
    let followed = follower.followed().await;
    println!("{} lines in {} streams", followed.lines.len(), followed.streams);
    assert_eq!(followed.end.as_deref(), Some("ready"));
    expect_whole(&followed, 2);
    // Who comes later reads the same.
    let later = Follower::start(&account, address.clone(), &followed_id).followed().await;
    assert_eq!(later.lines, followed.lines);
    let mut ids: HashSet<String> = accepted.into_iter().chain(before).chain([followed_id]).collect();
    let typed_id = id_of(&account.get("/deployments?project=typed").await["items"][0]);
    expect_typed(&typed_output.stderr, &Follower::start(&account, address, &typed_id).followed().await);
    ids.insert(typed_id);
    assert_eq!(all_ids(&account).await, ids, "each submit once, and nothing else");
}

/// What `gv deploy` printed has the log, whole and in order, between its own first and last words.
fn expect_typed(printed: &[u8], log: &Followed) {
    expect_whole(log, 2);
    let printed = String::from_utf8_lossy(printed);
    let printed: Vec<&str> = printed.lines().collect();
    let texts: Vec<&str> = log.lines.iter().flat_map(|(_, text)| text.split('\n')).collect();
    let begin = printed.iter().position(|line| *line == texts[0]);
    let begin =
        begin.unwrap_or_else(|| panic!("the log's first line is missing: {}", Value::from(printed.clone())));
    assert_eq!(printed[begin..printed.len().min(begin + texts.len())], texts[..]);
}
