//! How soon a moved pointer is seen, on every edge, also under load; and that no visitor goes back
//! in time.

use super::load::{Load, percentile};
use super::{Fleet, Site, Size};
use crate::support::account::id_of;
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

const MOVES: usize = 50;
const MOVES_UNDER_LOAD: usize = 200;
/// Moved through in turn, so that an older page can be told from a newer one.
const VERSIONS: usize = 5;
const PROMISE: Duration = Duration::from_millis(300);

/// Somebody who looks at one edge again and again, one look after the other.
struct Watcher {
    state: Arc<Mutex<Watched>>,
    _looking: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Watched {
    /// The version of the last page, and since when it was seen.
    version: Option<(usize, Instant)>,
    wrong: Vec<String>,
    looks: usize,
}

impl Watcher {
    fn start(client: Client, edge: String, ids: Vec<String>) -> Self {
        let state = Arc::new(Mutex::new(Watched::default()));
        let seen = state.clone();
        let looking = tokio::spawn(async move {
            loop {
                let answer = look(&client, &edge).await;
                // Fields of one deployment and the file of another would be a mix.
                let whole = answer.and_then(|(version, deployment)| match ids[version] == deployment {
                    true => Ok(version),
                    false => Err(format!("version {version} as {deployment}")),
                });
                seen.lock().unwrap().note(whole);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { state, _looking: AbortOnDropHandle::new(looking) }
    }

    /// Since when it has shown this version.
    async fn shows(&self, version: usize) -> Instant {
        let began = Instant::now();
        loop {
            if let Some((shown, since)) = self.state.lock().unwrap().version
                && shown == version
            {
                return since;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "version {version} is not seen");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Watched {
    fn note(&mut self, answer: Result<usize, String>) {
        self.looks += 1;
        match (answer, self.version) {
            (Err(wrong), _) => self.wrong.push(wrong),
            (Ok(version), Some((shown, _))) if version == shown => {}
            (Ok(version), Some((shown, _))) if (version + VERSIONS - shown) % VERSIONS > 2 => {
                self.wrong.push(format!("version {version} after {shown}"));
            }
            (Ok(version), _) => self.version = Some((version, Instant::now())),
        }
    }
}

/// The version that an edge shows, and the deployment that it names.
async fn look(client: &Client, edge: &str) -> Result<(usize, String), String> {
    let asked = client.get(format!("{edge}/")).header("host", "moved.localhost").send();
    let response = asked.await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let deployment = response.headers().get("x-gv-deployment").map(|id| id.to_str().unwrap().to_owned());
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    let version = text.strip_prefix("version ").and_then(|version| version.parse().ok());
    version.zip(deployment).ok_or_else(|| format!("{status} {text}"))
}

async fn shown(client: &Client, edge: &str) -> Result<usize, String> {
    look(client, edge).await.map(|(version, _)| version)
}

async fn versions(fleet: &Fleet) -> Vec<String> {
    let repository = fleet.git.empty_repository("moved").await;
    let mut ids = Vec::new();
    for version in 0..VERSIONS {
        repository.commit(&[("index.html", &format!("version {version}"))], "next").await;
        ids.push(id_of(&fleet.deploy(json!({"repo_url": repository.url()})).await));
    }
    ids
}

/// Moves production on by one version: by a promotion, or by a rollback to it, in turn.
async fn move_to(fleet: &Fleet, id: &str, turn: usize) -> Value {
    if turn.is_multiple_of(2) {
        fleet.post(&format!("/deployments/{id}/promote"), &json!({}), 200).await
    } else {
        fleet.post("/projects/moved/rollback", &json!({"to": id}), 200).await
    }
}

async fn expect_moves_seen(fleet: &Fleet, moves: usize, when: &str) {
    let ids = versions(fleet).await;
    let edges = fleet.edges.iter().flat_map(|edge| [edge.url(), edge.url()]);
    let watchers: Vec<_> =
        edges.map(|edge| Watcher::start(fleet.client.clone(), edge, ids.clone())).collect();
    for watcher in &watchers {
        watcher.shows(VERSIONS - 1).await;
    }
    let (mut from_call, mut from_answer) = (Vec::new(), Vec::new());
    for turn in 0..moves {
        let version = turn % VERSIONS;
        let called = Instant::now();
        move_to(fleet, &ids[version], turn).await;
        let answered = Instant::now();
        let mut seen = called;
        for watcher in &watchers {
            seen = seen.max(watcher.shows(version).await);
        }
        from_call.push(seen.duration_since(called));
        from_answer.push(seen.saturating_duration_since(answered));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let looks: usize = watchers.iter().map(|watcher| watcher.state.lock().unwrap().looks).sum();
    let [call_50, call_99] = [50, 99].map(|percent| percentile(from_call.clone(), percent));
    let answer_99 = percentile(from_answer, 99);
    println!(
        "{when}: {moves} moves, {looks} looks; seen {call_50:?} (median) and {call_99:?} (p99) after the call, \
         {answer_99:?} (p99) after its answer"
    );
    for watcher in &watchers {
        let wrong = &watcher.state.lock().unwrap().wrong;
        assert!(wrong.is_empty(), "{when}: {wrong:#?}");
    }
    assert!(call_99 <= PROMISE, "{when}: p99 {call_99:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_and_rollbacks_are_seen_by_every_edge_at_once() {
    let fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 2 }).await;
    expect_moves_seen(&fleet, MOVES, "calm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_and_rollbacks_are_seen_at_once_under_load_too() {
    let fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 2 }).await;
    let known = Site::publish(&fleet, "known", "one", 20).await;
    let load = Load::start(&fleet, known.pages(), Vec::new()).await;
    expect_moves_seen(&fleet, MOVES_UNDER_LOAD, "under load").await;
    load.seen().expect_right("while pointers move");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_notice_is_lost_is_seen_when_the_pointers_lifetime_ends() {
    use crate::support::fault_proxy::Mode;
    let fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 2 }).await;
    let ids = versions(&fleet).await;
    for edge in &fleet.edges {
        assert_eq!(shown(&fleet.client, &edge.url()).await, Ok(VERSIONS - 1));
    }
    for mode in [Mode::Refuse, Mode::Silent] {
        for (turn, version) in [(0, 0), (1, VERSIONS - 1)] {
            fleet.services.redis.set(mode);
            let called = Instant::now();
            move_to(&fleet, &ids[version], turn).await;
            for edge in &fleet.edges {
                let moved = async || shown(&fleet.client, &edge.url()).await == Ok(version);
                super::eventually("it is seen", Duration::from_secs(5) + super::GRACE, moved).await;
            }
            println!("{mode:?}: seen {:?} after the call", called.elapsed());
            fleet.services.redis.set(Mode::Pass);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_made_while_storage_is_away_is_seen_soon_after_it_is_back() {
    use crate::support::fault_proxy::Mode;
    let fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 2 }).await;
    let ids = versions(&fleet).await;
    for edge in &fleet.edges {
        assert_eq!(shown(&fleet.client, &edge.url()).await, Ok(VERSIONS - 1));
    }
    for (mode, version) in [(Mode::Refuse, 1), (Mode::Silent, 3)] {
        fleet.services.s3.door.set(mode);
        let called = Instant::now();
        let moved = move_to(&fleet, &ids[version], 0).await;
        println!("{mode:?}: answered after {:?}", called.elapsed());
        assert_eq!(id_of(&moved), ids[version]);
        fleet.services.s3.door.set(Mode::Pass);
        let back = Instant::now();
        for edge in &fleet.edges {
            let moved = async || shown(&fleet.client, &edge.url()).await == Ok(version);
            super::eventually("it is seen", Duration::from_secs(15), moved).await;
        }
        println!("{mode:?}: seen {:?} after storage was back", back.elapsed());
    }
}
