//! Skew protection: a page that was opened before a deployment still loads its own files. What a
//! host showed until lately is asked for files whose name carries their content's hash, where the
//! present deployment has no such file; all else is the present one's.

use crate::domain::host::Pointer;
use crate::domain::manifest::Manifest;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::resolve::Outcome;
use crate::edge::Edge;
use crate::edge::fingerprint::is_fingerprinted;
use std::sync::Arc;

/// Earlier deployments that one request looks into at most: each may have to be loaded.
const MAX_LOOKS: usize = 10;

impl Edge {
    /// The deployment that still answers for a path which the present one has lost.
    pub async fn kept_of_earlier(
        &self,
        pointer: &Pointer,
        present: &Manifest,
        path: &RequestPath<'_>,
        outcome: &Outcome<'_>,
    ) -> Option<Arc<Manifest>> {
        if pointer.earlier.is_empty() || matches!(outcome, Outcome::Moved { .. } | Outcome::TooCostly) {
            return None;
        }
        let file = path.file().filter(|file| is_fingerprinted(file) && !present.files.contains(file))?;
        let (now, window) = (self.clock.now(), self.skew_protection);
        let earlier = pointer.earlier.iter().filter(|one| one.is_within(window, now));
        for one in earlier.take(MAX_LOOKS) {
            // What cannot be read now is passed over: the present deployment has its answer.
            if let Ok((manifest, _)) = self.manifests.find(&one.target).await
                && manifest.files.contains(file)
            {
                return Some(manifest);
            }
        }
        None
    }
}
