//! Which site a request is for: the second step. The host of an absolute target wins over the
//! field (RFC 9112, 3.2.2); every spelling of a name is one site, whatever its port.

use crate::domain::host::Hostname;
use actix_web::HttpRequest;
use actix_web::http::header::HOST;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteHost {
    Named(Hostname),
    /// Well formed, but no name that a site can have: an address, or nothing.
    Nameless,
    /// RFC 9112, 3.2: missing, twice, or malformed is 400.
    Malformed,
}

pub fn site_host(request: &HttpRequest) -> SiteHost {
    let mut fields = request.headers().get_all(HOST);
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().map_or(SiteHost::Malformed, parse),
        _ => SiteHost::Malformed,
    };
    match (field, request.uri().authority()) {
        (SiteHost::Malformed, _) => SiteHost::Malformed,
        (_, Some(authority)) => parse(authority.as_str()),
        (field, None) => field,
    }
}

fn parse(text: &str) -> SiteHost {
    if let Some(rest) = text.strip_prefix('[') {
        let well = rest.split_once(']').is_some_and(|(address, port)| {
            address.parse::<std::net::Ipv6Addr>().is_ok()
                && port.strip_prefix(':').map_or(port.is_empty(), is_port)
        });
        return if well { SiteHost::Nameless } else { SiteHost::Malformed };
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    if !is_port(port) {
        return SiteHost::Malformed;
    }
    if name.is_empty() {
        return SiteHost::Nameless;
    }
    Hostname::parse(name).map_or(SiteHost::Malformed, SiteHost::Named)
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn host(target: &str, fields: &[&str]) -> SiteHost {
        let mut request = TestRequest::with_uri(target);
        for field in fields {
            request = request.append_header((HOST, *field));
        }
        site_host(&request.to_http_request())
    }

    fn named(name: &str) -> SiteHost {
        SiteHost::Named(Hostname::parse(name).unwrap())
    }

    #[test]
    fn every_spelling_of_a_host_is_the_same_site() {
        for field in ["a.example", "A.Example", "a.example.", "a.example:80", "a.example.:8000", "a.example:"]
        {
            assert_eq!(host("/", &[field]), named("a.example"), "{field}");
        }
    }

    #[test]
    fn the_host_of_an_absolute_target_wins_over_the_field() {
        assert_eq!(host("http://b.example:1/x", &["a.example"]), named("b.example"));
        assert_eq!(host("http://b.example/x", &["a b"]), SiteHost::Malformed);
        assert_eq!(host("http://b.example/x", &[]), SiteHost::Malformed);
        assert_eq!(host("http://me@b.example/x", &["b.example"]), SiteHost::Malformed);
    }

    #[test]
    fn missing_double_and_malformed_hosts_are_refused() {
        assert_eq!(host("/", &[]), SiteHost::Malformed);
        assert_eq!(host("/", &["a.example", "a.example"]), SiteHost::Malformed);
        for bad in [
            "a b", "a/b", "a@b", "a:b", "a:80:80", "a:99999", "a..b", "-a", "[::1", "[x]", "[::1]x", "a,b",
            "%61.b",
        ] {
            assert_eq!(host("/", &[bad]), SiteHost::Malformed, "{bad}");
        }
        assert_eq!(host("/", &["[::1]:80"]), SiteHost::Nameless);
        assert_eq!(host("/", &[""]), SiteHost::Nameless);
        assert_eq!(host("/", &[":80"]), SiteHost::Nameless);
    }
}
