//! The folders that gv fills: whether it may write there, and for how long there will be room.

use super::{Case, Findings, Role};
use crate::wiring::disk::{Folder, Space, folders, space};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::io;
use std::path::Path;

const MIB: u64 = 1 << 20;
const DOUBTFUL_BYTES: u64 = 1024 * MIB;
const BROKEN_BYTES: u64 = 100 * MIB;
/// Of a hundred, of bytes and of files.
const DOUBTFUL_PERCENT: u64 = 5;
const BROKEN_PERCENT: u64 = 1;

pub(super) fn examine<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        for folder in folders(&case.config).into_iter().filter(|folder| is_used(case, folder)) {
            let path = folder.path.clone();
            // It may hang where it is on a network.
            let looked = tokio::task::spawn_blocking(move || look(&path));
            let check = format!("disk of {}", folder.key);
            let shown = folder.path.display();
            match looked.await.unwrap_or_else(|fallen| Err(io::Error::other(fallen))) {
                Ok(space) => judge(&check, &folder, space, found),
                Err(error) => found.broken(
                    check,
                    format!("{shown} cannot be written to: {error}"),
                    format!("let the user gv runs as own {shown} (chown), or correct {}", folder.key),
                ),
            }
        }
    }
    .boxed()
}

/// An edge alone keeps nothing but its own cache, a worker everything but that.
fn is_used(case: &Case, folder: &Folder) -> bool {
    match folder.key {
        "edge.disk_dir" => case.concerns(Role::Edge),
        "data_dir" | "worker.dir" => case.concerns(Role::Worker),
        _ => true,
    }
}

/// What is not there yet is made by gv in the first folder above it that is.
fn look(path: &Path) -> io::Result<Space> {
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
    // A file without a name: it is gone with this call.
    drop(tempfile::tempfile_in(there)?);
    space(there)
}

fn judge(check: &str, folder: &Folder, space: Space, found: &mut Findings) {
    let Space { available_bytes, size_bytes, files } = space;
    let percent = |left: u64, all: u64| left.saturating_mul(100).checked_div(all).unwrap_or(100);
    let (bytes, inodes) =
        (percent(available_bytes, size_bytes), files.map_or(100, |(left, all)| percent(left, all)));
    let mut detail =
        format!("{}: {} MiB of {} are free", folder.path.display(), available_bytes / MIB, size_bytes / MIB);
    if let Some((left, all)) = files {
        detail.push_str(&format!(", and {left} of {all} files"));
    }
    let least = bytes.min(inodes);
    let remedy = format!("make room there, or set {} to a folder on a larger disk", folder.key);
    if least < BROKEN_PERCENT || available_bytes < BROKEN_BYTES {
        found.broken(check, detail, remedy);
    } else if least < DOUBTFUL_PERCENT || available_bytes < DOUBTFUL_BYTES {
        found.doubtful(check, detail, remedy);
    } else {
        found.well(check, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Verdict};
    use super::*;

    #[test]
    fn a_disk_is_doubtful_before_it_is_full() {
        let folder = Folder { key: "worker.dir", path: "/work".into() };
        let gib = 1024 * MIB;
        for (available_bytes, size_bytes, files, verdict) in [
            (50 * gib, 100 * gib, Some((900, 1_000)), Verdict::Well),
            (50 * gib, 100 * gib, None, Verdict::Well),
            (4 * gib, 100 * gib, None, Verdict::Doubtful),
            (900 * MIB, 2 * gib, None, Verdict::Doubtful),
            (50 * gib, 100 * gib, Some((30, 1_000)), Verdict::Doubtful),
            (90 * MIB, 2 * gib, None, Verdict::Broken),
            (2 * gib, 1_000 * gib, None, Verdict::Broken),
            (50 * gib, 100 * gib, Some((3, 1_000)), Verdict::Broken),
        ] {
            let mut found = Findings::default();
            judge("disk", &folder, Space { available_bytes, size_bytes, files }, &mut found);
            let found: Vec<Finding> = found.into();
            assert_eq!(found[0].verdict, verdict, "{}", found[0].detail);
            assert_eq!(found[0].remedy.is_some(), verdict != Verdict::Well);
            assert!(found[0].remedy.as_ref().is_none_or(|remedy| remedy.contains("worker.dir")));
        }
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_that_it_will_be_made_in() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a/b");
        assert!(look(&missing).unwrap().size_bytes > 0);
        assert!(!missing.exists() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
