//! Keeps users, their logins and their personal tokens.
//!
//! Secrets come in hashed: an adapter never sees what a person holds.

use crate::domain::account::{Email, Session, Token, User};
use crate::domain::digest::Digest;
use crate::domain::id::{SessionId, TokenId, UserId};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use time::OffsetDateTime;

#[async_trait]
pub trait Users: Send + Sync {
    /// A taken id or e-mail address is a conflict.
    async fn insert_user(&self, user: &User) -> Result<(), StoreError>;
    async fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError>;
    async fn find_user_by_email(&self, email: &Email) -> Result<Option<User>, StoreError>;

    /// By e-mail address, ascending, after `after`.
    async fn list_users(&self, after: Option<&Email>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Keeps an account out: ends its sessions, and lets neither those nor its tokens open anything
    /// until it is enabled. One that is kept out already stays so since then. `false`: there is no
    /// such account.
    async fn disable_user(&self, id: UserId, now: OffsetDateTime) -> Result<bool, StoreError>;

    /// Its personal tokens work again; its sessions stay ended. `false`: there is no such account.
    async fn enable_user(&self, id: UserId) -> Result<bool, StoreError>;

    /// Gives it this password and ends its sessions, in one transaction. `false`: there is no such
    /// account.
    async fn set_password(&self, id: UserId, hash: &str, now: OffsetDateTime) -> Result<bool, StoreError>;

    /// Whether the personal token or the refresh token with this hash, of use or not, belongs to an
    /// account that is kept out.
    async fn is_of_disabled_user(&self, token: &Digest) -> Result<bool, StoreError>;
}

/// Logins. A refresh token is used once: the next use of the same one ends its family.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Begins a session with its first refresh token.
    async fn open_session(
        &self,
        session: &Session,
        token: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<(), StoreError>;

    /// Swaps an unused, unexpired refresh token of an open session for the next one, once. The
    /// session of an account that is kept out is not open.
    async fn rotate(
        &self,
        used: &Digest,
        next: &Digest,
        now: OffsetDateTime,
        next_expires_at: OffsetDateTime,
    ) -> Result<Rotation, StoreError>;

    /// Ends the session that this refresh token (used or not) belongs to. An unknown one is no error.
    async fn close_session(&self, token: &Digest, now: OffsetDateTime) -> Result<(), StoreError>;

    /// Whether this session belongs to this account and has not ended, and the account is not kept out.
    async fn is_session_open(&self, account: UserId, id: SessionId) -> Result<bool, StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    Rotated(Session),
    /// The token had been used before: its session has been ended by this call.
    Reused,
    /// Unknown, expired, or of a session that has ended.
    Refused,
}

#[async_trait]
pub trait Tokens: Send + Sync {
    async fn insert_token(&self, token: &Token, hash: &Digest) -> Result<(), StoreError>;

    /// All of an account's tokens, newest first, expired ones too.
    async fn list_tokens(&self, account: UserId) -> Result<Vec<Token>, StoreError>;

    /// The unexpired token with this hash, of an account that is not kept out; notes the use, though at most once a minute.
    async fn use_token(&self, hash: &Digest, now: OffsetDateTime) -> Result<Option<Token>, StoreError>;

    /// `false`: this account has no such token.
    async fn delete_token(&self, account: UserId, id: TokenId) -> Result<bool, StoreError>;

    /// All of an account's. Returns how many there were.
    async fn delete_tokens(&self, account: UserId) -> Result<u64, StoreError>;
}
