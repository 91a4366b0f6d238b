//! The files of a site, in one piece of memory that is used as it is stored: records of one length
//! in the order of their paths, so that a path is found by halving and nothing is built up first.
//!
//! ```text
//! u32 x 4   how many files; how many media types; bytes of the types' text; bytes of the paths' text
//! 96 x n    a record a file:
//!             32  SHA-256 of the file
//!              8  its size in bytes
//!              4  where its path ends in the paths' text; it begins where the one before ends
//!              4  the number of its media type
//!           3x16  br, zstd, gzip: size in bytes (0: there is none) and 12 bytes of the SHA-256
//! u32 x t   where each media type ends in the types' text
//!           the types' text, then the paths' text, in UTF-8
//! ```
//!
//! Numbers are little-endian. [`FileTable::read`] checks all of it once: whatever passed can be asked
//! for any path without a further doubt.

use super::entry::{Coded, CodedCheck, Codings, FileEntry, NewEntry};
use super::site_path::SitePath;
use crate::domain::coding::Coding;
use crate::domain::digest::Digest;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

const HEAD: usize = 16;
/// Bytes a file, beside its path.
const RECORD: usize = 96;
const SIZE: usize = 32;
const PATH_END: usize = 40;
const TYPE: usize = 44;
const CODINGS: usize = 48;
const CODED: usize = 16;

#[derive(Clone, PartialEq, Eq)]
pub struct FileTable {
    bytes: Bytes,
    files: usize,
    types: usize,
    /// Where the types' text begins.
    types_text: usize,
    /// Where the paths' text begins.
    paths_text: usize,
    knows_codings: bool,
}

/// More than a table can number: 4 GiB of paths, for instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of files is too long")]
pub struct TooLarge;

impl FileTable {
    /// A table of these files, in whatever order. Where a path comes twice, the last one counts.
    pub fn build(files: impl IntoIterator<Item = (SitePath, NewEntry)>) -> Result<Self, TooLarge> {
        let files: BTreeMap<SitePath, NewEntry> = files.into_iter().collect();
        let number = |at: usize| u32::try_from(at).map_err(|_| TooLarge);
        let paths_bytes: usize = files.keys().map(|path| path.as_str().len()).sum();
        let mut types: Vec<&str> = Vec::new();
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        for entry in files.values() {
            if !numbers.contains_key(entry.media_type.as_str()) {
                numbers.insert(&entry.media_type, number(types.len())?);
                types.push(&entry.media_type);
            }
        }
        let types_bytes: usize = types.iter().map(|name| name.len()).sum();
        let length = HEAD + files.len() * RECORD + types.len() * 4 + types_bytes + paths_bytes;
        let mut bytes = Vec::with_capacity(length);
        for count in [files.len(), types.len(), types_bytes, paths_bytes] {
            bytes.extend(number(count)?.to_le_bytes());
        }
        let mut path_end = 0;
        for (path, entry) in &files {
            path_end += path.as_str().len();
            let media_type = numbers.get(entry.media_type.as_str()).copied().unwrap_or_default();
            bytes.extend(entry.digest.as_bytes());
            bytes.extend(entry.size.to_le_bytes());
            bytes.extend(number(path_end)?.to_le_bytes());
            bytes.extend(media_type.to_le_bytes());
            for coding in Coding::ALL {
                let coded = entry.codings.get(coding).filter(|coded| u64::from(coded.size) < entry.size);
                bytes.extend(coded.map_or(0, |coded| coded.size).to_le_bytes());
                bytes.extend(coded.map_or([0; 12], |coded| coded.check.0));
            }
        }
        let mut type_end = 0;
        for name in &types {
            type_end += name.len();
            bytes.extend(number(type_end)?.to_le_bytes());
        }
        types.iter().for_each(|name| bytes.extend(name.as_bytes()));
        files.keys().for_each(|path| bytes.extend(path.as_str().as_bytes()));
        let types_text = HEAD + files.len() * RECORD + types.len() * 4;
        Ok(Self {
            files: files.len(),
            types: types.len(),
            types_text,
            paths_text: types_text + types_bytes,
            knows_codings: true,
            bytes: Bytes::from(bytes),
        })
    }

