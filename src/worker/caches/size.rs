//! How much room files and folders take on the disk.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use walkdir::WalkDir;

/// By how much a file may take more room than its length says: blocks are larger than small files.
const ROUNDING: u64 = 64 * 1024;

/// Of a file, as its length says, holes too; or the room that is set aside for it, where that is much more.
pub(super) fn length(file: &Metadata) -> u64 {
    let room = file.blocks().saturating_mul(512);
    if room > file.len().saturating_add(ROUNDING) { room } else { file.len() }
}

pub(super) fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    // Files with several names: packages are links into the store that they came from.
    let mut linked = HashSet::new();
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        // A folder counts for a block, and a file for one at least.
        let own = if entry.file_type().is_dir() {
            0
        } else {
            let file = entry.metadata()?;
            if file.nlink() > 1 && !linked.insert((file.dev(), file.ino())) {
                continue;
            }
            length(&file)
        };
        bytes += own.max(512);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_several_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        assert_eq!(size(folder.path()).unwrap(), 100_000 + 512);
    }
}
