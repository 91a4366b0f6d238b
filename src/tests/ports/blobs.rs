//! What every object storage must do, whatever it keeps objects in. Each rule uses keys of its
//! own, so that a storage may be shared by all.

use bytes::Bytes;
use futures_util::future::{join, join_all};
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use gv::adapters::blobs::filesystem::FilesystemBlobs;
use gv::adapters::blobs::metered::Metered;
use gv::domain::coding::Coding;
use gv::domain::digest::{Digest, Digester};
use gv::domain::host::Hostname;
use gv::domain::id::{DeploymentId, UserId};
use gv::domain::manifest::CodedCheck;
use gv::ports::blobs::{Blobs, Body, Key, Tag};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use time::OffsetDateTime;

mod proxy;
mod s3;

/// All rules, for adapters of the module that it stands in.
macro_rules! rules {
    ($($adapter:ident),+) => {
        contract!([$($adapter),+] [
            what_is_stored_is_read_back_under_its_key_alone,
            an_object_may_be_empty,
            what_is_absent_is_no_error,
            put_goes_over_what_was_there,
            a_file_is_stored_like_bytes,
            a_file_that_changed_its_length_is_refused,
            many_objects_are_stored_at_once,
            one_bad_object_fails_its_batch,
            put_new_leaves_alone_what_is_there,
            of_many_that_put_new_exactly_one_does,
            replace_goes_by_the_tag,
            of_many_that_replace_the_same_state_exactly_one_does,
            readers_never_see_half_an_object,
            get_refuses_what_is_larger_than_asked_for,
            ranges_are_clipped_to_the_object,
            a_large_object_comes_as_a_stream,
            missing_names_what_is_absent_of_thousands,
            a_deleted_object_is_gone_and_can_be_stored_anew,
            ping_answers,
        ]);
    };
}

rules!(filesystem, metered);

/// On the S3 server of `GV_TEST_BLOBS_URL`.
mod real {
    use super::*;

    rules!(bucket);

    async fn bucket() -> (Box<dyn Blobs>, ()) {
        (Box::new(s3::connect()), ())
    }
}

async fn filesystem() -> (Box<dyn Blobs>, TempDir) {
    let root = tempfile::tempdir().unwrap();
    (Box::new(FilesystemBlobs::open(root.path()).unwrap()), root)
}

async fn metered() -> (Box<dyn Blobs>, TempDir) {
    let (inner, root) = filesystem().await;
    (Box::new(Metered::new(Arc::from(inner))), root)
}

const MAX: u64 = 1 << 20;

fn account() -> UserId {
    UserId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())
}

fn blob_key(bytes: &[u8]) -> Key {
    Key::blob(account(), &Digest::of(bytes))
}

/// The one kind of key whose object is rewritten.
fn host_key() -> Key {
    let name = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
    Key::host(&Hostname::parse(&format!("{}.test", name.body())).unwrap())
}

async fn read(store: &dyn Blobs, key: &Key) -> Option<Bytes> {
    store.get(key, MAX).await.unwrap().map(|object| object.bytes)
}

async fn read_range(store: &dyn Blobs, key: &Key, range: Option<Range<u64>>) -> (u64, Range<u64>, Vec<u8>) {
    let opened = store.open(key, range).await.unwrap().unwrap();
    let bytes: Vec<Bytes> = opened.stream.try_collect().await.unwrap();
    (opened.total, opened.range, bytes.concat())
}

async fn what_is_stored_is_read_back_under_its_key_alone(store: &dyn Blobs) {
    let id = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
    let coded = Key::coded(account(), &Digest::of(b"a"), &CodedCheck::of(b"coded"), Coding::Zstd);
    let keys =
        [blob_key(b"a"), coded, Key::manifest(id), Key::source(account(), id), Key::log(id), host_key()];
    for key in &keys {
        store.put(key, Body::Bytes(key.to_string().into())).await.unwrap();
    }
    for key in &keys {
        let object = store.get(key, MAX).await.unwrap().unwrap();
        assert_eq!(object.bytes, key.as_str());
        assert_eq!(read_range(store, key, None).await.2, key.as_str().as_bytes());
    }
}

