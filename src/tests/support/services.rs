//! Queues, caches and object storages that belong to one test each: in the process, or, where
//! `GV_TEST_QUEUE_URL`, `GV_TEST_CACHE_URL` and `GV_TEST_BLOBS_URL` name servers, apart from those
//! of other tests on the same server by their names. `scripts/with-services` starts such servers.

use rand::Rng;
use std::path::Path;
use url::Url;

/// A queue of this test's own on RabbitMQ, if there is one for tests.
pub fn queue_url() -> Option<String> {
    own("GV_TEST_QUEUE_URL", |url, name| {
        url.query_pairs_mut().append_pair("queue", name);
    })
}

/// Keys and channels of this test's own on Redis, if there is one for tests.
pub fn cache_url() -> Option<String> {
    own("GV_TEST_CACHE_URL", |url, name| {
        url.query_pairs_mut().append_pair("prefix", &format!("{name}:"));
    })
}

/// Keys of this test's own on an S3 server, if there is one for tests. Its keys are in the usual
/// `AWS_*` variables.
pub fn blobs_url() -> Option<String> {
    own("GV_TEST_BLOBS_URL", |url, name| url.set_path(name))
}

/// The same, or this folder.
pub fn blobs_url_or(folder: &Path) -> String {
    blobs_url().unwrap_or_else(|| format!("file:{}", folder.display()))
}

fn own(variable: &str, name_it: impl FnOnce(&mut Url, &str)) -> Option<String> {
    let mut url = Url::parse(&std::env::var(variable).ok()?).expect(variable);
    name_it(&mut url, &format!("test-{:016x}", rand::rng().random::<u64>()));
    Some(url.into())
}
