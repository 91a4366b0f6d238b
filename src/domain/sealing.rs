//! Sealing what must not be read in a database, a bucket or their copies: values of variables, tokens,
//! private keys.
//!
//! A sealed text is `gve1.<id of the key>.<salt and ciphertext in base64url>`. Each one has a key of its
//! own, derived from one of the installation's by HKDF-SHA256 with a random salt, and is encrypted by
//! AES-256-GCM; so no nonce is ever used twice, however much is sealed. What it belongs to ([`Place`]) is
//! authenticated with it: put elsewhere, it does not open. Start with [`SecretKeys`].

use crate::domain::certificate::{AuthorityId, CertificateName};
use crate::domain::digest::Digest;
use crate::domain::id::{DeploymentId, ProjectId, UserId};
use crate::domain::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use ring::{aead, hkdf, hmac};
use std::collections::HashSet;
use std::fmt;

/// What every sealed text begins with.
pub const SEALED: &str = "gve1.";
const KEY: &str = "gvs1.";
const SALT: usize = 24;
/// What derived keys are for: one that seals never says who is who, and the other way round.
const SEALING: &[u8] = b"gv sealing 1";
const NAMING: &[u8] = b"gv fingerprints 1";

/// The keys of one installation: the first seals, all open. A key is taken out of use by putting another
/// before it, and removed when nothing that it sealed is left (`gv secrets rotate`).
#[derive(Default)]
pub struct SecretKeys {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    secret: [u8; 32],
}

/// What a sealed text belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The place in the list, from 1. The text itself is never shown.
    #[error("key {0} does not have the form gvs1.<id>.<key>: `gv secrets keygen` makes one")]
    Malformed(usize),
    #[error("two keys have the id {0}")]
    Repeated(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("secrets.keys is empty, so that nothing can be sealed or opened")]
    NoKey,
    #[error("secrets.keys has no key with the id {0}, which this was sealed by")]
    UnknownKey(String),
    /// Changed, cut, or moved from another place.
    #[error("a sealed text does not open")]
    Invalid,
}

impl Place {
    /// A variable of a project, whatever its targets.
    pub fn variable(account: UserId, project: ProjectId, name: &str) -> Self {
        Self(format!("variable/{account}/{project}/{name}"))
    }

    /// One part of a deployment's request.
    pub fn deployment(account: UserId, id: DeploymentId, part: &str) -> Self {
        Self(format!("deployment/{account}/{id}/{part}"))
    }

    /// The private key of a certificate.
    pub fn certificate(authority: &AuthorityId, name: &CertificateName) -> Self {
        Self(format!("certificate/{authority}/{name}"))
    }

    /// Our account with an authority.
    pub fn authority(authority: &AuthorityId) -> Self {
        Self(format!("authority/{authority}"))
    }
}

impl SecretKeys {
    /// Reads keys of the form `gvs1.<id>.<32 bytes in base64url>`. None is no error: then nothing can be
    /// sealed.
    pub fn parse(keys: &[Secret]) -> Result<Self, KeyError> {
        let mut parsed = Vec::with_capacity(keys.len());
        let mut ids = HashSet::new();
        for (place, key) in (1..).zip(keys) {
            let key = parse_key(key.expose()).ok_or(KeyError::Malformed(place))?;
            if !ids.insert(key.id.clone()) {
                return Err(KeyError::Repeated(key.id));
            }
            parsed.push(key);
        }
        Ok(Self { keys: parsed })
    }

    /// A new key in the form that [`Self::parse`] reads.
    pub fn generate(rng: &mut impl Rng) -> Secret {
        let (id, key): ([u8; 6], [u8; 32]) = (rng.random(), rng.random());
        Secret::new(format!("{KEY}{}.{}", URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(key)))
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn seal(&self, text: &str, place: &Place, rng: &mut impl Rng) -> Result<String, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        let salt: [u8; SALT] = rng.random();
        let mut sealed = text.as_bytes().to_vec();
        let aad = aead::Aad::from(place.0.as_bytes());
        key.cipher(&salt)?
            .seal_in_place_append_tag(once(), aad, &mut sealed)
            .map_err(|_| SealError::Invalid)?;
        let body = URL_SAFE_NO_PAD.encode([&salt, sealed.as_slice()].concat());
        Ok(format!("{SEALED}{}.{body}", key.id))
    }

    pub fn open(&self, sealed: &str, place: &Place) -> Result<Secret, SealError> {
        let (id, body) = parts(sealed).ok_or(SealError::Invalid)?;
        let key = self.keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| match self.keys.is_empty() {
            true => SealError::NoKey,
            false => SealError::UnknownKey(id.to_owned()),
        })?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealError::Invalid)?;
        let (salt, rest) = body.split_at_checked(SALT).ok_or(SealError::Invalid)?;
        let mut opened = rest.to_vec();
        let aad = aead::Aad::from(place.0.as_bytes());
        let opened =
            key.cipher(salt)?.open_in_place(once(), aad, &mut opened).map_err(|_| SealError::Invalid)?;
        String::from_utf8(opened.to_vec()).map(Secret::new).map_err(|_| SealError::Invalid)
    }

    /// What texts begin with that the first key sealed.
    pub fn newest_prefix(&self) -> Option<String> {
        self.prefixes().next()
    }

    /// What texts begin with that these keys sealed, each its own.
    pub fn prefixes(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|key| format!("{SEALED}{}.", key.id))
    }

    /// A name for `bytes` that tells nothing about them to who does not have the first key; `None` without
    /// a key.
    pub fn fingerprint(&self, bytes: &[u8]) -> Option<Digest> {
        let key = self.keys.first()?;
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
        let extracted = salt.extract(&key.secret);
        let derived = extracted.expand(&[NAMING], hmac::HMAC_SHA256).ok()?;
        let tag = hmac::sign(&hmac::Key::from(derived), bytes);
        <[u8; 32]>::try_from(tag.as_ref()).ok().map(Digest::from)
    }
}

