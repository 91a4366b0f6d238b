//! S3 busy, silent, slow, or cutting what it is sent: what is warm is served, builds end ready or
//! say that storage failed, and nobody sees half of anything. And how much is asked of it at all.

use super::load::Load;
use super::{Fleet, Site, Size};
use crate::support::account::id_of;
use crate::support::fault_proxy::Mode;
use crate::support::s3_proxy::Misbehaviour;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

const SIZE: Size = Size { apis: 1, workers: 1, edges: 2 };
const FILES: usize = 60;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Busy,
    CutsUploads,
    CutsDownloads,
    /// For this time; the others last until the builds have ended.
    Silent(Duration),
    Slow,
}

async fn expect_nobody_sees_half_of_anything_with(fault: Fault) {
    let fleet = Fleet::start(SIZE).await;
    let known = Site::publish(&fleet, "known", "one", 20).await;
    let (one, two) = (version("one"), version("two"));
    let repository = fleet.git.repository("site", &super::borrowed(&contents(&one))).await;
    fleet.deploy(json!({"repo_url": repository.url()})).await;
    repository.commit(&super::borrowed(&contents(&two)), "two").await;
    let load = Load::start(&fleet, known.pages(), Vec::new()).await;
    let reader = Reader::start(&fleet, vec![one, two.clone()]);
    load.watch(Duration::from_secs(1)).await.expect_right("calm");

    go_wrong(&fleet, fault).await;
    let mut ids = Vec::new();
    for project in ["site", "fresh-1", "fresh-2"] {
        let body = json!({"repo_url": repository.url(), "project": project});
        ids.push(id_of(&fleet.submit(body).await));
    }
    if let Fault::Silent(time) = fault {
        tokio::time::sleep(time).await;
        mend(&fleet);
    }
    let mut ends = Vec::new();
    for id in &ids {
        ends.push(wait_for_end(&fleet, id).await);
    }
    let during = load.seen();
    mend(&fleet);
    println!("{fault:?}: p99 of warm pages {:?}", during.p99());
    during.expect_right(&format!("warm, {fault:?}"));
    for (end, project) in ends.iter().zip(["site", "fresh-1", "fresh-2"]) {
        println!("{fault:?}: {project} is {} {}", end["state"], end["error"]);
        expect_whole_or_nothing(&fleet, project, end, &two).await;
    }
    reader.expect_only_whole_pages();
    load.watch(Duration::from_secs(1)).await.expect_right("afterwards");
    let retried = fleet.deploy(json!({"repo_url": repository.url()})).await;
    expect_whole_or_nothing(&fleet, "site", &retried, &two).await;
}

async fn go_wrong(fleet: &Fleet, fault: Fault) {
    let s3 = &fleet.services.s3;
    let none = Misbehaviour::default();
    match fault {
        Fault::Busy => s3.misbehave(Misbehaviour { busy: 0.3, ..none }),
        Fault::CutsUploads => s3.misbehave(Misbehaviour { cut_uploads: 0.3, ..none }),
        Fault::CutsDownloads => s3.misbehave(Misbehaviour { cut_downloads: 0.3, ..none }),
        Fault::Silent(_) => s3.door.set(Mode::Silent),
        Fault::Slow => s3.door.set(Mode::Slow(Duration::from_millis(250))),
    }
}

fn mend(fleet: &Fleet) {
    fleet.services.s3.door.set(Mode::Pass);
    fleet.services.s3.misbehave(Misbehaviour::default());
}

/// A storage that goes wrong may be waited for a while by each step.
async fn wait_for_end(fleet: &Fleet, id: &str) -> Value {
    let mut last = Value::Null;
    let ended = async || {
        last = fleet.get(&format!("/deployments/{id}")).await;
        ["ready", "failed"].contains(&last["state"].as_str().unwrap())
    };
    super::eventually("it ends", Duration::from_secs(150), ended).await;
    last
}

/// A site that is ready has all its files; one that failed says storage and shows nothing of its own.
async fn expect_whole_or_nothing(fleet: &Fleet, project: &str, end: &Value, version: &[String]) {
    if end["state"] == "failed" {
        assert_eq!(end["error"]["code"], "storage_failed", "{end}");
        assert_eq!(end["hosts"], json!([]), "{end}");
        return;
    }
    let (own, production) = (end["url"].as_str().unwrap(), format!("{project}.localhost"));
    for edge in &fleet.edges {
        for host in [own, &production] {
            let shows = async || edge.page(&fleet.client, host, "/file-0.txt").await.1 == version[0];
            super::eventually(&format!("{host} is there"), Duration::from_secs(10), shows).await;
            for (n, text) in version.iter().enumerate() {
                let page = edge.page(&fleet.client, host, &format!("/file-{n}.txt")).await;
                assert_eq!(page, (200, text.clone()), "{host} {n}");
            }
        }
    }
}

/// The texts of a version's files.
fn version(name: &str) -> Vec<String> {
    (0..FILES).map(|n| format!("{name}: {n} {}", "abcdefgh ".repeat(500))).collect()
}

fn contents(version: &[String]) -> Vec<(String, String)> {
    version.iter().enumerate().map(|(n, text)| (format!("file-{n}.txt"), text.clone())).collect()
}

/// Somebody who reads a site while it changes, and its cold files too: an answer of 200 is always a
/// whole file of one of its versions; whatever else comes says that it is no answer.
struct Reader {
    wrong: Arc<Mutex<Vec<String>>>,
    whole: Arc<Mutex<usize>>,
    _reading: AbortOnDropHandle<()>,
}

