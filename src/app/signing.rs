//! Access tokens: short-lived JWTs signed with Ed25519, so that any api process can check what
//! another one gave out.
//!
//! Not here: whether the session behind a token is still open (see `app::accounts`), and personal
//! tokens, which are no JWTs. Start with [`SigningKeys`].

use crate::domain::id::{SessionId, UserId};
use crate::domain::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{
    Ed25519KeyPair, Ed25519PublicKey, EdDSAKeyPairLike, EdDSAPublicKeyLike, JWTClaims, Token, UnixTimeStamp,
    VerificationOptions,
};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;
use time::OffsetDateTime;

const ISSUER: &str = "gv";
const AUDIENCE: &str = "gv-api";
/// Ours have about 300 bytes; what is longer is not looked at.
const MAX_BYTES: usize = 2_000;
/// What precedes the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410, 7).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The keys of one installation: the first signs, all verify. A key is taken out of use by putting
/// another before it, and removed when the last token that it signed has expired.
pub struct SigningKeys {
    signs: Ed25519KeyPair,
    verify: Vec<Ed25519PublicKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no signing key: `gv config keygen` makes one")]
    Missing,
    /// The place in the list, from 1. The text itself is never shown.
    #[error("signing key {0} does not have the form gvk1.<id>.<key>: `gv config keygen` makes one")]
    Malformed(usize),
    #[error("two signing keys have the id {0}")]
    Repeated(String),
}

/// What a valid access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    pub account: UserId,
    pub session: SessionId,
}

/// Not a token of ours, or one that has expired. Why is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access token is not valid")]
pub struct InvalidToken;

#[derive(Serialize, Deserialize)]
struct Custom {
    sid: SessionId,
}

impl SigningKeys {
    /// Reads keys of the form `gvk1.<id>.<32 bytes in base64url>`.
    pub fn parse(keys: &[Secret]) -> Result<Self, KeyError> {
        let mut pairs = Vec::with_capacity(keys.len());
        for (place, key) in (1..).zip(keys) {
            pairs.push(parse_key(key.expose()).ok_or(KeyError::Malformed(place))?);
        }
        let verify: Vec<_> = pairs.iter().map(Ed25519KeyPair::public_key).collect();
        let mut ids = HashSet::new();
        for id in verify.iter().filter_map(|key| key.key_id().clone()) {
            if !ids.insert(id.clone()) {
                return Err(KeyError::Repeated(id));
            }
        }
        let signs = pairs.into_iter().next().ok_or(KeyError::Missing)?;
        Ok(Self { signs, verify })
    }

    /// A new key in the form that [`Self::parse`] reads.
    pub fn generate() -> Secret {
        let mut rng = rand::rng();
        let (id, seed): ([u8; 6], [u8; 32]) = (rng.random(), rng.random());
        Secret::new(format!("gvk1.{}.{}", URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(seed)))
    }

    /// Signs a token that is valid from `now` for `lifetime`, counted in whole seconds.
    pub fn issue(&self, claims: Claims, now: OffsetDateTime, lifetime: Duration) -> Secret {
        let issued_at = unix(now);
        let claims = JWTClaims {
            issued_at: Some(issued_at),
            expires_at: Some(issued_at + lifetime.into()),
            invalid_before: None,
            issuer: Some(ISSUER.to_owned()),
            subject: Some(claims.account.to_string()),
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: Custom { sid: claims.session },
        };
        // Serialising strings and numbers and signing with a key that was checked when it was read
        // cannot fail; an empty token would be refused like any other invalid one.
        Secret::new(self.signs.sign(claims.with_audience(AUDIENCE)).unwrap_or_default())
    }

    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Claims, InvalidToken> {
        if token.len() > MAX_BYTES {
            return Err(InvalidToken);
        }
        let head = Token::decode_metadata(token).map_err(|_| InvalidToken)?;
        // The key is chosen by what the token says of itself, and then decides everything else.
        let id = head.key_id().filter(|_| head.algorithm() == "EdDSA").ok_or(InvalidToken)?;
        let key = self.verify.iter().find(|key| key.key_id().as_deref() == Some(id)).ok_or(InvalidToken)?;
        let options = VerificationOptions {
            allowed_issuers: Some(HashSet::from([ISSUER.to_owned()])),
            allowed_audiences: Some(HashSet::from([AUDIENCE.to_owned()])),
            // The default forgives a quarter of an hour after expiry.
            time_tolerance: Some(Duration::ZERO.into()),
            // Another api process's clock may be a little ahead; only the expiry protects.
            accept_future: true,
            max_token_length: Some(MAX_BYTES),
            artificial_time: Some(unix(now)),
            ..VerificationOptions::default()
        };
        let claims = key.verify_token::<Custom>(token, Some(options)).map_err(|_| InvalidToken)?;
        // A token without expiry would pass above, and one in its last second too.
        if claims.expires_at.is_none_or(|at| at <= unix(now)) {
            return Err(InvalidToken);
        }
        let account = claims.subject.and_then(|subject| subject.parse().ok()).ok_or(InvalidToken)?;
        Ok(Claims { account, session: claims.custom.sid })
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.verify.iter().map(|key| key.key_id())).finish()
    }
}

fn parse_key(text: &str) -> Option<Ed25519KeyPair> {
    let (id, seed) = text.trim().strip_prefix("gvk1.")?.split_once('.')?;
    let id_ok = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let seed: [u8; 32] = URL_SAFE_NO_PAD.decode(seed).ok()?.try_into().ok()?;
    let pair = Ed25519KeyPair::from_der(&[PKCS8_HEAD.as_slice(), &seed].concat()).ok()?;
    id_ok.then(|| pair.with_key_id(id))
}

