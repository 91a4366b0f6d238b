//! After a restore: the published copies of hosts, in storage, in caches and in edges, may be of moves that the
//! restored database knows nothing of. Start with [`lift_hosts`].

use super::backends;
use crate::config::Config;
use anyhow::Context;
use std::sync::Arc;

/// Makes what the database says of its hosts newer than whatever was published of them; sweepers publish it.
/// Returns how many there are. Cut off, or done again, it does no harm.
pub async fn lift_hosts(config: &Config) -> anyhow::Result<u64> {
    const PAGE: u32 = 1_000;
    let database = backends::database(config, &Arc::default())?;
    let (mut count, mut after) = (0, None);
    while let Some(lifted) = database.lift_hosts(after.as_ref(), PAGE).await.context("lifting hosts")? {
        count += lifted.count;
        after = Some(lifted.last);
    }
    Ok(count)
}
