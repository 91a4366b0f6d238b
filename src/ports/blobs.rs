//! Object storage: what visitors are served from, and what outlives everything else.
//!
//! Keys name content that never changes, but for `hosts/` and `certificates/`, whose objects are replaced
//! by compare-and-swap. A reader never sees half an object.

use crate::domain::certificate::{AuthorityId, CertificateName};
use crate::domain::coding::Coding;
use crate::domain::digest::Digest;
use crate::domain::host::Hostname;
use crate::domain::id::{DeploymentId, UserId};
use crate::domain::manifest::CodedCheck;
use crate::ports::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores an object whole, over what was there. When it returns, the object survives a crash.
    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError>;

    /// Stores many objects, in parallel within the adapter's bounds. When it returns `Ok`, all
    /// survive a crash; after an error some may be there.
    async fn put_all(&self, objects: Vec<(Key, Body)>) -> Result<(), StoreError>;

    /// Stores an object only where none is. `false`: there was one, and it is untouched.
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<bool, StoreError>;

    /// Replaces the object whose tag is `expected` (`None`: where none is). `false`: another one
    /// is there, and it is untouched.
    async fn replace(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, StoreError>;

    /// The whole of an object of at most `max_bytes`; a larger one is an `Internal` error. Never a
    /// part of it; whether it is what was stored is for a caller to say who knows its digest.
    async fn get(&self, key: &Key, max_bytes: u64) -> Result<Option<Object>, StoreError>;

    /// An object, or a range of its bytes, as a stream. Ranges are clipped to the object.
    async fn open(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Opened>, StoreError>;

    /// Those of the keys that are not there.
    async fn missing(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError>;

    /// An absent object is no error.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Writes, reads and deletes nothing but answers when the storage could.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What an operator should know of a storage that answers all the same, as far as it has shown.
    fn caution(&self) -> Option<&'static str> {
        None
    }

    /// How many seconds its clock is ahead of this machine's, where its last answer told.
    fn clock_ahead_s(&self) -> Option<i64> {
        None
    }

    /// Whether other processes can use the same storage.
    fn is_shared(&self) -> bool;
}

/// An object's name: segments of `A-Za-z0-9._-` between `/`, none of them beginning with a dot.
/// Made only by the functions below, so that no key can leave its place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    pub fn blob(account: UserId, digest: &Digest) -> Self {
        Self(format!("blobs/{account}/{digest}"))
    }

    /// The blob in a coding. The check is part of the name: what another version of an encoder makes
    /// of the same file never takes the place of what a manifest names.
    pub fn coded(account: UserId, digest: &Digest, check: &CodedCheck, coding: Coding) -> Self {
        Self(format!("blobs/{account}/{digest}.{check}.{}", coding.suffix()))
    }

    pub fn manifest(id: DeploymentId) -> Self {
        Self(format!("manifests/{id}"))
    }

    pub fn host(host: &Hostname) -> Self {
        Self(format!("hosts/{host}"))
    }

    pub fn source(account: UserId, id: DeploymentId) -> Self {
        Self(format!("sources/{account}/{id}.tar.zst"))
    }

    pub fn log(id: DeploymentId) -> Self {
        Self(format!("logs/{id}.ndjson.zst"))
    }

    /// A certificate, and how it is being got.
    pub fn certificate(authority: &AuthorityId, name: &CertificateName) -> Self {
        match name {
            CertificateName::Host(host) => Self(format!("certificates/{authority}/hosts/{host}")),
            CertificateName::Wildcard(domain) => Self(format!("certificates/{authority}/wildcards/{domain}")),
        }
    }

    /// Our account with an authority.
    pub fn account(authority: &AuthorityId) -> Self {
        Self(format!("certificates/{authority}/account"))
    }

    /// What was ordered of an authority lately.
    pub fn orders(authority: &AuthorityId) -> Self {
        Self(format!("certificates/{authority}/orders"))
    }

    /// Whether its object is replaced by compare-and-swap.
    pub fn is_rewritten(&self) -> bool {
        ["hosts/", "certificates/"].iter().any(|prefix| self.0.starts_with(prefix))
    }

    /// Of a rehearsal (`gv doctor`), which removes it again. No account has this name.
    pub fn probe(number: u64) -> Self {
        Self(format!("blobs/gv-probe.{number:016x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is to be stored.
#[derive(Clone, Debug)]
pub enum Body {
    Bytes(Bytes),
    /// A regular file that nobody writes to any more, with its length in bytes; another length at
    /// the time of reading is an error.
    File {
        file: Arc<dyn OpenFile>,
        len: u64,
    },
}

/// Opens a file when its bytes are needed, so that many may wait for their turn.
pub trait OpenFile: fmt::Debug + Send + Sync {
    /// For reading. Blocks. What it opens may be of another kind than a regular file: whoever reads looks.
    fn open(&self) -> io::Result<File>;
}

/// A path that gv made itself: no link is followed at its end, and a FIFO is not waited for.
impl OpenFile for PathBuf {
    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::open(self, flags, Mode::empty())?.into())
    }
}

impl Body {
    /// The file at a path that gv made itself.
    pub fn file(path: impl Into<PathBuf>, len: u64) -> Self {
        Self::File { file: Arc::new(path.into()), len }
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Names one state of one object, as the storage sees it; equal bytes may have equal tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Bytes,
    pub tag: Tag,
}

pub struct Opened {
    /// Of the whole object, in bytes.
    pub total: u64,
    /// Of the object, in bytes: what `stream` will give.
    pub range: Range<u64>,
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}
