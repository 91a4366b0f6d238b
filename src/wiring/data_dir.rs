//! The folder of a `gv up`: who may use it, who this worker is, how it signs, how its owner gets in.

use crate::app::signing::SigningKeys;
use crate::domain::sealing::SecretKeys;
use crate::domain::secret::Secret;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SECRET_KEY: &str = "secret-key";

/// A data folder that this process has for itself, until it is dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// The owner's way in, written at every start with mode 0600; the client commands look for it.
#[derive(Clone, Serialize, Deserialize)]
pub struct OwnerSession {
    /// The API's root, such as `http://127.0.0.1:8080`.
    pub api: String,
    pub token: String,
}

impl OwnerSession {
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("owner-token.json")
    }

    /// `None`: there is none, or it is not readable to this user.
    pub fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data_dir)).ok()?).ok()
    }
}

impl DataDir {
    /// Makes the folder where it is missing, and locks it: two processes in one folder would take
    /// each other for dead.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        make_private(path).with_context(|| format!("data_dir: cannot make {}", path.display()))?;
        let lock = path.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let file = file.with_context(|| format!("data_dir: cannot write to {}", path.display()))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            anyhow::anyhow!(
                "data_dir: another gv is running in {}: stop it, or give this one --data-dir",
                path.display()
            )
        })?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }

    /// What leases of this folder's worker are held under, in this and in every later life.
    pub fn worker_name(&self) -> anyhow::Result<String> {
        Ok(self.kept("worker-name", || format!("worker-{:016x}", rand::random::<u64>()))?.trim().to_owned())
    }

    /// The key that signs access tokens where none is configured.
    pub fn signing_key(&self) -> anyhow::Result<Secret> {
        let kept = self.kept("signing-key", || SigningKeys::generate().expose().to_owned())?;
        Ok(Secret::new(kept.trim()))
    }

    /// The key that seals variables and tokens where none is configured.
    pub fn secret_key(&self) -> anyhow::Result<Secret> {
        let kept = self.kept(SECRET_KEY, || SecretKeys::generate(&mut rand::rng()).expose().to_owned())?;
        Ok(Secret::new(kept.trim()))
    }

    /// What an earlier life kept.
    pub fn owner_session(&self) -> Option<OwnerSession> {
        OwnerSession::read(&self.path)
    }

    pub fn keep_owner_session(&self, session: &OwnerSession) -> anyhow::Result<()> {
        write_private(&OwnerSession::path(&self.path), &serde_json::to_vec(session)?)
            .context("keeping the owner's token")
    }

    fn kept(&self, name: &str, make: impl FnOnce() -> String) -> anyhow::Result<String> {
        let path = self.path.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = make();
                write_private(&path, text.as_bytes())
                    .with_context(|| format!("writing {}", path.display()))?;
                Ok(text)
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

/// Where a `gv up` keeps the key that it made itself.
pub fn secret_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(SECRET_KEY)
}

/// The key that a `gv up` in this folder seals by, where it made one itself.
pub fn kept_secret_key(data_dir: &Path) -> anyhow::Result<Option<Secret>> {
    let path = secret_key_file(data_dir);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Makes a folder, and those above it, that only its owner can enter.
pub fn make_private(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_private(folder)?;
    let temporary = folder.join(format!(".{:016x}.tmp", rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| std::fs::rename(&temporary, path));
    if placed.is_err() {
        // The error that matters is already on its way to the caller.
        let _ = std::fs::remove_file(&temporary);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_data_folder_is_used_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(DataDir::open(&path).is_err());
        let name = first.worker_name().unwrap();
        drop(first);
        assert_eq!(
            DataDir::open(&path).unwrap().worker_name().unwrap(),
            name,
            "the same worker in its next life"
        );
    }

    #[test]
    fn what_is_secret_is_readable_to_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("gv")).unwrap();
        data.keep_owner_session(&OwnerSession { api: "http://127.0.0.1:1".into(), token: "gvtok_x".into() })
            .unwrap();
        let path = OwnerSession::path(&data.path);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(OwnerSession::read(&data.path).unwrap().token, "gvtok_x");
    }
}
