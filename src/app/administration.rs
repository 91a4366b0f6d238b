//! What an operator does to people's accounts, straight on the database: `gv user`. It needs no api,
//! and asks nobody's leave.
//!
//! Not here: what people do themselves (see `app::accounts`). Start with [`Administration`].

use crate::app::accounts::Accounts;
use crate::domain::account::{DisplayName, Email, Password, User};
use crate::domain::id::UserId;
use crate::ports::clock::Clock;
use crate::ports::database::Database;
use crate::ports::error::{StoreError, StoreErrorKind};
use rand::distr::{Alphanumeric, SampleString};
use std::sync::Arc;

/// Accounts that are read at once.
const PAGE: u32 = 500;
/// Of 62 kinds: 119 bits, and still to be typed.
const PASSWORD_CHARS: usize = 20;

pub struct Administration {
    pub database: Arc<dyn Database>,
    pub clock: Arc<dyn Clock>,
    /// For its hashing.
    pub accounts: Accounts,
}

impl Administration {
    /// `None`: the e-mail address has an account already.
    pub async fn add(
        &self,
        email: Email,
        name: Option<DisplayName>,
        password: Password,
    ) -> Result<Option<User>, StoreError> {
        let password_hash = Some(self.accounts.hash(password).await?);
        let now = self.clock.now();
        let id = UserId::new(now, &mut rand::rng());
        let user = User { id, email, name, password_hash, created_at: now, disabled_at: None };
        match self.database.insert_user(&user).await {
            Ok(()) => Ok(Some(user)),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives all accounts to `each`, by e-mail address, a page at a time.
    pub async fn list<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(User) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<Email> = None;
        loop {
            let page = self.database.list_users(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|user| user.email.clone());
            page.into_iter().try_for_each(&mut each)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Keeps an account out, at once and everywhere. Its sites go on being served. `false`: there is
    /// no such account.
    pub async fn disable(&self, email: &Email) -> Result<bool, StoreError> {
        match self.database.find_user_by_email(email).await? {
            Some(user) => self.database.disable_user(user.id, self.clock.now()).await,
            None => Ok(false),
        }
    }

    /// `false`: there is no such account.
    pub async fn enable(&self, email: &Email) -> Result<bool, StoreError> {
        match self.database.find_user_by_email(email).await? {
            Some(user) => self.database.enable_user(user.id).await,
            None => Ok(false),
        }
    }

    /// Ends the account's sessions too, and with `revoke_tokens` its personal tokens. Returns how
    /// many of those there were; `None`: there is no such account.
    pub async fn reset_password(
        &self,
        email: &Email,
        password: Password,
        revoke_tokens: bool,
    ) -> Result<Option<u64>, StoreError> {
        let Some(user) = self.database.find_user_by_email(email).await? else { return Ok(None) };
        let hash = self.accounts.hash(password).await?;
        if !self.database.set_password(user.id, &hash, self.clock.now()).await? {
            return Ok(None);
        }
        Ok(Some(if revoke_tokens { self.database.delete_tokens(user.id).await? } else { 0 }))
    }
}

/// One that nobody guesses.
pub fn random_password() -> Result<Password, StoreError> {
    let text = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_CHARS);
    Password::parse(&text)
        .map_err(|error| StoreError::new(StoreErrorKind::Internal, "making a password", error.to_string()))
}