impl Reader {
    fn start(fleet: &Fleet, versions: Vec<Vec<String>>) -> Self {
        let (wrong, whole) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let edges: Vec<String> = fleet.edges.iter().map(super::Member::url).collect();
        let (client, bad, good) = (fleet.client.clone(), wrong.clone(), whole.clone());
        let reading = tokio::spawn(async move {
            for n in 0.. {
                let (edge, file) = (&edges[n % edges.len()], n % FILES);
                let asked = client.get(format!("{edge}/file-{file}.txt")).header("host", "site.localhost");
                if let Ok(response) = asked.timeout(Duration::from_secs(20)).send().await {
                    let status = response.status().as_u16();
                    // An error in the body is a connection that was cut: no whole answer.
                    if let Ok(text) = response.text().await {
                        match status {
                            200 if versions.iter().any(|version| version[file] == text) => {
                                *good.lock().unwrap() += 1;
                            }
                            503 => {}
                            _ => bad.lock().unwrap().push(format!("{file}: {status}, {} bytes", text.len())),
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { wrong, whole, _reading: AbortOnDropHandle::new(reading) }
    }

    fn expect_only_whole_pages(&self) {
        let wrong = self.wrong.lock().unwrap();
        println!("{} whole pages were read", self.whole.lock().unwrap());
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(*self.whole.lock().unwrap() > 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_half_of_anything_while_a_third_of_requests_is_refused() {
    expect_nobody_sees_half_of_anything_with(Fault::Busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_half_of_anything_while_uploads_are_cut_half_way() {
    expect_nobody_sees_half_of_anything_with(Fault::CutsUploads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_half_of_anything_while_downloads_are_cut_half_way() {
    expect_nobody_sees_half_of_anything_with(Fault::CutsDownloads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_half_of_anything_while_storage_is_silent() {
    expect_nobody_sees_half_of_anything_with(Fault::Silent(Duration::from_secs(10))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_half_of_anything_while_storage_is_slow() {
    expect_nobody_sees_half_of_anything_with(Fault::Slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_files_cannot_be_stored_fails_saying_so_and_the_old_one_stays() {
    let fleet = Fleet::start(SIZE).await;
    let (one, two) = (version("one"), version("two"));
    let repository = fleet.git.repository("site", &super::borrowed(&contents(&one))).await;
    let first = fleet.deploy(json!({"repo_url": repository.url()})).await;
    repository.commit(&super::borrowed(&contents(&two)), "two").await;
    // One of many is refused for ever: the others are stored meanwhile.
    fleet.services.s3.misbehave(Misbehaviour { busy: 1.0, only: "/sources/", ..Misbehaviour::default() });
    let began = std::time::Instant::now();
    let id = fleet.submit_site(&repository, "site").await;
    let end = wait_for_end(&fleet, &id).await;
    println!("{} after {:?}: {}", end["state"], began.elapsed(), end["error"]);
    assert_eq!(end["error"]["code"], "storage_failed", "{end}");
    expect_whole_or_nothing(&fleet, "site", &first, &one).await;
    let own = format!("site-{}.localhost", id.trim_start_matches("dpl_"));
    assert_eq!(fleet.edges[0].page(&fleet.client, &own, "/file-0.txt").await.0, 404);
    assert!(fleet.deployment_log(&id).await.contains("Failed: "));
    mend(&fleet);
    let again = fleet.deploy(json!({"repo_url": repository.url()})).await;
    expect_whole_or_nothing(&fleet, "site", &again, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_who_want_one_cold_file_cost_one_read_an_edge() {
    let fleet = Fleet::start(SIZE).await;
    let text = "0123456789abcdef".repeat(1 << 16);
    fleet.publish("herd", &[("index.html", "start"), ("large.txt", &text)]).await;
    super::expect_page(&fleet, "herd.localhost", "start").await;
    fleet.services.s3.forget();
    let mut visits = tokio::task::JoinSet::new();
    for n in 0..200 {
        let request = fleet.edges[n % 2].site(&fleet.client, "herd.localhost", "/large.txt");
        visits.spawn(async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        });
    }
    for (status, got) in visits.join_all().await {
        assert_eq!((status, got.len()), (200, text.len()));
        assert!(got == text);
    }
    let reads = fleet.services.s3.count("GET", "/blobs/");
    println!("200 visitors, 2 edges: {reads} reads of the file");
    assert!(reads <= 2, "{reads} reads: {:?}", fleet.services.s3.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_deployment_uploads_only_what_changed() {
    let fleet = Fleet::start(SIZE).await;
    let one = contents(&version("one"));
    let repository = fleet.git.repository("site", &super::borrowed(&one)).await;
    fleet.deploy(json!({"repo_url": repository.url()})).await;
    fleet.services.s3.forget();
    repository.commit(&[("file-7.txt", "changed")], "two").await;
    let second = fleet.deploy(json!({"repo_url": repository.url()})).await;
    let s3 = &fleet.services.s3;
    let written: HashSet<_> =
        s3.seen().into_iter().filter(|seen| seen.method != "GET" && seen.method != "HEAD").collect();
    let of = |part: &str| written.iter().filter(|seen| seen.path.contains(part)).count();
    let counts = ["/blobs/", "/manifests/", "/sources/"].map(of);
    println!("the second deployment wrote {written:#?}");
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(written.len(), 3 + of("/hosts/") + of("/logs/"), "and nothing else");
    let id = id_of(&second);
    assert!(written.iter().any(|seen| seen.path.ends_with(&format!("/manifests/{id}"))));
}
