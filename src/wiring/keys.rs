//! The keys that a `gv up` seals by: those of `secrets.keys`, else one of its own, which lies in its data folder.
//!
//! It makes that one at its first start. Not beside a database in which another already sealed something:
//! what is lost there is found when somebody builds, and by then the two are mixed. Start with [`of_up`].

use super::data_dir::{DataDir, kept_secret_key, secret_key_file};
use super::{backends, migrate_now, parsed, when_reachable};
use crate::config::Config;
use crate::domain::sealing::SecretKeys;
use crate::ports::variables::KeyTrial;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// `None`: `stop` came first.
pub(super) async fn of_up(
    config: &Config,
    data: &DataDir,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Arc<SecretKeys>>> {
    if !config.secrets.keys.is_empty() {
        return parsed(&config.secrets.keys).map(Some);
    }
    if kept_secret_key(&config.data_dir)?.is_none() {
        let database = backends::database(config, &Arc::default())?;
        let trying = || async {
            migrate_now(&*database).await?;
            database.try_keys().await
        };
        let Some(trial) = when_reachable("looking for what is sealed", stop, trying).await? else {
            return Ok(None);
        };
        anyhow::ensure!(
            trial == KeyTrial::Nothing,
            "secrets.keys: {} is not there, and the database has values that its key sealed, which a new one would \
             not open: bring the file back from your copy, or put its key into secrets.keys",
            secret_key_file(&config.data_dir).display()
        );
    }
    parsed(&[data.secret_key()?]).map(Some)
}
