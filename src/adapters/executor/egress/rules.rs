//! Whom a build may contact. A name comes from a stranger, and so does what DNS says of it: the
//! judgement is on addresses, and what was judged is what is dialled.

use crate::domain::address::{AllowedHost, is_local_name, is_public};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

const LOOKUP: Duration = Duration::from_secs(10);
const DIAL: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
const TLS: u16 = 443;

pub(super) struct Rules {
    allowed: Vec<AllowedHost>,
}

/// Why a host is not contacted: a word for the metrics, and a sentence for the build.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) sentence: String,
}

impl Rules {
    pub(super) fn new(allowed: Vec<AllowedHost>) -> Self {
        Self { allowed }
    }

    /// Opens a tunnel's way.
    pub(super) async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, Refused> {
        let url = place(host, port)?;
        if self.is_allowed(&url) {
            return dial(&url, lookup(&url).await?).await;
        }
        if port != TLS {
            let sentence = format!("builds may only contact port {TLS} of public hosts, not {host}:{port}");
            return Err(refused("port", sentence));
        }
        let private =
            || refused("address", format!("{host} has no public address, and builds may contact no other"));
        if url.domain().is_some_and(is_local_name) {
            return Err(private());
        }
        let addresses = lookup(&url).await?;
        // A name with one private address among public ones is no accident that deserves help.
        if !addresses.iter().all(|address| is_public(address.ip())) {
            return Err(private());
        }
        dial(&url, addresses).await
    }

    /// Opens the way of a plain request, which only what is listed is sent.
    pub(super) async fn plain(&self, url: &Url) -> Result<TcpStream, Refused> {
        if !self.is_allowed(url) {
            // Where https would be refused as well, it is no advice.
            let advice = if may_be_public(url) { ": use https" } else { ", and it has no public address" };
            let sentence = format!("plain http to {} is not passed on{advice}", shown(url));
            return Err(refused("plain", sentence));
        }
        dial(url, lookup(url).await?).await
    }

    fn is_allowed(&self, url: &Url) -> bool {
        self.allowed.iter().any(|allowed| allowed.is_of(url))
    }
}

/// The parser of URLs reads each spelling of an address: octal, shortened, mapped. What would be more
/// than a host in a URL is none: the port that was judged must be the one that is dialled.
fn place(host: &str, port: u16) -> Result<Url, Refused> {
    let is_host =
        !host.is_empty() && !host.contains(['/', '\\', '?', '#', '@']) && !host.contains(char::is_whitespace);
    let url = is_host.then(|| Url::parse(&format!("http://{host}:{port}/")).ok()).flatten();
    url.filter(|url| url.port_or_known_default() == Some(port))
        .ok_or_else(|| refused("malformed", "that is no host and port".to_owned()))
}

async fn lookup(url: &Url) -> Result<Vec<SocketAddr>, Refused> {
    let gone = || refused("lookup", format!("{} was not found", shown(url)));
    let port = url.port_or_known_default().unwrap_or(TLS);
    let addresses: Vec<SocketAddr> = match url.host().ok_or_else(gone)? {
        url::Host::Ipv4(address) => vec![(address, port).into()],
        url::Host::Ipv6(address) => vec![(address, port).into()],
        url::Host::Domain(name) => {
            let found = timeout(LOOKUP, tokio::net::lookup_host((name, port))).await;
            found.map_err(|_| gone())?.map_err(|_| gone())?.collect()
        }
    };
    if addresses.is_empty() { Err(gone()) } else { Ok(addresses) }
}

async fn dial(url: &Url, addresses: Vec<SocketAddr>) -> Result<TcpStream, Refused> {
    for address in addresses.into_iter().take(MOST_ADDRESSES) {
        if let Ok(Ok(connection)) = timeout(DIAL, TcpStream::connect(address)).await {
            // Whoever sends small pieces through a tunnel has his reasons.
            let _ = connection.set_nodelay(true);
            return Ok(connection);
        }
    }
    Err(refused("unreachable", format!("{} does not answer", shown(url))))
}

/// As far as that can be told without looking it up.
fn may_be_public(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => is_public(address.into()),
        Some(url::Host::Ipv6(address)) => is_public(address.into()),
        Some(url::Host::Domain(name)) => !is_local_name(name),
        None => false,
    }
}

fn shown(url: &Url) -> String {
    crate::domain::address::place(url).unwrap_or_default()
}

fn refused(reason: &'static str, sentence: String) -> Refused {
    Refused { reason, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str]) -> Rules {
        Rules::new(allowed.iter().map(|text| AllowedHost::parse(text).unwrap()).collect())
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_contacted_in_any_spelling() {
        for host in [
            "127.0.0.1",
            "localhost",
            "a.localhost",
            "localhost.",
            "0",
            "0.0.0.0",
            "127.1",
            "0x7f.1",
            "2130706433",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "2852039166",
            "[::]",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::10.0.0.1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00::1]",
            "[fec0::1]",
        ] {
            let refused = rules(&[]).tunnel(host, 443).await.unwrap_err();
            assert_eq!(refused.reason, "address", "{host}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn other_ports_and_what_is_no_host_are_refused_before_anything_is_looked_up() {
        for port in [22, 25, 80, 444, 5432] {
            assert_eq!(rules(&[]).tunnel("1.1.1.1", port).await.unwrap_err().reason, "port");
        }
        for host in ["", "a b", "user@1.1.1.1", "1.1.1.1/x", "1.1.1.1:80", "[::1", "1.1.1.1?x", "x#y"] {
            let reason = rules(&[]).tunnel(host, 443).await.unwrap_err().reason;
            assert!(["malformed", "lookup"].contains(&reason), "{host}: {reason}");
        }
        let url = Url::parse("http://1.1.1.1/x").unwrap();
        let refused = rules(&[]).plain(&url).await.unwrap_err();
        assert!(refused.reason == "plain" && refused.sentence.ends_with("use https"), "{refused:?}");
        let private = rules(&[]).plain(&Url::parse("http://10.0.0.3:4873/x").unwrap()).await.unwrap_err();
        assert!(private.reason == "plain" && !private.sentence.contains("use https"), "{private:?}");
    }

    #[tokio::test]
    async fn what_the_operator_lists_is_contacted_by_exact_host_and_port() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = rules(&[&format!("127.0.0.1:{port}")]);
        assert!(rules.tunnel("127.0.0.1", port).await.is_ok());
        assert!(rules.tunnel("127.1", port).await.is_ok(), "the same place in another spelling");
        assert!(rules.plain(&Url::parse(&format!("http://127.0.0.1:{port}/x")).unwrap()).await.is_ok());
        assert!(rules.tunnel("localhost", port).await.is_err(), "another name");
        assert!(rules.tunnel("127.0.0.1", port ^ 1).await.is_err());
        assert!(rules.tunnel("127.0.0.2", port).await.is_err());
    }
}
