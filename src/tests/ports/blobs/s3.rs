//! The S3 adapter on a real server, and on the same server behind a proxy that goes wrong.

use super::proxy::{Fault, Proxy, bucket};
use super::{MAX, account, blob_key, host_key, read, varied};
use crate::support::services;
use bytes::Bytes;
use futures_util::future::{join, join_all};
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use gv::adapters::blobs::s3::S3Blobs;
use gv::domain::digest::Digest;
use gv::domain::secret::Secret;
use gv::ports::blobs::{Blobs, Body, Key, Tag};
use gv::ports::error::StoreErrorKind;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::{Duration, Instant};

/// A prefix of this test's own on the server of `GV_TEST_BLOBS_URL`.
pub(super) fn connect() -> S3Blobs {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = services::blobs_url().expect("GV_TEST_BLOBS_URL: run this by scripts/with-services");
    S3Blobs::connect(&url, None, None).unwrap()
}

/// The first so many requests whose head contains `part` meet the fault.
fn first(count: usize, part: &'static str, fault: Fault) -> impl FnMut(&str) -> Fault + Send {
    let mut left = count;
    move |head| {
        if left == 0 || !head.contains(part) {
            return Fault::Nothing;
        }
        left -= 1;
        fault
    }
}

async fn put(store: &dyn Blobs, key: &Key, bytes: &Bytes) {
    store.put(key, Body::Bytes(bytes.clone())).await.unwrap();
}

mod real {
    use super::*;

