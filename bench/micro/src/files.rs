//! Files of small and large sites: finding one, and opening the table of them.

use crate::domain::manifest::Manifest;
use crate::domain::request_path::RequestPath;
use crate::domain::routing::files::look;
use crate::domain::routing::rules::Rules;
use crate::{Measure, in_turn, site};

const SIZES: [usize; 3] = [100, 10_000, 100_000];
/// Keys that are asked for in turn: as many as a busy site's visitors want at once.
const KEYS: usize = 1_009;

pub fn all(measure: &mut impl Measure) {
    for size in SIZES {
        measure.measure(&format!("table_hit/{size}"), || {
            let (manifest, keys) = (plain(size), keys(size));
            let mut turn = in_turn(keys.len());
            move || manifest.files.get(&keys[turn()]).map(|(_, entry)| entry.size)
        });
        measure.measure(&format!("table_miss/{size}"), || {
            let manifest = plain(size);
            let keys: Vec<String> = keys(size).iter().map(|key| format!("{key}~")).collect();
            let mut turn = in_turn(keys.len());
            move || manifest.files.get(&keys[turn()]).map(|(_, entry)| entry.size)
        });
        // As visitors ask: without `.html`, so that the table is asked three times.
        measure.measure(&format!("look_page/{size}"), || {
            let manifest = plain(size);
            let keys: Vec<String> = keys(size).iter().map(|key| address(key)).collect();
            let mut turn = in_turn(keys.len());
            move || {
                let path = RequestPath::parse(&keys[turn()]).expect("a path");
                std::hint::black_box(look(&manifest, &path, None));
            }
        });
        measure.measure(&format!("look_nothing/{size}"), || {
            let manifest = plain(size);
            let keys: Vec<String> = keys(size).iter().map(|key| format!("/{key}~")).collect();
            let mut turn = in_turn(keys.len());
            move || {
                let path = RequestPath::parse(&keys[turn()]).expect("a path");
                std::hint::black_box(look(&manifest, &path, None));
            }
        });
        measure.measure(&format!("open_manifest/{size}"), || {
            let stored = plain(size).encode();
            move || Manifest::decode(&stored, site::id()).expect("a manifest")
        });
    }
}

/// What a site of so many files takes in memory, in words.
pub fn memory(size: usize) -> String {
    let manifest = plain(size);
    let (files, paths) =
        (manifest.files.len() as u64, manifest.files.iter().map(|(path, _)| path.len() as u64));
    let (bytes, paths) = (manifest.files.memory_bytes(), paths.sum::<u64>());
    let beside = (bytes - paths) as f64 / files as f64;
    format!(
        "{files} files: {bytes} bytes in memory, {paths} of them paths, {beside:.1} a file beside its path"
    )
}

fn plain(size: usize) -> Manifest {
    site::manifest(size, Rules::default())
}

/// Pages of the whole site, no two neighbours of the list near each other.
fn keys(size: usize) -> Vec<String> {
    (0..KEYS).map(|number| site::page(number * 7_919 % size)).collect()
}

fn address(key: &str) -> String {
    format!("/{}", key.trim_end_matches(".html"))
}
