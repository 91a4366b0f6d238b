//! The sweeper: rings again for whatever waits and nobody holds, and publishes hosts whose
//! publishing was cut off. Runs in every api and worker, without a leader.

use crate::app::App;
use tokio_util::sync::CancellationToken;

impl App {
    /// Sweeps about once a second, with jitter, until `stop`. Errors are logged once per outage.
    pub async fn sweep(&self, stop: CancellationToken) {
        unimplemented!("{stop:?}")
    }
}
