//! Which addresses a fetch may contact: public ones, and those that the operator allowed.
//!
//! A URL comes from a stranger, and so does what its host's DNS says: without this, gv would read
//! metadata services and neighbours' databases for whoever asks. The check is made on addresses,
//! at the moment of connecting: [`PublicOnly`] is the resolver of the client that connects, so
//! that nothing is dialled which was not checked. Literal addresses never reach a resolver:
//! [`Guard::admits`] checks those before each hop.

use crate::domain::text::{Invalid, parsed_text, printable};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, Url};

/// A host and port, such as `127.0.0.1:3000` or `git.internal:443`, that may be contacted
/// whatever its address is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowedHost(String);

impl AllowedHost {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("must be a host and a port, such as 127.0.0.1:3000");
        let text = printable(text, 300)?;
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || host.contains(['/', '@', '?', '#', '\\']) || host.contains(char::is_whitespace)
        {
            return Err(wrong());
        }
        // The URL's own parser brings a name to the one form that will be compared.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| wrong())?;
        if url.port().is_some() || port == 0 {
            return Err(wrong());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        Ok(Self(format!("{host}:{port}")))
    }
}
parsed_text!(AllowedHost);

/// What one hop of a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The operator named this host and port: any address.
    Allowed,
    /// Any host whose addresses are public.
    PublicOnly,
}

#[derive(Debug)]
pub(super) struct Guard {
    allowed: HashSet<String>,
}

impl Guard {
    pub(super) fn new(allowed: Vec<AllowedHost>) -> Self {
        Self { allowed: allowed.into_iter().map(|host| host.0).collect() }
    }

    /// How `url` may be contacted; `None`: not at all. A name's addresses are checked later, when
    /// it is resolved.
    pub(super) fn admits(&self, url: &Url) -> Option<Admission> {
        let (host, port) = (url.host()?, url.port_or_known_default()?);
        if self.allowed.contains(&format!("{host}:{port}")) {
            return Some(Admission::Allowed);
        }
        let public = match host {
            // `Url` has read the decimal, octal, hexadecimal and shortened forms by now.
            Host::Ipv4(address) => is_public_v4(address),
            Host::Ipv6(address) => is_public_v6(address),
            Host::Domain(_) => true,
        };
        public.then_some(Admission::PublicOnly)
    }
}

/// The resolver of the client that connects: a name with an address that is not public has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicOnly;

/// Why a name has no address for us. Found again in the causes of the client's error.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no public address")]
pub(super) struct Refused(pub(super) String);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            // One private address among public ones is no accident that deserves help.
            if found.iter().any(|address| !is_public(address.ip())) {
                return Err(Refused(host).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// IANA IPv4 Special-Purpose Address Registry: everything in it that is not globally reachable.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _) // this network, private, loopback; multicast and all above
            | (100, 64..=127, _) // behind carriers' NAT
            | (169, 254, _) // link-local, where clouds keep their metadata
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2) // protocol assignments; documentation
            | (192, 88, 99) // the former relays of 6to4
            | (198, 18 | 19, _) // benchmarks
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// IANA IPv6 Special-Purpose Address Registry. Only 2000::/3 is handed out as global unicast; an
/// address that stands for an IPv4 one is as public as that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        // NAT64 (RFC 6052): translators hand the packet to the IPv4 address at the end.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4 (RFC 3056): the same, by the address in the prefix.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo (RFC 4380): the server's address, and the client's with its bits flipped.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            is_public_v4(v4(high, low)) && is_public_v4(v4(!client_high, !client_low))
        }
        [0x2001, 1..=0x1ff, ..] => false, // protocol assignments: benchmarks, ORCHID
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false, // documentation
        // Mapped and compatible IPv4 (::ffff:0:0/96, ::/96), unique local, link-local, multicast,
        // loopback and the rest lie outside. A real public host is never written that way.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(url: &str) -> Option<Admission> {
        Guard::new(vec![]).admits(&Url::parse(url).unwrap())
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.254",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "3fff::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "5f00::1",
            // IPv4 in disguise
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::10.0.0.1",
            "::ffff:0:127.0.0.1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::808:808",
            "2001:0:7f00:1::",
            "2001:0:808:808:0:0:80ff:fffe",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "140.82.121.4",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a01:4f8::1",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_literal_address_is_seen_through_every_spelling() {
        for url in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://127.0.1/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://0x7f000001/x",
            "http://0177.0.0.1/x",
            "http://017700000001/x",
            "http://0/x",
            "http://%31%32%37.0.0.1/x",
            "http://127.0.0.1./x",
            "http://１２７.0.0.1/x",
            "http://127。0。0。1/x",
            "http://[::1]/x",
            "http://[::]/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://[::ffff:7f00:1]/x",
            "http://[0:0:0:0:0:ffff:a9fe:a9fe]/x",
            "http://169.254.169.254/x",
            "http://2852039166/x",
            "http://[fd00::1]:8080/x",
            "http://[64:ff9b::7f00:1]/x",
            "https://192.168.0.1:8443/x",
        ] {
            assert_eq!(admits(url), None, "{url}");
        }
        assert_eq!(admits("https://140.82.121.4/x"), Some(Admission::PublicOnly));
        assert_eq!(admits("https://example.com/x"), Some(Admission::PublicOnly));
    }

    #[test]
    fn only_the_exact_host_and_port_that_was_allowed_passes() {
        let guard = Guard::new(
            ["127.0.0.1:3000", "Git.Internal:443", "[::1]:80"]
                .map(|text| AllowedHost::parse(text).unwrap())
                .into(),
        );
        let admits = |url: &str| guard.admits(&Url::parse(url).unwrap());
        for url in [
            "http://127.0.0.1:3000/x",
            "http://127.1:3000/x",
            "https://git.internal/x",
            "http://git.internal:443/x",
            "http://[::1]/x",
            "http://[0::1]:80/x",
        ] {
            assert_eq!(admits(url), Some(Admission::Allowed), "{url}");
        }
        for url in
            ["http://127.0.0.1/x", "http://127.0.0.1:3001/x", "http://127.0.0.2:3000/x", "http://[::1]:81/x"]
        {
            assert_eq!(admits(url), None, "{url}");
        }
        assert_eq!(admits("http://git.internal/x"), Some(Admission::PublicOnly));
    }

    #[test]
    fn an_allowed_host_is_a_host_and_a_port() {
        for bad in [
            "",
            "127.0.0.1",
            "x:",
            ":80",
            "x:0",
            "x:70000",
            "http://x:80",
            "x/y:80",
            "a@b:80",
            "::1",
            "a b:1",
        ] {
            assert!(AllowedHost::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AllowedHost::parse("LOCALHOST:80").unwrap().as_str(), "localhost:80");
        assert_eq!(AllowedHost::parse("[0:0::1]:80").unwrap().as_str(), "[::1]:80");
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_refused() {
        for name in ["localhost", "127.0.0.1"] {
            let refused = PublicOnly.resolve(name.parse().unwrap()).await.err().unwrap();
            assert!(refused.downcast_ref::<Refused>().is_some(), "{name}: {refused}");
        }
    }
}
