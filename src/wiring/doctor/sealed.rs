//! What lies sealed in the database: whether the keys of this configuration open it.

use super::{Case, Findings};
use crate::domain::sealing::SecretKeys;
use crate::ports::database::Database;
use crate::ports::variables::KeyTrial;
use crate::wiring::data_dir::{kept_secret_key, secret_key_file};
use std::sync::Arc;
use std::time::Duration;

const CHECK: &str = "sealed values";
/// A part of what the database's subject has: all variables are looked through.
const PATIENCE: Duration = Duration::from_secs(4);

/// Those of `secrets.keys`, else the one that a `gv up` keeps. `None`: they cannot be read, which is told elsewhere.
pub(super) fn keys(case: &Case) -> Option<Arc<SecretKeys>> {
    let config = &case.config;
    let keys = match config.secrets.keys.as_slice() {
        [] if case.role.is_none() => kept_secret_key(&config.data_dir).ok()?.into_iter().collect(),
        keys => keys.to_vec(),
    };
    SecretKeys::parse(&keys).ok().map(Arc::new)
}

/// `database` opens by [`keys`].
pub(super) async fn examine(case: &Case, database: &dyn Database, found: &mut Findings) {
    match tokio::time::timeout(PATIENCE, database.try_keys()).await {
        Err(_) => found.skipped(CHECK, "there are too many to look through in time"),
        Ok(Err(error)) => found.skipped(CHECK, format!("they cannot be looked at: {error}")),
        Ok(Ok(KeyTrial::Nothing)) => found.skipped(CHECK, "nothing is sealed yet"),
        Ok(Ok(KeyTrial::Opens)) => found.well(CHECK, "what is sealed opens"),
        Ok(Ok(KeyTrial::Refused(error))) => found.broken(
            CHECK,
            format!("a value in the database does not open: {error}"),
            format!(
                "bring its key back into secrets.keys, behind the first one, from where you keep copies of secrets \
                 (a gv up has its own in {})",
                secret_key_file(&case.config.data_dir).display()
            ),
        ),
    }
}
