//! From http to https: visitors who come without TLS are sent on, and those who come by TLS may be told to
//! stay with it (HSTS, RFC 6797).

use crate::edge::pipeline::MAX_TARGET_BYTES;
use crate::edge::reply::{Manner, Reply};
use crate::edge::request::{Method, Request};
use crate::edge::site_host::{SiteHost, site_host};
use crate::tls::certificates::CHALLENGE_FOLDER;
use crate::tls::https::{self, Elsewhere};
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How the connections of one listener stand to TLS.
#[derive(Clone, Default)]
pub struct Https {
    /// Without TLS: where it is.
    elsewhere: Option<Elsewhere>,
    /// By TLS: a whole line.
    hsts: Option<Arc<[u8]>>,
}

impl Https {
    /// For a listener without TLS, by where visitors are sent from it.
    pub fn plain(elsewhere: Option<Elsewhere>) -> Self {
        Self { elsewhere, hsts: None }
    }

    /// For a listener with TLS. 0: browsers are told nothing.
    pub fn tls(max_age_s: u64) -> Self {
        let line = |said: String| format!("Strict-Transport-Security: {said}\r\n").into_bytes().into();
        Self { elsewhere: None, hsts: https::hsts(max_age_s).map(line) }
    }

    /// The answer to a request that is to come by TLS. `None`: it is answered as it is.
    pub fn sends_on(&self, request: &Request<'_>) -> Option<Reply> {
        self.elsewhere.and_then(|elsewhere| redirect(request, elsewhere))
    }

    /// What an answer says beside its own lines. A site that says it itself is left with its word.
    pub fn hsts(&self, reply: &Reply) -> &[u8] {
        self.hsts.as_deref().filter(|_| !reply.lines.has_hsts()).unwrap_or_default()
    }
}

/// What is no request to a site is refused here as it is there.
fn redirect(request: &Request<'_>, elsewhere: Elsewhere) -> Option<Reply> {
    let target = request.target;
    let is_site_s =
        target.starts_with('/') && target.len() <= MAX_TARGET_BYTES && !target.starts_with(CHALLENGE_FOLDER);
    if !is_site_s || request.method == Method::Refused {
        return None;
    }
    let SiteHost::Named(host) = site_host(request) else { return None };
    // No certificate is for an address.
    if host.as_str().parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    let manner = Manner { is_head: request.method == Method::Head, ..Manner::default() };
    let fields = manner.moved_fields(&elsewhere.address(host.as_str(), target));
    Some(manner.own(308, fields, Bytes::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use httparse::Header;

    fn sent_to(method: &'static str, host: &str, target: &str, port: u16) -> Option<String> {
        let fields = [Header { name: "Host", value: host.as_bytes() }];
        let method_name = method;
        let method = Method::of(method);
        let request = Request { method, method_name, target, authority: None, fields: &fields };
        let reply = Https::plain(Some(Elsewhere(port))).sends_on(&request)?;
        assert_eq!(reply.status, 308);
        let lines = String::from_utf8(reply.lines.as_bytes().to_vec()).unwrap();
        let location = lines.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        Some(location.to_owned())
    }

    #[test]
    fn host_path_and_query_are_kept() {
        for (host, target, port, location) in [
            ("a.example", "/b/c?d=e%20f", 443, "https://a.example/b/c?d=e%20f"),
            ("A.Example.:80", "/", 8443, "https://a.example:8443/"),
            ("a.example", "//evil.example/", 443, "https://a.example//evil.example/"),
        ] {
            assert_eq!(sent_to("GET", host, target, port).as_deref(), Some(location));
            assert_eq!(sent_to("POST", host, target, port).as_deref(), Some(location));
        }
    }

    #[test]
    fn challenges_and_what_is_no_request_to_a_site_stay() {
        let long = format!("/{}", "x".repeat(MAX_TARGET_BYTES));
        for (method, host, target) in [
            ("GET", "a.example", "/.well-known/acme-challenge/x"),
            ("GET", "a b", "/"),
            ("GET", "127.0.0.1", "/"),
            ("TRACE", "a.example", "/"),
            ("OPTIONS", "a.example", "*"),
            ("GET", "a.example", &long),
        ] {
            assert_eq!(sent_to(method, host, target, 443), None, "{method} {host}");
        }
    }
}
