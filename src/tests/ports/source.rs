//! What every `Source` must do, tried on a real Git server over HTTP.
//!
//! Start with [`Bench`], whose `source` is the only thing that names an adapter.

use crate::support::git::{Content, GitServer, Repository};
use gv::adapters::source::git::GitSource;
use gv::domain::address::AllowedHost;
use gv::domain::repo::{GitRef, RepoUrl};
use gv::domain::secret::Secret;
use gv::ports::source::{FetchLimits, FetchRequest, Fetched, Source, SourceError};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A source that may contact these hosts besides public ones.
fn source(allow: &[&str]) -> Box<dyn Source> {
    // The first test of the process installs it; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let allow = allow.iter().map(|host| AllowedHost::parse(host).unwrap()).collect();
    Box::new(GitSource::new(allow).unwrap())
}

/// A Git server, a source that may contact it, and a folder to fetch into.
struct Bench {
    git: GitServer,
    source: Box<dyn Source>,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let git = GitServer::start().await;
        let source = source(&[git.address()]);
        Self { git, source, folder: TempDir::new().unwrap() }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    fn request(&self, url: &str) -> FetchRequest {
        FetchRequest {
            repo_url: RepoUrl::parse(url).unwrap(),
            reference: None,
            commit: None,
            token: None,
            into: self.target(),
            limits: FetchLimits { bytes: 50_000_000, files: 10_000, time: Duration::from_secs(60) },
            progress: Arc::new(|_| ()),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Fetched, SourceError> {
        let fetched = self.source.fetch(request, CancellationToken::new()).await;
        let left: Vec<_> =
            self.folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        let expected = if fetched.is_ok() { vec![self.target()] } else { vec![] };
        assert_eq!(left, expected, "nothing but the result is left: {fetched:?}");
        fetched
    }

    async fn fetch_url(&self, url: &str) -> Result<Fetched, SourceError> {
        self.fetch(self.request(url)).await
    }

    async fn fetch_ref(&self, repository: &Repository, name: &str) -> Result<Fetched, SourceError> {
        let reference = Some(GitRef::parse(name).unwrap());
        self.fetch(FetchRequest { reference, ..self.request(&repository.url()) }).await
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.target().join(path)).unwrap()
    }

    fn forget(&self) {
        std::fs::remove_dir_all(self.target()).unwrap();
    }
}

fn paths(folder: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
}

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

#[tokio::test]
async fn a_token_opens_what_is_closed_without() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    bench.git.require_token("s3cret");
    for token in [None, Some("wrong")] {
        let token = token.map(Secret::new);
        let failed = bench.fetch(FetchRequest { token, ..bench.request(&repository.url()) }).await;
        assert!(matches!(failed, Err(SourceError::NotFound)), "{failed:?}");
    }
    let token = Some(Secret::new("s3cret"));
    bench.fetch(FetchRequest { token, ..bench.request(&repository.url()) }).await.unwrap();
}

#[tokio::test]
async fn a_token_is_not_sent_over_http_to_a_host_that_was_not_allowed() {
    let bench = Bench::new().await;
    let request = bench.request("http://example.com/site.git");
    let failed = bench.fetch(FetchRequest { token: Some(Secret::new("s3cret")), ..request }).await;
    assert!(matches!(failed, Err(SourceError::TokenOverHttp)), "{failed:?}");
}

#[tokio::test]
async fn a_token_does_not_follow_a_redirect_to_another_host() {
    let bench = Bench::new().await;
    let other = GitServer::start().await;
    let repository = other.repository("site", &[("a", "1")]).await;
    bench.git.redirect("/site.git", &repository.url());
    let both = source(&[bench.git.address(), other.address()]);
    let request =
        FetchRequest { token: Some(Secret::new("s3cret")), ..bench.request(&bench.git.url("site.git")) };
    both.fetch(request, CancellationToken::new()).await.unwrap();
    assert!(bench.git.requests().iter().all(|seen| seen.authorization.is_some()));
    assert_eq!(bench.git.request_count(), 1, "what follows goes to where it was redirected");
    assert_eq!(other.request_count(), 3);
    assert!(other.requests().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn a_private_address_is_not_contacted_unless_allowed() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let port = bench.git.address().rsplit_once(':').unwrap().1;
    let strict = source(&["127.0.0.1:1"]);
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let request = bench.request(&format!("http://{host}:{port}/site.git"));
        let failed = strict.fetch(request, CancellationToken::new()).await;
        assert!(matches!(failed, Err(SourceError::AddressRefused(_))), "{host}: {failed:?}");
    }
    assert_eq!(bench.git.request_count(), 0);
    bench.fetch_url(&repository.url()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_does_not_lead_to_a_private_address() {
    let bench = Bench::new().await;
    let hidden = GitServer::start().await;
    hidden.repository("site", &[("a", "1")]).await;
    let port = hidden.address().rsplit_once(':').unwrap().1.to_owned();
    for (at, host) in ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:7f00:1]"].into_iter().enumerate() {
        bench.git.redirect(&format!("/{at}.git"), &format!("http://{host}:{port}/site.git"));
        let failed = bench.fetch_url(&bench.git.url(&format!("{at}.git"))).await;
        assert!(matches!(failed, Err(SourceError::AddressRefused(_))), "{host}: {failed:?}");
    }
    assert_eq!(hidden.request_count(), 0);
}

