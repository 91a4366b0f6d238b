//! Who someone is: register, sign in, stay signed in, and personal tokens.
//!
//! What a person holds (password, refresh token, personal token) is stored as a hash only. Whether
//! a person may do something is not decided here: every query of the ports takes the account.
//! Start with [`App::authenticate`], which each request passes.

use crate::app::App;
use crate::app::signing::{Claims, SigningKeys};
use crate::domain::account::{DisplayName, Email, Password, Session, Token, User};
use crate::domain::digest::Digest;
use crate::domain::id::{SessionId, TokenId, UserId};
use crate::domain::secret::Secret;
use crate::ports::accounts::Rotation;
use crate::ports::error::{StoreError, StoreErrorKind};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::distr::{Alphanumeric, SampleString};
use std::time::Duration;
use tokio::sync::Semaphore;

const PERSONAL_PREFIX: &str = "gvtok_";
const REFRESH_PREFIX: &str = "gvref_";
/// Characters of 62 kinds behind the prefix: 238 bits.
const PERSONAL_CHARS: usize = 40;
/// The same: 256 bits.
const REFRESH_CHARS: usize = 43;
/// An account's personal tokens, expired ones included.
const MAX_TOKENS: usize = 100;
/// Of these, those that `gv up` made for itself, on as many machines.
const MAX_OWNER_TOKENS: usize = 20;
const OWNER_TOKEN_NAME: &str = "gv up";

/// What signing in needs beside the ports.
pub struct Accounts {
    pub keys: SigningKeys,
    /// Each hash takes a core and 19 MiB: more at a time than there are cores would only wait in
    /// memory.
    hashing: Semaphore,
}

/// A person who has just signed in, or stayed signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub user: User,
    pub access_token: Secret,
    /// How long the access token is valid.
    pub expires_in: Duration,
    pub refresh_token: Secret,
}

/// What came of a try to sign in.
#[derive(Clone, Debug)]
pub enum Login {
    SignedIn(Box<SignedIn>),
    /// No account has this address and this password.
    Refused,
    /// The password is right, and an operator keeps the account out.
    Disabled,
}

/// Who makes a request, and how they proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    pub account: UserId,
    pub via: Via,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Session(SessionId),
    Token(TokenId),
}

impl Accounts {
    pub fn new(keys: SigningKeys) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { keys, hashing: Semaphore::new(cores) }
    }

    pub(super) async fn hash(&self, password: Password) -> Result<String, StoreError> {
        self.compute(move || {
            hasher()?.hash_password(password.expose().as_bytes()).map(|hash| hash.to_string())
        })
        .await
    }

    /// Whether the password has this hash. Without a hash (no such account, or one without a
    /// password) the answer is no, after the same work: the time must not tell who has an account.
    async fn check(&self, password: Password, hash: Option<String>) -> Result<bool, StoreError> {
        self.compute(move || {
            let (hasher, password) = (hasher()?, password.expose().as_bytes());
            match hash {
                Some(hash) => Ok(hasher.verify_password(password, hash.as_str()).is_ok()),
                None => hasher.hash_password(password).map(|_| false),
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> argon2::password_hash::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            StoreError::new(StoreErrorKind::Internal, "hashing a password", error)
        };
        let _permit = self.hashing.acquire().await.map_err(|error| failed(error.into()))?;
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.into()))?;
        done.map_err(|error| failed(error.to_string().into()))
    }
}