async fn an_object_may_be_empty(store: &dyn Blobs) {
    let key = blob_key(b"");
    store.put(&key, Body::Bytes(Bytes::new())).await.unwrap();
    assert_eq!(read(store, &key).await.unwrap(), "");
    assert_eq!(read_range(store, &key, None).await, (0, 0..0, Vec::new()));
    assert!(store.missing(std::slice::from_ref(&key)).await.unwrap().is_empty());
}

async fn what_is_absent_is_no_error(store: &dyn Blobs) {
    let key = blob_key(b"absent");
    assert!(store.get(&key, MAX).await.unwrap().is_none());
    assert!(store.open(&key, None).await.unwrap().is_none());
    assert!(store.open(&key, Some(3..9)).await.unwrap().is_none());
    let asked = std::slice::from_ref(&key);
    assert_eq!(store.missing(asked).await.unwrap(), asked);
    store.delete(&key).await.unwrap();
}

async fn put_goes_over_what_was_there(store: &dyn Blobs) {
    let key = host_key();
    for text in ["a longer first text", "second"] {
        store.put(&key, Body::Bytes(text.into())).await.unwrap();
        assert_eq!(read(store, &key).await.unwrap(), text);
    }
}

async fn a_file_is_stored_like_bytes(store: &dyn Blobs) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    let bytes = varied(300_000);
    std::fs::write(&path, &bytes).unwrap();
    let key = blob_key(&bytes);
    store.put(&key, Body::file(&path, 300_000)).await.unwrap();
    std::fs::write(&path, "what happens to the file afterwards is nothing to the object").unwrap();
    assert!(read(store, &key).await.unwrap() == bytes);
}

async fn a_file_that_changed_its_length_is_refused(store: &dyn Blobs) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    std::fs::write(&path, "12345").unwrap();
    for len in [0, 4, 6] {
        let key = blob_key(b"12345");
        assert!(store.put(&key, Body::file(&path, len)).await.is_err(), "{len}");
        assert!(store.get(&key, MAX).await.unwrap().is_none());
    }
}

async fn many_objects_are_stored_at_once(store: &dyn Blobs) {
    let scratch = tempfile::tempdir().unwrap();
    let accounts = [account(), account()];
    let objects: Vec<(Key, Body)> = (0..200_usize)
        .map(|n| {
            let text = format!("object {n}");
            let body = if n % 2 == 0 {
                Body::Bytes(text.clone().into())
            } else {
                let path = scratch.path().join(n.to_string());
                std::fs::write(&path, &text).unwrap();
                Body::file(path, text.len() as u64)
            };
            (Key::blob(accounts[n % 3 % 2], &Digest::of(text.as_bytes())), body)
        })
        .collect();
    let keys: Vec<Key> = objects.iter().map(|(key, _)| key.clone()).collect();
    store.put_all(objects).await.unwrap();
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(read(store, key).await.unwrap(), format!("object {n}"));
    }
    store.put_all(Vec::new()).await.unwrap();
}

async fn one_bad_object_fails_its_batch(store: &dyn Blobs) {
    let mut objects: Vec<(Key, Body)> =
        (0..20).map(|n| (blob_key(&[n]), Body::Bytes(vec![n].into()))).collect();
    objects[7].1 = Body::file("/nonexistent/file", 1);
    let bad = objects[7].0.clone();
    assert!(store.put_all(objects).await.is_err());
    assert!(store.get(&bad, MAX).await.unwrap().is_none());
}

async fn put_new_leaves_alone_what_is_there(store: &dyn Blobs) {
    let key = host_key();
    assert!(store.put_new(&key, "first".into()).await.unwrap());
    assert!(!store.put_new(&key, "second".into()).await.unwrap());
    assert_eq!(read(store, &key).await.unwrap(), "first");
}

