//! What may lie in a repository, and how much of it.

use super::*;

#[tokio::test]
async fn more_files_or_bytes_than_the_limits_are_too_large() {
    let bench = Bench::new().await;
    let files: Vec<(String, String)> = (0..30).map(|at| (format!("d/{at}.txt"), "x".repeat(1_000))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let repository = bench.git.repository("site", &files).await;
    let request = bench.request(&repository.url());
    let exact = FetchLimits { files: 30, bytes: 30_000, ..request.limits };
    let fetched = bench.fetch(FetchRequest { limits: exact, ..request.clone() }).await.unwrap();
    assert_eq!((fetched.files, fetched.bytes), (30, 30_000));
    bench.forget();
    for limits in [FetchLimits { files: 29, ..exact }, FetchLimits { bytes: 29_999, ..exact }] {
        let failed = bench.fetch(FetchRequest { limits, ..request.clone() }).await;
        assert!(matches!(failed, Err(SourceError::TooLarge { .. })), "{failed:?}");
    }
}

#[tokio::test]
async fn receiving_ends_at_the_limit() {
    let bench = Bench::new().await;
    let noise: Vec<u8> = (0..400_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    repository.commit_contents("main", &[("noise", Content::File(&noise))], b"Noise").await;
    let request = bench.request(&repository.url());
    let limits = FetchLimits { bytes: 100_000, ..request.limits };
    let failed = bench.fetch(FetchRequest { limits, ..request }).await;
    assert!(matches!(failed, Err(SourceError::TooLarge { limit: 100_000, .. })), "{failed:?}");
}

#[tokio::test]
async fn a_small_pack_that_inflates_to_one_huge_file_is_too_large() {
    let bench = Bench::new().await;
    let repository = bench.git.empty_repository("zeros").await;
    let zeros = vec![0; 30_000_000];
    repository.commit_contents("main", &[("zeros", Content::File(&zeros))], b"Zeros").await;
    let request = bench.request(&repository.url());
    let limits = FetchLimits { bytes: 1_000_000, ..request.limits };
    let failed = bench.fetch(FetchRequest { limits, ..request }).await;
    assert!(matches!(failed, Err(SourceError::TooLarge { limit: 1_000_000, .. })), "{failed:?}");
}

#[tokio::test]
async fn a_repository_with_sha_256_names_is_invalid() {
    let bench = Bench::new().await;
    let repository = bench.git.empty_repository("site").await;
    repository.config("core.repositoryformatversion", "1").await;
    repository.config("extensions.objectformat", "sha256").await;
    repository.commit(&[("a", "1")], "First").await;
    let failed = bench.fetch_url(&repository.url()).await;
    assert!(matches!(&failed, Err(SourceError::Invalid(text)) if text.contains("SHA-256")), "{failed:?}");
}

#[tokio::test]
async fn a_small_pack_that_unfolds_into_millions_of_files_is_too_large() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("bomb", &[("a", "1")]).await;
    let names: Vec<String> = (0..10).map(|at| format!("d{at}")).collect();
    let blob = repository.object("blob", b"boom").await;
    let empty = repository.object("tree", b"").await;
    for (mode, leaf, what) in [("100644", blob, "files"), ("40000", empty, "folders")] {
        let leaves: Vec<_> = names.iter().map(|name| (mode, name.as_str(), leaf.as_str())).collect();
        let mut tree = repository.raw_tree(&leaves).await;
        for _ in 0..8 {
            let entries: Vec<_> = names.iter().map(|name| ("40000", name.as_str(), tree.as_str())).collect();
            tree = repository.raw_tree(&entries).await;
        }
        repository.commit_tree(&tree).await;
        let failed = bench.fetch_url(&repository.url()).await;
        assert!(
            matches!(&failed, Err(SourceError::TooLarge { what: found, .. }) if *found == what),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn forged_names_are_invalid() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("forged", &[("a", "1")]).await;
    let blob = repository.object("blob", b"evil").await;
    let inner = repository.raw_tree(&[("100644", "config", &blob)]).await;
    let names = [
        "..",
        ".",
        ".git",
        ".GIT",
        ".gIt",
        ".git ",
        ".git.",
        ".git...",
        "git~1",
        "GIT~1",
        ".git::$INDEX_ALLOCATION",
        ".g\u{200c}it",
        "a/b",
        "/etc",
        "../up",
    ];
    for name in names {
        for (mode, id) in [("100644", &blob), ("40000", &inner), ("120000", &blob)] {
            let tree = repository.raw_tree(&[(mode, name, id)]).await;
            repository.commit_tree(&tree).await;
            let failed = bench.fetch_url(&repository.url()).await;
            assert!(matches!(failed, Err(SourceError::Invalid(_))), "{mode} {name:?}: {failed:?}");
        }
    }
}

#[tokio::test]
async fn two_entries_of_one_name_are_invalid_and_nothing_is_written_through_a_link() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("forged", &[("a", "1")]).await;
    let outside = TempDir::new().unwrap();
    let link = repository.object("blob", outside.path().to_str().unwrap().as_bytes()).await;
    let blob = repository.object("blob", b"evil").await;
    let folder = repository.raw_tree(&[("100644", "evil", &blob)]).await;
    for twins in [
        [("120000", "x", &*link), ("40000", "x", &*folder)],
        [("100644", "x", &*blob), ("100644", "x", &*link)],
    ] {
        let tree = repository.raw_tree(&twins).await;
        repository.commit_tree(&tree).await;
        let failed = bench.fetch_url(&repository.url()).await;
        assert!(matches!(failed, Err(SourceError::Invalid(_))), "{failed:?}");
    }
    assert_eq!(outside.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn symbolic_links_and_executables_stay_what_they_are() {
    let bench = Bench::new().await;
    let repository = bench.git.empty_repository("site").await;
    let contents = [
        ("run.sh", Content::Executable(b"#!/bin/sh\n")),
        ("plain.txt", Content::File(b"x")),
        ("link", Content::Symlink("plain.txt")),
        ("out", Content::Symlink("/etc/passwd")),
        ("dangling", Content::Symlink("../../nowhere")),
    ];
    repository.commit_contents("main", &contents, b"Links").await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(fetched.files, 5);
    let target = |name| std::fs::read_link(bench.target().join(name)).unwrap();
    assert_eq!(target("link"), Path::new("plain.txt"));
    assert_eq!(target("out"), Path::new("/etc/passwd"));
    assert_eq!(target("dangling"), Path::new("../../nowhere"));
    let mode = |name| bench.target().join(name).metadata().unwrap().permissions().mode() & 0o111;
    assert_ne!(mode("run.sh"), 0);
    assert_eq!(mode("plain.txt"), 0);
}

#[tokio::test]
async fn attributes_are_followed_but_name_no_program() {
    let bench = Bench::new().await;
    let attributes = "*.txt text eol=crlf\n*.bin filter=evil\n";
    let files = [(".gitattributes", attributes), ("a.txt", "1\n2\n"), ("b.bin", "raw\n")];
    let repository = bench.git.repository("site", &files).await;
    bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(bench.text("a.txt"), "1\r\n2\r\n");
    assert_eq!(bench.text("b.bin"), "raw\n");
}

#[tokio::test]
async fn a_message_is_shown_by_its_first_line() {
    let bench = Bench::new().await;
    let repository = bench.git.empty_repository("site").await;
    let message = [b"caf\xe9 \x1b[31m".as_slice(), "é".repeat(600).as_bytes(), b"\nmore"].concat();
    repository.commit_contents("main", &[("a", Content::File(b"1"))], &message).await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert!(fetched.commit.message.starts_with("caf\u{fffd} [31mé"), "{}", fetched.commit.message);
    assert_eq!(fetched.commit.message.chars().count(), 500);
}

#[tokio::test]
async fn progress_is_told_in_words() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1"), ("b", "2")]).await;
    bench.git.delay(Duration::from_millis(10));
    let said = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let said = said.clone();
        Arc::new(move |words: &str| said.lock().unwrap().push(words.to_owned()))
    };
    bench.fetch(FetchRequest { progress, ..bench.request(&repository.url()) }).await.unwrap();
    let said = said.lock().unwrap().join("\n");
    assert!(said.contains("Received 4 objects, "), "{said}");
}