/// Argon2id with 19 MiB, two passes, one lane: OWASP's first recommendation.
fn hasher() -> argon2::password_hash::Result<Argon2<'static>> {
    let params = Params::new(19 * 1024, 2, 1, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl App {
    /// Makes an account and signs its owner in. `None`: the e-mail address has one already.
    pub async fn register(
        &self,
        email: Email,
        password: Password,
        name: Option<DisplayName>,
    ) -> Result<Option<SignedIn>, StoreError> {
        // Whoever was first with it would be taken for the owner of the next `gv up`.
        if email == self.owner_email()? {
            return Ok(None);
        }
        let password_hash = Some(self.accounts.hash(password).await?);
        let now = self.clock.now();
        let id = UserId::new(now, &mut rand::rng());
        let user = User { id, email, name, password_hash, created_at: now, disabled_at: None };
        match self.database.insert_user(&user).await {
            Ok(()) => self.open_session(user).await.map(Some),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a session for whoever has an account's password.
    pub async fn login(&self, email: &Email, password: Password) -> Result<Login, StoreError> {
        let user = self.database.find_user_by_email(email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let right = self.accounts.check(password, hash).await?;
        match user {
            Some(user) if right && user.disabled_at.is_some() => Ok(Login::Disabled),
            Some(user) if right => self.open_session(user).await.map(|it| Login::SignedIn(Box::new(it))),
            _ => Ok(Login::Refused),
        }
    }

    /// Swaps a refresh token for the next one, once. `None`: it is unknown, expired or used; a used
    /// one has ended its session by this, since either its owner or a thief had it before.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<Option<SignedIn>, StoreError> {
        let now = self.clock.now();
        let next = random_token(REFRESH_PREFIX, REFRESH_CHARS);
        let expires_at = now + self.policy.refresh_token_lifetime;
        match self.database.rotate(&hashed(refresh_token), &hashed(&next), now, expires_at).await? {
            Rotation::Rotated(session) => {
                let user = self.database.find_user(session.account).await?;
                Ok(user.map(|user| self.signed_in(user, session.id, next)))
            }
            Rotation::Reused => {
                tracing::warn!("a refresh token was used twice: its session has been ended");
                metrics::counter!("gv_refresh_tokens_reused_total").increment(1);
                Ok(None)
            }
            Rotation::Refused => Ok(None),
        }
    }

    /// Ends the session that a refresh token belongs to; an unknown token is no error.
    pub async fn logout(&self, refresh_token: &Secret) -> Result<(), StoreError> {
        self.database.close_session(&hashed(refresh_token), self.clock.now()).await
    }

    /// Who holds this access token or personal token. `None`: nobody, any more.
    pub async fn authenticate(&self, token: &str) -> Result<Option<Actor>, StoreError> {
        let now = self.clock.now();
        if token.starts_with(PERSONAL_PREFIX) {
            let found = self.database.use_token(&Digest::of(token.as_bytes()), now).await?;
            return Ok(found.map(|token| Actor { account: token.account, via: Via::Token(token.id) }));
        }
        let Ok(Claims { account, session }) = self.accounts.keys.verify(token, now) else {
            return Ok(None);
        };
        let open = self.database.is_session_open(account, session).await?;
        Ok(open.then_some(Actor { account, via: Via::Session(session) }))
    }

    /// Whether an access, refresh or personal token that opens nothing is one of an account that an
    /// operator keeps out: asked after the refusal, to say why.
    pub async fn is_of_disabled(&self, token: &str) -> Result<bool, StoreError> {
        if let Ok(claims) = self.accounts.keys.verify(token, self.clock.now()) {
            let user = self.database.find_user(claims.account).await?;
            return Ok(user.is_some_and(|user| user.disabled_at.is_some()));
        }
        if ![PERSONAL_PREFIX, REFRESH_PREFIX].iter().any(|prefix| token.starts_with(prefix)) {
            return Ok(false);
        }
        self.database.is_of_disabled_user(&Digest::of(token.as_bytes())).await
    }

    /// Makes a personal token, whose text is known now and never again. `None`: the account has
    /// [`MAX_TOKENS`] already.
    pub async fn create_token(
        &self,
        account: UserId,
        name: DisplayName,
        expires_in_days: Option<u16>,
    ) -> Result<Option<(Token, Secret)>, StoreError> {
        if self.database.list_tokens(account).await?.len() >= MAX_TOKENS {
            return Ok(None);
        }
        let now = self.clock.now();
        let token = Token {
            id: TokenId::new(now, &mut rand::rng()),
            account,
            name,
            created_at: now,
            expires_at: expires_in_days.map(|days| now + time::Duration::days(i64::from(days))),
            last_used_at: None,
        };
        let text = random_token(PERSONAL_PREFIX, PERSONAL_CHARS);
        self.database.insert_token(&token, &hashed(&text)).await?;
        Ok(Some((token, text)))
    }

    /// The account of `gv up`, made when missing, and a personal token for it: `held` as long as it
    /// is valid, else a new one. The account has no password: whoever can read the data folder is
    /// the owner.
    pub async fn owner(&self, held: Option<Secret>) -> Result<(User, Secret), StoreError> {
        let owner = self.owner_account().await?;
        if let Some(held) = held
            && self.authenticate(held.expose()).await?.is_some_and(|actor| actor.account == owner.id)
        {
            return Ok((owner, held));
        }
        let mut tokens = self.database.list_tokens(owner.id).await?;
        tokens.retain(|token| token.name.as_str() == OWNER_TOKEN_NAME);
        // Newest first: what is left over at the end belongs to folders that are long gone.
        for old in tokens.iter().skip(MAX_OWNER_TOKENS - 1) {
            self.database.delete_token(owner.id, old.id).await?;
        }
        let name = DisplayName::parse(OWNER_TOKEN_NAME)
            .map_err(|error| StoreError::new(StoreErrorKind::Internal, "naming the owner's token", error))?;
        let made = self.create_token(owner.id, name, None).await?;
        made.map(|(_, text)| (owner, text)).ok_or_else(|| {
            let why = format!("the owner has {MAX_TOKENS} personal tokens: delete some of them");
            StoreError::new(StoreErrorKind::Internal, "making the owner's token", why)
        })
    }

    fn owner_email(&self) -> Result<Email, StoreError> {
        // A domain that is no domain of e-mail (one with an underscore) falls back to this machine.
        Email::parse(&format!("owner@{}", self.policy.names.domain))
            .or_else(|_| Email::parse("owner@localhost"))
            .map_err(|error| StoreError::new(StoreErrorKind::Internal, "naming the owner", error))
    }

    async fn owner_account(&self) -> Result<User, StoreError> {
        let email = self.owner_email()?;
        if let Some(owner) = self.database.find_user_by_email(&email).await? {
            return Ok(owner);
        }
        let now = self.clock.now();
        let id = UserId::new(now, &mut rand::rng());
        let owner = User { id, email, name: None, password_hash: None, created_at: now, disabled_at: None };
        match self.database.insert_user(&owner).await {
            Ok(()) => Ok(owner),
            // Another process started at the same moment.
            Err(error) if error.is_conflict() => {
                self.database.find_user_by_email(&owner.email).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn open_session(&self, user: User) -> Result<SignedIn, StoreError> {
        let now = self.clock.now();
        let id = SessionId::new(now, &mut rand::rng());
        let session = Session { id, account: user.id, created_at: now };
        let refresh_token = random_token(REFRESH_PREFIX, REFRESH_CHARS);
        let expires_at = now + self.policy.refresh_token_lifetime;
        self.database.open_session(&session, &hashed(&refresh_token), expires_at).await?;
        Ok(self.signed_in(user, id, refresh_token))
    }

    fn signed_in(&self, user: User, session: SessionId, refresh_token: Secret) -> SignedIn {
        let expires_in = self.policy.access_token_lifetime;
        let claims = Claims { account: user.id, session };
        let access_token = self.accounts.keys.issue(claims, self.clock.now(), expires_in);
        SignedIn { user, access_token, expires_in, refresh_token }
    }
}

fn random_token(prefix: &str, chars: usize) -> Secret {
    Secret::new(format!("{prefix}{}", Alphanumeric.sample_string(&mut rand::rng(), chars)))
}

fn hashed(token: &Secret) -> Digest {
    Digest::of(token.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::new(SigningKeys::parse(&[SigningKeys::generate()]).unwrap())
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_kept_as_an_argon2id_hash_that_only_it_opens() {
        let accounts = accounts();
        let hash = accounts.hash(password("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(accounts.check(password("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!accounts.check(password("battery staple"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn no_password_opens_an_account_that_has_none() {
        assert!(!accounts().check(password("correct horse"), None).await.unwrap());
        assert!(!accounts().check(password("correct horse"), Some(String::new())).await.unwrap());
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (random_token("gvtok_", 40), random_token("gvtok_", 40));
        assert_ne!(one, other);
        let body = one.expose().strip_prefix("gvtok_").unwrap();
        assert!(body.len() == 40 && body.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}
