//! The operator's listener that every role has: `/healthz`, `/readyz`, `/metrics`.

use async_trait::async_trait;
use std::sync::Arc;

/// One thing that a role needs to do its work.
#[async_trait]
pub trait Check: Send + Sync {
    /// What `/readyz` calls it: `database`, `queue`, `cache`, `blobs`, `executor` ...
    fn name(&self) -> &'static str;
    /// `Err` says, in words for an operator, what is missing.
    async fn check(&self) -> Result<String, String>;
}

pub type Checks = Vec<Arc<dyn Check>>;
