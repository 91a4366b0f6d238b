//! Somebody who follows a log as a browser does: by server-sent events, coming back with the last
//! number seen whenever the stream breaks off. Start with [`Follower::start`].

use crate::support::account::Account;
use futures_util::StreamExt;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Where the api is at present.
pub type Address = Arc<Mutex<String>>;

pub struct Follower {
    following: JoinHandle<Followed>,
    seen: Arc<Mutex<Followed>>,
}

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Numbers and texts, in the order in which they came.
    pub lines: Vec<(u64, String)>,
    /// How the deployment ended.
    pub end: Option<String>,
    /// How often the stream was taken up.
    pub streams: usize,
}

impl Follower {
    pub fn start(account: &Account, api: Address, id: &str) -> Self {
        let (account, id, seen) = (account.clone(), id.to_owned(), Arc::new(Mutex::default()));
        let following = tokio::spawn(follow(account, api, id, seen.clone()));
        Self { following, seen }
    }

    /// How many lines came so far.
    pub fn lines(&self) -> usize {
        self.seen.lock().unwrap().lines.len()
    }

    /// Waits for the end.
    pub async fn followed(self) -> Followed {
        let followed = tokio::time::timeout(Duration::from_secs(60), self.following).await;
        followed.unwrap_or_else(|_| panic!("no end came: {:?}", self.seen.lock().unwrap())).unwrap()
    }
}

impl Followed {
    /// Each of `texts` came once and in order, whatever came between; no number came twice.
    pub fn expect(&self, texts: impl IntoIterator<Item = String>) {
        let numbers: Vec<u64> = self.lines.iter().map(|(seq, _)| *seq).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "numbers rise: {self:#?}");
        let texts: Vec<String> = texts.into_iter().collect();
        let came = self.lines.iter().map(|(_, text)| text).filter(|text| texts.contains(text));
        assert!(came.eq(&texts), "every line, once and in order: {self:#?}");
    }
}

async fn follow(account: Account, api: Address, id: String, seen: Arc<Mutex<Followed>>) -> Followed {
    loop {
        seen.lock().unwrap().streams += 1;
        let account = Account { api: api.lock().unwrap().clone(), ..account.clone() };
        if follow_once(&account, &id, &seen).await.is_ok() {
            let followed = seen.lock().unwrap().clone();
            if followed.end.is_some() {
                return followed;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One stream, to its end.
async fn follow_once(account: &Account, id: &str, seen: &Mutex<Followed>) -> reqwest::Result<()> {
    let last = seen.lock().unwrap().lines.last().map(|(seq, _)| seq.to_string());
    let request = account.call(reqwest::Method::GET, &format!("/deployments/{id}/logs?follow=true"));
    let request = request.header("accept", "text/event-stream");
    let request = request.header("last-event-id", last.unwrap_or_default());
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    let mut text = Vec::new();
    while let Some(bytes) = stream.next().await {
        text.extend_from_slice(&bytes?);
        while let Some(at) = text.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = text.drain(..at + 2).collect();
            note(&String::from_utf8(event).unwrap(), seen);
        }
    }
    Ok(())
}

fn note(event: &str, seen: &Mutex<Followed>) {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    // Comments keep the connection alive.
    let Some(data) = field("data") else { return };
    let data: Value = serde_json::from_str(data).unwrap();
    let mut seen = seen.lock().unwrap();
    if field("event") == Some("end") {
        seen.end = Some(data["state"].as_str().unwrap().to_owned());
    } else {
        seen.lines.push((data["seq"].as_u64().unwrap(), data["text"].as_str().unwrap().to_owned()));
    }
}
