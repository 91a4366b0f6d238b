//! Logins and the refresh tokens that keep them alive.

use crate::adapters::database::Database;
use crate::adapters::database::dialect::SessionOfEnabled;
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{micros, parsed, time};
use crate::adapters::database::schema::{refresh_tokens, sessions};
use crate::adapters::database::{change, read, transact};
use crate::domain::account::Session;
use crate::domain::digest::Digest;
use crate::domain::id::{SessionId, UserId};
use crate::ports::accounts::{Rotation, Sessions};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions)]
struct SessionRow {
    id: String,
    account: String,
    created_at: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = refresh_tokens, treat_none_as_default_value = false)]
struct RefreshTokenRow {
    hash: String,
    session: String,
    expires_at: i64,
    used_at: Option<i64>,
}

impl TryFrom<SessionRow> for Session {
    type Error = Fault;

    fn try_from(row: SessionRow) -> Result<Self, Fault> {
        Ok(Self {
            id: parsed("sessions.id", &row.id)?,
            account: parsed("sessions.account", &row.account)?,
            created_at: time("sessions.created_at", row.created_at)?,
        })
    }
}

#[async_trait]
impl Sessions for Database {
    async fn open_session(
        &self,
        session: &Session,
        token: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let (id, account) = (session.id.to_string(), session.account.to_string());
        let created_at = micros(session.created_at);
        let row = SessionRow { id: id.clone(), account: account.clone(), created_at };
        let token = RefreshTokenRow {
            hash: token.to_string(),
            session: id,
            expires_at: micros(expires_at),
            used_at: None,
        };
        transact!(self, "opening a session", |conn| {
            // The account's logins that nothing can continue any more: kept no longer than this.
            let alive = refresh_tokens::table
                .filter(refresh_tokens::session.eq(sessions::id))
                .filter(refresh_tokens::expires_at.gt(created_at));
            let over = sessions::table.filter(sessions::account.eq(&account)).filter(not(exists(alive)));
            diesel::delete(over).execute(conn).await?;
            diesel::insert_into(sessions::table).values(&row).execute(conn).await?;
            diesel::insert_into(refresh_tokens::table).values(&token).execute(conn).await?;
            Ok(())
        })
    }

    async fn rotate(
        &self,
        used: &Digest,
        next: &Digest,
        now: OffsetDateTime,
        next_expires_at: OffsetDateTime,
    ) -> Result<Rotation, StoreError> {
        let (used, next, now) = (used.to_string(), next.to_string(), micros(now));
        transact!(self, "rotating a refresh token", |conn| {
            let query = refresh_tokens::table
                .inner_join(sessions::table)
                .filter(refresh_tokens::hash.eq(&used).and(sessions::ended_at.is_null()))
                .filter(SessionOfEnabled)
                .select((SessionRow::as_select(), refresh_tokens::expires_at, refresh_tokens::used_at));
            let found = query.first::<(SessionRow, i64, Option<i64>)>(conn).await.optional()?;
            let Some((session, expires_at, used_at)) = found else { return Ok(Rotation::Refused) };
            if used_at.is_none() && expires_at <= now {
                return Ok(Rotation::Refused);
            }
            // Of two uses at once the later finds it used by then.
            let unused = refresh_tokens::table
                .filter(refresh_tokens::hash.eq(&used).and(refresh_tokens::used_at.is_null()));
            let spent = diesel::update(unused).set(refresh_tokens::used_at.eq(now)).execute(conn).await?;
            if spent == 0 {
                let open = sessions::table.find(&session.id);
                diesel::update(open).set(sessions::ended_at.eq(now)).execute(conn).await?;
                return Ok(Rotation::Reused);
            }
            let expired = refresh_tokens::table
                .filter(refresh_tokens::session.eq(&session.id).and(refresh_tokens::expires_at.le(now)));
            diesel::delete(expired).execute(conn).await?;
            let token = RefreshTokenRow {
                hash: next.clone(),
                session: session.id.clone(),
                expires_at: micros(next_expires_at),
                used_at: None,
            };
            diesel::insert_into(refresh_tokens::table).values(&token).execute(conn).await?;
            Ok(Rotation::Rotated(session.try_into()?))
        })
    }

    async fn close_session(&self, token: &Digest, now: OffsetDateTime) -> Result<(), StoreError> {
        let (token, now) = (token.to_string(), micros(now));
        change!(self, "closing a session", |conn| {
            let of_token =
                refresh_tokens::table.filter(refresh_tokens::hash.eq(&token)).select(refresh_tokens::session);
            let open =
                sessions::table.filter(sessions::id.eq_any(of_token).and(sessions::ended_at.is_null()));
            diesel::update(open).set(sessions::ended_at.eq(now)).execute(conn).await?;
            Ok(())
        })
    }

    async fn is_session_open(&self, account: UserId, id: SessionId) -> Result<bool, StoreError> {
        let (account, id) = (account.to_string(), id.to_string());
        read!(self, "reading a session", |conn| {
            let open = sessions::table
                .filter(sessions::id.eq(&id).and(sessions::account.eq(&account)))
                .filter(sessions::ended_at.is_null())
                .filter(SessionOfEnabled);
            Ok(diesel::select(exists(open)).get_result(conn).await?)
        })
    }
}
