//! Connections: what the edge's own front reads, what it hands to actix-web, and that a visitor
//! cannot tell which of them answered.

use super::{Answer, Running, noise};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CLOSE: &str = "GET /last HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n";

async fn site() -> Running {
    let edge = Running::start().await;
    edge.publish_files(&[("index.html", b"home"), ("a.txt", b"a"), ("last", b"last")]).await;
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_changes_hands_at_an_unusual_request_and_loses_nothing() {
    let edge = site().await;
    let ordinary = "GET /a.txt HTTP/1.1\r\nHost: blog.localhost\r\n\r\n";
    for unusual in [
        "POST / HTTP/1.1\r\nHost: blog.localhost\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: blog.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET http://blog.localhost/ HTTP/1.1\r\nHost: blog.localhost\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: blog.localhost\r\n\r\n",
    ] {
        let sent = format!("{ordinary}{ordinary}{unusual}{ordinary}{CLOSE}");
        let text = String::from_utf8(edge.exchange(sent.as_bytes()).await).unwrap();
        assert_eq!(text.matches("HTTP/1.1 ").count(), 5, "{unusual}: {text}");
        assert_eq!(text.matches("\r\n\r\na").count(), 3, "{unusual}: {text}");
        assert!(text.ends_with("\r\n\r\nlast"), "{unusual}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_give_the_same_answer() {
    let edge = Running::start().await;
    let (large, paged) = (noise(9 * 1024 * 1024, 1), noise(200 * 1024, 2));
    let files: [(&str, &[u8]); 4] =
        [("index.html", b"home"), ("404.html", b"lost"), ("large", &large), ("paged", &paged)];
    edge.publish_files(&files).await;
    for path in ["/", "/nothing", "/large", "/paged", "/index.html", "/%00"] {
        // The second is as warm as the third.
        edge.get(path).await;
        let front = edge.get(path).await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: blog.localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let handed_over = edge.send(request.as_bytes()).await;
        let told = |answer: &Answer| {
            let mut fields = answer.lasting_fields();
            fields.retain(|(name, _)| name != "connection");
            (answer.status, fields)
        };
        assert_eq!(told(&front), told(&handed_over), "{path}");
        assert!(front.body == handed_over.body, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_read_however_they_are_cut() {
    let edge = site().await;
    let requests = format!("\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: blog.localhost\r\nX: y\r\n\r\n{CLOSE}");
    let mut stream = edge.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in requests.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("\r\n\r\naHTTP/1.1 200 OK") && text.ends_with("\r\n\r\nlast"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_sending_still_gets_its_answers() {
    let edge = site().await;
    let mut stream = edge.connect().await;
    let get = "GET /a.txt HTTP/1.1\r\nHost: blog.localhost\r\n\r\n";
    stream.write_all(format!("{get}{get}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("\r\n\r\na").count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_get_every_byte() {
    let edge = Running::start().await;
    let (held, streamed) = (noise(900 * 1024, 1), noise(12 * 1024 * 1024, 2));
    edge.publish_files(&[("held", &held), ("streamed", &streamed)]).await;
    edge.get("/held").await;
    for (path, bytes) in [("/held", &held), ("/streamed", &streamed)] {
        let mut stream = edge.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match stream.read(&mut piece).await.unwrap() {
                0 => break,
                read => answer.extend_from_slice(&piece[..read]),
            }
        }
        assert!(Answer::parse(&answer).body == *bytes, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_date_and_refusals_have_a_page() {
    let edge = site().await;
    let date = edge.get("/").await.field("date").to_owned();
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: blog.localhost\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : blog.localhost\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n", 400),
    ] {
        let answer = edge.send(request.as_bytes()).await;
        assert_eq!((answer.status, answer.field("connection")), (status, "close"), "{request:?}");
        assert!(answer.text().contains("Bad request"), "{request:?}");
    }
}
