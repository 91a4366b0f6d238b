//! The S3 adapter on a real server, and on the same server behind a proxy that goes wrong.

use crate::support::services;
use gv::adapters::blobs::s3::S3Blobs;

/// A prefix of this test's own on the server of `GV_TEST_BLOBS_URL`.
pub(super) fn connect() -> S3Blobs {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = services::blobs_url().expect("GV_TEST_BLOBS_URL: run this by scripts/with-services");
    S3Blobs::connect(&url, None, None).unwrap()
}
