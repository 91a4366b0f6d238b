//! Personal tokens.

use crate::adapters::database::Database;
use crate::adapters::database::dialect::TokenOfEnabled;
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{micros, parsed, time};
use crate::adapters::database::schema::tokens;
use crate::adapters::database::{change, read};
use crate::domain::account::Token;
use crate::domain::digest::Digest;
use crate::domain::id::{TokenId, UserId};
use crate::ports::accounts::Tokens;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use time::{Duration, OffsetDateTime};

/// Between two notes of a token's use: a token in a loop does not become a write in a loop.
const NOTE_EVERY: Duration = Duration::MINUTE;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = tokens, treat_none_as_default_value = false)]
struct TokenRow {
    id: String,
    account: String,
    name: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl From<&Token> for TokenRow {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            account: token.account.to_string(),
            name: token.name.to_string(),
            created_at: micros(token.created_at),
            expires_at: token.expires_at.map(micros),
            last_used_at: token.last_used_at.map(micros),
        }
    }
}

impl TryFrom<TokenRow> for Token {
    type Error = Fault;

    fn try_from(row: TokenRow) -> Result<Self, Fault> {
        Ok(Self {
            id: parsed("tokens.id", &row.id)?,
            account: parsed("tokens.account", &row.account)?,
            name: parsed("tokens.name", &row.name)?,
            created_at: time("tokens.created_at", row.created_at)?,
            expires_at: row.expires_at.map(|at| time("tokens.expires_at", at)).transpose()?,
            last_used_at: row.last_used_at.map(|at| time("tokens.last_used_at", at)).transpose()?,
        })
    }
}

#[async_trait]
impl Tokens for Database {
    async fn insert_token(&self, token: &Token, hash: &Digest) -> Result<(), StoreError> {
        let (row, hash) = (TokenRow::from(token), hash.to_string());
        change!(self, "storing a token", |conn| {
            let values = (&row, tokens::hash.eq(&hash));
            diesel::insert_into(tokens::table).values(values).execute(conn).await?;
            Ok(())
        })
    }

    async fn list_tokens(&self, account: UserId) -> Result<Vec<Token>, StoreError> {
        let account = account.to_string();
        read!(self, "listing tokens", |conn| {
            let query = tokens::table
                .filter(tokens::account.eq(&account))
                .order((tokens::created_at.desc(), tokens::id.desc()))
                .select(TokenRow::as_select());
            query.load(conn).await?.into_iter().map(Token::try_from).collect()
        })
    }

    async fn use_token(&self, hash: &Digest, now: OffsetDateTime) -> Result<Option<Token>, StoreError> {
        let hash = hash.to_string();
        let found = read!(self, "reading a token", |conn| {
            let unexpired = tokens::expires_at.is_null().or(tokens::expires_at.gt(micros(now)));
            let query = tokens::table
                .filter(tokens::hash.eq(&hash).and(unexpired))
                .filter(TokenOfEnabled)
                .select(TokenRow::as_select());
            query.first(conn).await.optional()?.map(Token::try_from).transpose()
        })?;
        let Some(mut token) = found else { return Ok(None) };
        if token.last_used_at.is_none_or(|last| last <= now - NOTE_EVERY) {
            let noted = change!(self, "noting a token's use", |conn| {
                let row = tokens::table.filter(tokens::hash.eq(&hash));
                let noted = diesel::update(row).set(tokens::last_used_at.eq(micros(now)));
                Ok(noted.execute(conn).await?)
            })?;
            if noted == 0 {
                return Ok(None);
            }
            token.last_used_at = Some(now);
        }
        Ok(Some(token))
    }

    async fn delete_token(&self, account: UserId, id: TokenId) -> Result<bool, StoreError> {
        let (account, id) = (account.to_string(), id.to_string());
        change!(self, "deleting a token", |conn| {
            let row = tokens::table.filter(tokens::id.eq(&id).and(tokens::account.eq(&account)));
            Ok(diesel::delete(row).execute(conn).await? > 0)
        })
    }

    async fn delete_tokens(&self, account: UserId) -> Result<u64, StoreError> {
        let account = account.to_string();
        change!(self, "deleting an account's tokens", |conn| {
            let rows = tokens::table.filter(tokens::account.eq(&account));
            Ok(diesel::delete(rows).execute(conn).await? as u64)
        })
    }
}
