//! Traces: what a collector is told of a deployment, and what a collector that is away costs.

use super::Stage;
use crate::support::collector::{Collector, Span};
use crate::support::gv::{Settings, id_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Each with the name of what it is a part of.
pub const STEPS: [(&str, &str); 10] = [
    ("announce", "POST /api/v1/deployments"),
    ("queue", "POST /api/v1/deployments"),
    ("attempt", "POST /api/v1/deployments"),
    ("clone", "attempt"),
    ("build", "attempt"),
    ("install", "build"),
    ("run", "build"),
    ("collect", "build"),
    ("upload", "attempt"),
    ("publish", "upload"),
];

/// A site that is built, without any tool.
pub fn built(repository_url: &str) -> Value {
    json!({
        "repo_url": repository_url,
        "install_command": "echo installing",
        "build_command": "mkdir -p dist && echo made > dist/index.html",
        "output_dir": "dist",
        "env": {"TOKEN": "a-secret-value"},
    })
}

pub fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    found[0]
}

/// Every step of one deployment is there, as a part of what it is a part of, in one trace.
pub fn is_whole(spans: &[Span], deployment: &str) {
    let request = named(spans, "POST /api/v1/deployments");
    for (name, whole) in STEPS {
        let (part, whole) = (named(spans, name), named(spans, whole));
        assert_eq!(part.parent, whole.id, "{name}");
        assert!(part.began <= part.ended, "{name}");
        assert_eq!(part.failed, None, "{name}");
    }
    assert_eq!(request.attributes["http.response.status_code"], "201");
    assert_eq!(request.attributes["http.route"], "/api/v1/deployments");
    let attempt = named(spans, "attempt");
    assert_eq!(
        (&*attempt.attributes["gv.deployment.id"], &*attempt.attributes["gv.attempt"]),
        (deployment, "1")
    );
    let visits = spans.iter().filter(|span| span.name == "first visit");
    for visit in visits {
        assert_eq!(visit.parent, named(spans, "publish").id);
        assert_eq!(visit.attributes["http.response.status_code"], "200");
        assert_eq!(visit.attributes["gv.deployment.id"], deployment);
    }
    assert!(spans.iter().all(|span| span.trace == request.trace), "{spans:#?}");
    let told = format!("{spans:?}");
    for secret in ["a-secret-value", "installing", "TOKEN"] {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_deployment_is_one_trace_from_the_request_to_its_first_visitor() {
    let collector = Collector::start();
    let settings = Settings::default()
        .set("GV_TELEMETRY__OTLP_ENDPOINT", collector.url.clone())
        .set("GV_TELEMETRY__OTLP_HEADERS", "authorization=Bearer of-the-collector");
    let stage = Stage::set_with(settings).await;
    let repository = stage.site("traced").await;
    let deployment = stage.gv.deploy(built(&repository.url())).await;
    let site = deployment["url"].as_str().unwrap();
    // Many visitors, one of whom is the first.
    for _ in 0..5 {
        assert_eq!(stage.gv.page(site, "/").await, (200, "made\n".to_owned()));
    }
    let mut names = STEPS.map(|(name, _)| name).to_vec();
    names.extend(["POST /api/v1/deployments", "first visit"]);
    collector.having(&names).await;
    // What comes late would be one too many.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spans = collector.spans();
    assert_eq!(spans.len(), STEPS.len() + 2, "{spans:#?}");
    is_whole(&spans, &id_of(&deployment));
    assert_eq!(
        named(&spans, "first visit").attributes["server.address"],
        site.replace("http://", "").split(':').next().unwrap()
    );
    assert!(spans.iter().all(|span| span.service == "gv-up"), "{spans:#?}");
    assert!(collector.authorization().iter().all(|field| field == "Bearer of-the-collector"));
    let log = stage.gv.log();
    assert!(!log.contains("of-the-collector"), "{log}");
    let trace = &spans[0].trace;
    assert!(log.contains(trace.as_str()), "log lines of the deployment name its trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_part_of_a_trace_stays_in_it_and_says_whether_it_is_told() {
    let collector = Collector::start();
    let settings = Settings::default()
        .set("GV_TELEMETRY__OTLP_ENDPOINT", collector.url.clone())
        .set("GV_TELEMETRY__SAMPLE_PERCENT", "0");
    let stage = Stage::set_with(settings).await;
    let repository = stage.site("asked").await;
    let asked = async |project: &str, traceparent: Option<&str>| {
        let body = json!({"repo_url": repository.url(), "project": project}).to_string();
        let request = stage.gv.client.post(format!("{}/api/v1/deployments", stage.gv.api));
        let request =
            request.bearer_auth(&stage.gv.token).header("content-type", "application/json").body(body);
        let request =
            traceparent.into_iter().fold(request, |request, field| request.header("traceparent", field));
        let answer: Value =
            serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
        stage.gv.wait_for(answer["id"].as_str().unwrap(), &["ready"]).await;
    };
    asked("none", None).await;
    asked("untold", Some("00-11111111111111111111111111111111-2222222222222222-00")).await;
    asked("told", Some("00-33333333333333333333333333333333-4444444444444444-01")).await;
    let spans = collector.having(&["POST /api/v1/deployments", "attempt", "upload"]).await;
    assert!(spans.iter().all(|span| span.trace == "3".repeat(32)), "{spans:#?}");
    assert_eq!(named(&spans, "POST /api/v1/deployments").parent, "4".repeat(16));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_fails_says_so_in_its_trace() {
    let collector = Collector::start();
    let settings = Settings::default().set("GV_TELEMETRY__OTLP_ENDPOINT", collector.url.clone());
    let stage = Stage::set_with(settings).await;
    let repository = stage.site("failing").await;
    let body = json!({"repo_url": repository.url(), "build_command": "exit 3", "output_dir": "dist"});
    stage.gv.deploy_failing(body).await;
    let spans = collector.having(&["attempt", "run", "build"]).await;
    let failed = |name| named(&spans, name).failed.as_deref();
    assert_eq!(
        (failed("attempt"), failed("build"), failed("run")),
        (Some("build_failed"), Some("unfinished"), Some("unfinished"))
    );
    assert_eq!(failed("clone"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_said_once_and_costs_nothing_else() {
    // Nobody listens there.
    let settings = Settings::default().set("GV_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mut stage = Stage::set_with(settings).await;
    let repository = stage.site("untold").await;
    for _ in 0..3 {
        stage.deploy(&repository).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let began = Instant::now();
    assert!(stage.gv.terminate().success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let log = stage.gv.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("collector of traces")).collect();
    let warnings = lines.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!(warnings, 1, "{lines:#?}");
    assert!(!log.lines().any(|line| line.contains("ERROR")), "{log}");
}
