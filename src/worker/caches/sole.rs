//! Whether a package manager alone has a hand in what it installed: what is known to read more than a lockfile,
//! and whether files are as they were.

use crate::domain::digest::{Digest, Digester};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use walkdir::WalkDir;

/// Packages whose own install scripts read files of the project, or leave what they need elsewhere (in `HOME`,
/// which is new for each build): without a new installation neither would come to be.
pub(super) const READ_MORE: [&str; 12] = [
    "@prisma/client",
    "cypress",
    "msw",
    "patch-package",
    "playwright",
    "playwright-chromium",
    "playwright-firefox",
    "playwright-webkit",
    "postinstall-postinstall",
    "prisma",
    "puppeteer",
    "simple-git-hooks",
];

/// Names how all files of a folder are, but for those in `left_out` at its top: by place, size and the times of
/// their last changes, none of which a build can set back (`inode(7)`, ctime). `None`: there are more than
/// `most`, or it cannot be read.
pub(super) fn state(folder: &OwnedFd, left_out: &[&str], most: usize) -> Option<Digest> {
    let top = format!("/proc/self/fd/{}/", folder.as_raw_fd());
    let mut digester = Digester::default();
    let wanted = |entry: &walkdir::DirEntry| {
        entry.depth() != 1 || !entry.file_name().to_str().is_some_and(|name| left_out.contains(&name))
    };
    let entries = WalkDir::new(&top).min_depth(1).sort_by_file_name().into_iter().filter_entry(wanted);
    for (number, entry) in entries.enumerate() {
        let entry = entry.ok().filter(|_| number < most)?;
        // The times of a folder tell only that something within has changed.
        if entry.file_type().is_dir() {
            continue;
        }
        let name = entry.path().strip_prefix(&top).ok()?.as_os_str().as_bytes();
        let file = entry.metadata().ok()?;
        digester.update(&(name.len() as u64).to_le_bytes());
        digester.update(name);
        for number in [file.ino(), file.size(), u64::from(file.mode())] {
            digester.update(&number.to_le_bytes());
        }
        for time in [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()] {
            digester.update(&time.to_le_bytes());
        }
    }
    Some(digester.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_change_of_any_file_shows_also_one_that_sets_the_times_back_and_caches_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(at(".cache")).unwrap();
        fs::write(at("a/b/index.js"), "one").unwrap();
        let open = || OwnedFd::from(fs::File::open(folder.path()).unwrap());
        let state = |most| state(&open(), &[".cache"], most);
        let first = state(10).unwrap();
        fs::write(at(".cache/x"), "x").unwrap();
        assert_eq!(state(10), Some(first));
        assert_eq!(state(1), None, "too many");
        let before = fs::metadata(at("a/b/index.js")).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let file = fs::File::options().write(true).open(at("a/b/index.js")).unwrap();
        std::io::Write::write_all(&mut &file, b"two").unwrap();
        file.set_modified(before).unwrap();
        let second = state(10).unwrap();
        assert_ne!(second, first);
        fs::write(at("a/new.js"), "").unwrap();
        let third = state(10).unwrap();
        assert_ne!(third, second);
        fs::remove_file(at("a/b/index.js")).unwrap();
        assert_ne!(state(10).unwrap(), third);
    }
}
