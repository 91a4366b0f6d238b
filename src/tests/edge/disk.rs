//! The disk layer: what it holds outlives memory and process, and is never believed unseen.

use super::{Answer, Running, noise};
use gv::edge::{DiskSettings, EdgeSettings};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn settings(dir: &Path, bytes: u64) -> EdgeSettings {
    let disk = Some(DiskSettings { dir: dir.to_owned(), bytes });
    EdgeSettings { memory_bytes: 4 << 20, pointer_ttl: super::HOUR, disk, ..EdgeSettings::default() }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let shelves = std::fs::read_dir(dir).unwrap().map(|shelf| shelf.unwrap().path());
    let files = shelves.filter(|path| path.is_dir()).flat_map(|shelf| std::fs::read_dir(shelf).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// Asks until the answer comes from disk: it gets there behind visitors' backs.
async fn from_disk(edge: &Running, path: &str) -> Answer {
    for _ in 0..500 {
        let answer = edge.get(path).await;
        if answer.field("cache-status") == "gv-edge; hit; detail=disk" {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} never comes from disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_too_large_for_memory_are_read_from_storage_once() {
    let dir = tempfile::tempdir().unwrap();
    let edge = Running::with_settings(settings(dir.path(), 64 << 20)).await;
    let large = noise(3 << 20, 1);
    edge.publish_files(&[("large", &large)]).await;
    assert!(edge.get("/large").await.body == large);
    assert!(from_disk(&edge, "/large").await.body == large);
    let reads = edge.blobs.reads("blobs/");
    let part = edge.ask("GET", "/large", &["Range: bytes=1000000-1000009"]).await;
    assert_eq!((part.status, &part.body[..]), (206, &large[1_000_000..1_000_010]));
    assert_eq!(edge.blobs.reads("blobs/"), reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_there_is_found_again_and_wrong_bytes_are_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (noise(10_000, 1), noise(3 << 20, 2));
    let first = Running::with_settings(settings(dir.path(), 64 << 20)).await;
    let manifest = first.publish_files(&[("small", &small), ("large", &large)]).await;
    for path in ["/small", "/large"] {
        assert_eq!(first.get(path).await.status, 200);
    }
    while files_below(dir.path()).iter().filter(|file| !file.to_string_lossy().contains("/new-")).count() < 2
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let folder = first.end().await;

    let second = Running::above(folder, settings(dir.path(), 64 << 20)).await;
    assert_eq!(second.get("/small").await.field("cache-status"), "gv-edge; hit; detail=disk");
    assert!(from_disk(&second, "/large").await.body == large);
    assert_eq!(second.blobs.reads("blobs/"), 0);
    let folder = second.end().await;

    for file in files_below(dir.path()) {
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    let third = Running::above(folder, settings(dir.path(), 64 << 20)).await;
    let answer = third.get("/small").await;
    assert!(answer.status == 200 && answer.body == small, "it comes from below");
    assert!(third.get("/large").await.body.len() < large.len(), "a wrong end is never given");
    assert!(third.get("/large").await.body == large, "and the next visitor's is right");
    drop(manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_no_more_than_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let edge = Running::with_settings(settings(dir.path(), 2 << 20)).await;
    let files: Vec<_> = (0..20).map(|i| (format!("f{i}"), noise(300 << 10, 100 + i))).collect();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    edge.publish_files(&named).await;
    for (name, bytes) in &files {
        assert!(edge.get(&format!("/{name}")).await.body == *bytes, "{name}");
    }
    edge.end().await;
    let used: u64 = files_below(dir.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(used <= 2 << 20, "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_belongs_to_one_edge() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::with_settings(settings(dir.path(), 2 << 20)).await;
    first.publish_files(&[("index.html", b"hi")]).await;
    assert_eq!(first.get("/").await.status, 200);
    let second = Running::with_settings(settings(dir.path(), 2 << 20)).await;
    let refused = second.serving.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("another edge uses"), "{refused}");
}
