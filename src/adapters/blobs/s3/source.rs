//! Where an upload's bytes come from: memory, or a file that is read part by part and never held
//! whole. Digests are made off the runtime. Start with [`Source::open`].

use super::signature::Payload;
use crate::ports::blobs::Body;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Fewer bytes are digested where they are.
const FEW_BYTES: usize = 32 * 1024;

#[derive(Clone)]
pub(super) enum Source {
    Bytes(Bytes),
    File { file: Arc<File>, len: u64 },
}

impl Source {
    /// Refuses what is no regular file, or has another length than it should have.
    pub(super) async fn open(body: Body) -> io::Result<Self> {
        match body {
            Body::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            Body::File { file, len } => {
                blocking(move || {
                    let file = file.open()?;
                    let about = file.metadata()?;
                    if !about.is_file() {
                        return Err(io::Error::other("it is not a regular file"));
                    }
                    expect_len(about.len(), len)?;
                    Ok(Self::File { file: Arc::new(file), len })
                })
                .await
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// A part, with its digests. A file that has become shorter or longer is an error.
    pub(super) async fn payload(&self, range: Range<u64>) -> io::Result<Payload> {
        match self {
            Self::Bytes(bytes) => {
                // A range within the length, which fits: the bytes are in memory.
                let part = bytes.slice(range.start as usize..range.end as usize);
                if part.len() <= FEW_BYTES {
                    return Ok(Payload::of(part));
                }
                blocking(move || Ok(Payload::of(part))).await
            }
            Self::File { file, len } => {
                let (file, len) = (Arc::clone(file), *len);
                blocking(move || {
                    let size = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
                    let mut part = vec![0; size];
                    file.read_exact_at(&mut part, range.start)?;
                    expect_len(file.metadata()?.len(), len)?;
                    Ok(Payload::of(part.into()))
                })
                .await
            }
        }
    }
}

fn expect_len(found: u64, expected: u64) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(io::Error::other(format!("it should have {expected} bytes and has {found}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    async fn open(path: &Path, len: u64) -> io::Result<Source> {
        Source::open(Body::file(path, len)).await
    }

    #[tokio::test]
    async fn only_a_regular_file_of_the_right_length_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "123456").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(open(&file, 6).await.unwrap().payload(2..4).await.unwrap().bytes, "34");
        assert!(open(&file, 5).await.is_err());
        assert!(open(&link, 6).await.is_err());
        assert!(open(folder.path(), 6).await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_changes_its_length_on_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "123456").unwrap();
        let source = open(&path, 6).await.unwrap();
        std::fs::write(&path, "1234567").unwrap();
        assert!(source.payload(0..6).await.is_err());
        std::fs::write(&path, "12345").unwrap();
        assert!(source.payload(0..6).await.is_err());
    }
}
