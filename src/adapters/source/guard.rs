//! Which addresses a fetch may contact: public ones, and those that the operator allowed.
//!
//! A URL comes from a stranger, and so does what its host's DNS says: without this, gv would read
//! metadata services and neighbours' databases for whoever asks. The check is made on addresses,
//! at the moment of connecting: [`PublicOnly`] is the resolver of the client that connects, so
//! that nothing is dialled which was not checked. Literal addresses never reach a resolver:
//! [`Guard::admits`] checks those before each hop.

use crate::domain::address::{AllowedHost, is_public, may_be_public};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::SocketAddr;
use url::Url;

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
    allowed: Vec<AllowedHost>,
}

impl Guard {
    pub(super) fn new(allowed: Vec<AllowedHost>) -> Self {
        Self { allowed }
    }

    /// How `url` may be contacted; `None`: not at all. A name's addresses are checked later, when
    /// it is resolved.
    pub(super) fn admits(&self, url: &Url) -> Option<Admission> {
        if self.allowed.iter().any(|allowed| allowed.is_of(url)) {
            return Some(Admission::Allowed);
        }
        let public = may_be_public(url);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(url: &str) -> Option<Admission> {
        Guard::new(vec![]).admits(&Url::parse(url).unwrap())
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
