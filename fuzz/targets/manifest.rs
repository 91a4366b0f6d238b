//! A stored manifest, of any form: it is refused, or what was read can be written and read again, and
//! each of its files is found under its own path.
#![no_main]

use gv_fuzz::domain::manifest::{Manifest, SitePath};
use gv_fuzz::site::DEPLOYMENT;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let deployment = DEPLOYMENT.parse().expect("an id");
    let Ok(manifest) = Manifest::decode(bytes, deployment) else { return };
    assert_eq!(manifest.deployment, deployment);
    for (path, _) in manifest.files.iter() {
        let path = path.to_string();
        let found = manifest.files.get(path.as_str());
        assert!(found.is_some() && SitePath::parse(&path).is_ok(), "{path}");
    }
    // An older form is written as the newest: its files and rules are the same.
    let written = manifest.encode();
    let again = Manifest::decode(&written, deployment).expect("what was written is read");
    assert_eq!((again.account, again.project), (manifest.account, manifest.project));
    assert_eq!((&again.spa_fallback, &again.rules), (&manifest.spa_fallback, &manifest.rules));
    assert!(again.files.iter().eq(manifest.files.iter()));
    assert_eq!(again.bytes(), manifest.bytes());
    // What was written once is written the same ever after.
    assert_eq!(again.encode(), written);
    assert_eq!(Manifest::decode(&again.encode(), deployment).as_ref(), Ok(&again));
});
