//! How a listener of the API stands to TLS: without it, what certificate authorities look for is answered, and
//! the rest may be sent to TLS or refused; by it, browsers may be told to stay (HSTS, RFC 6797).
//!
//! What carries a token, a password or anything else is never sent on: a client that follows would go on
//! sending it in the clear, and nobody would notice. What never leaves this machine is not concerned: the
//! owner of a `gv up` speaks to it so.

use crate::api::error::{Kind, Problem};
use crate::domain::host::Hostname;
use crate::tls::certificates::{CHALLENGE_FOLDER, Certificates, token_in};
use crate::tls::https::{self, Elsewhere};
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse, ResponseError as _};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// What a client passes on its way in.
#[derive(Default)]
pub struct Door {
    /// Without TLS: where that is, and that nothing else is answered here.
    elsewhere: Option<Elsewhere>,
    /// Without TLS: what authorities look for.
    certificates: Option<Arc<Certificates>>,
    /// By TLS.
    hsts: Option<HeaderValue>,
}

impl Door {
    /// Of a listener without TLS; `elsewhere`: clients are to come by TLS alone.
    pub fn plain(elsewhere: Option<Elsewhere>, certificates: Option<Arc<Certificates>>) -> Self {
        Self { elsewhere, certificates, hsts: None }
    }

    /// Of a listener with TLS. 0: browsers are told nothing.
    pub fn tls(max_age_s: u64) -> Self {
        let hsts = https::hsts(max_age_s).and_then(|said| HeaderValue::from_str(&said).ok());
        Self { hsts, ..Self::default() }
    }

    /// The answer to a request that goes no further.
    async fn answer(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        if request.path().starts_with(CHALLENGE_FOLDER) {
            return self.proof(request).await;
        }
        let elsewhere = self.elsewhere.filter(|_| !stays_here(request))?;
        Some(sent_on(request, elsewhere).unwrap_or_else(refused))
    }

    async fn proof(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let (certificates, token) = (self.certificates.as_ref()?, token_in(request.path())?);
        let host = Hostname::parse(authority(request)?.host()).ok()?;
        if !reads(request) || !certificates.is_of_api(&host) {
            return None;
        }
        let document = certificates.document(&host, token).await?;
        let mut answer = HttpResponse::Ok();
        answer.content_type("application/octet-stream").insert_header((header::CACHE_CONTROL, "no-store"));
        Some(answer.body(document))
    }
}

/// Around every request, within [`observe`](crate::api::observe).
pub async fn pass(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let door = request.app_data::<Data<Door>>().cloned();
    if let Some(door) = &door
        && let Some(answer) = door.answer(&request).await
    {
        return Ok(request.into_response(answer).map_into_right_body());
    }
    let mut response = next.call(request).await?;
    if let Some(hsts) = door.as_ref().and_then(|door| door.hsts.as_ref()) {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    Ok(response.map_into_left_body())
}

fn reads(request: &ServiceRequest) -> bool {
    [Method::GET, Method::HEAD].contains(request.method())
}

/// From this machine to itself, by an address that means it, and not by a proxy for somebody else.
fn stays_here(request: &ServiceRequest) -> bool {
    let is_own = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let is_for_other =
        ["forwarded", "x-forwarded-for"].iter().any(|name| request.headers().contains_key(*name));
    let names_it = authority(request).is_some_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    });
    is_own && names_it && !is_for_other
}

/// To the same address by TLS. `None`: the request carries what was not meant for everybody, or says nowhere.
fn sent_on(request: &ServiceRequest, elsewhere: Elsewhere) -> Option<HttpResponse> {
    if !reads(request) || carries_something(request.headers()) {
        return None;
    }
    let authority = authority(request)?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let location = HeaderValue::from_str(&elsewhere.address(authority.host(), target)).ok()?;
    let mut answer = HttpResponse::build(StatusCode::PERMANENT_REDIRECT);
    Some(answer.insert_header((header::LOCATION, location)).finish())
}

fn carries_something(fields: &HeaderMap) -> bool {
    let has_body = fields.contains_key(header::TRANSFER_ENCODING)
        || fields.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    has_body || fields.contains_key(header::AUTHORIZATION) || fields.contains_key(header::COOKIE)
}

