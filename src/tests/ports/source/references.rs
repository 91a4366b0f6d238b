//! What is checked out: branches, tags, commits.

use super::*;

#[tokio::test]
async fn the_default_branch_is_checked_out_when_nothing_is_named() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("index.html", "<h1>old</h1>"), ("old.txt", "")]).await;
    let contents = [
        ("index.html", Content::File(b"<h1>hi</h1>")),
        ("css/deep/a.css", Content::File(b"a{}")),
        ("old.txt", Content::Deleted),
    ];
    let id = repository.commit_contents("main", &contents, b"Second commit\n\nIts body.").await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(paths(&bench.target()), ["css/deep/a.css", "index.html"].map(String::from).into());
    assert_eq!(bench.text("index.html"), "<h1>hi</h1>");
    assert_eq!(fetched.commit.id, id);
    assert_eq!(fetched.commit.message, "Second commit");
    assert_eq!(fetched.commit.branch.as_deref(), Some("main"));
    assert_eq!(fetched.default_branch.as_deref(), Some("main"));
    assert_eq!((fetched.files, fetched.bytes), (2, 14));
    assert_eq!(fetched.submodules, Vec::<String>::new());
}

#[tokio::test]
async fn one_fetch_asks_the_server_three_times() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    bench.fetch_url(&repository.url()).await.unwrap();
    let seen: Vec<_> = bench.git.requests().into_iter().map(|seen| (seen.method, seen.target)).collect();
    let [capabilities, references, pack] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((&*capabilities.0, &*capabilities.1), ("GET", "/site.git/info/refs?service=git-upload-pack"));
    for (method, target) in [references, pack] {
        assert_eq!((&**method, &**target), ("POST", "/site.git/git-upload-pack"));
    }
}

#[tokio::test]
async fn a_repository_is_found_by_its_url_without_git_and_with_a_slash_too() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    bench.git.redirect("/site/", "/site.git/");
    for url in [format!("{}/", repository.url()), bench.git.url("site")] {
        bench.fetch_url(&url).await.unwrap();
        bench.forget();
    }
}

#[tokio::test]
async fn a_branch_is_followed_by_its_name() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "main")]).await;
    repository.branch("feature/x").await;
    let id = repository.commit_on("feature/x", &[("a", "feature")], "Feature").await;
    repository.default_branch("feature/x").await;
    let fetched = bench.fetch_ref(&repository, "main").await.unwrap();
    assert_eq!(bench.text("a"), "main");
    assert_eq!(fetched.commit.branch.as_deref(), Some("main"));
    assert_eq!(fetched.default_branch.as_deref(), Some("feature/x"));
    bench.forget();
    for name in ["feature/x", "refs/heads/feature/x"] {
        let fetched = bench.fetch_ref(&repository, name).await.unwrap();
        assert_eq!((fetched.commit.id.as_str(), fetched.commit.branch.as_deref()), (&*id, Some("feature/x")));
        bench.forget();
    }
}

#[tokio::test]
async fn a_tag_light_or_annotated_gives_its_commit_and_no_branch() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    repository.tag("v1").await;
    repository.annotated_tag("v1-signed").await;
    let tagged = repository.git(&["rev-parse", "main"]).await;
    repository.commit(&[("a", "2")], "Later").await;
    for name in ["v1", "v1-signed", "refs/tags/v1"] {
        let fetched = bench.fetch_ref(&repository, name).await.unwrap();
        assert_eq!((fetched.commit.id.as_str(), fetched.commit.branch), (&*tagged, None), "{name}");
        assert_eq!(bench.text("a"), "1");
        bench.forget();
    }
}

#[tokio::test]
async fn a_commit_is_fetched_by_all_its_digits() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let first = repository.git(&["rev-parse", "main"]).await;
    repository.commit(&[("a", "2")], "Later").await;
    let fetched = bench.fetch_ref(&repository, &first.to_uppercase()).await.unwrap();
    assert_eq!((fetched.commit.id.as_str(), fetched.commit.branch), (&*first, None));
    assert_eq!(bench.text("a"), "1");
    bench.forget();
    for unknown in
        [&first[..10], "0123456789012345678901234567890123456789", "no-such-branch", "refs/heads/mai"]
    {
        match bench.fetch_ref(&repository, unknown).await {
            Err(SourceError::RefNotFound(name)) => assert_eq!(name, unknown),
            other => panic!("{unknown}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_object_that_is_no_commit_is_invalid() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let blob = repository.git(&["rev-parse", "main:a"]).await;
    let failed = bench.fetch_ref(&repository, &blob).await;
    assert!(matches!(failed, Err(SourceError::Invalid(_))), "{failed:?}");
}

#[tokio::test]
async fn the_commit_of_an_earlier_attempt_is_checked_out_again_whatever_the_branch_says_now() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let first = repository.git(&["rev-parse", "main"]).await;
    repository.commit(&[("a", "2")], "Later").await;
    for reference in [None, Some(GitRef::parse("main").unwrap())] {
        let commit = Some(first.clone());
        let request = FetchRequest { commit, reference, ..bench.request(&repository.url()) };
        let fetched = bench.fetch(request).await.unwrap();
        assert_eq!((fetched.commit.id.as_str(), fetched.commit.branch.as_deref()), (&*first, Some("main")));
        assert_eq!(bench.text("a"), "1");
        bench.forget();
    }
}

#[tokio::test]
async fn the_commit_of_an_earlier_attempt_outlives_its_branch() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let commit = repository.commit_on("preview", &[("a", "2")], "Preview").await;
    repository.delete_branch("preview").await;
    let reference = Some(GitRef::parse("preview").unwrap());
    let request = FetchRequest { commit: Some(commit), reference, ..bench.request(&repository.url()) };
    let fetched = bench.fetch(request).await.unwrap();
    assert_eq!(fetched.commit.branch, None);
    assert_eq!(bench.text("a"), "2");
}

