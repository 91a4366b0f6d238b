//! TXT records of the operator's zone, which prove to an authority whose it is.

use crate::ports::error::StoreError;
use async_trait::async_trait;

#[async_trait]
pub trait DnsRecords: Send + Sync {
    /// Adds a TXT record beside those that the name has. One that is there already is no error.
    async fn add(&self, name: &str, value: &str) -> Result<(), StoreError>;

    /// Removes this one record alone. One that is not there is no error.
    async fn remove(&self, name: &str, value: &str) -> Result<(), StoreError>;
}