async fn of_many_that_put_new_exactly_one_does(store: &dyn Blobs) {
    let key = host_key();
    let racers = (0..30).map(|n| store.put_new(&key, format!("racer {n}").into()));
    let won: Vec<bool> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(read(store, &key).await.unwrap(), format!("racer {winner}"));
}

async fn replace_goes_by_the_tag(store: &dyn Blobs) {
    let key = host_key();
    let stranger = Tag("0123456789abcdef0123456789abcdef".to_owned());
    assert!(!store.replace(&key, "nothing is there".into(), Some(&stranger)).await.unwrap());
    assert!(store.replace(&key, "first".into(), None).await.unwrap());
    assert!(!store.replace(&key, "something is there".into(), None).await.unwrap());
    assert!(!store.replace(&key, "not this".into(), Some(&stranger)).await.unwrap());
    let first = store.get(&key, MAX).await.unwrap().unwrap();
    assert_eq!(first.bytes, "first");
    assert!(store.replace(&key, "second".into(), Some(&first.tag)).await.unwrap());
    assert!(!store.replace(&key, "late".into(), Some(&first.tag)).await.unwrap());
    let second = store.get(&key, MAX).await.unwrap().unwrap();
    assert_eq!(second.bytes, "second");
    assert_ne!(second.tag, first.tag);
    store.delete(&key).await.unwrap();
    assert!(!store.replace(&key, "it is gone".into(), Some(&second.tag)).await.unwrap());
    assert!(store.get(&key, MAX).await.unwrap().is_none());
}

async fn of_many_that_replace_the_same_state_exactly_one_does(store: &dyn Blobs) {
    let key = host_key();
    for first in [true, false] {
        let before = store.get(&key, MAX).await.unwrap();
        assert_eq!(before.is_none(), first);
        let tag = before.as_ref().map(|object| &object.tag);
        let racers = (0..50).map(|n| store.replace(&key, format!("{first} {n}").into(), tag));
        let won: Vec<bool> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        let winner = won.iter().position(|won| *won).unwrap();
        assert_eq!(read(store, &key).await.unwrap(), format!("{first} {winner}"));
    }
}

async fn readers_never_see_half_an_object(store: &dyn Blobs) {
    let key = host_key();
    // Of two lengths, each of one letter: a mix or a piece of them is seen at once.
    let texts = [Bytes::from(vec![b'a'; 300_000]), Bytes::from(vec![b'b'; 170_000])];
    store.put(&key, Body::Bytes(texts[0].clone())).await.unwrap();
    let done = AtomicBool::new(false);
    let writer = async {
        for n in 0..20 {
            store.put(&key, Body::Bytes(texts[n % 2].clone())).await.unwrap();
            let now = store.get(&key, MAX).await.unwrap().unwrap();
            assert!(store.replace(&key, texts[(n + 1) % 2].clone(), Some(&now.tag)).await.unwrap());
        }
        done.store(true, Ordering::Relaxed);
    };
    let readers = (0..4).map(|_| async {
        while !done.load(Ordering::Relaxed) {
            let bytes = read(store, &key).await.unwrap();
            assert!(texts.contains(&bytes), "{} bytes, a part of one text", bytes.len());
            let (total, range, bytes) = read_range(store, &key, None).await;
            assert_eq!((total, range.end), (bytes.len() as u64, bytes.len() as u64));
            assert!(texts.contains(&Bytes::from(bytes)), "a stream of two texts");
        }
    });
    join(writer, join_all(readers)).await;
}

async fn get_refuses_what_is_larger_than_asked_for(store: &dyn Blobs) {
    let key = blob_key(b"12345");
    store.put(&key, Body::Bytes("12345".into())).await.unwrap();
    assert!(store.get(&key, 5).await.unwrap().is_some());
    assert!(store.get(&key, 4).await.is_err());
}

