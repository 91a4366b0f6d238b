//! Visitors: so many requests a second on all edges of a fleet, whatever becomes of those before.
//! Each answer is compared with what the page is known to say.
//!
//! Start with [`Load::start`].

use super::Fleet;
use crate::support::account::client;
use reqwest::Client;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

/// Forty a second.
const EVERY: Duration = Duration::from_millis(25);
/// Of so many requests one is for a page that its edge was never asked for.
const COLD_EVERY: usize = 4;
/// A visitor who waits longer has left.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct Page {
    pub host: String,
    pub path: String,
    pub text: String,
}

/// Goes on until it is dropped.
pub struct Load {
    visits: Arc<Mutex<Vec<Visit>>>,
    _going: AbortOnDropHandle<()>,
}

/// One request and how it went.
#[derive(Clone)]
struct Visit {
    is_cold: bool,
    took: Duration,
    /// What was wrong with the answer.
    wrong: Option<String>,
}

/// What visitors saw over a while.
pub struct Seen(Vec<Visit>);

impl Load {
    /// `warm` are visited over and over, each of `cold` once.
    pub async fn start(fleet: &Fleet, warm: Vec<Page>, cold: Vec<Page>) -> Self {
        Self::at(fleet.edges.iter().map(super::Member::url).collect(), warm, cold).await
    }

    /// At these addresses, of edges or of what stands before them.
    pub async fn at(edges: Vec<String>, warm: Vec<Page>, cold: Vec<Page>) -> Self {
        let client = client();
        for edge in &edges {
            for page in &warm {
                let wrong = visit(&client, edge, page).await;
                assert_eq!(wrong, None);
            }
        }
        let visits = Arc::new(Mutex::new(Vec::new()));
        let going = tokio::spawn(go_on(client, edges, (warm, cold), visits.clone()));
        Self { visits, _going: AbortOnDropHandle::new(going) }
    }

    /// What was seen since the last time that this was asked.
    pub fn seen(&self) -> Seen {
        Seen(std::mem::take(&mut *self.visits.lock().unwrap()))
    }

    /// What is seen from now on for so long.
    pub async fn watch(&self, time: Duration) -> Seen {
        self.seen();
        tokio::time::sleep(time).await;
        self.seen()
    }
}

impl Seen {
    /// Every answer was right.
    pub fn expect_right(&self, when: &str) {
        let wrong: Vec<&str> = self.0.iter().filter_map(|visit| visit.wrong.as_deref()).collect();
        let some = &wrong[..wrong.len().min(5)];
        assert!(!self.0.is_empty(), "{when}: nobody came");
        assert!(wrong.is_empty(), "{when}: {} of {} were wrong: {some:#?}", wrong.len(), self.0.len());
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time within which 99 of 100 were answered.
    pub fn p99(&self) -> Duration {
        percentile(self.0.iter().map(|visit| visit.took).collect(), 99)
    }

    /// The promise for sites that are known: 250 ms, or 4 times what it was when all was well.
    pub fn expect_quick(&self, calm: &Self, when: &str) {
        let (calm, now, most) = (calm.p99(), self.p99(), Duration::from_millis(250).max(calm.p99() * 4));
        let cold = self.0.iter().filter(|visit| visit.is_cold).count();
        println!("{when}: {} requests, {cold} of them cold; p99 {now:?}, calm {calm:?}", self.0.len());
        assert!(now <= most, "{when}: p99 is {now:?}, calm {calm:?}");
    }
}

/// The smallest of `times` within which so many of a hundred lie.
pub fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

async fn go_on(
    client: Client,
    edges: Vec<String>,
    (warm, mut cold): (Vec<Page>, Vec<Page>),
    visits: Arc<Mutex<Vec<Visit>>>,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = JoinSet::new(); // ends its visits with itself
    for n in 0.. {
        let due = ticks.tick().await.into_std();
        let cold = if n % COLD_EVERY == 0 { cold.pop() } else { None };
        let is_cold = cold.is_some();
        let page = cold.unwrap_or_else(|| warm[n % warm.len()].clone());
        // Not in step with the warm pages: each of them is asked for at each edge.
        let edge = edges[(n + n / warm.len()) % edges.len()].clone();
        let (client, visits) = (client.clone(), visits.clone());
        open.spawn(async move {
            let wrong = visit(&client, &edge, &page).await;
            visits.lock().unwrap().push(Visit { is_cold, took: due.elapsed(), wrong });
        });
        while open.try_join_next().is_some() {}
    }
}

/// What is wrong with the answer, if anything.
async fn visit(client: &Client, edge: &str, page: &Page) -> Option<String> {
    let Page { host, path, text } = page;
    let asked = client.get(format!("{edge}{path}")).header("host", host).timeout(PATIENCE).send();
    let answer = async {
        let response = asked.await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    let began = Instant::now();
    match answer.await {
        Ok((200, got)) if got == *text => None,
        Ok((status, got)) => {
            let start: String = got.chars().take(80).collect();
            Some(format!("{host}{path} at {edge} after {:?}: {status} {start:?}", began.elapsed()))
        }
        Err(error) => Some(format!("{host}{path} at {edge} after {:?}: {error:?}", began.elapsed())),
    }
}
