//! Databases that belong to one test each: files of SQLite, or, where `GV_TEST_DATABASE_URL` names
//! a PostgreSQL server and somebody who may create databases there, databases on that server.
//!
//! Start with [`fresh_url`], or with [`fresh`] for one that has its tables.

use gv::adapters::database::Database;
use gv::domain::sealing::SecretKeys;
use gv::domain::secret::Secret;
use gv::ports::database::Schema;
use rand::Rng;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_postgres::NoTls;
use url::Url;

/// The key of every test's installation.
pub const SECRET_KEY: &str = "gvs1.test.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// An empty database, which is gone when this is dropped.
pub struct TestDatabase {
    pub url: String,
    place: Place,
}

enum Place {
    Folder { _folder: TempDir },
    Server { admin: String, name: String },
}

impl TestDatabase {
    /// Another connection to it, as another process has.
    pub fn connect(&self) -> Database {
        Database::connect(&self.url).unwrap().with_keys(keys())
    }

    /// One that seals and opens by these keys.
    pub fn connect_by(&self, keys: &[&str]) -> Database {
        let keys: Vec<Secret> = keys.iter().map(|key| Secret::new(*key)).collect();
        Database::connect(&self.url).unwrap().with_keys(Arc::new(SecretKeys::parse(&keys).unwrap()))
    }

    /// What an operator types into it beside gv.
    pub async fn execute(&self, statement: &str) {
        use diesel::Connection;
        use diesel::connection::SimpleConnection;
        match self.url.strip_prefix("sqlite:") {
            Some(file) => {
                let mut connection = diesel::SqliteConnection::establish(file).unwrap();
                connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                connection.batch_execute(statement).unwrap();
            }
            None => administer(&self.url, statement).await,
        }
    }
}

/// What all connections of tests seal by.
pub fn keys() -> Arc<SecretKeys> {
    Arc::new(SecretKeys::parse(&[Secret::new(SECRET_KEY)]).unwrap())
}

/// An empty database without tables.
pub async fn fresh_url() -> TestDatabase {
    super::statements::record();
    let Ok(admin) = std::env::var("GV_TEST_DATABASE_URL") else {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("gv.db").display());
        return TestDatabase { url, place: Place::Folder { _folder: folder } };
    };
    let name = format!("gv_test_{:016x}", rand::rng().random::<u64>());
    // From template0: nobody can be connected to it, which would refuse the copy.
    administer(&admin, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
    let mut url = Url::parse(&admin).unwrap();
    url.set_path(&name);
    TestDatabase { url: url.into(), place: Place::Server { admin, name } }
}

/// A database with its tables, and one process's connection to it.
pub async fn fresh() -> (TestDatabase, Database) {
    let place = fresh_url().await;
    let database = place.connect();
    database.migrate().await.unwrap();
    (place, database)
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Place::Server { admin, name } = &self.place else { return };
        let (admin, drop) = (admin.clone(), format!("DROP DATABASE {name} WITH (FORCE)"));
        // A thread of its own, since the test's runtime may be ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(administer(&admin, &drop));
        });
        if dropped.join().is_err() && !std::thread::panicking() {
            panic!("{name} could not be dropped");
        }
    }
}

async fn administer(admin: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(admin, NoTls).await.expect("GV_TEST_DATABASE_URL");
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