async fn ranges_are_clipped_to_the_object(store: &dyn Blobs) {
    let key = blob_key(b"0123456789");
    store.put(&key, Body::Bytes("0123456789".into())).await.unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "a stranger's request may ask for one")]
    let cases = [
        (0..10, 0..10),
        (2..5, 2..5),
        (9..10, 9..10),
        (4..400, 4..10),
        (0..u64::MAX, 0..10),
        (3..3, 3..3),
        (10..20, 10..10),
        (15..20, 10..10),
        (7..2, 7..7),
    ];
    for (asked, given) in cases {
        let (total, range, bytes) = read_range(store, &key, Some(asked.clone())).await;
        assert_eq!((total, range), (10, given.clone()), "{asked:?}");
        assert_eq!(bytes, b"0123456789"[given.start as usize..given.end as usize], "{asked:?}");
    }
}

async fn a_large_object_comes_as_a_stream(store: &dyn Blobs) {
    let bytes = varied(20_000_000);
    let key = blob_key(&bytes);
    store.put(&key, Body::Bytes(bytes.clone())).await.unwrap();
    let mut opened = store.open(&key, None).await.unwrap().unwrap();
    assert_eq!((opened.total, opened.range), (20_000_000, 0..20_000_000));
    let (mut digester, mut largest) = (Digester::default(), 0);
    while let Some(piece) = opened.stream.next().await {
        let piece = piece.unwrap();
        largest = largest.max(piece.len());
        digester.update(&piece);
    }
    assert_eq!(digester.finish(), Digest::of(&bytes));
    assert!(largest <= 4 << 20, "a piece of {largest} bytes is hardly a stream");
    let (_, _, middle) = read_range(store, &key, Some(9_999_000..10_200_000)).await;
    assert!(middle == bytes[9_999_000..10_200_000]);
}

async fn missing_names_what_is_absent_of_thousands(store: &dyn Blobs) {
    let (ours, others) = (account(), account());
    let key = |account, n: u32| Key::blob(account, &Digest::of(&n.to_be_bytes()));
    let there: HashSet<u32> = (0..2500).step_by(50).collect();
    let body = || Body::Bytes("x".into());
    store.put_all(there.iter().map(|n| (key(ours, *n), body())).collect()).await.unwrap();
    let asked: Vec<Key> = (0..2500).map(|n| key(ours, n)).collect();
    let missing: HashSet<Key> = store.missing(&asked).await.unwrap().into_iter().collect();
    let absent: HashSet<Key> = (0..2500).filter(|n| !there.contains(n)).map(|n| key(ours, n)).collect();
    assert!(missing == absent, "{} instead of {}", missing.len(), absent.len());
    let elsewhere: Vec<Key> = there.iter().map(|n| key(others, *n)).collect();
    assert_eq!(store.missing(&elsewhere).await.unwrap().len(), elsewhere.len());
    assert!(store.missing(&[]).await.unwrap().is_empty());
}

async fn a_deleted_object_is_gone_and_can_be_stored_anew(store: &dyn Blobs) {
    let key = host_key();
    store.put(&key, Body::Bytes("old".into())).await.unwrap();
    store.delete(&key).await.unwrap();
    assert!(store.get(&key, MAX).await.unwrap().is_none());
    assert!(store.put_new(&key, "new".into()).await.unwrap());
    assert_eq!(read(store, &key).await.unwrap(), "new");
}

async fn ping_answers(store: &dyn Blobs) {
    store.ping().await.unwrap();
}

/// Bytes of which no two places look alike.
fn varied(len: usize) -> Bytes {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn two_processes_that_share_a_folder_see_and_respect_each_others_objects() {
    let root = tempfile::tempdir().unwrap();
    let stores = [(); 2].map(|()| FilesystemBlobs::open(root.path()).unwrap());
    let key = host_key();
    assert!(stores[0].put_new(&key, "first".into()).await.unwrap());
    let tag = stores[1].get(&key, MAX).await.unwrap().unwrap().tag;
    let racers = (0..40).map(|n| stores[n % 2].replace(&key, format!("racer {n}").into(), Some(&tag)));
    let won = join_all(racers).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1);
}
