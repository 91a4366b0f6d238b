//! How a PostgreSQL server is connected to, with TLS and without.

use crate::adapters::database::fault::{Fault, PATIENCE, invalid_url};
use crate::ports::error::StoreError;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::{Hook, HookError, Pool};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

/// Of each process. PostgreSQL allows 100 in all as it is shipped.
const CONNECTIONS: usize = 10;

/// A connection that lay for longer is tried before it is used. One in use shows by itself that it is there:
/// a question before each call would be a fifth of all that a busy database is asked.
const UNTRIED: Duration = Duration::from_secs(1);

/// A process that freezes or vanishes within a transaction must not keep its rows locked for the
/// others, nor a call that was given up go on in the server.
const BOUNDS: &str = "SET idle_in_transaction_session_timeout = '15s'; SET statement_timeout = '30s'";

/// One database of one server, and how to get there.
#[derive(Clone)]
pub(super) struct Server {
    config: Arc<tokio_postgres::Config>,
    tls: Option<MakeRustlsConnect>,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let mut url = Url::parse(url)
            .map_err(|_| invalid_url("is no URL such as postgres://user:password@host:5432/database"))?;
        let wants_tls = take_sslmode(&mut url)?;
        // The parser's error names a key at most, but its text is not ours: only its kind is told.
        let mut config = url.as_str().parse::<tokio_postgres::Config>().map_err(|_| {
            invalid_url("has a part that is not known: use postgres://user:password@host:5432/database")
        })?;
        config.connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE * 4).application_name("gv");
        config.ssl_mode(if wants_tls { SslMode::Require } else { SslMode::Disable });
        let tls = if wants_tls { Some(tls()?) } else { None };
        Ok(Self { config: Arc::new(config), tls })
    }

    pub(super) fn pool(&self) -> Result<Pool<AsyncPgConnection>, StoreError> {
        let server = self.clone();
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let server = server.clone();
            async move {
                let mut connection = server.open().await?;
                let bounded = connection.batch_execute(BOUNDS).await;
                bounded.map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(connection)
            }
            .boxed()
        });
        let connections = AsyncDieselConnectionManager::new_with_config("", config);
        let tried = Hook::async_fn(|connection: &mut AsyncPgConnection, metrics| {
            let lay = metrics.last_used();
            Box::pin(async move {
                if lay < UNTRIED {
                    return Ok(());
                }
                let answered = connection.batch_execute("SELECT 1").await;
                answered.map_err(|error| HookError::Backend(PoolError::QueryError(error)))
            })
        });
        let pool = Pool::builder(connections).max_size(CONNECTIONS).pre_recycle(tried).build();
        pool.map_err(|error| Fault::defect(error).doing("making a pool of connections"))
    }

    /// A connection of one's own.
    pub(super) async fn open(&self) -> ConnectionResult<AsyncPgConnection> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) =
                    self.config.connect(tls.clone()).await.map_err(|error| refused(&error))?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            None => {
                let (client, connection) =
                    self.config.connect(NoTls).await.map_err(|error| refused(&error))?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
        }
    }
}

/// Takes `sslmode` out of the URL, since the driver knows fewer words for it than people do.
/// There is no mode that encrypts without verifying: it would only look safe.
fn take_sslmode(url: &mut Url) -> Result<bool, StoreError> {
    let mut wants_tls = false;
    let mut others = Vec::new();
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("sslmode", "disable") => wants_tls = false,
            ("sslmode", "require" | "verify-ca" | "verify-full") => wants_tls = true,
            ("sslmode", _) => {
                return Err(invalid_url("has a sslmode that is not disable, require or verify-full"));
            }
            _ => others.push((key.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !others.is_empty() {
        // Not `query_pairs_mut`: it writes a space as `+`, which the driver takes for a plus.
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let pairs: Vec<_> =
            others.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
        url.set_query(Some(&pairs.join("&")));
    }
    Ok(wants_tls)
}

fn tls() -> Result<MakeRustlsConnect, StoreError> {
    let config = crate::adapters::tls::client_config().map_err(|how| invalid_url(&how))?;
    Ok(MakeRustlsConnect::new(config))
}

fn refused(error: &tokio_postgres::Error) -> ConnectionError {
    // The driver says "error connecting to server" and keeps the reason one level below.
    let reason = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    ConnectionError::BadConnection(format!("{error}{reason}"))
}
