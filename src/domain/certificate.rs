//! Certificates that gv gets for hosts: what they are for, when they are renewed, how long to wait
//! after a failure.
//!
//! Not here: how they are got (`ports::authority`) and who gets them (`tls::certificates`). Start
//! with [`CertificateName`].

use crate::domain::digest::Digest;
use crate::domain::host::Hostname;
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;

/// After the first failure, and what each further one multiplies it by. Let's Encrypt counts five
/// failures of a host within an hour: these are four.
const FIRST_PAUSE: Duration = Duration::from_secs(120);
const GROWTH: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
/// Of a certificate's life, in hundredths: renewal is due between these two, by chance, so that what
/// was got together is not renewed together.
const RENEWED_FROM: f64 = 62.0;
const RENEWED_UNTIL: f64 = 67.0;

/// What one certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateName {
    Host(Hostname),
    /// The domain and every name one label below it.
    Wildcard(Hostname),
}

impl CertificateName {
    /// All names that the certificate has, as they stand in it.
    pub fn identifiers(&self) -> Vec<String> {
        match self {
            Self::Host(host) => vec![host.to_string()],
            Self::Wildcard(domain) => vec![format!("*.{domain}"), domain.to_string()],
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// Which authority it is, by the address of its directory: what one gave is kept apart from what another
/// did, so that an installation can try out a staging one and go back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorityId(String);

impl AuthorityId {
    pub fn of(directory: &str) -> Self {
        let digest = Digest::of(directory.as_bytes()).to_string();
        Self(digest.chars().take(16).collect())
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an authority could ever give a certificate for this host: a name in DNS of at least two
/// labels (CA/Browser Forum Baseline Requirements, 7.1.4.2), and not one that means this machine.
pub fn is_certifiable(host: &Hostname) -> bool {
    let labels: Vec<&str> = host.as_str().split('.').collect();
    let is_name = |label: &&str| label.bytes().any(|byte| byte.is_ascii_alphabetic());
    labels.len() > 1
        && !host.as_str().contains('_')
        && labels.last().is_some_and(|last| is_name(last) && *last != "localhost")
}

/// When a certificate with this life is to be renewed; `chance` is from 0 to 1.
pub fn renewal(not_before: OffsetDateTime, not_after: OffsetDateTime, chance: f64) -> OffsetDateTime {
    let part = (RENEWED_FROM + (RENEWED_UNTIL - RENEWED_FROM) * chance.clamp(0.0, 1.0)) / 100.0;
    not_before + (not_after - not_before) * part
}

/// How long nobody tries again after so many failures in a row, which is a fifth longer or shorter by
/// `chance`, from 0 to 1.
pub fn pause(failures: u32, chance: f64) -> Duration {
    let grown = GROWTH.saturating_pow(failures.saturating_sub(1));
    let pause = FIRST_PAUSE.saturating_mul(grown).min(LONGEST_PAUSE);
    pause.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Hostname {
        Hostname::parse(name).unwrap()
    }

    #[test]
    fn a_wildcard_is_for_the_domain_and_what_is_below_it() {
        let name = CertificateName::Wildcard(host("sites.example.com"));
        assert_eq!(name.identifiers(), ["*.sites.example.com", "sites.example.com"]);
        assert_eq!(name.to_string(), "*.sites.example.com");
        assert_eq!(CertificateName::Host(host("a.example")).identifiers(), ["a.example"]);
    }

    #[test]
    fn only_names_that_an_authority_can_see_are_asked_for() {
        for good in ["www.example.com", "example.com", "a.b.c.example", "xn--bcher-kva.example"] {
            assert!(is_certifiable(&host(good)), "{good}");
        }
        for bad in ["localhost", "site.localhost", "intranet", "127.0.0.1", "a_b.example.com", "10"] {
            assert!(!is_certifiable(&host(bad)), "{bad}");
        }
    }

    #[test]
    fn renewal_is_due_at_about_two_thirds_of_the_life() {
        let begin = OffsetDateTime::UNIX_EPOCH;
        let days = |days| begin + time::Duration::days(days);
        for chance in [0.0, 0.3, 1.0] {
            let due = renewal(begin, days(90), chance);
            assert!(due >= days(55) && due <= days(61), "{due}");
        }
        assert!(renewal(begin, days(90), 0.0) < renewal(begin, days(90), 1.0));
    }

    #[test]
    fn pauses_grow_from_minutes_to_a_day() {
        let minutes = |failures| pause(failures, 0.5).as_secs() / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [2, 8, 32, 128]);
        assert_eq!(minutes(9), 24 * 60);
        assert_eq!(minutes(u32::MAX), 24 * 60);
        assert!(pause(1, 0.0) < pause(1, 1.0));
    }
}
