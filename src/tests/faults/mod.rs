//! What goes wrong around gv, and what must then be seen: a fleet of real processes on real
//! services, of which some are killed, stopped, silent, slow, full or emptied.
//!
//! The figures are those of the promises, and each test prints what it measured. One subject a
//! file; [`load`] is the visitors who go on all the while, [`follower`] who reads a log.

mod api;
mod cache;
mod database;
mod everything;
mod follower;
mod load;
mod pointers;
mod queue;
mod rolling;
mod shutdown;
mod storage;
mod tracing;
mod workers;

use super::support::account::{Account, id_of, with_json};
use super::support::fleet::{Fleet, Member, Size};
use super::support::git::{borrowed, built_by};
use super::support::process::processes_with;
use reqwest::Method;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What two cores with other tests on them may add to a time that was promised.
const GRACE: Duration = Duration::from_secs(3);

/// Files that scripts of builds leave traces in, for tests to look at.
struct Traces(TempDir);

impl Traces {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Shell words that append a line to the trace of this name.
    fn leave(&self, name: &str) -> String {
        format!("echo x >> {}", self.path(name).display())
    }

    /// Shell words that are true when that trace was left before.
    fn has(&self, name: &str) -> String {
        format!("[ -e {} ]", self.path(name).display())
    }

    /// How often it was left.
    fn count(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().count()
    }

    async fn wait_for(&self, name: &str) {
        eventually(name, Duration::from_secs(60), async || self.count(name) > 0).await;
    }
}

/// Looks again and again until it is so.
async fn eventually(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < patience, "not within {} s: {what}", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

/// Submits what this script builds, as a project of its own.
async fn submit_build(fleet: &Fleet, project: &str, script: &str) -> String {
    let repository = fleet.git.repository(project, &borrowed(&built_by(script))).await;
    fleet.submit_site(&repository, project).await
}

/// One try to submit: the deployment's id when it was accepted.
async fn try_to_submit(account: &Account, body: &Value, key: &str) -> Option<String> {
    let request = with_json(account.call(Method::POST, "/deployments"), body).header("idempotency-key", key);
    let response = request.timeout(Duration::from_secs(10)).send().await.ok()?;
    let status = response.status();
    let text = response.text().await.ok()?;
    assert!(status.is_success() || status.as_u16() == 503, "{status} {text}");
    status.is_success().then(|| id_of(&serde_json::from_str(&text).unwrap()))
}

/// A script that makes a site of one page that says `text`.
fn page_of(text: &str) -> String {
    format!("mkdir -p dist; echo {text} > dist/index.html")
}

/// Every edge shows this at a host.
async fn expect_page(fleet: &Fleet, host: &str, text: &str) {
    for edge in &fleet.edges {
        // An edge may have looked before and hold that there is nothing: notices tell it otherwise.
        let shown = async || edge.page(&fleet.client, host, "/").await == (200, text.to_owned());
        eventually(&format!("{host} shows {text:?}"), Duration::from_secs(10), shown).await;
    }
}

/// A site of many small files that are all different, and known to the test.
struct Site {
    host: String,
    version: String,
    files: usize,
}

impl Site {
    async fn publish(fleet: &Fleet, project: &str, version: &str, files: usize) -> Self {
        let site = Self { host: format!("{project}.localhost"), version: version.to_owned(), files };
        let contents: Vec<_> = (0..files).map(|n| (format!("file-{n}.txt"), site.text(n))).collect();
        fleet.publish(project, &borrowed(&contents)).await;
        site
    }

    /// The content of a file.
    fn text(&self, n: usize) -> String {
        format!("file {n} of {} of {}, {}", self.version, self.host, "and so on ".repeat(20))
    }

    fn pages(&self) -> Vec<load::Page> {
        let page =
            |n| load::Page { host: self.host.clone(), path: format!("/file-{n}.txt"), text: self.text(n) };
        (0..self.files).map(page).collect()
    }
}
