//! Which site a request is for: the second step. The host of an absolute target wins over the
//! field (RFC 9112, 3.2.2); every spelling of a name is one site, whatever its port.

use crate::domain::host::Hostname;
use crate::edge::request::Request;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteHost {
    Named(Hostname),
    /// Well formed, but no name that a site can have: an address, or nothing.
    Nameless,
    /// RFC 9112, 3.2: missing, twice, or malformed is 400.
    Malformed,
}

pub fn site_host(request: &Request<'_>) -> SiteHost {
    let mut lines = request.lines("host");
    let field = match (lines.next(), lines.next()) {
        (Some(line), None) => std::str::from_utf8(line).map_or(SiteHost::Malformed, parse),
        _ => SiteHost::Malformed,
    };
    match (field, request.authority) {
        (SiteHost::Malformed, _) => SiteHost::Malformed,
        (_, Some(authority)) => parse(authority),
        (field, None) => field,
    }
}

/// The host of nearly all requests: a name in the spelling that hosts are known by, perhaps with a
/// port. `None`: look closer.
pub fn plain_host<'r>(request: &Request<'r>) -> Option<&'r str> {
    let mut lines = request.lines("host");
    let (Some(line), None, None) = (lines.next(), lines.next(), request.authority) else { return None };
    let text = std::str::from_utf8(line).ok()?;
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (is_port(port) && name.bytes().all(is_plain)).then_some(name)
}

/// Of a name as a request has it, perhaps with a port.
pub fn parse(text: &str) -> SiteHost {
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
    use crate::edge::request::Method;
    use httparse::Header;

    fn host(target: &str, fields: &[&str]) -> SiteHost {
        let authority = target.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap());
        let fields: Vec<_> =
            fields.iter().map(|field| Header { name: "Host", value: field.as_bytes() }).collect();
        let request =
            Request { method: Method::Get, method_name: "GET", target: "/", authority, fields: &fields };
        let host = site_host(&request);
        if let Some(plain) = plain_host(&request).and_then(|plain| Hostname::parse(plain).ok()) {
            assert_eq!(host, SiteHost::Named(plain), "the quick way agrees with the long way");
        }
        host
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
