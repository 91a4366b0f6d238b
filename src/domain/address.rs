//! Which addresses are the public Internet's: the only ones that gv contacts for a stranger.
//!
//! Both ends of the rule stand here, so that they cannot drift apart: the api refuses a literal
//! address when a deployment is submitted, and the source adapter refuses what a name resolved to
//! at the moment of connecting. Start with [`is_public`], then [`AllowedHost`], the exception.

use crate::domain::text::{Invalid, parsed_text, printable};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// The host of the public registry of npm packages, by the labels of its name.
pub fn npm_registry() -> String {
    ["registry", "npmjs", "org"].join(".")
}

/// A host and port, such as `127.0.0.1:3000` or `git.internal:443`, that the operator allows
/// whatever its address is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowedHost(String);

impl AllowedHost {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("must be a host and a port, such as 127.0.0.1:3000");
        let (host, port) = printable(text, 300)?.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(wrong)?;
        if host.contains(['/', '@', '?', '#', '\\']) || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        // The parser of URLs brings a host to the one spelling that will be compared.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| wrong())?;
        let host = url.host_str().filter(|_| url.port().is_none()).ok_or_else(wrong)?;
        Ok(Self(format!("{host}:{port}")))
    }

    /// Whether this is where `url` leads.
    pub fn is_of(&self, url: &Url) -> bool {
        place(url).is_some_and(|place| self.0 == place)
    }
}
parsed_text!(AllowedHost);

/// The host and port that a URL leads to, its scheme's own port included: `example.com:443`.
pub fn place(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Whether a URL's host may be public, as far as its text tells: a literal address is judged, a
/// name is not resolved.
pub fn may_be_public(url: &Url) -> bool {
    match url.host() {
        // The URL has read octal, hexadecimal and shortened spellings by now.
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        Some(Host::Domain(name)) => !is_local_name(name),
        None => false,
    }
}

/// Whether an address is a public unicast one. Whatever the registries of special-purpose
/// addresses (RFC 6890 and IANA's lists that follow it) set apart is not, nor is an IPv6 address
/// that carries such an IPv4 address inside it.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Names that mean this machine without asking DNS (RFC 6761, 6.3), in any spelling.
pub fn is_local_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |network: [u8; 4], bits: u32| {
        let shift = 32 - bits;
        address.to_bits() >> shift == Ipv4Addr::from(network).to_bits() >> shift
    };
    ![
        ([0, 0, 0, 0], 8),       // "this network"
        ([10, 0, 0, 0], 8),      // private
        ([100, 64, 0, 0], 10),   // carrier-grade NAT
        ([127, 0, 0, 0], 8),     // loopback
        ([169, 254, 0, 0], 16),  // link-local, and the metadata services of clouds
        ([172, 16, 0, 0], 12),   // private
        ([192, 0, 0, 0], 24),    // protocol assignments
        ([192, 0, 2, 0], 24),    // documentation
        ([192, 31, 196, 0], 24), // AS112
        ([192, 52, 193, 0], 24), // AMT
        ([192, 88, 99, 0], 24),  // 6to4 relays
        ([192, 168, 0, 0], 16),  // private
        ([192, 175, 48, 0], 24), // AS112
        ([198, 18, 0, 0], 15),   // benchmarking
        ([198, 51, 100, 0], 24), // documentation
        ([203, 0, 113, 0], 24),  // documentation
        ([224, 0, 0, 0], 4),     // multicast
        ([240, 0, 0, 0], 4),     // reserved, and broadcast
    ]
    .into_iter()
    .any(|(network, bits)| within(network, bits))
        // A metadata service of one cloud stands in otherwise public space.
        && address != Ipv4Addr::new(168, 63, 129, 16)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match s {
        // NAT64 (RFC 6052): what it reaches is the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4 (RFC 3056): the same.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo, ORCHID, benchmarking and the rest of the protocol assignments.
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2001, 0xdb8, ..] => false,
        // Documentation (RFC 9637) and segment routing.
        [0x3fff, second, ..] if second < 0x1000 => false,
        [0x5f00, ..] => false,
        // Global unicast is 2000::/3 and nothing else: mapped and compatible IPv4, local NAT64,
        // discard-only, unique local, link-local, site-local and multicast lie outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for good in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450:4001::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(public(good), "{good}");
        }
    }

    #[test]
    fn whatever_is_set_apart_is_not_public() {
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(bad), "{bad}");
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_url_that_names_no_public_place_is_seen_through_every_spelling() {
        for bad in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/x",
            "http://0x7f.0.0.1/x",
            "http://0177.0.0.1/x",
            "http://%31%32%37.0.0.1/x",
            "http://127.0.0.1./x",
            "http://１２７.0.0.1/x",
            "http://[::1]/x",
            "http://[::ffff:10.0.0.1]/x",
            "http://localhost/x",
            "http://LOCALHOST./x",
            "http://git.localhost:3000/x",
            "http://169.254.169.254/latest/meta-data",
            "https://10.1.2.3:8443/x",
            "https://0/x",
        ] {
            assert!(!may_be_public(&url(bad)), "{bad}");
        }
        assert!(may_be_public(&url("https://example.com/x")));
        assert!(may_be_public(&url("https://1.1.1.1/x")));
    }

    #[test]
    fn an_allowed_host_is_allowed_with_its_port_only_and_in_any_spelling() {
        let allowed = |host: &str, text: &str| AllowedHost::parse(host).unwrap().is_of(&url(text));
        assert!(allowed("127.0.0.1:3000", "http://127.0.0.1:3000/x"));
        assert!(allowed("127.1:3000", "http://127.0.0.1:3000/x"));
        assert!(allowed("LocalHost:80", "http://localhost/x"));
        assert!(allowed("[0::1]:3000", "http://[::1]:3000/x"));
        assert!(!allowed("127.0.0.1:3000", "http://127.0.0.1:3001/x"));
        assert!(!allowed("127.0.0.1:3000", "http://localhost:3000/x"));
        for bad in ["", "x", "x:", ":80", "x:0", "x:70000", "http://x:80", "x/y:80", "a@b:80", "::1", "a b:1"]
        {
            assert!(AllowedHost::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_this_machine_are_known_in_any_spelling() {
        for local in ["localhost", "LOCALHOST.", "git.localhost"] {
            assert!(is_local_name(local), "{local}");
        }
        assert!(!is_local_name("localhost.example.com"));
        assert!(!is_local_name("notlocalhost"));
    }
}
