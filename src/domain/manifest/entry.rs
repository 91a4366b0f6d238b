//! What a manifest knows of one file: its content, its type, and the codings that lie beside it.

use crate::domain::coding::{Coding, CodingSet};
use crate::domain::digest::Digest;
use std::fmt;

/// A file as it stands in a [`FileTable`](super::FileTable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEntry<'m> {
    pub digest: Digest,
    /// Bytes, uncoded.
    pub size: u64,
    /// The media type, complete with its charset.
    pub media_type: &'m str,
    pub codings: Codings,
}

/// A file on its way into a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    pub digest: Digest,
    /// Bytes, uncoded.
    pub size: u64,
    /// The media type, complete with its charset.
    pub media_type: String,
    /// What is not smaller than the file is left out.
    pub codings: Codings,
}

/// The codings that a file is also kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings([Option<Coded>; Coding::ALL.len()]);

impl Codings {
    /// Also in this one. A coded file of no bytes is none.
    pub fn with(mut self, coding: Coding, coded: Coded) -> Self {
        self.0[coding.index()] = Some(coded).filter(|coded| coded.size > 0);
        self
    }

    pub fn get(&self, coding: Coding) -> Option<Coded> {
        self.0[coding.index()]
    }

    pub fn set(&self) -> CodingSet {
        self.iter().fold(CodingSet::default(), |set, (coding, _)| set.with(coding))
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// In the order of [`Coding::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Coding, Coded)> {
        Coding::ALL.into_iter().zip(self.0).filter_map(|(coding, coded)| Some((coding, coded?)))
    }
}

/// A file as it is kept in one coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// Bytes, coded; less than the file's own.
    pub size: u32,
    pub check: CodedCheck,
}

impl Coded {
    /// `None`: so large that nothing of it is kept, or nothing at all.
    pub fn of(coded_bytes: &[u8]) -> Option<Self> {
        let size = u32::try_from(coded_bytes.len()).ok().filter(|size| *size > 0)?;
        Some(Self { size, check: CodedCheck::of(coded_bytes) })
    }
}

/// The first 12 bytes of the SHA-256 of coded bytes: a name beside the digest of the file, against
/// another version of an encoder and against damage.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodedCheck(pub [u8; 12]);

impl CodedCheck {
    pub fn of(coded_bytes: &[u8]) -> Self {
        Self::from(Digest::of(coded_bytes))
    }
}

/// Of coded bytes that were digested piece by piece.
impl From<Digest> for CodedCheck {
    fn from(digest: Digest) -> Self {
        let mut check = [0; 12];
        for (to, from) in check.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(check)
    }
}

impl fmt::Display for CodedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CodedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_how_the_digest_begins() {
        let check = CodedCheck::of(b"abc").to_string();
        assert_eq!((check.len(), &Digest::of(b"abc").to_string()[..24]), (24, check.as_str()));
    }

    #[test]
    fn codings_are_told_apart() {
        let coded = |bytes| Coded::of(bytes).unwrap();
        let codings = Codings::default().with(Coding::Gzip, coded(b"gz")).with(Coding::Brotli, coded(b"b"));
        assert_eq!(codings.get(Coding::Brotli), Some(coded(b"b")));
        assert_eq!(codings.get(Coding::Zstd), None);
        assert!(codings.set().has(Coding::Gzip) && !codings.set().has(Coding::Zstd));
        assert_eq!(
            codings.iter().map(|(coding, _)| coding).collect::<Vec<_>>(),
            [Coding::Brotli, Coding::Gzip]
        );
        assert_eq!(Coded::of(b""), None);
    }
}