    /// Three of ten requests are refused: seeded, so that a failure can be seen again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_busy_storage_is_asked_again_until_everything_is_done() {
        let mut lots = StdRng::seed_from_u64(7);
        let busy = Fault::Answered(503, "SlowDown");
        let proxy = Proxy::start(move |_| if lots.random_bool(0.3) { busy } else { Fault::Nothing }).await;
        let (store, _) = proxy.connect();
        let account = account();
        let texts: Vec<Bytes> = (0..150).map(|n| Bytes::from(format!("object {n}"))).collect();
        let key = |text: &Bytes| Key::blob(account, &Digest::of(text));
        let objects = texts.iter().map(|text| (key(text), Body::Bytes(text.clone()))).collect();
        store.put_all(objects).await.unwrap();
        let keys: Vec<Key> = texts.iter().map(key).collect();
        assert!(store.missing(&keys).await.unwrap().is_empty());
        let reads = join_all(keys.iter().map(|key| read(&store, key))).await;
        assert!(reads.iter().zip(&texts).all(|(read, text)| read.as_ref() == Some(text)));
        let host = host_key();
        assert!(store.put_new(&host, "1".into()).await.unwrap());
        for n in 2..20 {
            let present = store.get(&host, MAX).await.unwrap().unwrap();
            assert!(store.replace(&host, n.to_string().into(), Some(&present.tag)).await.unwrap(), "{n}");
            assert!(!store.put_new(&host, "other".into()).await.unwrap(), "{n}");
        }
        store.delete(&host).await.unwrap();
        assert!(read(&store, &host).await.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_silent_storage_fails_within_the_time_that_callers_have() {
        let proxy = Proxy::start(|_| Fault::Silence).await;
        let (store, _) = proxy.connect();
        let (host, blob) = (host_key(), blob_key(b"a"));
        let keys = std::slice::from_ref(&blob);
        let begun = Instant::now();
        let timed = async |what: &str, most: u64, kind: Option<StoreErrorKind>| {
            assert_eq!(kind, Some(StoreErrorKind::Unavailable), "{what}");
            assert!(begun.elapsed() < Duration::from_secs(most), "{what} took {:?}", begun.elapsed());
        };
        // Edges wait 4 s for a read, publishing 10 s for a write, a worker a minute for a search.
        tokio::join!(
            async { timed("get", 4, store.get(&host, MAX).await.err().map(|error| error.kind)).await },
            async { timed("open", 4, store.open(&blob, None).await.err().map(|error| error.kind)).await },
            async { timed("ping", 4, store.ping().await.err().map(|error| error.kind)).await },
            async {
                let done = store.replace(&host, "a".into(), None).await;
                timed("replace", 10, done.err().map(|error| error.kind)).await;
            },
            async {
                let done = store.put(&blob, Body::Bytes("a".into())).await;
                timed("put", 10, done.err().map(|error| error.kind)).await;
            },
            async { timed("missing", 50, store.missing(keys).await.err().map(|error| error.kind)).await },
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn in_an_outage_retries_do_not_multiply_the_requests() {
        let proxy = Proxy::start(|_| Fault::Answered(500, "InternalError")).await;
        let (store, _) = proxy.connect();
        let key = host_key();
        for _ in 0..15 {
            let asked = (0..20).map(|_| store.get(&key, MAX));
            assert!(join_all(asked).await.iter().all(Result::is_err));
        }
        let requests = proxy.seen(&[]).len();
        // One for each of 300, a hundred that are saved up, and one more each second.
        assert!((300..480).contains(&requests), "{requests}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_storage_is_waited_for() {
        let proxy = Proxy::start(|_| Fault::Slow(Duration::from_millis(700))).await;
        let (store, _) = proxy.connect();
        let key = host_key();
        assert!(store.put_new(&key, "slowly".into()).await.unwrap());
        assert_eq!(read(&store, &key).await.unwrap(), "slowly");
        assert_eq!(proxy.seen(&["GET "]).len(), 1, "nothing was asked twice");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_that_is_cut_is_read_again_and_never_taken_for_an_object() {
        let proxy = Proxy::start(first(2, "GET ", Fault::CutAnswer)).await;
        let (store, direct) = proxy.connect();
        let bytes = varied(500_000);
        let key = blob_key(&bytes);
        put(&direct, &key, &bytes).await;
        assert!(read(&store, &key).await.unwrap() == bytes);
        assert_eq!(proxy.seen(&["GET "]).len(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stream_that_is_cut_ends_in_an_error() {
        let proxy = Proxy::start(|_| Fault::CutAnswer).await;
        let (store, direct) = proxy.connect();
        let bytes = varied(3_000_000);
        let key = blob_key(&bytes);
        put(&direct, &key, &bytes).await;
        for range in [None, Some(1_000..2_000_000)] {
            let mut opened = store.open(&key, range.clone()).await.unwrap().unwrap();
            let (mut given, mut failed) = (0, false);
            while let Some(piece) = opened.stream.next().await {
                match piece {
                    Ok(piece) => given += piece.len() as u64,
                    Err(error) => {
                        assert_eq!(error.kind, StoreErrorKind::Unavailable);
                        failed = true;
                        break;
                    }
                }
            }
            assert!(failed && given < opened.range.end - opened.range.start, "{range:?}: {given}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upload_that_is_cut_is_sent_again_and_leaves_nothing_by_itself() {
        let bytes = varied(400_000);
        let key = blob_key(&bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let body = || Body::file(file.path(), 400_000);
        let proxy = Proxy::start(first(2, "PUT ", Fault::CutRequest)).await;
        let (store, direct) = proxy.connect();
        store.put(&key, body()).await.unwrap();
        assert!(read(&direct, &key).await.unwrap() == bytes);
        assert_eq!(proxy.seen(&["PUT "]).len(), 3);
        let key = blob_key(&bytes);
        let proxy = Proxy::start(|_| Fault::CutRequest).await;
        let (store, direct) = proxy.connect();
        let others = host_key();
        let (put, new) =
            join(store.put(&key, Body::Bytes(bytes.clone())), store.put_new(&others, bytes)).await;
        assert!(put.is_err() && new.is_err());
        assert!(read(&direct, &key).await.is_none() && read(&direct, &others).await.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn uploads_say_how_long_they_are_and_what_their_digests_are() {
        let proxy = Proxy::start(|_| Fault::Nothing).await;
        let (store, _) = proxy.connect();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let bytes = varied(300_000);
        std::fs::write(&path, &bytes).unwrap();
        store.put(&blob_key(&bytes), Body::file(path, 300_000)).await.unwrap();
        let sha256 = format!("x-amz-content-sha256: {}", Digest::of(&bytes));
        let heads = proxy.seen(&["PUT ", "content-length: 300000\r\n", "content-md5: ", &sha256]);
        assert_eq!(heads.len(), 1, "{:?}", proxy.seen(&[]));
        assert!(!heads[0].contains("transfer-encoding"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_file_goes_in_parts_of_which_each_may_fail() {
        let lost = first(1, "POST /gv-test", Fault::LostAnswer);
        let (mut lost, mut cut) = (lost, first(2, "partNumber=2&", Fault::CutRequest));
        let mut completing = first(1, "?uploadId=", Fault::LostAnswer);
        let proxy = Proxy::start(move |head| match (cut(head), completing(head)) {
            (Fault::Nothing, Fault::Nothing) => lost(head),
            (Fault::Nothing, fault) | (fault, _) => fault,
        })
        .await;
        let (store, direct) = proxy.connect();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let bytes = varied(20_000_000);
        std::fs::write(&path, &bytes).unwrap();
        let key = blob_key(&bytes);
        store.put(&key, Body::file(path, 20_000_000)).await.unwrap();
        assert_eq!(proxy.seen(&["partNumber="]).len(), 3 + 2);
        assert_eq!(proxy.seen(&["POST ", "?uploadId="]).len(), 2, "completing it was tried again");
        let opened = direct.open(&key, None).await.unwrap().unwrap();
        let stored: Vec<Bytes> = opened.stream.try_collect().await.unwrap();
        assert!(stored.concat() == bytes);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upload_in_parts_that_fails_or_is_given_up_leaves_no_parts() {
        let proxy = Proxy::start(|head: &str| match head.contains("partNumber=2&") {
            true if head.contains("/logs/") => Fault::Silence,
            true => Fault::Answered(403, "AccessDenied"),
            false => Fault::Nothing,
        })
        .await;
        let (store, direct) = proxy.connect();
        let bytes = varied(20_000_000);
        let refused = blob_key(&bytes);
        assert!(store.put(&refused, Body::Bytes(bytes.clone())).await.is_err());
        let id = gv::domain::id::DeploymentId::new(time::OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        let given_up = Key::log(id);
        let putting = store.put(&given_up, Body::Bytes(bytes));
        assert!(tokio::time::timeout(Duration::from_secs(2), putting).await.is_err());
        let pending = async || {
            // By a link that is signed for it: rust-s3 does not read SeaweedFS's list.
            let query = std::collections::HashMap::from([("uploads".to_owned(), String::new())]);
            let link = bucket().presign_get("/", 60, Some(query)).await.unwrap();
            let list = reqwest::get(link).await.unwrap().error_for_status().unwrap().text().await.unwrap();
            [&given_up, &refused].into_iter().filter(|key| list.contains(key.as_str())).count()
        };
        let begun = Instant::now();
        while pending().await > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "parts stay behind");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(proxy.seen(&["DELETE ", "uploadId="]).len(), 2);
        assert!(read(&direct, &refused).await.is_none() && read(&direct, &given_up).await.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_conditional_write_tells_the_truth_when_its_answer_is_lost() {
        let proxy = Proxy::start(first(2, "/hosts/", Fault::LostAnswer)).await;
        let (store, direct) = proxy.connect();
        let key = host_key();
        assert!(store.put_new(&key, "ours".into()).await.unwrap(), "the first try was the one");
        assert_eq!(proxy.seen(&["PUT ", "/hosts/"]).len(), 3);
        assert_eq!(read(&direct, &key).await.unwrap(), "ours");
        let tag = direct.get(&key, MAX).await.unwrap().unwrap().tag;
        let proxy = Proxy::start(first(1, "/hosts/", Fault::LostAnswer)).await;
        let (again, direct) = proxy.connect();
        assert!(direct.put_new(&key, "ours".into()).await.unwrap());
        assert!(again.replace(&key, "newer".into(), Some(&tag)).await.unwrap());
        assert_eq!(read(&direct, &key).await.unwrap(), "newer");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_conditional_write_that_never_arrived_does_not_claim_anothers_object() {
        let proxy = Proxy::start(first(1, "/hosts/", Fault::Answered(500, "InternalError"))).await;
        let (store, direct) = proxy.connect();
        let key = host_key();
        put(&direct, &key, &"theirs".into()).await;
        assert!(!store.put_new(&key, "ours".into()).await.unwrap());
        assert_eq!(proxy.seen(&["PUT ", "/hosts/"]).len(), 2);
        assert_eq!(read(&direct, &key).await.unwrap(), "theirs");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_storage_without_conditions_is_found_out_and_used_with_care() {
        let proxy = Proxy::start(|_| Fault::Unconditional).await;
        let (store, _) = proxy.connect();
        assert_eq!(store.caution(), None);
        super::super::replace_goes_by_the_tag(&store).await;
        super::super::put_new_leaves_alone_what_is_there(&store).await;
        super::super::of_many_that_put_new_exactly_one_does(&store).await;
        super::super::of_many_that_replace_the_same_state_exactly_one_does(&store).await;
        assert!(store.caution().unwrap().contains("conditional"));
        let whole = connect();
        whole.put_new(&host_key(), "a".into()).await.unwrap();
        assert_eq!(whole.caution(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn ping_says_in_words_what_is_wrong() {
        let url = std::env::var("GV_TEST_BLOBS_URL").unwrap();
        let said = async |url: &str, keys: Option<[Secret; 2]>| {
            let keys = keys.as_ref();
            let store = S3Blobs::connect(url, keys.map(|keys| &keys[0]), keys.map(|keys| &keys[1])).unwrap();
            let error = store.ping().await.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Unavailable);
            error.to_string()
        };
        connect().ping().await.unwrap();
        let elsewhere = url.replacen("gv-test", "gv-absent", 1);
        assert!(said(&elsewhere, None).await.contains("the bucket gv-absent does not exist: create it"));
        let wrong = [["gvaccess", "hush-hush"], ["hush-hush", "gvsecretgvsecret"]];
        for keys in wrong.map(|pair| pair.map(Secret::new)) {
            let said = said(&url, Some(keys)).await;
            assert!(said.contains("does not accept the keys") && !said.contains("hush"), "{said}");
        }
        let nowhere = said("s3://gv-test?endpoint=http://127.0.0.1:9", None).await;
        assert!(nowhere.contains("cannot be reached") && nowhere.contains("refused"), "{nowhere}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_missing_bucket_is_no_missing_object() {
        let url = std::env::var("GV_TEST_BLOBS_URL").unwrap().replacen("gv-test", "gv-absent", 1);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = S3Blobs::connect(&url, None, None).unwrap();
        assert!(store.get(&host_key(), MAX).await.is_err());
        assert!(store.open(&host_key(), None).await.is_err());
        assert!(store.delete(&host_key()).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_foreign_tag_is_refused_and_not_sent() {
        let store = connect();
        let tag = Tag("a\r\nx-amz-acl: public-read".to_owned());
        assert!(store.replace(&host_key(), "a".into(), Some(&tag)).await.is_err());
    }
}
