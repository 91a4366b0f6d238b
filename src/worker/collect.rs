//! Gathering the files of a site: which they are, how large, and what their content digests to.
//!
//! What it walks was written by strangers. A link that stays inside is followed, one that leaves is
//! an error that names it; nothing but regular files is ever opened. Start with [`collect`].

use crate::domain::digest::{Digest, Digester};
use crate::domain::manifest::SitePath;
use crate::domain::routing::sources::is_rule_file;
use crate::worker::inside::{Inside, join, kind, size};
use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::io::Read;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

/// Files up to this size are kept in memory, so that they are read once; in bytes.
const SMALL: u64 = 256 * 1024;
/// How much is kept in memory together; in bytes.
const KEPT: u64 = 32 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct CollectLimits {
    pub files: u64,
    /// Of all files together, in bytes.
    pub total_bytes: u64,
    /// Of each file, in bytes.
    pub file_bytes: u64,
}

/// Whose files these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A build wrote them to be published.
    Build,
    /// They are the repository's own, with much among them that is nobody else's business.
    Repository,
}

#[derive(Debug, PartialEq, Eq)]
pub struct CollectedFile {
    pub path: SitePath,
    pub size: u64,
    pub digest: Digest,
    /// The content, when it is small.
    pub bytes: Option<Bytes>,
}

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// What cannot be published; in words for a person.
    #[error("{0}")]
    Invalid(String),
    /// In words for a person.
    #[error("{0}")]
    TooMuch(String),
    #[error("stopped")]
    Stopped,
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
}

/// Finds and digests every file of a folder, in the order of their paths. Blocks: it is for a
/// thread of its own. `stop` is looked at between files.
pub fn collect(
    folder: &Inside,
    origin: Origin,
    limits: CollectLimits,
    stop: &CancellationToken,
) -> Result<Vec<CollectedFile>, CollectError> {
    let mut walk = Walk { folder, origin, limits, stop, found: Vec::new(), bytes: 0, entries: 0 };
    walk.run()?;
    let mut found = walk.found;
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    digest_all(folder, &found, stop)
}

struct Walk<'a> {
    folder: &'a Inside,
    origin: Origin,
    limits: CollectLimits,
    stop: &'a CancellationToken,
    found: Vec<(SitePath, u64)>,
    bytes: u64,
    /// Everything that was looked at: links to folders could multiply these without end.
    entries: u64,
}

/// A folder on the way from the root, to notice a link that leads back up.
struct Ancestor {
    id: (u64, u64),
    parent: Option<Rc<Ancestor>>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), CollectError> {
        let root = self.folder.stat(".").map_err(|error| io(".", error))?;
        let mut waiting = vec![(String::new(), Rc::new(Ancestor { id: identity(&root), parent: None }))];
        while let Some((path, ancestor)) = waiting.pop() {
            if self.stop.is_cancelled() {
                return Err(CollectError::Stopped);
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let fd = self.folder.resolve(&path, flags).map_err(|error| io(&path, error))?;
            for entry in Dir::read_from(&fd).map_err(|error| io(&path, error))? {
                let entry = entry.map_err(|error| io(&path, error))?;
                if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    continue;
                }
                let name = self.name(&path, entry.file_name())?;
                if is_private(name, path.is_empty(), self.origin) {
                    continue;
                }
                let place = join(&path, name);
                let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| io(&place, error))?;
                if let Some(inner) = self.take(&place, stat, &ancestor)? {
                    waiting.push((place, inner));
                }
            }
        }
        Ok(())
    }

    fn name<'n>(&mut self, folder: &str, name: &'n std::ffi::CStr) -> Result<&'n str, CollectError> {
        self.entries += 1;
        let most = self.limits.files.saturating_mul(2).saturating_add(10_000);
        if self.entries > most {
            return Err(self.too_many());
        }
        name.to_str().map_err(|_| {
            CollectError::Invalid(format!(
                "The name of {} is not UTF-8: rename it.",
                join(folder, &name.to_string_lossy())
            ))
        })
    }

    /// Takes a file in; of a folder, gives back what is needed to walk it.
    fn take(
        &mut self,
        place: &str,
        stat: Stat,
        parent: &Rc<Ancestor>,
    ) -> Result<Option<Rc<Ancestor>>, CollectError> {
        let (stat, through) = match kind(&stat) {
            FileType::Symlink => (self.follow(place)?, "what the link leads to "),
            _ => (stat, ""),
        };
        match kind(&stat) {
            FileType::RegularFile => self.add(place, size(&stat)).map(|()| None),
            FileType::Directory => {
                let id = identity(&stat);
                let above = std::iter::successors(Some(parent), |above| above.parent.as_ref());
                if above.into_iter().any(|above| above.id == id) {
                    return Err(CollectError::Invalid(format!(
                        "The link {place} leads back to a folder around it."
                    )));
                }
                Ok(Some(Rc::new(Ancestor { id, parent: Some(parent.clone()) })))
            }
            _ => Err(CollectError::Invalid(format!(
                "{place} cannot be published: {through}it is a device, a pipe or a socket."
            ))),
        }
    }

    fn follow(&self, place: &str) -> Result<Stat, CollectError> {
        self.folder.stat(place).map_err(|error| match error {
            Errno::XDEV => CollectError::Invalid(format!(
                "The link {place} leads out of the folder that is published: put a copy in its place."
            )),
            Errno::NOENT | Errno::NOTDIR => {
                CollectError::Invalid(format!("The link {place} leads to nothing: remove it."))
            }
            Errno::LOOP => {
                CollectError::Invalid(format!("The link {place} leads back to itself: remove it."))
            }
            other => io(place, other),
        })
    }

    fn add(&mut self, place: &str, size: u64) -> Result<(), CollectError> {
        let path = SitePath::parse(place)
            .map_err(|_| CollectError::Invalid(format!("The path {} is too long.", shortened(place))))?;
        if size > self.limits.file_bytes {
            return Err(CollectError::TooMuch(format!(
                "{place} has {} MB: a file may have at most {} MB.",
                megabytes(size),
                megabytes(self.limits.file_bytes)
            )));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.total_bytes {
            return Err(CollectError::TooMuch(format!(
                "The site has more than {} MB.",
                megabytes(self.limits.total_bytes)
            )));
        }
        self.found.push((path, size));
        if self.found.len() as u64 > self.limits.files { Err(self.too_many()) } else { Ok(()) }
    }

    fn too_many(&self) -> CollectError {
        CollectError::TooMuch(format!("The site has more than {} files.", self.limits.files))
    }
}

