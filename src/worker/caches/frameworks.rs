//! What frameworks keep from one build for the next, inside of the project.

use super::moved::Place;
use super::{FILES, ProjectCache};
use crate::worker::inside::Inside;
use std::path::PathBuf;

/// Folders of a project in which frameworks keep what they need not make again. None of them is published.
const KEPT: [&str; 9] = [
    ".next/cache",
    "node_modules/.cache",
    "node_modules/.astro",
    "node_modules/.vite",
    ".astro",
    ".cache",
    ".parcel-cache",
    ".angular/cache",
    ".docusaurus",
];

impl ProjectCache {
    /// Moves the frameworks' caches to where they are looked for. To be called between install and build, when
    /// nothing runs. Blocks.
    pub fn give(&self, source: &Inside) {
        for (from, place) in self.kept(source) {
            if !from.is_dir() {
                continue;
            }
            // What the install made stays.
            if let Err(error) = place.fill(&from) {
                tracing::debug!(%error, kept = place.path, "a framework's cache was not given back");
            }
        }
    }

    pub(super) fn take_back(&self, source: &Inside) {
        for (into, place) in self.kept(source) {
            if let Err(error) = place.take(&into) {
                tracing::debug!(%error, kept = place.path, "a framework's cache was not kept");
            }
        }
    }

    /// Where each is kept, and where it is looked for.
    fn kept<'a>(&'a self, source: &'a Inside) -> impl Iterator<Item = (PathBuf, Place<'a>)> {
        KEPT.iter().enumerate().map(move |(at, path)| {
            (self.dir.join(FILES).join(at.to_string()), Place { source, root: &self.root, path })
        })
    }
}
