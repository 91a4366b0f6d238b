//! Users.

use crate::adapters::database::Database;
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{micros, parsed, parsed_if_any, time};
use crate::adapters::database::schema::{refresh_tokens, sessions, tokens, users};
use crate::adapters::database::{change, read, transact};
use crate::domain::account::{Email, User};
use crate::domain::digest::Digest;
use crate::domain::id::UserId;
use crate::ports::accounts::Users;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use diesel::dsl::{auto_type, exists};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = users, treat_none_as_default_value = false)]
struct UserRow {
    id: String,
    email: String,
    name: Option<String>,
    password_hash: Option<String>,
    created_at: i64,
    disabled_at: Option<i64>,
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.to_string(),
            name: user.name.as_ref().map(ToString::to_string),
            password_hash: user.password_hash.clone(),
            created_at: micros(user.created_at),
            disabled_at: user.disabled_at.map(micros),
        }
    }
}

impl TryFrom<UserRow> for User {
    type Error = Fault;

    fn try_from(row: UserRow) -> Result<Self, Fault> {
        Ok(Self {
            id: parsed("users.id", &row.id)?,
            email: parsed("users.email", &row.email)?,
            name: parsed_if_any("users.name", row.name.as_deref())?,
            password_hash: row.password_hash,
            created_at: time("users.created_at", row.created_at)?,
            disabled_at: row.disabled_at.map(|at| time("users.disabled_at", at)).transpose()?,
        })
    }
}

/// The accounts that are kept out.
#[auto_type]
fn disabled() -> _ {
    users::table.filter(users::disabled_at.is_not_null()).select(users::id)
}

#[async_trait]
impl Users for Database {
    async fn insert_user(&self, user: &User) -> Result<(), StoreError> {
        let row = UserRow::from(user);
        change!(self, "storing a user", |conn| {
            diesel::insert_into(users::table).values(&row).execute(conn).await?;
            Ok(())
        })
    }

    async fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let id = id.to_string();
        read!(self, "reading a user", |conn| {
            let query = users::table.find(&id).select(UserRow::as_select());
            query.first(conn).await.optional()?.map(User::try_from).transpose()
        })
    }

    async fn find_user_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        read!(self, "reading a user by e-mail address", |conn| {
            let query = users::table.filter(users::email.eq(email.as_str())).select(UserRow::as_select());
            query.first(conn).await.optional()?.map(User::try_from).transpose()
        })
    }

    async fn list_users(&self, after: Option<&Email>, limit: u32) -> Result<Vec<User>, StoreError> {
        // Every address comes after the empty text.
        let after = after.map_or("", Email::as_str);
        read!(self, "listing users", |conn| {
            let query = users::table
                .filter(users::email.gt(after))
                .order(users::email)
                .limit(limit.into())
                .select(UserRow::as_select());
            query.load(conn).await?.into_iter().map(User::try_from).collect()
        })
    }

    async fn disable_user(&self, id: UserId, now: OffsetDateTime) -> Result<bool, StoreError> {
        let (id, now) = (id.to_string(), micros(now));
        transact!(self, "disabling a user", |conn| {
            let enabled = users::table.filter(users::id.eq(&id).and(users::disabled_at.is_null()));
            diesel::update(enabled).set(users::disabled_at.eq(now)).execute(conn).await?;
            let open = sessions::table.filter(sessions::account.eq(&id).and(sessions::ended_at.is_null()));
            diesel::update(open).set(sessions::ended_at.eq(now)).execute(conn).await?;
            Ok(diesel::select(exists(users::table.find(&id))).get_result::<bool>(conn).await?)
        })
    }

    async fn enable_user(&self, id: UserId) -> Result<bool, StoreError> {
        let id = id.to_string();
        change!(self, "enabling a user", |conn| {
            let enabled = diesel::update(users::table.find(&id)).set(users::disabled_at.eq(None::<i64>));
            Ok(enabled.execute(conn).await? > 0)
        })
    }

    async fn set_password(&self, id: UserId, hash: &str, now: OffsetDateTime) -> Result<bool, StoreError> {
        let (id, now) = (id.to_string(), micros(now));
        transact!(self, "setting a password", |conn| {
            let set = diesel::update(users::table.find(&id)).set(users::password_hash.eq(hash));
            let found = set.execute(conn).await? > 0;
            let open = sessions::table.filter(sessions::account.eq(&id).and(sessions::ended_at.is_null()));
            diesel::update(open).set(sessions::ended_at.eq(now)).execute(conn).await?;
            Ok(found)
        })
    }

    async fn is_of_disabled_user(&self, token: &Digest) -> Result<bool, StoreError> {
        let hash = token.to_string();
        read!(self, "reading whose a token is", |conn| {
            let personal = tokens::table.filter(tokens::hash.eq(&hash));
            let personal = personal.filter(tokens::account.eq_any(disabled()));
            if diesel::select(exists(personal)).get_result::<bool>(conn).await? {
                return Ok(true);
            }
            let refresh = refresh_tokens::table.inner_join(sessions::table);
            let refresh = refresh.filter(refresh_tokens::hash.eq(&hash));
            let refresh = refresh.filter(sessions::account.eq_any(disabled()));
            Ok(diesel::select(exists(refresh)).get_result::<bool>(conn).await?)
        })
    }
}