/// What is never published. A build's own output is its author's choice, but for what can only
/// have got there by mistake.
fn is_private(name: &str, at_root: bool, origin: Origin) -> bool {
    if name == ".git" || name == ".env" || name.starts_with(".env.") {
        return true;
    }
    // Rules for the host, which no host serves.
    if at_root && is_rule_file(name) {
        return true;
    }
    let hidden = name.starts_with('.') && name != ".well-known";
    let settings = name == "gv.toml" || name.starts_with("wrangler.");
    origin == Origin::Repository && (hidden || name == "node_modules" || (at_root && settings))
}

/// Digests on as many threads as the machine has processors.
fn digest_all(
    folder: &Inside,
    found: &[(SitePath, u64)],
    stop: &CancellationToken,
) -> Result<Vec<CollectedFile>, CollectError> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    // A thread costs as much as a handful of small files.
    let threads = processors.min(8).min(found.len().div_ceil(16)).max(1);
    let (next, room) = (AtomicUsize::new(0), AtomicU64::new(KEPT));
    let work = || {
        let mut done = Vec::new();
        let mut buffer = vec![0; 128 * 1024];
        while let Some((path, size)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.is_cancelled() {
                return Err(CollectError::Stopped);
            }
            let keep = *size <= SMALL && reserve(&room, *size);
            done.push(digest(folder, path, *size, keep, &mut buffer)?);
        }
        Ok(done)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = helpers
            .into_iter()
            .map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(others.collect::<Vec<_>>()).collect()
    });
    let mut files = Vec::with_capacity(found.len());
    for part in parts {
        files.extend(part?);
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn reserve(room: &AtomicU64, size: u64) -> bool {
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size)).is_ok()
}

fn digest(
    folder: &Inside,
    path: &SitePath,
    size: u64,
    keep: bool,
    buffer: &mut [u8],
) -> Result<CollectedFile, CollectError> {
    let place = path.as_str();
    let failed = |source| CollectError::Io { path: place.to_owned(), source };
    let changed = || failed(std::io::Error::other("it changed while it was read"));
    let (file, _) = folder.file(place).map_err(|error| io(place, error))?.ok_or_else(changed)?;
    let mut file = file.take(size.saturating_add(1));
    let mut kept = keep.then(|| Vec::with_capacity(size as usize));
    let mut digester = Digester::default();
    let mut total: u64 = 0;
    loop {
        let read = match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        digester.update(piece);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(piece);
        }
        total += read as u64;
    }
    if total != size {
        return Err(changed());
    }
    Ok(CollectedFile { path: path.clone(), size, digest: digester.finish(), bytes: kept.map(Bytes::from) })
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn io(path: &str, error: Errno) -> CollectError {
    if error == Errno::NAMETOOLONG {
        return CollectError::Invalid(format!("The path {} is too long.", shortened(path)));
    }
    CollectError::Io { path: path.to_owned(), source: error.into() }
}

fn shortened(path: &str) -> String {
    let kept: String = path.chars().take(100).collect();
    if kept.len() == path.len() { kept } else { format!("{kept}...") }
}

