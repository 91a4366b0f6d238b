//! The first visitor of a deployment, whose request ends its trace.

use super::{HOUR, Running, pointer_to};
use gv::adapters::clock::SystemClock;
use gv::domain::host::{HostKind, Pointer};
use gv::domain::id::DeploymentId;
use gv::domain::manifest::Manifest;
use gv::domain::trace::TraceContext;
use gv::edge::EdgeSettings;
use gv::ports::blobs::Key;
use gv::ports::clock::Clock;
use gv::ports::notices::{Notice, Notices};
use gv::ports::traces::{EndedSpan, Parent, Tracer, Traces};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Kept(Mutex<Vec<EndedSpan>>);

impl Traces for Kept {
    fn take(&self, span: EndedSpan) {
        self.0.lock().unwrap().push(span);
    }

    fn sample_percent(&self) -> u8 {
        100
    }
}

impl Kept {
    fn parents(&self) -> Vec<u64> {
        let kept = self.0.lock().unwrap();
        assert!(kept.iter().all(|span| span.name == "first visit"), "{kept:?}");
        kept.iter().map(|span| span.parent.unwrap().context.span).collect()
    }
}

const TRACE: TraceContext = TraceContext { trace: 7, span: 1, is_sampled: true };

async fn edge() -> (Running, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let tracer = Tracer::new(Some(kept.clone()), Arc::new(SystemClock));
    let settings = EdgeSettings { pointer_ttl: HOUR, ..EdgeSettings::default() };
    (Running::traced(tempfile::tempdir().unwrap(), settings, tracer).await, kept)
}

/// Points the host at the site as another deployment, of this moment, as a part of a trace.
async fn move_to(edge: &Running, version: i64, site: &Manifest, trace: Option<TraceContext>) {
    let deployment = DeploymentId::new(SystemClock.now(), &mut rand::rng());
    let manifest = Manifest { deployment, ..site.clone() };
    edge.store(&Key::manifest(deployment), &manifest.encode()).await;
    let pointer = pointer_to(("blog.localhost", version, HostKind::Production), &manifest);
    let pointer = Pointer { trace, ..pointer };
    edge.store(&Key::host(&pointer.host), &serde_json::to_vec(&pointer).unwrap()).await;
    edge.notices.publish(&Notice::HostMoved { pointer }).await.unwrap();
    let shown = deployment.to_string();
    for _ in 0..200 {
        if edge.get("/").await.field("x-gv-deployment") == shown {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the edge never shows the move");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_after_each_move_is_told_once_as_a_part_of_the_moves_trace() {
    let (edge, kept) = edge().await;
    let site = edge.publish_files(&[("index.html", b"home"), ("a.txt", b"a")]).await;
    assert_eq!(edge.get("/").await.status, 200);
    assert!(kept.parents().is_empty(), "its pointer has no trace");
    move_to(&edge, 2, &site, Some(TRACE)).await;
    for path in ["/", "/a.txt", "/none", "/"] {
        edge.get(path).await;
    }
    assert_eq!(kept.parents(), [1]);
    move_to(&edge, 3, &site, None).await;
    move_to(&edge, 4, &site, Some(TraceContext { is_sampled: false, ..TRACE })).await;
    move_to(&edge, 5, &site, Some(TraceContext { span: 2, ..TRACE })).await;
    assert_eq!(kept.parents(), [1, 2]);
    let kept = kept.0.lock().unwrap();
    assert_eq!(kept[0].parent, Some(Parent { context: TRACE, is_remote: true }));
    assert_eq!((kept[0].context.trace, kept[0].error.as_deref()), (7, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_deployment_that_an_edge_meets_for_the_first_time_is_no_news() {
    let (edge, kept) = edge().await;
    // Made at the beginning of all times, as sites of these tests are.
    let site = edge.publish_files(&[("index.html", b"home")]).await;
    let pointer = pointer_to(("old.localhost", 1, HostKind::Production), &site);
    let pointer = Pointer { trace: Some(TRACE), ..pointer };
    edge.store(&Key::host(&pointer.host), &serde_json::to_vec(&pointer).unwrap()).await;
    assert_eq!(edge.host("old.localhost").await.status, 200);
    assert!(kept.parents().is_empty());
}
