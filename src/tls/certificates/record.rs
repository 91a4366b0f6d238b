//! What storage keeps of one name: its certificate, who is getting one, what went wrong.
//!
//! It is one object, so that whoever changes any of it has seen all of it: a lease is taken, a proof
//! shown and a certificate put in its place by compare-and-swap.

use crate::domain::certificate::{CertificateName, pause, renewal};
use crate::ports::authority::{Proof, Way};
use crate::tls::certificates::parsed::Parsed;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use time::OffsetDateTime;

/// Clocks of two processes may be apart by so much: that much longer a lease is respected.
const SKEW: Duration = Duration::from_secs(30);
/// Of what an authority says about a failure, in bytes.
const MAX_REASON: usize = 2_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is: an object that was put elsewhere is nobody's.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// PEM.
    pub chain: String,
    /// PEM, sealed.
    pub key: String,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The same for all processes.
    #[serde(with = "time::serde::rfc3339")]
    pub renew_at: OffsetDateTime,
}

/// One process gets a certificate for the name; the others wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A name that nobody else has, of this one try.
    pub owner: String,
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// What the authority is to find, whichever process it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Shown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub way: ShownWay,
    pub token: String,
    pub key_authorization: String,
}

/// The ways that gv itself answers by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShownWay {
    Http,
    TlsAlpn,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// In a row.
    pub count: u32,
    /// Nobody tries again before.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// What the last one was, for the operator.
    pub last: String,
}

/// What may be done about a name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Free,
    /// Another process is at it.
    Leased,
    PausedUntil(OffsetDateTime),
}

impl Record {
    pub fn new(name: &CertificateName) -> Self {
        Self { name: name.to_string(), certificate: None, lease: None, failures: None }
    }

    /// `longest`: what a lease lasts at most. One that ends later was written by a clock that is wrong.
    pub fn standing(&self, now: OffsetDateTime, longest: Duration) -> Standing {
        if let Some(lease) = &self.lease
            && now < lease.until + SKEW
            && lease.until <= now + longest + SKEW
        {
            return Standing::Leased;
        }
        match &self.failures {
            Some(failures) if now < failures.until => Standing::PausedUntil(failures.until),
            _ => Standing::Free,
        }
    }

    /// The proof that the present lease shows in this way.
    pub fn shown(&self, way: ShownWay) -> Option<&Shown> {
        self.lease.as_ref()?.proof.as_ref().filter(|shown| shown.way == way)
    }

    /// Ends the lease with a certificate, whose key has been sealed.
    pub fn succeed(&mut self, chain: String, sealed: String, parsed: &Parsed, chance: f64) {
        let renew_at = renewal(parsed.not_before, parsed.not_after, chance);
        self.certificate = Some(Kept { chain, key: sealed, not_after: parsed.not_after, renew_at });
        (self.lease, self.failures) = (None, None);
    }

    /// Ends the lease with a failure. Nobody tries again for a while, and for `at_least` so long.
    pub fn fail(
        &mut self,
        reason: &str,
        now: OffsetDateTime,
        at_least: Duration,
        chance: f64,
    ) -> OffsetDateTime {
        let count = self.failures.as_ref().map_or(0, |failures| failures.count).saturating_add(1);
        let until = now + pause(count, chance).max(at_least);
        let end = reason.floor_char_boundary(MAX_REASON);
        self.failures = Some(Failures { count, until, last: reason[..end].to_owned() });
        self.lease = None;
        until
    }
}

impl Shown {
    /// `None`: not shown by gv itself.
    pub fn of(proof: &Proof) -> Option<Self> {
        let way = match proof.way {
            Way::Http => ShownWay::Http,
            Way::TlsAlpn => ShownWay::TlsAlpn,
            Way::Dns => return None,
        };
        Some(Self { way, token: proof.token.clone(), key_authorization: proof.key_authorization.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::Hostname;

    const MINUTE: Duration = Duration::from_secs(60);

    fn record() -> Record {
        Record::new(&CertificateName::Host(Hostname::parse("a.example").unwrap()))
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
    }

    #[test]
    fn a_lease_is_respected_until_its_end_whatever_clocks_say() {
        let mut record = record();
        assert_eq!(record.standing(at(0), MINUTE), Standing::Free);
        record.lease = Some(Lease { owner: "x".to_owned(), until: at(60), proof: None });
        assert_eq!(record.standing(at(0), MINUTE), Standing::Leased);
        assert_eq!(record.standing(at(80), MINUTE), Standing::Leased, "our clock may be ahead");
        assert_eq!(record.standing(at(91), MINUTE), Standing::Free);
        record.lease = Some(Lease { owner: "x".to_owned(), until: at(3_600), proof: None });
        assert_eq!(record.standing(at(0), MINUTE), Standing::Free, "no lease lasts so long");
    }

    #[test]
    fn failures_pause_a_name_for_longer_and_longer_and_a_certificate_ends_them() {
        let mut record = record();
        let first = record.fail("no", at(0), Duration::ZERO, 0.5);
        assert_eq!(record.standing(at(1), MINUTE), Standing::PausedUntil(first));
        assert_eq!(record.standing(first, MINUTE), Standing::Free);
        let second = record.fail("no", first, Duration::ZERO, 0.5);
        assert!(second - first > first - at(0));
        let asked_for = record.fail("no", at(0), Duration::from_secs(1_000_000), 0.5);
        assert_eq!(asked_for, at(1_000_000), "the authority's own wish counts");
        let parsed = Parsed { not_before: at(0), not_after: at(900) };
        record.succeed("chain".to_owned(), "sealed".to_owned(), &parsed, 0.5);
        assert_eq!((record.standing(at(1), MINUTE), record.failures.clone()), (Standing::Free, None));
        let due = record.certificate.unwrap().renew_at;
        assert!(due > at(500) && due < at(610), "{due}");
    }

    #[test]
    fn a_long_reason_is_cut_where_a_letter_ends() {
        let mut record = record();
        record.fail(&"ÿ".repeat(5_000), at(0), Duration::ZERO, 0.5);
        assert_eq!(record.failures.unwrap().last.len(), MAX_REASON);
    }
}
