//! Who may be asked, with which token, and where redirects lead.

use super::*;

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
