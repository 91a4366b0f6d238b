//! Who deploys: users, their logins and their personal tokens.
//!
//! An account is a user. Whatever belongs to one is invisible to every other.

use crate::domain::id::{SessionId, TokenId, UserId};
use crate::domain::secret::Secret;
use crate::domain::text::{Invalid, parsed_text, printable};
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub email: Email,
    pub name: Option<DisplayName>,
    /// An Argon2id hash in PHC form; without one the account has no password login.
    pub password_hash: Option<String>,
    pub created_at: OffsetDateTime,
    /// Since when an operator keeps it out: nothing that its owner holds opens anything.
    pub disabled_at: Option<OffsetDateTime>,
}

/// A personal token as it is kept: only the hash of what the person holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub account: UserId,
    pub name: DisplayName,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub last_used_at: Option<OffsetDateTime>,
}

/// One login: the family that its refresh tokens belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub account: UserId,
    pub created_at: OffsetDateTime,
}

/// An e-mail address in lower case. It identifies an account; nothing is sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Takes what mail servers take in practice: one `@`, no spaces, a domain with sane labels
    /// (`localhost` too), at most 254 characters (RFC 5321, 4.5.3.1.3).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("is not an e-mail address such as ada@example.com");
        // In the form that is kept: some letters become two in lower case.
        let text = printable(text, 254)?.to_lowercase();
        let text = printable(&text, 254)?;
        let (local, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
        let local_ok = !local.is_empty()
            && local.len() <= 64
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
        let domain_ok = !domain.is_empty()
            && domain.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            });
        if local_ok && domain_ok { Ok(Self(text.to_owned())) } else { Err(invalid()) }
    }
}
parsed_text!(Email);

/// A name that a person gave to themselves or to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        printable(text.trim(), 100).map(|name| Self(name.to_owned()))
    }
}
parsed_text!(DisplayName);

/// A password that is long enough to be one.
#[derive(Clone, Debug)]
pub struct Password(Secret);

impl Password {
    /// The least and the most characters (NIST SP 800-63B, 5.1.1.2: at least 8, at least 64 allowed;
    /// the upper bound keeps hashing cheap).
    pub const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (least, most) = (Self::LENGTH.start(), Self::LENGTH.end());
        if text.len() > most * 4 || !Self::LENGTH.contains(&text.chars().count()) {
            return Err(Invalid::new(format!("must have {least} to {most} characters")));
        }
        Ok(Self(Secret::new(text)))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl<'de> serde::Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_mail_addresses_are_compared_in_lower_case() {
        assert_eq!(Email::parse("Ada@Example.COM").unwrap(), Email::parse("ada@example.com").unwrap());
    }

    #[test]
    fn what_is_no_e_mail_address_is_refused() {
        for bad in [
            "",
            "ada",
            "@x.org",
            "ada@",
            "a b@x.org",
            "ada@-x.org",
            "ada@x..org",
            "a\n@x.org",
            "..@x.org",
            "İ@x.org",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let password = Password::parse("correct horse").unwrap();
        assert_eq!(format!("{password:?}"), "Password(***)");
        assert!(Password::parse("short").is_err());
    }
}
