//! A stored manifest, of any form: it is refused, or what was read can be written and read again.
#![no_main]

use gv_fuzz::domain::manifest::Manifest;
use gv_fuzz::site::DEPLOYMENT;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let deployment = DEPLOYMENT.parse().expect("an id");
    let Ok(manifest) = Manifest::decode(bytes, deployment) else { return };
    assert_eq!(manifest.deployment, deployment);
    let written = manifest.encode();
    let again = Manifest::decode(&written, deployment).expect("what was written is read");
    assert_eq!(again, manifest);
    assert_eq!(again.encode(), written);
    assert_eq!(again.bytes(), manifest.bytes());
});
