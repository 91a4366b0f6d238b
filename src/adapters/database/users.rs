//! Users.

use crate::adapters::database::Database;
use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{micros, parsed, parsed_if_any, time};
use crate::adapters::database::schema::users;
use crate::adapters::database::{change, read};
use crate::domain::account::{Email, User};
use crate::domain::id::UserId;
use crate::ports::accounts::Users;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = users, treat_none_as_default_value = false)]
struct UserRow {
    id: String,
    email: String,
    name: Option<String>,
    password_hash: Option<String>,
    created_at: i64,
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.to_string(),
            name: user.name.as_ref().map(ToString::to_string),
            password_hash: user.password_hash.clone(),
            created_at: micros(user.created_at),
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
        })
    }
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
}
