//! Reading the manifest of a deployment, for those who ask about it. What visitors get is read by
//! the edge itself.

use crate::app::App;
use crate::domain::id::DeploymentId;
use crate::domain::manifest::Manifest;
use crate::ports::blobs::Key;
use crate::ports::error::{StoreError, StoreErrorKind};

impl App {
    /// `None`: nothing was published for it.
    pub async fn manifest(&self, id: DeploymentId) -> Result<Option<Manifest>, StoreError> {
        let key = Key::manifest(id);
        let Some(object) = self.blobs.get(&key, Manifest::MAX_BYTES).await? else { return Ok(None) };
        // A large site's takes a while.
        let decoded = tokio::task::spawn_blocking(move || Manifest::decode(&object.bytes, id)).await;
        let corrupt = |error| StoreError::new(StoreErrorKind::Corrupt, format!("reading {key}"), error);
        match decoded {
            Ok(decoded) => decoded.map(Some).map_err(corrupt),
            Err(panic) => Err(StoreError::new(StoreErrorKind::Internal, format!("reading {key}"), panic)),
        }
    }
}
