//! Identifiers: a prefix that names the kind, then 20 characters that sort by the time of making.
//!
//! The body is Crockford's base32 in lower case (10 characters of milliseconds since 1970, 10 of
//! randomness), so that an id is a DNS label part, a file name and a URL segment as it stands.

use crate::domain::text::Invalid;
use rand::Rng;
use time::OffsetDateTime;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BODY: usize = 20;

type Body = [u8; BODY];

fn fresh(now: OffsetDateTime, rng: &mut impl Rng) -> Body {
    let millis = (now.unix_timestamp_nanos() / 1_000_000).max(0) as u64;
    let random: u64 = rng.random();
    let mut body = [0; BODY];
    for (i, slot) in body.iter_mut().enumerate() {
        let (value, place) = if i < 10 { (millis, 9 - i) } else { (random, 19 - i) };
        *slot = ALPHABET[(value >> (5 * place)) as usize & 31];
    }
    body
}

fn made_at(body: &Body) -> OffsetDateTime {
    let place = |byte: &u8| ALPHABET.iter().position(|known| known == byte).unwrap_or_default() as i128;
    let millis = body.iter().take(10).fold(0, |millis, byte| millis << 5 | place(byte));
    // Whatever an id says: one that somebody thought up may name a year that there is not.
    OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn parse(text: &str, prefix: &str) -> Result<Body, Invalid> {
    let body = text.strip_prefix(prefix).and_then(|body| Body::try_from(body.as_bytes()).ok());
    body.filter(|body| body.iter().all(|byte| ALPHABET.contains(byte)))
        .ok_or_else(|| Invalid::new(format!("is not an id of the form {prefix}...")))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Body);

        impl $name {
            pub const PREFIX: &str = $prefix;

            pub fn new(now: OffsetDateTime, rng: &mut impl Rng) -> Self {
                Self(fresh(now, rng))
            }

            /// To the millisecond.
            pub fn made_at(&self) -> OffsetDateTime {
                made_at(&self.0)
            }

            /// The id without its prefix: the part that may stand in a hostname.
            pub fn body(&self) -> &str {
                // The body is ASCII by construction, so the empty text is never given.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}{}", $prefix, self.body())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                parse(text, $prefix).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// An account: the owner of everything else.
    UserId "usr_"
    /// A personal access token.
    TokenId "tok_"
    /// A family of refresh tokens: one login.
    SessionId "ses_"
    ProjectId "prj_"
    DeploymentId "dpl_"
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    #[test]
    fn ids_made_later_sort_later_and_survive_a_round_trip() {
        let mut rng = rand::rng();
        let then = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let first = DeploymentId::new(then, &mut rng);
        let second = DeploymentId::new(then + Duration::milliseconds(1), &mut rng);
        assert!(first < second);
        assert_eq!(first.to_string().parse::<DeploymentId>().unwrap(), first);
        assert_eq!((first.made_at(), second.made_at()), (then, then + Duration::milliseconds(1)));
        assert_eq!(
            "dpl_zzzzzzzzzzzzzzzzzzzz".parse::<DeploymentId>().unwrap().made_at(),
            OffsetDateTime::UNIX_EPOCH
        );
    }

    #[test]
    fn another_kind_a_path_or_upper_case_is_no_id() {
        for bad in
            ["prj_01234567890123456789", "dpl_../../../../etc/pass", "dpl_0123456789ABCDEFGHJK", "dpl_", ""]
        {
            assert!(bad.parse::<DeploymentId>().is_err(), "{bad}");
        }
    }
}