/// Whether this is a sealed text, by whichever key.
pub fn is_sealed(text: &str) -> bool {
    parts(text).is_some()
}

/// The id of the key, and what it sealed.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(SEALED)?.split_once('.')
}

/// The key beneath it is used once.
fn once() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

impl Key {
    fn cipher(&self, salt: &[u8]) -> Result<aead::LessSafeKey, SealError> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.secret);
        let derived = extracted.expand(&[SEALING], &aead::AES_256_GCM).map_err(|_| SealError::Invalid)?;
        Ok(aead::LessSafeKey::new(derived.into()))
    }
}

fn parse_key(text: &str) -> Option<Key> {
    let (id, secret) = text.trim().strip_prefix(KEY)?.split_once('.')?;
    let shaped = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let secret: [u8; 32] = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
    shaped.then(|| Key { id: id.to_owned(), secret })
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    fn keys(count: usize) -> Vec<Secret> {
        (0..count).map(|_| SecretKeys::generate(&mut rand::rng())).collect()
    }

    fn place(name: &str) -> Place {
        let (now, mut rng) = (OffsetDateTime::UNIX_EPOCH, rand::rng());
        Place::variable(UserId::new(now, &mut rng), ProjectId::new(now, &mut rng), name)
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_in_no_other() {
        let keys = SecretKeys::parse(&keys(1)).unwrap();
        let here = place("TOKEN");
        let sealed = keys.seal("hunter22 ÿ", &here, &mut rand::rng()).unwrap();
        assert!(is_sealed(&sealed) && !sealed.contains("hunter22"));
        assert_eq!(keys.open(&sealed, &here).unwrap().expose(), "hunter22 ÿ");
        assert_eq!(keys.open(&sealed, &place("TOKEN")), Err(SealError::Invalid), "of another project");
        assert_ne!(
            sealed,
            keys.seal("hunter22 ÿ", &here, &mut rand::rng()).unwrap(),
            "equal values do not show"
        );
    }

    #[test]
    fn whatever_is_changed_of_a_sealed_text_it_does_not_open() {
        let keys = SecretKeys::parse(&keys(1)).unwrap();
        let here = place("TOKEN");
        let sealed = keys.seal("hunter22", &here, &mut rand::rng()).unwrap();
        for at in SEALED.len()..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(keys.open(&String::from_utf8(bytes).unwrap(), &here).is_err(), "byte {at}");
            assert!(keys.open(&sealed[..at], &here).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn after_a_rotation_the_first_key_seals_and_all_open() {
        let [old, new]: [Secret; 2] = keys(2).try_into().unwrap();
        let before = SecretKeys::parse(std::slice::from_ref(&old)).unwrap();
        let both = SecretKeys::parse(&[new.clone(), old]).unwrap();
        let after = SecretKeys::parse(&[new]).unwrap();
        let here = place("TOKEN");
        let sealed = before.seal("x", &here, &mut rand::rng()).unwrap();
        assert!(!sealed.starts_with(&both.newest_prefix().unwrap()));
        assert_eq!(both.open(&sealed, &here).unwrap().expose(), "x");
        assert!(matches!(after.open(&sealed, &here), Err(SealError::UnknownKey(_))));
        let again = both.seal("x", &here, &mut rand::rng()).unwrap();
        assert!(again.starts_with(&both.newest_prefix().unwrap()));
        assert_eq!(after.open(&again, &here).unwrap().expose(), "x");
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_nothing_opens() {
        let none = SecretKeys::parse(&[]).unwrap();
        assert_eq!(none.seal("x", &place("A"), &mut rand::rng()), Err(SealError::NoKey));
        assert_eq!(none.open("gve1.a.b", &place("A")), Err(SealError::NoKey));
        assert_eq!(none.fingerprint(b"x"), None);
    }

    #[test]
    fn keys_are_read_strictly_and_never_shown() {
        let [key, other]: [Secret; 2] = keys(2).try_into().unwrap();
        for bad in ["", "gvs1", "gvs1.a.b", "gvk1.a.b", &key.expose()[..40], &format!("{}A", key.expose())] {
            let error = SecretKeys::parse(&[other.clone(), Secret::new(bad)]).unwrap_err();
            assert_eq!(error, KeyError::Malformed(2), "{bad}");
        }
        assert!(matches!(SecretKeys::parse(&[key.clone(), key.clone()]), Err(KeyError::Repeated(_))));
        let shown = format!("{:?}", SecretKeys::parse(std::slice::from_ref(&key)).unwrap());
        assert!(!shown.contains(key.expose().rsplit('.').next().unwrap()));
    }

    #[test]
    fn fingerprints_are_of_the_bytes_and_of_the_installation() {
        let (one, other) = (SecretKeys::parse(&keys(1)).unwrap(), SecretKeys::parse(&keys(1)).unwrap());
        assert_eq!(one.fingerprint(b"a"), one.fingerprint(b"a"));
        assert_ne!(one.fingerprint(b"a"), one.fingerprint(b"b"));
        assert_ne!(one.fingerprint(b"a"), other.fingerprint(b"a"));
        assert_ne!(one.fingerprint(b"a"), Some(Digest::of(b"a")));
    }
}