/// Where the client thinks that it is. The host of an absolute target wins over the field (RFC 9112, 3.2.2).
fn authority(request: &ServiceRequest) -> Option<Authority> {
    let mut lines = request.headers().get_all(header::HOST);
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(line.as_bytes()).ok()?,
    };
    let host = authority.host();
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_one = match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => Hostname::parse(host).is_ok(),
    };
    (is_one && !authority.as_str().contains('@')).then_some(authority)
}

/// What is still on its way is read by nobody.
fn refused() -> HttpResponse {
    let problem = Problem::new(
        Kind::Forbidden,
        "This API answers by https alone. What came with this request could be read by others on its way: come \
         by https, and replace the token or password if there was one.",
    );
    let mut answer = problem.error_response();
    answer.head_mut().set_connection_type(ConnectionType::Close);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    async fn asked(port: u16, request: TestRequest) -> (u16, String) {
        let answer = Door::plain(Some(Elsewhere(port)), None).answer(&request.to_srv_request()).await;
        let Some(answer) = answer else { return (0, String::new()) };
        let location = answer.headers().get(header::LOCATION);
        let location = location.map(|location| location.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location.unwrap_or_default())
    }

    fn get(target: &str) -> TestRequest {
        TestRequest::get().uri(target).insert_header((header::HOST, "api.example.com:80"))
    }

    #[actix_web::test]
    async fn who_only_reads_and_carries_nothing_is_sent_to_the_same_address() {
        let to = |text: &str| (308, text.to_owned());
        assert_eq!(
            asked(443, get("/api/v1/docs?a=%20b")).await,
            to("https://api.example.com/api/v1/docs?a=%20b")
        );
        assert_eq!(asked(8443, get("/").method(Method::HEAD)).await, to("https://api.example.com:8443/"));
        assert_eq!(asked(443, get("//evil.example/")).await, to("https://api.example.com//evil.example/"));
        let six = TestRequest::get().insert_header((header::HOST, "[::1]:8080"));
        assert_eq!(asked(443, six).await, to("https://[::1]/"));
        assert_eq!(asked(443, get("/").insert_header((header::CONTENT_LENGTH, "0"))).await.0, 308);
    }

    #[actix_web::test]
    async fn what_carries_something_or_says_nowhere_is_refused() {
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
            ("host", "two.example"),
        ] {
            assert_eq!(
                asked(443, get("/").append_header((name, value))).await,
                (403, String::new()),
                "{name}"
            );
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(asked(443, get("/").method(method)).await.0, 403);
        }
        for host in ["a b", "", "user@a.example", "a,b", "[::1"] {
            assert_eq!(
                asked(443, TestRequest::get().insert_header((header::HOST, host))).await.0,
                403,
                "{host}"
            );
        }
        assert_eq!(asked(443, TestRequest::get()).await.0, 403);
    }

    #[actix_web::test]
    async fn what_never_leaves_this_machine_goes_on() {
        let with = |peer: &str, host: &'static str| {
            TestRequest::post().peer_addr(peer.parse().unwrap()).insert_header((header::HOST, host))
        };
        for (peer, host) in
            [("127.0.0.1:5", "127.0.0.1:8080"), ("127.0.0.1:5", "localhost"), ("[::1]:5", "[::1]:8080")]
        {
            assert_eq!(asked(443, with(peer, host)).await.0, 0, "{peer} {host}");
        }
        for (peer, host) in [("127.0.0.1:5", "api.example.com"), ("192.0.2.1:5", "127.0.0.1")] {
            assert_eq!(asked(443, with(peer, host)).await.0, 403, "{peer} {host}");
        }
        let for_other = with("127.0.0.1:5", "127.0.0.1").insert_header(("x-forwarded-for", "192.0.2.1"));
        assert_eq!(asked(443, for_other).await.0, 403);
    }

    #[actix_web::test]
    async fn what_authorities_ask_for_goes_on() {
        assert_eq!(asked(443, get("/.well-known/acme-challenge/x")).await.0, 0);
    }
}
