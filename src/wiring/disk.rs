//! The folders that gv fills, and how much room their disks have: for `gv doctor`, and as gauges for
//! as long as a process lives.
//!
//! `gv_disk_available_bytes{folder}` and `gv_disk_size_bytes{folder}`, where `folder` is the key that
//! names it. Start with [`folders`].

use crate::config::Config;
use metrics::{Unit, describe_gauge, gauge};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks: a disk does not fill within seconds.
const EVERY: Duration = Duration::from_secs(15);

/// A folder, and the key of the configuration that says where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub key: &'static str,
    pub path: PathBuf,
}

/// All that are configured, whether or not they are there.
pub fn folders(config: &Config) -> Vec<Folder> {
    let blobs = config.blobs.url.strip_prefix("file:");
    let blobs = blobs.map(|folder| PathBuf::from(folder.strip_prefix("//").unwrap_or(folder)));
    let cache = config.edge.disk.as_ref().map(|disk| disk.dir.clone());
    [
        ("data_dir", Some(config.data_dir.clone())),
        ("worker.dir", Some(config.worker.dir.clone())),
        ("edge.disk_dir", cache),
        ("blobs.url", blobs),
    ]
    .into_iter()
    .filter_map(|(key, path)| Some(Folder { key, path: path? }))
    .collect()
}

/// Of a file system, as its ordinary users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub available_bytes: u64,
    pub size_bytes: u64,
    /// Files that can still be made, and files that there can be; `None`: it counts none.
    pub files: Option<(u64, u64)>,
}

pub fn space(folder: &Path) -> io::Result<Space> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(Space {
        available_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        size_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        files: (disk.f_files > 0).then_some((disk.f_favail, disk.f_files)),
    })
}

/// Tells, for ever, how much room there is in those of the folders that are there.
pub async fn watch(folders: Vec<Folder>) {
    describe_gauge!("gv_disk_available_bytes", Unit::Bytes, "Free on the disk of a folder, by its key.");
    describe_gauge!("gv_disk_size_bytes", Unit::Bytes, "Size of the disk of a folder, by its key.");
    loop {
        let looked_at = folders.clone();
        // A folder on a network may hang: not on a thread that others wait for.
        let looking = tokio::task::spawn_blocking(move || {
            let space = |folder: &Folder| Some((folder.key, space(&folder.path).ok()?));
            looked_at.iter().filter_map(space).collect::<Vec<_>>()
        });
        for (key, space) in looking.await.unwrap_or_default() {
            gauge!("gv_disk_available_bytes", "folder" => key).set(space.available_bytes as f64);
            gauge!("gv_disk_size_bytes", "folder" => key).set(space.size_bytes as f64);
        }
        tokio::time::sleep(EVERY).await;
    }
}