#[tokio::test]
async fn redirects_end_after_five_and_stay_with_http() {
    let bench = Bench::new().await;
    bench.git.repository("site", &[("a", "1")]).await;
    for hop in 1..=6 {
        let to = if hop == 1 { "/site.git".to_owned() } else { format!("/{}.git", hop - 1) };
        bench.git.redirect(&format!("/{hop}.git"), &to);
    }
    bench.fetch_url(&bench.git.url("5.git")).await.unwrap();
    bench.forget();
    let failed = bench.fetch_url(&bench.git.url("6.git")).await;
    assert!(matches!(failed, Err(SourceError::Unreachable(_))), "{failed:?}");
    for (from, to) in [("file.git", "file:///etc"), ("ftp.git", "ftp://example.com")] {
        bench.git.redirect(&format!("/{from}"), to);
        let failed = bench.fetch_url(&bench.git.url(from)).await;
        assert!(matches!(failed, Err(SourceError::Invalid(_))), "{failed:?}");
    }
}

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
async fn submodules_are_named_and_not_fetched() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    let commit = repository.git(&["rev-parse", "main"]).await;
    let modules = b"[submodule \"t\"]\n\tpath = themes/t\n\turl = http://127.0.0.1:9/t.git\n";
    let contents = [("themes/t", Content::Submodule(&commit)), (".gitmodules", Content::File(modules))];
    repository.commit_contents("main", &contents, b"A theme").await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(fetched.submodules, ["themes/t"]);
    assert_eq!(fetched.files, 2);
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
    assert!(said.contains("Checked out 2 files of commit "), "{said}");
}

#[tokio::test]
async fn a_server_that_never_answers_ends_with_the_time_limit() {
    let bench = Bench::new().await;
    bench.git.hang();
    let request = bench.request(&bench.git.url("site.git"));
    let time = Duration::from_millis(300);
    let limits = FetchLimits { time, ..request.limits };
    let failed = bench.fetch(FetchRequest { limits, ..request }).await;
    assert!(matches!(failed, Err(SourceError::TimedOut(limit)) if limit == time), "{failed:?}");
}

#[tokio::test]
async fn a_fetch_ends_when_it_is_stopped() {
    let bench = Bench::new().await;
    bench.git.hang();
    let stop = CancellationToken::new();
    let request = bench.request(&bench.git.url("site.git"));
    let stopping = async {
        while bench.git.request_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (failed, ()) = tokio::join!(bench.source.fetch(request, stop.clone()), stopping);
    assert!(matches!(failed, Err(SourceError::Stopped)), "{failed:?}");
    assert_eq!(bench.folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_any_more_tidies_up() {
    let bench = Bench::new().await;
    bench.git.hang();
    let request = bench.request(&bench.git.url("site.git"));
    let asked = async {
        while bench.git.request_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = bench.source.fetch(request, CancellationToken::new()) => panic!("the server is silent"),
        () = asked => {}
    }
    for _ in 0..1_000 {
        if bench.folder.path().read_dir().unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the folder of the abandoned fetch is still there");
}

#[tokio::test]
async fn what_cannot_be_written_is_a_fault_of_this_side() {
    let bench = Bench::new().await;
    let repository = bench.git.repository("site", &[("a", "1")]).await;
    std::fs::create_dir(bench.target()).unwrap();
    std::fs::write(bench.target().join("mine"), "kept").unwrap();
    let failed = bench.source.fetch(bench.request(&repository.url()), CancellationToken::new()).await;
    assert!(matches!(failed, Err(SourceError::Internal(_))), "{failed:?}");
    assert_eq!(paths(&bench.target()), ["mine".to_owned()].into());
}

#[tokio::test]
async fn a_thousand_files_with_shared_history_arrive_whole() {
    let bench = Bench::new().await;
    let files: Vec<(String, String)> = (0..1_000)
        .map(|at| (format!("d{}/f{at}.txt", at % 40), format!("{at}\n").repeat(1 + at % 50)))
        .collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let repository = bench.git.repository("site", &files).await;
    repository.commit(&[("d0/f0.txt", "changed")], "Change one").await;
    repository.git(&["gc", "-q"]).await;
    let fetched = bench.fetch_url(&repository.url()).await.unwrap();
    assert_eq!(fetched.files, 1_000);
    for (path, text) in &files[1..] {
        assert_eq!(bench.text(path), *text);
    }
    assert_eq!(bench.text("d0/f0.txt"), "changed");
}
