//! How a fetch ends: in time, when it is stopped, with a fault of this side.

use super::*;

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
