//! What a manifest keeps, what it refuses, and what it costs in memory.

use super::*;
use crate::domain::coding::Coding;
use crate::domain::digest::Digest;
use proptest::prelude::*;
use std::collections::BTreeMap;
use time::OffsetDateTime;

fn path(text: &str) -> SitePath {
    SitePath::parse(text).unwrap()
}

fn entry(name: &str, size: u64, media_type: &str) -> NewEntry {
    let coded = |coding: Coding| Coded::of(format!("{name} in {coding}").as_bytes()).unwrap();
    let codings = Coding::ALL.into_iter().fold(Codings::default(), |all, one| all.with(one, coded(one)));
    NewEntry { digest: Digest::of(name.as_bytes()), size, media_type: media_type.to_owned(), codings }
}

fn manifest(files: impl IntoIterator<Item = (SitePath, NewEntry)>) -> Manifest {
    let mut rng = rand::rng();
    let now = OffsetDateTime::UNIX_EPOCH;
    Manifest {
        deployment: DeploymentId::new(now, &mut rng),
        account: UserId::new(now, &mut rng),
        project: ProjectId::new(now, &mut rng),
        spa_fallback: SitePath::parse("index.html").ok(),
        rules: Rules { clean_urls: true, ..Rules::default() },
        files: FileTable::build(files).unwrap(),
    }
}

fn site() -> Manifest {
    manifest([
        (path("index.html"), entry("index", 2000, "text/html; charset=utf-8")),
        (path("b/é.css"), entry("b", 3000, "text/css; charset=utf-8")),
        (path("b.css"), entry("c", 4000, "text/css; charset=utf-8")),
    ])
}

fn read(bytes: &[u8], of: &Manifest) -> Result<Manifest, ManifestError> {
    Manifest::decode(bytes, of.deployment)
}

#[test]
fn a_manifest_reads_back_what_was_written() {
    let manifest = site();
    let read = read(&manifest.encode(), &manifest).unwrap();
    assert_eq!(read, manifest);
    assert!(read.files.knows_codings());
    assert_eq!(read.bytes(), 9000);
    let empty = super::tests::manifest([]);
    assert_eq!(Manifest::decode(&empty.encode(), empty.deployment).unwrap(), empty);
    assert!(empty.files.is_empty() && empty.files.get("").is_none());
}

#[test]
fn a_file_is_found_by_its_path_alone() {
    let files = site().files;
    let (found, entry) = files.get("b/é.css").unwrap();
    assert_eq!((found, entry.media_type, entry.size), ("b/é.css", "text/css; charset=utf-8", 3000));
    assert_eq!(entry.digest, Digest::of(b"b"));
    assert_eq!(entry.codings.get(Coding::Zstd), Coded::of(b"b in zstd"));
    for absent in ["", "b", "b/", "b/é.cs", "b/é.css/", "index.htm", "index.html\0", "z"] {
        assert!(!files.contains(absent), "{absent:?}");
    }
    let paths: Vec<&str> = files.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["b.css", "b/é.css", "index.html"]);
}

#[test]
fn of_two_files_at_one_path_the_last_one_counts() {
    let twice = [(path("a"), entry("one", 100, "text/plain")), (path("a"), entry("two", 100, "text/plain"))];
    let files = FileTable::build(twice).unwrap();
    assert_eq!((files.len(), files.get("a").unwrap().1.digest), (1, Digest::of(b"two")));
}

#[test]
fn a_coding_that_saves_nothing_is_left_out() {
    let files = FileTable::build([(path("a"), entry("long name", 15, "text/plain"))]).unwrap();
    let codings = files.get("a").unwrap().1.codings;
    assert_eq!(codings.iter().map(|(coding, coded)| (coding, coded.size)).collect::<Vec<_>>(), []);
}

#[test]
fn a_foreign_newer_or_broken_manifest_is_refused() {
    let manifest = site();
    let other = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
    let whole = manifest.encode();
    assert_eq!(Manifest::decode(&whole, other), Err(ManifestError::Foreign(manifest.deployment)));
    let mut newer = whole.clone();
    newer[4] = 4;
    assert_eq!(read(&newer, &manifest), Err(ManifestError::UnknownVersion(4)));
    for end in 0..whole.len() {
        assert!(matches!(read(&whole[..end], &manifest), Err(ManifestError::Unreadable(_))), "{end}");
    }
    let longer = [whole.as_slice(), b"x"].concat();
    assert!(matches!(read(&longer, &manifest), Err(ManifestError::Unreadable(_))));
    assert!(matches!(read(b"text", &manifest), Err(ManifestError::Unreadable(_))));
}

/// The table of the site with some of its bytes replaced: `at` counts from its begin.
fn patched(at: usize, with: &[u8]) -> Result<FileTable, &'static str> {
    let mut bytes = site().files.as_bytes().to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    FileTable::read(&bytes)
}

