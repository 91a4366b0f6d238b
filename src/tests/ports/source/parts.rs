//! What belongs to a repository and lies elsewhere: its submodules, and the files that Git LFS keeps.

use super::*;

/// A site whose theme is a submodule, as `.gitmodules` says it is.
async fn site(bench: &Bench, name: &str, commit: &str, url: &str) -> Repository {
    let repository = bench.git.repository(name, &[("a", "1")]).await;
    let modules = format!("[submodule \"theme\"]\n\tpath = themes/t\n\turl = {url}\n");
    let contents =
        [("themes/t", Content::Submodule(commit)), (".gitmodules", Content::File(modules.as_bytes()))];
    repository.commit_contents("main", &contents, b"A theme").await;
    repository
}

fn cause(failed: Result<Fetched, SourceError>) -> SourceError {
    match failed {
        Err(SourceError::Submodule { path, cause, .. }) => {
            assert_eq!(path, "themes/t");
            *cause
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn submodules_are_checked_out_at_their_commits_with_theirs_and_with_the_same_token() {
    let bench = Bench::new().await;
    let icons = bench.git.repository("icons", &[("icon.svg", "<svg/>")]).await;
    let icons = icons.git(&["rev-parse", "main"]).await;
    let theme = bench.git.repository("theme", &[("style.css", "first")]).await;
    let modules = b"[submodule \"i\"]\n\tpath = icons\n\turl = ../icons.git\n";
    let contents = [("icons", Content::Submodule(&icons)), (".gitmodules", Content::File(modules))];
    let pinned = theme.commit_contents("main", &contents, b"Icons").await;
    theme.commit(&[("style.css", "later")], "Not what the site was made with").await;
    let repository = site(&bench, "site", &pinned, &bench.git.url("theme.git")).await;
    bench.git.require_token("hush");
    let token = Some(Secret::new("hush"));
    let fetched = bench.fetch(FetchRequest { token, ..bench.request(&repository.url()) }).await.unwrap();
    assert_eq!(bench.text("themes/t/style.css"), "first");
    assert_eq!(bench.text("themes/t/icons/icon.svg"), "<svg/>");
    assert_eq!((fetched.files, fetched.submodules), (5, Vec::<String>::new()));
    assert!(paths(&bench.target()).iter().all(|path| !path.contains(".git/")));
}

#[tokio::test]
async fn a_submodule_that_cannot_be_had_fails_the_fetch_and_is_named() {
    let bench = Bench::new().await;
    let theme = bench.git.repository("theme", &[("style.css", "first")]).await;
    let head = theme.git(&["rev-parse", "main"]).await;
    let absent = "0123456789012345678901234567890123456789";
    let url = bench.git.url("theme.git");
    let lost = site(&bench, "lost", absent, &url).await;
    assert!(
        matches!(cause(bench.fetch_url(&lost.url()).await), SourceError::RefNotFound(name) if name == absent)
    );
    let missing = site(&bench, "missing", &head, "../nothing.git").await;
    assert!(matches!(cause(bench.fetch_url(&missing.url()).await), SourceError::NotFound));
    let local = site(&bench, "local", &head, "/srv/git/theme").await;
    assert!(matches!(cause(bench.fetch_url(&local.url()).await), SourceError::Invalid(_)));
    // By ssh means by https on the same host, which here nobody allowed.
    let ssh = site(&bench, "ssh", &head, "git@127.0.0.1:team/theme.git").await;
    assert!(matches!(cause(bench.fetch_url(&ssh.url()).await), SourceError::AddressRefused(_)));
}

#[tokio::test]
async fn a_submodule_on_another_origin_never_sees_the_token() {
    let bench = Bench::new().await;
    let other = GitServer::start().await;
    let theme = other.repository("theme", &[("style.css", "first")]).await;
    let head = theme.git(&["rev-parse", "main"]).await;
    let repository = site(&bench, "site", &head, &theme.url()).await;
    bench.git.require_token("hush");
    let bench = Bench { source: source(&[bench.git.address(), other.address()]), ..bench };
    let token = Some(Secret::new("hush"));
    bench.fetch(FetchRequest { token, ..bench.request(&repository.url()) }).await.unwrap();
    assert_eq!(bench.text("themes/t/style.css"), "first");
    assert!(other.requests().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn all_repositories_together_are_within_the_limits() {
    let bench = Bench::new().await;
    let files: Vec<(String, String)> = (0..20).map(|at| (format!("{at}.txt"), "x".repeat(100))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let theme = bench.git.repository("theme", &files).await;
    let head = theme.git(&["rev-parse", "main"]).await;
    let repository = site(&bench, "site", &head, "../theme.git").await;
    let request = bench.request(&repository.url());
    let limits = FetchLimits { files: 21, ..request.limits };
    let failed = bench.fetch(FetchRequest { limits, ..request.clone() }).await;
    assert!(matches!(failed, Err(SourceError::TooLarge { .. })), "{failed:?}");
    let limits = FetchLimits { files: 22, ..request.limits };
    assert_eq!(bench.fetch(FetchRequest { limits, ..request }).await.unwrap().files, 22);
}

#[tokio::test]
async fn a_repository_that_is_its_own_submodule_ends_at_a_limit() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let mut head = repository.git(&["rev-parse", "main"]).await;
    for _ in 0..6 {
        let modules = b"[submodule \"s\"]\n\tpath = s\n\turl = ../site.git\n";
        let contents = [("s", Content::Submodule(&head)), (".gitmodules", Content::File(modules))];
        head = repository.commit_contents("main", &contents, b"Deeper").await;
    }
    let failed = bench.fetch_url(&repository.url()).await;
    assert!(
        matches!(failed, Err(SourceError::TooLarge { what: "submodules in one another", .. })),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_submodule_that_nothing_says_the_place_of_is_named_and_left_empty() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let commit = repository.git(&["rev-parse", "main"]).await;
    repository.commit_contents("main", &[("themes/t", Content::Submodule(&commit))], b"By accident").await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!((fetched.submodules, fetched.files), (vec!["themes/t".to_owned()], 1));
}

#[tokio::test]
async fn files_that_git_lfs_keeps_stand_in_the_place_of_their_pointers() {
    let bench = Bench::new().await;
    let photo = vec![7; 300_000];
    let pointer = bench.git.keep_large(&photo);
    let files = [
        (".gitattributes", "*.jpg filter=lfs diff=lfs merge=lfs -text\n"),
        ("img/photo.jpg", pointer.as_str()),
        ("img/again.jpg", pointer.as_str()),
        ("small.txt", "no pointer"),
    ];
    let repository = bench.git.repository("site", &files).await;
    bench.git.require_token("hush");
    let token = Some(Secret::new("hush"));
    bench.fetch(FetchRequest { token, ..bench.request(&repository.url()) }).await.unwrap();
    for path in ["img/photo.jpg", "img/again.jpg"] {
        assert_eq!(std::fs::read(bench.target().join(path)).unwrap(), photo, "{path}");
    }
    assert_eq!(bench.text("small.txt"), "no pointer");
}

#[tokio::test]
async fn large_files_that_are_missing_wrong_or_too_large_fail_the_fetch() {
    let bench = Bench::new().await;
    let attributes = (".gitattributes", "*.bin filter=lfs\n");
    let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let absent = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
    let forged = bench.git.keep_large_as(b"as it was", b"as it is.");
    for (name, pointer) in [("absent", absent), ("forged", forged)] {
        let repository = bench.git.repository(name, &[attributes, ("a.bin", &pointer)]).await;
        let failed = bench.fetch_url(&repository.url()).await;
        assert!(matches!(&failed, Err(SourceError::LargeFiles(why)) if why.contains("a.bin")), "{failed:?}");
    }
    let pointer = bench.git.keep_large(&vec![1; 200_000]);
    let repository = bench.git.repository("large", &[attributes, ("a.bin", &pointer)]).await;
    let request = bench.request(&repository.url());
    let limits = FetchLimits { bytes: 100_000, ..request.limits };
    let failed = bench.fetch(FetchRequest { limits, ..request }).await;
    assert!(matches!(failed, Err(SourceError::TooLarge { limit: 100_000, .. })), "{failed:?}");
    // Without a word of LFS in .gitattributes it is a text like any other.
    let plain = bench.git.repository("plain", &[("a.bin", &pointer)]).await;
    bench.fetch_url(&plain.url()).await.unwrap();
    assert_eq!(bench.text("a.bin"), pointer);
}