fn unix(time: OffsetDateTime) -> UnixTimeStamp {
    UnixTimeStamp::from_secs(time.unix_timestamp().max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jwt_simple::prelude::{HS256Key, MACLike};

    const LIFETIME: Duration = Duration::from_secs(900);

    fn now() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000)
    }

    fn keys() -> SigningKeys {
        SigningKeys::parse(&[SigningKeys::generate()]).unwrap()
    }

    fn claims() -> Claims {
        let mut rng = rand::rng();
        Claims { account: UserId::new(now(), &mut rng), session: SessionId::new(now(), &mut rng) }
    }

    fn jwt(claims: Claims) -> JWTClaims<Custom> {
        let at = unix(now());
        JWTClaims {
            issued_at: Some(at),
            expires_at: Some(at + LIFETIME.into()),
            invalid_before: None,
            issuer: Some(ISSUER.to_owned()),
            subject: Some(claims.account.to_string()),
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: Custom { sid: claims.session },
        }
    }

    fn json(value: &serde_json::Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn a_token_says_whose_it_is_until_it_expires() {
        let (keys, claims) = (keys(), claims());
        let token = keys.issue(claims, now(), LIFETIME);
        let at = |seconds| keys.verify(token.expose(), now() + time::Duration::seconds(seconds));
        assert_eq!(at(0), Ok(claims));
        assert_eq!(at(899), Ok(claims));
        assert_eq!(at(900), Err(InvalidToken), "no second of grace");
        assert_eq!(at(100_000), Err(InvalidToken));
        assert_eq!(at(-5), Ok(claims), "a clock that is a little behind");
    }

    #[test]
    fn after_a_rotation_the_old_key_still_verifies_and_the_new_one_signs() {
        let (old, new) = (SigningKeys::generate(), SigningKeys::generate());
        let before = SigningKeys::parse(std::slice::from_ref(&old)).unwrap();
        let after = SigningKeys::parse(&[new, old]).unwrap();
        let claims = claims();
        let token = before.issue(claims, now(), LIFETIME);
        assert_eq!(after.verify(token.expose(), now()), Ok(claims));
        let token = after.issue(claims, now(), LIFETIME);
        assert_eq!(before.verify(token.expose(), now()), Err(InvalidToken));
    }

    #[test]
    fn a_token_without_expiry_or_for_someone_else_is_refused() {
        let (keys, claims) = (keys(), claims());
        let signed = |jwt| keys.signs.sign(jwt).unwrap();
        let verified = |token: String| keys.verify(&token, now());
        assert_eq!(verified(signed(jwt(claims).with_audience(AUDIENCE))), Ok(claims));
        assert_eq!(verified(signed(jwt(claims).with_audience("another"))), Err(InvalidToken));
        assert_eq!(verified(signed(jwt(claims))), Err(InvalidToken), "no audience at all");
        let issued = jwt(claims).with_audience(AUDIENCE).with_issuer("another");
        assert_eq!(verified(signed(issued)), Err(InvalidToken));
        let eternal = JWTClaims { expires_at: None, ..jwt(claims).with_audience(AUDIENCE) };
        assert_eq!(verified(signed(eternal)), Err(InvalidToken));
    }

    #[test]
    fn another_algorithm_or_key_under_a_known_id_is_refused() {
        let (keys, claims) = (keys(), claims());
        let id = keys.verify[0].key_id().clone().unwrap();
        let stranger = Ed25519KeyPair::generate().with_key_id(&id);
        let forged = stranger.sign(jwt(claims).with_audience(AUDIENCE)).unwrap();
        assert_eq!(keys.verify(&forged, now()), Err(InvalidToken));
        // The classic confusion: an HMAC whose key is the public key's bytes.
        let hmac = HS256Key::from_bytes(&keys.verify[0].to_bytes()).with_key_id(&id);
        let forged = hmac.authenticate(jwt(claims).with_audience(AUDIENCE)).unwrap();
        assert_eq!(keys.verify(&forged, now()), Err(InvalidToken));
        let good = keys.issue(claims, now(), LIFETIME);
        let [_, payload, signature]: [&str; 3] =
            good.expose().split('.').collect::<Vec<_>>().try_into().unwrap();
        for algorithm in ["none", "None", "HS256", "ES256", "Ed25519"] {
            let head = json(&serde_json::json!({ "alg": algorithm, "typ": "JWT", "kid": id }));
            for signature in ["", signature] {
                let forged = format!("{head}.{payload}.{signature}");
                assert_eq!(keys.verify(&forged, now()), Err(InvalidToken), "{algorithm}");
            }
        }
    }

    #[test]
    fn garbage_is_refused() {
        let (keys, long) = (keys(), "a.".repeat(100_000));
        for bad in ["", ".", "..", "a.b.c", "eyJhbGciOiJFZERTQSJ9..", long.as_str()] {
            assert_eq!(keys.verify(bad, now()), Err(InvalidToken));
        }
    }

    #[test]
    fn keys_are_read_strictly_and_never_shown() {
        let key = SigningKeys::generate();
        assert_eq!(SigningKeys::parse(&[]).err(), Some(KeyError::Missing));
        for bad in ["", "gvk1", "gvk1.a.b", &key.expose()[..40], &format!("{}A", key.expose())] {
            let error = SigningKeys::parse(&[key.clone(), Secret::new(bad)]).err();
            assert_eq!(error, Some(KeyError::Malformed(2)), "{bad}");
        }
        assert!(matches!(SigningKeys::parse(&[key.clone(), key.clone()]), Err(KeyError::Repeated(_))));
        let shown = format!("{:?}", SigningKeys::parse(std::slice::from_ref(&key)).unwrap());
        assert!(!shown.contains(key.expose().rsplit('.').next().unwrap()));
    }
}
