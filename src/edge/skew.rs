//! Skew protection: a page that was opened before a deployment still loads its own files. What a
//! host showed until lately is asked for files whose name carries their content's hash, where the
//! present deployment has no such file; all else is the present one's.

use crate::domain::host::Pointer;
use crate::domain::manifest::Manifest;
use crate::domain::routing::resolve::{Answer, Outcome};
use crate::edge::Edge;
use std::sync::Arc;
use std::time::Duration;

/// Earlier deployments that one request looks into at most: each may have to be loaded.
const MAX_LOOKS: usize = 10;
/// How long a visitor waits for them: the present deployment has its answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Edge {
    /// The deployment that still answers for a fingerprinted file which the present one has lost.
    pub async fn kept_of_earlier(
        &self,
        pointer: &Pointer,
        file: &str,
        answer: &Answer<'_>,
    ) -> Option<Arc<Manifest>> {
        let is_decided = matches!(answer.outcome, Outcome::Moved { .. } | Outcome::TooCostly);
        if pointer.earlier.is_empty() || is_decided || answer.is_refused {
            return None;
        }
        let present = pointer.target.as_ref()?;
        let (now, window) = (self.clock.now(), self.skew_protection);
        let own = pointer.earlier.iter().filter(|one| {
            let target = &one.target;
            (target.account, target.project) == (present.account, present.project)
                && one.is_within(window, now)
        });
        let looking = async {
            for one in own.take(MAX_LOOKS) {
                // What cannot be read now is passed over.
                if let Ok((manifest, _)) = self.manifests.find(&one.target).await
                    && manifest.files.contains(file)
                {
                    return Some(manifest);
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, looking).await.ok().flatten()
    }
}
