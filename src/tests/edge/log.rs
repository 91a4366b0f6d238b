//! What the operator sees of visitors: the access log and each site's counters.

use super::Running;
use gv::edge::EdgeSettings;
use gv::edge::access_log::Destination;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let access_log = Some(Destination::File(path.clone()));
    let edge = Running::with_settings(EdgeSettings { access_log, ..EdgeSettings::default() }).await;
    let manifest = edge.publish_files(&[("index.html", b"hello")]).await;
    edge.get("/?q=a").await;
    edge.ask("HEAD", "/", &["User-Agent: a \"quoted\" one", "Referer: http://elsewhere/"]).await;
    edge.ask("POST", "/x", &["Content-Length: 0", "X-Forwarded-For: 192.0.2.7"]).await;
    edge.send(b"no request\r\n\r\n").await;
    // Its end writes out what is left.
    edge.end().await;
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    // Each thread writes its own.
    let of = |method: &str| lines.iter().find(|line| line["method"] == method).unwrap();
    for (method, status, target) in
        [("GET", 200, "/?q=a"), ("HEAD", 200, "/"), ("POST", 405, "/x"), ("-", 400, "-")]
    {
        let line = of(method);
        assert_eq!((line["status"].as_u64(), line["target"].as_str()), (Some(status), Some(target)));
    }
    assert_eq!((of("GET")["bytes"].as_u64(), of("HEAD")["bytes"].as_u64()), (Some(5), Some(0)));
    let head = of("HEAD");
    for (key, value) in [
        ("target", "/"),
        ("host", "blog.localhost"),
        ("user_agent", "a \"quoted\" one"),
        ("referer", "http://elsewhere/"),
        ("client", "127.0.0.1"),
        ("deployment", &manifest.deployment.to_string()),
    ] {
        assert_eq!(head[key], value, "{key}");
    }
    assert_eq!(of("POST")["forwarded_for"], "192.0.2.7");
    assert!(
        time::OffsetDateTime::parse(
            head["time"].as_str().unwrap(),
            &time::format_description::well_known::Rfc3339
        )
        .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_is_told_at_the_start() {
    let access_log = Some(Destination::File("/nonexistent/access.log".into()));
    let edge = Running::with_settings(EdgeSettings { access_log, ..EdgeSettings::default() }).await;
    let refused = edge.serving.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("edge.access_log: /nonexistent/access.log"), "{refused}");
}
