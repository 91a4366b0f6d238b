//! Queues, caches and object storages that belong to one test each: in the process, or, where
//! `GV_TEST_QUEUE_URL`, `GV_TEST_CACHE_URL` and `GV_TEST_BLOBS_URL` name servers, apart from those
//! of other tests on the same server by their names. `scripts/with-services` starts such servers.

use gv::adapters::blobs::filesystem::FilesystemBlobs;
use gv::adapters::blobs::s3::S3Blobs;
use gv::ports::blobs::Blobs;
use rand::Rng;
use std::path::Path;
use tempfile::TempDir;
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

/// What one test's processes share beside the database.
pub struct Services {
    queue: Option<String>,
    cache: Option<String>,
    blobs: String,
    _folder: TempDir,
}

impl Services {
    /// Nothing in them yet. Without a server for tests, objects are in a folder that is gone when
    /// this is dropped, and queue and cache are each process's own.
    pub fn fresh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs_url().unwrap_or_else(|| format!("file:{}", folder.path().join("blobs").display()));
        Self { queue: queue_url(), cache: cache_url(), blobs, _folder: folder }
    }

    /// The objects, beside the processes that work on them.
    pub fn storage(&self) -> Box<dyn Blobs> {
        match self.blobs.strip_prefix("file:") {
            Some(folder) => Box::new(FilesystemBlobs::open(Path::new(folder)).unwrap()),
            None => Box::new(S3Blobs::connect(&self.blobs, None, None).unwrap()),
        }
    }

    /// What a process is told of them.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let urls = [("GV_QUEUE__URL", self.queue.as_ref()), ("GV_CACHE__URL", self.cache.as_ref())];
        let urls = urls.into_iter().filter_map(|(name, url)| Some((name, url?.clone())));
        let blobs = [("GV_BLOBS__URL", self.blobs.clone())];
        urls.chain(blobs).chain(object_storage_keys()).collect()
    }
}

/// The `AWS_*` variables of the storage for tests, as they are.
pub fn object_storage_keys() -> Vec<(&'static str, String)> {
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    names.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect()
}

fn own(variable: &str, name_it: impl FnOnce(&mut Url, &str)) -> Option<String> {
    let mut url = Url::parse(&std::env::var(variable).ok()?).expect(variable);
    name_it(&mut url, &format!("test-{:016x}", rand::rng().random::<u64>()));
    Some(url.into())
}