#[tokio::test]
async fn a_commit_of_an_earlier_attempt_that_is_gone_gives_way_to_the_reference() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let gone = Some("0123456789012345678901234567890123456789".to_owned());
    let request = FetchRequest { commit: gone, ..bench.request(&repository.url()) };
    let fetched = bench.fetch(request).await.unwrap();
    assert_eq!(fetched.commit.branch.as_deref(), Some("main"));
}

#[tokio::test]
async fn servers_of_the_first_protocol_version_are_understood() {
    let bench = Bench::new().await;
    bench.git.speak_the_old_protocol();
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    repository.annotated_tag("v1").await;
    let first = repository.git(&["rev-parse", "main"]).await;
    repository.commit(&[("a", "2")], "Later").await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(fetched.default_branch.as_deref(), Some("main"));
    bench.forget();
    assert_eq!(bench.fetch_ref(&repository, "v1").await.unwrap().commit.id, first);
    bench.forget();
    let hidden = repository.commit_on("gone", &[("a", "3")], "Preview").await;
    repository.delete_branch("gone").await;
    let refused = bench.fetch_ref(&repository, &hidden).await;
    assert!(matches!(refused, Err(SourceError::RefNotFound(_))), "nothing leads there: {refused:?}");
    repository.config("uploadpack.allowAnySHA1InWant", "true").await;
    assert_eq!(bench.fetch_ref(&repository, &hidden).await.unwrap().commit.id, hidden);
    bench.forget();
    bench.git.empty_repository("empty").await;
    let empty = bench.fetch_url(&bench.git.url("empty.git")).await;
    assert!(matches!(empty, Err(SourceError::Empty)), "{empty:?}");
}

#[tokio::test]
async fn a_repository_without_commits_is_empty() {
    let bench = Bench::new().await;
    let repository = bench.git.empty_repository("empty").await;
    for failed in [bench.fetch_url(&repository.url()).await, bench.fetch_ref(&repository, "main").await] {
        assert!(matches!(failed, Err(SourceError::Empty)), "{failed:?}");
    }
}

#[tokio::test]
async fn the_only_branch_is_the_default_where_head_names_none() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    repository.default_branch("never-pushed").await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(fetched.default_branch.as_deref(), Some("main"));
    bench.forget();
    repository.branch("other").await;
    let failed = bench.fetch_url(&repository.url()).await;
    assert!(matches!(&failed, Err(SourceError::RefNotFound(name)) if name == "HEAD"), "{failed:?}");
}

#[tokio::test]
async fn what_is_no_repository_is_not_found() {
    let bench = Bench::new().await;
    let failed = bench.fetch_url(&bench.git.url("nothing.git")).await;
    assert!(matches!(failed, Err(SourceError::NotFound)), "{failed:?}");
    for status in [200, 401, 403, 404] {
        bench.git.answer_with_status(status);
        let failed = bench.fetch_url(&bench.git.url("page")).await;
        assert!(matches!(failed, Err(SourceError::NotFound)), "{status}: {failed:?}");
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_unreachable() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    bench.git.break_off_after(20);
    let failed = bench.fetch_url(&repository.url()).await;
    assert!(matches!(failed, Err(SourceError::Unreachable(_))), "{failed:?}");
    for status in [500, 502, 503, 429] {
        bench.git.answer_with_status(status);
        match bench.fetch_url(&repository.url()).await {
            Err(SourceError::Unreachable(text)) => assert!(text.contains(&status.to_string()), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let request = bench.request(&format!("http://{address}/site.git"));
    let failed = source(&[&address]).fetch(request, CancellationToken::new()).await;
    assert!(matches!(&failed, Err(SourceError::Unreachable(text)) if text.contains("refused")), "{failed:?}");
}
