//! The codings of a site's text: made when it is deployed, once for each content.

use super::Stage;
use crate::support::git::Content;
use crate::support::gv::id_of;
use gv::domain::coding::Coding;
use gv::domain::manifest::{FileEntry, Manifest};
use gv::ports::blobs::{Blobs, Key};
use serde_json::Value;

/// The manifest of a deployment, as it is stored.
async fn manifest(stage: &Stage, deployment: &Value) -> Manifest {
    let id = id_of(deployment).parse().unwrap();
    let object = stage.gv.storage().get(&Key::manifest(id), Manifest::MAX_BYTES).await.unwrap().unwrap();
    Manifest::decode(&object.bytes, id).unwrap()
}

fn entry<'m>(manifest: &'m Manifest, path: &str) -> FileEntry<'m> {
    manifest.files.get(path).unwrap().1
}

/// The codings of a file, each of them read from where the manifest says that it is.
async fn decoded(storage: &dyn Blobs, manifest: &Manifest, path: &str) -> Vec<(Coding, Vec<u8>)> {
    let entry = entry(manifest, path);
    let mut all = Vec::new();
    for (coding, coded) in entry.codings.iter() {
        let key = Key::coded(manifest.account, &entry.digest, &coded.check, coding);
        let bytes = storage.get(&key, u64::from(coded.size)).await.unwrap().unwrap().bytes;
        assert_eq!(bytes.len(), coded.size as usize, "{path} in {coding}");
        let mut raw = Vec::new();
        match coding {
            Coding::Brotli => brotli::BrotliDecompress(&mut &bytes[..], &mut raw).unwrap(),
            Coding::Zstd => raw = zstd::decode_all(&bytes[..]).unwrap(),
            Coding::Gzip => {
                std::io::copy(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut raw).unwrap();
            }
        }
        all.push((coding, raw));
    }
    all
}

async fn objects_put(stage: &Stage) -> f64 {
    stage.gv.metric("gv_blobs_operations_total", &["op=\"put\"", "result=\"ok\""]).await
}

fn page(title: &str) -> String {
    format!("<h1>{title}</h1>{}", "<p>and so on, and so on</p>".repeat(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_kept_in_every_coding_and_images_and_tiny_files_in_none() {
    let stage = Stage::set().await;
    let (index, wide) = (page("first"), page("wide"));
    let repository = stage.git.repository("coded", &[("index.html", &index), ("tiny.css", "a{}")]).await;
    let files =
        [("image.png", Content::File(wide.as_bytes())), ("copy.html", Content::File(index.as_bytes()))];
    repository.commit_contents("main", &files, b"an image").await;
    let deployment = stage.deploy(&repository).await;
    let manifest = manifest(&stage, &deployment).await;
    let storage = stage.gv.storage();
    for path in ["index.html", "copy.html"] {
        let expected = Coding::ALL.map(|coding| (coding, index.clone().into_bytes()));
        assert_eq!(decoded(&*storage, &manifest, path).await, expected, "{path}");
    }
    for path in ["image.png", "tiny.css"] {
        assert!(entry(&manifest, path).codings.is_empty(), "{path}");
    }
    let log = stage.gv.deployment_log(&id_of(&deployment)).await;
    assert!(log.contains("Uploading 3 new of 4 files"), "{log}");
    assert!(log.contains("Compressed 1 file ("), "{log}");
    assert!(log.contains("0 known already."), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_deployment_codes_only_what_changed() {
    let stage = Stage::set().await;
    let pages: Vec<(String, String)> =
        (0..20).map(|n| (format!("page-{n}.html"), page(&format!("page {n}")))).collect();
    let pages: Vec<(&str, &str)> = pages.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let repository = stage.git.repository("twenty", &pages).await;
    let before = objects_put(&stage).await;
    let first = stage.deploy(&repository).await;
    let after_first = objects_put(&stage).await;
    // Twenty files, three codings of each, the source.
    assert_eq!(after_first - before, 81.0);
    repository.commit(&[("page-7.html", &page("changed"))], "change one").await;
    let second = stage.deploy(&repository).await;
    // The changed file, its codings, the source.
    assert_eq!(objects_put(&stage).await - after_first, 5.0);
    let log = stage.gv.deployment_log(&id_of(&second)).await;
    assert!(log.contains("Compressed 1 file (") && log.contains("19 known already."), "{log}");
    let (first, second) = (manifest(&stage, &first).await, manifest(&stage, &second).await);
    for (path, old) in first.files.iter() {
        let new = entry(&second, path);
        assert_eq!(old == new, path != "page-7.html", "{path}");
        assert_eq!(decoded(&*stage.gv.storage(), &second, path).await.len(), 3, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codings_are_made_again_where_the_file_is_gone() {
    let stage = Stage::set().await;
    let index = page("once");
    let repository = stage.git.repository("gone", &[("index.html", &index)]).await;
    let first = stage.deploy(&repository).await;
    let first = manifest(&stage, &first).await;
    let storage = stage.gv.storage();
    let lost = entry(&first, "index.html");
    storage.delete(&Key::blob(first.account, &lost.digest)).await.unwrap();
    for (coding, coded) in lost.codings.iter() {
        storage.delete(&Key::coded(first.account, &lost.digest, &coded.check, coding)).await.unwrap();
    }
    repository.commit(&[("other.html", "other")], "something else").await;
    let second = stage.deploy(&repository).await;
    let second = manifest(&stage, &second).await;
    assert_eq!(decoded(&*storage, &second, "index.html").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_previous_manifest_that_cannot_be_read_is_no_trouble() {
    let stage = Stage::set().await;
    let repository = stage.git.repository("lost", &[("index.html", &page("once"))]).await;
    let first = stage.deploy(&repository).await;
    stage.gv.storage().delete(&Key::manifest(id_of(&first).parse().unwrap())).await.unwrap();
    repository.commit(&[("other.html", "other")], "something else").await;
    let second = stage.deploy(&repository).await;
    let second = manifest(&stage, &second).await;
    assert_eq!(decoded(&*stage.gv.storage(), &second, "index.html").await.len(), 3);
}