    /// A table as it was stored; else what is wrong with it. Holds a copy, so that it keeps nothing
    /// alive but what it counts.
    pub(super) fn read(stored: &[u8]) -> Result<Self, &'static str> {
        let mut counts = [0_usize; 4];
        for (at, count) in counts.iter_mut().enumerate() {
            *count = number(stored, at * 4).ok_or("the table of files ends early")?;
        }
        let [files, types, types_bytes, paths_bytes] = counts;
        let parts = [files.checked_mul(RECORD), types.checked_mul(4), Some(types_bytes), Some(paths_bytes)];
        let length = parts.into_iter().try_fold(HEAD, |sum, part| sum.checked_add(part?));
        if length != Some(stored.len()) {
            return Err("the table of files has another length than it says");
        }
        let types_text = HEAD + files * RECORD + types * 4;
        let paths_text = types_text + types_bytes;
        let bytes = Bytes::copy_from_slice(stored);
        let table = Self { bytes, files, types, types_text, paths_text, knows_codings: true };
        table.check_types()?;
        table.check_files()?;
        Ok(table)
    }

    fn check_types(&self) -> Result<(), &'static str> {
        const WRONG: &str = "its media types are not in order";
        let text = self.bytes.get(self.types_text..self.paths_text).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
        let mut begin = 0;
        for at in 0..self.types {
            let end = self.type_end(at);
            text.get(begin..end).ok_or(WRONG)?;
            begin = end;
        }
        if begin == text.len() { Ok(()) } else { Err(WRONG) }
    }

    fn check_files(&self) -> Result<(), &'static str> {
        const WRONG: &str = "its paths are not in order";
        let text = self.bytes.get(self.paths_text..).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
        let (mut begin, mut before) = (0, "");
        for record in self.records() {
            let end = number(record, PATH_END).ok_or(WRONG)?;
            let path = text.get(begin..end).ok_or(WRONG)?;
            if path <= before {
                return Err(WRONG);
            }
            if !SitePath::is_valid(path) {
                return Err("one of its paths is none of a file in a site");
            }
            if number(record, TYPE).is_none_or(|media_type| media_type >= self.types) {
                return Err("one of its files has a media type that is not there");
            }
            check_codings(record)?;
            (begin, before) = (end, path);
        }
        if begin == text.len() { Ok(()) } else { Err(WRONG) }
    }

    /// Says that nobody tried to code these files.
    pub(super) fn of_older_form(self) -> Self {
        Self { knows_codings: false, ..self }
    }

    /// Whether a file without codings is one that none was worth it for; else nobody tried.
    pub fn knows_codings(&self) -> bool {
        self.knows_codings
    }

    /// The file at a path, with the path as the table holds it.
    pub fn get(&self, path: &str) -> Option<(&str, FileEntry<'_>)> {
        let (mut from, mut to) = (0, self.files);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.path_bytes(middle).cmp(path.as_bytes()) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return self.at(middle),
            }
        }
        None
    }

    pub fn contains(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    pub fn len(&self) -> usize {
        self.files
    }

    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// In the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, FileEntry<'_>)> {
        (0..self.files).filter_map(|at| self.at(at))
    }

    /// Of all files together, uncoded.
    pub fn bytes(&self) -> u64 {
        self.records().map(|record| u64::from_le_bytes(array(record, SIZE))).fold(0, u64::saturating_add)
    }

    /// What the table takes in memory.
    pub fn memory_bytes(&self) -> u64 {
        (size_of::<Self>() + self.bytes.len()) as u64
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn records(&self) -> std::slice::ChunksExact<'_, u8> {
        self.bytes.get(HEAD..HEAD + self.files * RECORD).unwrap_or_default().chunks_exact(RECORD)
    }

    fn record(&self, at: usize) -> &[u8] {
        let begin = HEAD + at * RECORD;
        self.bytes.get(begin..begin + RECORD).unwrap_or_default()
    }

    fn path_bytes(&self, at: usize) -> &[u8] {
        let end = |at: usize| number(self.record(at), PATH_END).unwrap_or_default();
        let begin = at.checked_sub(1).map_or(0, end);
        self.slice(self.paths_text, begin..end(at))
    }

    fn at(&self, at: usize) -> Option<(&str, FileEntry<'_>)> {
        let record = self.record(at);
        let media_type = number(record, TYPE)?;
        let begin = media_type.checked_sub(1).map_or(0, |before| self.type_end(before));
        let entry = FileEntry {
            digest: Digest::from(array(record, 0)),
            size: u64::from_le_bytes(array(record, SIZE)),
            media_type: text(self.slice(self.types_text, begin..self.type_end(media_type)))?,
            codings: codings(record),
        };
        Some((text(self.path_bytes(at))?, entry))
    }

    fn type_end(&self, at: usize) -> usize {
        number(&self.bytes, HEAD + self.files * RECORD + at * 4).unwrap_or_default()
    }

    fn slice(&self, base: usize, range: Range<usize>) -> &[u8] {
        self.bytes.get(base + range.start..base + range.end).unwrap_or_default()
    }
}

impl std::fmt::Debug for FileTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A size without a check or a check without a size was not written by gv, nor was one that saves
/// nothing: an edge may rely on a coded file to be smaller than the file.
fn check_codings(record: &[u8]) -> Result<(), &'static str> {
    let size = u64::from_le_bytes(array(record, SIZE));
    for coding in Coding::ALL {
        let (coded, check) = coded_at(record, coding);
        let is_none = coded == 0 && check == [0; 12];
        if !is_none && (coded == 0 || u64::from(coded) >= size) {
            return Err("one of its files is larger in a coding than without");
        }
    }
    Ok(())
}

fn codings(record: &[u8]) -> Codings {
    Coding::ALL.into_iter().fold(Codings::default(), |codings, coding| {
        let (size, check) = coded_at(record, coding);
        codings.with(coding, Coded { size, check: CodedCheck(check) })
    })
}

fn coded_at(record: &[u8], coding: Coding) -> (u32, [u8; 12]) {
    let at = CODINGS + coding.index() * CODED;
    (u32::from_le_bytes(array(record, at)), array(record, at + 4))
}

/// Bytes of a record; all of them are there, since [`FileTable::read`] looked.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let found = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*found)).ok()
}

/// Text that was found to be UTF-8 when the table was read.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