#[test]
fn a_table_that_was_tampered_with_is_refused() {
    let table = site().files;
    let length = table.as_bytes().len();
    let paths = length - "b.cssb/é.cssindex.html".len();
    assert!(patched(paths, b"b").is_ok(), "as it was");
    for (what, at, with) in [
        ("another order", paths, &b"c"[..]),
        ("a path out of the site", paths, b"../cs"),
        ("an empty segment", paths, b"/"),
        ("no UTF-8", paths, b"\xff"),
        ("a path end beyond the text", 16 + 2 * 96 + 40, &1000_u32.to_le_bytes()),
        ("a path end inside a character", 16 + 96 + 40, &8_u32.to_le_bytes()),
        ("a path end before its begin", 16 + 96 + 40, &3_u32.to_le_bytes()),
        ("an empty path", 16 + 40, &0_u32.to_le_bytes()),
        ("a path end before the text's", 16 + 2 * 96 + 40, &21_u32.to_le_bytes()),
        ("a type that is not there", 16 + 44, &2_u32.to_le_bytes()),
        ("a coding larger than the file", 16 + 48, &4000_u32.to_le_bytes()),
        ("a check without a coding", 16 + 48, &0_u32.to_le_bytes()),
        ("a type's end beyond the text", 16 + 3 * 96, &1000_u32.to_le_bytes()),
        ("a type that is not UTF-8", 16 + 3 * 96 + 8, b"\xff"),
        ("more files than there are", 0, &4_u32.to_le_bytes()),
        ("as many files as there can be", 0, &u32::MAX.to_le_bytes()),
        ("longer paths than there are", 12, &u32::MAX.to_le_bytes()),
    ] {
        assert!(patched(at, with).is_err(), "{what}");
    }
}

#[test]
fn a_hundred_thousand_files_take_less_than_a_hundred_bytes_each_beside_their_paths() {
    let name = |number: usize| path(&format!("docs/section-{}/page-{number}.html", number % 100));
    let file = |number: usize| (name(number), entry("page", 10_000, "text/html; charset=utf-8"));
    let files = FileTable::build((0..100_000).map(file)).unwrap();
    let paths: u64 = files.iter().map(|(path, _)| path.len() as u64).sum();
    assert_eq!(
        (files.len(), files.get("docs/section-7/page-7.html").unwrap().1.codings.iter().count()),
        (100_000, 3)
    );
    let beside = files.memory_bytes() - paths;
    assert!(beside < 100_000 * 100, "{beside} bytes beside the paths");
    assert_eq!(files.memory_bytes(), (files.as_bytes().len() + size_of::<FileTable>()) as u64);
}

fn any_file() -> impl Strategy<Value = (SitePath, NewEntry)> {
    let name = prop::collection::vec("[a-cé.]{1,3}|\\PC{1,8}", 1..4).prop_map(|names| names.join("/"));
    let name = name.prop_filter_map("is no path", |name| SitePath::parse(&name).ok());
    let coded = prop::option::of((1_u32.., any::<[u8; 12]>()));
    let file = (any::<[u8; 32]>(), any::<u64>(), "[a-c]{0,3}|\\PC{0,9}", prop::array::uniform3(coded));
    (name, file).prop_map(|(path, (digest, size, media_type, coded))| {
        let mut codings = Codings::default();
        for (coding, coded) in Coding::ALL.into_iter().zip(coded) {
            if let Some((coded, check)) = coded.filter(|(coded, _)| u64::from(*coded) < size) {
                codings = codings.with(coding, Coded { size: coded, check: CodedCheck(check) });
            }
        }
        (path, NewEntry { digest: Digest::from(digest), size, media_type, codings })
    })
}

/// Asks a table for everything that it can be asked for.
fn ask_all(files: &FileTable) {
    let listed: Vec<_> = files.iter().collect();
    assert_eq!(listed.len(), files.len(), "what was accepted can be read");
    assert!(listed.is_sorted_by(|(one, _), (other, _)| one < other));
    for (path, entry) in listed {
        assert!(SitePath::is_valid(path));
        assert_eq!(files.get(path), Some((path, entry)));
        assert!(entry.codings.iter().all(|(_, coded)| u64::from(coded.size) < entry.size));
        files.get(&path[..path.floor_char_boundary(path.len() - 1)]);
    }
    let _ = (files.bytes(), files.memory_bytes());
}

proptest! {
    #[test]
    fn whatever_was_put_in_comes_out(files in prop::collection::vec(any_file(), 0..20)) {
        let expected: BTreeMap<SitePath, NewEntry> = files.iter().cloned().collect();
        let manifest = manifest(files);
        let read = Manifest::decode(&manifest.encode(), manifest.deployment).unwrap();
        prop_assert_eq!(&read, &manifest);
        ask_all(&read.files);
        prop_assert_eq!(read.files.len(), expected.len());
        for (path, entry) in &expected {
            let (found, got) = read.files.get(path.as_str()).unwrap();
            prop_assert_eq!(found, path.as_str());
            let got = NewEntry {
                digest: got.digest,
                size: got.size,
                media_type: got.media_type.to_owned(),
                codings: got.codings,
            };
            prop_assert_eq!(&got, entry);
        }
    }

    #[test]
    fn changed_bytes_are_refused_or_read_without_a_panic(
        files in prop::collection::vec(any_file(), 0..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let manifest = manifest(files);
        let mut table = manifest.files.as_bytes().to_vec();
        for (at, byte) in &changes {
            let at = at.index(table.len());
            table[at] = *byte;
        }
        if let Ok(files) = FileTable::read(&table) {
            ask_all(&files);
        }
        let mut whole = manifest.encode();
        for (at, byte) in changes {
            let at = at.index(whole.len());
            whole[at] = byte;
        }
        if let Ok(read) = Manifest::decode(&whole, manifest.deployment) {
            ask_all(&read.files);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        counts in prop::array::uniform4(0_u8..4),
    ) {
        let id = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
        prop_assert!(Manifest::decode(&bytes, id).is_err());
        prop_assert!(Manifest::decode(&[b"gvmf\x03\0\0\0", bytes.as_slice()].concat(), id).is_err());
        // Counts that could be true lead further in.
        let counts: Vec<u8> = counts.iter().flat_map(|count| u32::from(*count).to_le_bytes()).collect();
        if let Ok(files) = FileTable::read(&[counts, bytes].concat()) {
            ask_all(&files);
        }
    }
}
