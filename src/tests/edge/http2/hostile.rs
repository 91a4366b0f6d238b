//! What one connection can do: never more than its part, and nothing to others.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, PING, PROTOCOL_ERROR,
    REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW, field, frame, get, whole_get,
};
use super::{Client, Secure};
use crate::edge::noise;
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

const SILENCE: Duration = Duration::from_secs(2);
/// Odd numbers are the client's (RFC 9113, 5.1.1).
const STREAMS: std::ops::Range<u32> = 0..1000;

async fn site() -> Secure {
    let secure = Secure::start().await;
    let (large, paged) = (noise(9 << 20, 1), noise(300 << 10, 2));
    secure.edge.publish_files(&[("index.html", b"home"), ("large", &large), ("paged", &paged)]).await;
    secure
}

/// Others are answered as ever, and soon.
async fn others_are_served(secure: &Secure) {
    let began = Instant::now();
    assert_eq!(secure.edge.get("/").await.text(), "home");
    assert_eq!(secure.client().await.get("/").await.text(), "home");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_requests_that_take_nothing_are_answered_up_to_a_hundred_at_a_time() {
    let secure = site().await;
    let mut frames = Frames::connect(&secure, &[(WINDOW, 0)]).await;
    let requests: Vec<u8> = STREAMS.flat_map(|n| whole_get(2 * n + 1, "/paged")).collect();
    assert!(frames.send(&requests).await);
    let seen = frames.seen(SILENCE).await;
    assert_eq!((seen.heads.len(), seen.bytes.len()), (100, 0), "{seen:?}");
    assert_eq!(seen.resets.len(), 900);
    assert!(seen.resets.iter().all(|(_, code)| *code == REFUSED_STREAM), "{seen:?}");
    assert!(!seen.is_closed);
    others_are_served(&secure).await;
    // What makes room is the end of one, whoever ends it.
    let first = seen.heads[0];
    assert!(frames.send(&frame(RST_STREAM, 0, first, &8_u32.to_be_bytes())).await);
    assert!(frames.send(&whole_get(2001, "/paged")).await);
    assert_eq!(frames.seen(SILENCE).await.heads, [2001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_holds_no_more_than_32_reads_of_storage() {
    let secure = site().await;
    let before = secure.edge.blobs.reads("blobs/");
    let mut frames = Frames::connect(&secure, &[(WINDOW, 0)]).await;
    let requests: Vec<u8> = (0..90).flat_map(|n| whole_get(2 * n + 1, "/large")).collect();
    assert!(frames.send(&requests).await);
    let seen = frames.seen(SILENCE).await;
    assert_eq!((seen.heads.len(), seen.resets.len()), (32, 0), "{seen:?}");
    assert_eq!(secure.edge.blobs.reads("blobs/") - before, 32);
    // What memory has is answered beside them.
    others_are_served(&secure).await;
    assert!(frames.send(&whole_get(999, "/")).await);
    assert_eq!(frames.seen(SILENCE).await.heads, [999]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_given_up_at_once_by_the_thousand_end_their_connection() {
    let secure = site().await;
    let given_up = |n: u32| {
        let stream = 2 * n + 1;
        [whole_get(stream, "/paged"), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let mut frames = Frames::connect(&secure, &[]).await;
    let requests: Vec<u8> = STREAMS.flat_map(given_up).collect();
    frames.send(&requests).await;
    let seen = frames.seen(SILENCE).await;
    assert_eq!((seen.goaway, seen.is_closed), (Some(ENHANCE_YOUR_CALM), true), "{seen:?}");
    others_are_served(&secure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_or_too_large_fields_are_refused_and_endless_ones_end_their_connection() {
    let secure = site().await;
    let client = secure.client().await;
    let many: Vec<String> = (0..200).map(|n| format!("x-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(client.ask("GET", "blog.localhost", "/", &many).await.status, 431);
    let large = format!("x: {}", "y".repeat(70_000));
    assert_eq!(client.ask("GET", "blog.localhost", "/", &[&large]).await.status, 431);
    assert_eq!(client.get("/").await.text(), "home", "the connection goes on");

    let piece = field("x", &"y".repeat(16_000));
    let whole_pieces = (0..4000).map(|_| frame(CONTINUATION, 0, 1, &piece));
    let empty_pieces = (0..100_000).map(|_| frame(CONTINUATION, 0, 1, &[]));
    for pieces in [whole_pieces.collect::<Vec<_>>(), empty_pieces.collect()] {
        let mut frames = Frames::connect(&secure, &[]).await;
        frames.send(&frame(HEADERS, END_STREAM, 1, &get("/"))).await;
        for some in pieces.chunks(100) {
            if !frames.send(&some.concat()).await {
                break;
            }
        }
        let seen = frames.seen(SILENCE).await;
        assert!(seen.is_closed && seen.heads.is_empty(), "{seen:?}");
    }
    others_are_served(&secure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_bytes_that_unfold_into_megabytes_of_fields_are_not_unfolded() {
    let secure = site().await;
    // A field that the table remembers, then sixteen thousand times "that one" (RFC 7541, 6.1).
    let mut remembered = field("x", &"y".repeat(4_000));
    remembered[0] = 0x40;
    let block = [get("/"), remembered, vec![0x80 | 62; 10_000]].concat();
    let mut frames = Frames::connect(&secure, &[]).await;
    frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
    let seen = frames.seen(SILENCE).await;
    assert!(seen.is_closed && seen.heads.is_empty(), "{seen:?}");
    others_are_served(&secure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_that_ask_for_an_answer_are_read_no_faster_than_answers_are_taken() {
    let secure = site().await;
    let ping = frame(PING, 0, 0, &[7; 8]);
    let settings = frame(SETTINGS, 0, 0, &[]);
    for flood in [ping.repeat(1000), settings.repeat(1000)] {
        let mut frames = Frames::connect(&secure, &[]).await;
        let mut sent = 0;
        // 50 MB and more, were they taken.
        let flooding = async {
            while sent < 5000 && frames.send(&flood).await {
                sent += 1;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), flooding).await;
        assert!(sent < 5000, "all was read, and nothing taken");
        others_are_served(&secure).await;
    }
    let mut frames = Frames::connect(&secure, &[]).await;
    assert!(frames.send(&ping.repeat(100)).await);
    assert_eq!(frames.seen(SILENCE).await.pongs, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_are_thrown_away_and_empty_pieces_of_them_without_end_end_their_connection() {
    let secure = site().await;
    let mut requests = secure.client().await.requests.ready().await.unwrap();
    let post = http::Request::post("https://blog.localhost/").body(()).unwrap();
    let (response, mut content) = requests.send_request(post, false).unwrap();
    let mut sent = 0;
    while content.send_data(Bytes::from(vec![0; 1024]), false).is_ok() && sent < 10_000 {
        sent += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(response.await.unwrap().status(), 405);
    assert_eq!(Client { requests }.get("/").await.text(), "home");

    let mut frames = Frames::connect(&secure, &[]).await;
    let post = [field(":method", "POST"), get("/")[field(":method", "GET").len()..].to_vec()].concat();
    frames.send(&frame(HEADERS, END_HEADERS, 1, &post)).await;
    for _ in 0..100 {
        if !frames.send(&frame(DATA, 0, 1, &[]).repeat(1000)).await {
            break;
        }
    }
    let seen = frames.seen(SILENCE).await;
    assert!(seen.goaway == Some(ENHANCE_YOUR_CALM) || seen.is_closed, "{seen:?}");
    others_are_served(&secure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_connections_of_http_1_is_malformed_and_ends_its_request_alone() {
    let secure = site().await;
    let mut frames = Frames::connect(&secure, &[]).await;
    let malformed = [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
    ];
    for ((name, value), stream) in malformed.iter().zip((1..).step_by(2)) {
        let block = [get("/"), field(name, value)].concat();
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)).await;
    }
    frames.send(&whole_get(99, "/")).await;
    let seen = frames.seen(SILENCE).await;
    assert_eq!((&*seen.heads, seen.resets.len()), (&[99][..], malformed.len()), "{seen:?}");
    assert!(seen.resets.iter().all(|(_, code)| *code == PROTOCOL_ERROR), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_by_none() {
    let secure = site().await;
    let without = |name: &str, value: &str| {
        let (all, one) = (get("/"), field(name, value));
        let at = all.windows(one.len()).position(|some| some == one).unwrap();
        [&all[..at], &all[at + one.len()..]].concat()
    };
    for block in [
        [get("/"), field("X-Upper", "y")].concat(),
        [get("/"), field(":status", "200")].concat(),
        [get("/"), field(":path", "/again")].concat(),
        [field("x", "y"), get("/")].concat(),
        without(":path", "/"),
        without(":method", "GET"),
        without(":scheme", "https"),
        get(""),
        get("no slash"),
    ] {
        let mut frames = Frames::connect(&secure, &[]).await;
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        let seen = frames.seen(Duration::from_millis(500)).await;
        let is_told = seen.resets == [(1, PROTOCOL_ERROR)] || seen.goaway.is_some();
        // A request without a path is one that h2 hands over, and the edge refuses.
        assert!(is_told || seen.heads == [1], "{}: {seen:?}", block.escape_ascii());
    }
    others_are_served(&secure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_get_every_byte() {
    let secure = site().await;
    let client = secure.client().await;
    for (path, bytes) in [("/paged", noise(300 << 10, 2)), ("/large", noise(9 << 20, 1))] {
        let (_, mut content) = client.send("GET", "blog.localhost", path, &[]).await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(piece) = content.data().await {
            let piece = piece.unwrap();
            body.extend_from_slice(&piece);
            tokio::time::sleep(Duration::from_millis(1)).await;
            content.flow_control().release_capacity(piece.len()).unwrap();
        }
        assert!(body == bytes, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_http_2_and_says_nothing_is_left() {
    let secure = site().await;
    let mut stream = secure.connect(&[b"h2"]).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the edge waits for ever");
}