/// Rounded up, so that what is over a limit never looks as if it were not.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const LIMITS: CollectLimits = CollectLimits { files: 100, total_bytes: 10_000, file_bytes: 5_000 };

    fn site(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "text").unwrap();
        }
        folder
    }

    fn collected(folder: &Path, origin: Origin) -> Result<Vec<String>, CollectError> {
        let files = collect(&Inside::open(folder).unwrap(), origin, LIMITS, &CancellationToken::new())?;
        assert!(files.iter().all(|file| file.digest == Digest::of(b"text") && file.size == 4));
        Ok(files.into_iter().map(|file| file.path.to_string()).collect())
    }

    fn refusal(folder: &Path) -> String {
        match collected(folder, Origin::Build).unwrap_err() {
            CollectError::Invalid(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed_to_files_and_folders() {
        let folder = site(&["index.html", "a/page.html"]);
        symlink("index.html", folder.path().join("copy.html")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        symlink("../index.html", folder.path().join("a/up.html")).unwrap();
        assert_eq!(
            collected(folder.path(), Origin::Build).unwrap(),
            ["a/page.html", "a/up.html", "b/page.html", "b/up.html", "copy.html", "index.html"]
        );
    }

    #[test]
    fn a_link_that_leaves_dangles_or_loops_is_refused_by_its_name() {
        for (name, target, expected) in [
            ("secret", "/etc/passwd", "leads out"),
            ("up", "../../etc", "leads out"),
            ("gone", "nothing", "leads to nothing"),
            ("self", "self", "leads back to itself"),
            ("round", ".", "leads back to a folder around it"),
        ] {
            let folder = site(&["index.html"]);
            symlink(target, folder.path().join(name)).unwrap();
            let message = refusal(folder.path());
            assert!(message.contains(expected) && message.contains(name), "{message}");
        }
        let folder = site(&["a/b/page.html"]);
        symlink("../../a", folder.path().join("a/b/again")).unwrap();
        assert!(refusal(folder.path()).contains("a/b/again"));
    }

    #[test]
    fn links_to_folders_cannot_multiply_without_end() {
        let folder = site(&["index.html"]);
        // Each folder holds two links to the next: 2^20 ways to the last one.
        for level in 0..20 {
            let inner = folder.path().join(format!("{level}"));
            std::fs::create_dir(&inner).unwrap();
            for name in ["x", "y"] {
                symlink(format!("../{}", level + 1), inner.join(name)).unwrap();
            }
        }
        std::fs::create_dir(folder.path().join("20")).unwrap();
        assert!(matches!(collected(folder.path(), Origin::Build), Err(CollectError::TooMuch(_))));
    }

    #[test]
    fn pipes_sockets_and_names_that_are_not_utf_8_are_refused() {
        let folder = site(&["index.html"]);
        rustix::fs::mkfifoat(CWD, folder.path().join("pipe"), Mode::RWXU).unwrap();
        assert!(refusal(folder.path()).contains("pipe cannot be published"));
        let folder = site(&["index.html"]);
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        assert!(refusal(folder.path()).contains("socket cannot be published"));
        let folder = site(&["index.html"]);
        symlink("/dev/zero", folder.path().join("zero")).unwrap();
        assert!(refusal(folder.path()).contains("leads out"));
        let folder = site(&["index.html"]);
        std::fs::write(folder.path().join(OsStr::from_bytes(b"a\xff")), "").unwrap();
        assert!(refusal(folder.path()).contains("not UTF-8"));
    }

    #[test]
    fn the_limits_of_count_size_and_sum_hold_for_sparse_files_too() {
        let too_much = |folder: &Path| match collected(folder, Origin::Build).unwrap_err() {
            CollectError::TooMuch(message) => message,
            other => panic!("{other:?}"),
        };
        let folder = site(&["index.html"]);
        std::fs::File::create(folder.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert!(too_much(folder.path()).contains("a file may have at most"));
        let folder = site(&[]);
        for name in ["a", "b", "c"] {
            std::fs::File::create(folder.path().join(name)).unwrap().set_len(4_000).unwrap();
        }
        assert!(too_much(folder.path()).contains("more than 1 MB"));
        let names: Vec<String> = (0..101).map(|number| format!("{number}.html")).collect();
        let folder = site(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(too_much(folder.path()).contains("more than 100 files"));
    }

    #[test]
    fn of_a_repository_only_what_is_meant_for_visitors_is_taken() {
        let files = [
            ".git/config",
            ".env",
            ".env.local",
            ".github/x.yml",
            ".well-known/security.txt",
            "a/.hidden",
            "gv.toml",
            "index.html",
            "netlify.toml",
            "node_modules/x/y.js",
            "vercel.json",
            "wrangler.jsonc",
            "_headers",
            "docs/vercel.json",
        ];
        let folder = site(&files);
        assert_eq!(
            collected(folder.path(), Origin::Repository).unwrap(),
            [".well-known/security.txt", "docs/vercel.json", "index.html"]
        );
        let built = collected(folder.path(), Origin::Build).unwrap();
        assert!(!built.iter().any(|path| path.starts_with(".git/") || path.starts_with(".env")), "{built:?}");
        assert!(built.contains(&"node_modules/x/y.js".to_owned()), "a build may publish what it likes");
    }
}
