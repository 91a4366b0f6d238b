//! Whether a deployment is to be built at all, as far as files of its repository say so: the command that
//! decides it, and the files that count. A commit's own marks are `domain::skip`'s.
//!
//! Start with [`SkipRules::new`].

use crate::domain::digest::{Digest, Digester};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::routing::sources::{CLOUDFLARE_PROJECT, CLOUDFLARE_PUBLISHED, HEADERS, NETLIFY_TOML};
use crate::domain::routing::sources::{REDIRECTS, VERCEL_JSON};
use crate::domain::settings::CommandLine;
use crate::worker::declared::{GV_TOML, Said};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use walkdir::WalkDir;

/// A build's own word for "there was nothing to do, and that is well".
pub const NOTHING_TO_DO: i32 = 183;

#[derive(Debug, Default)]
pub struct SkipRules {
    /// Skips when it ends with 0, as Vercel's and Netlify's do; and who says so.
    pub ignore_command: Option<(String, &'static str)>,
    /// Files that a build depends on; `None`: all.
    pub watch: Option<GlobSet>,
}

impl SkipRules {
    /// By what the files of a project say, each as `worker::declared` found it.
    pub fn new(ignore_command: Option<&Said<CommandLine>>, watch: &[String]) -> Result<Self, Failure> {
        let ignore_command = ignore_command.map(|said| (said.value.as_str().to_owned(), said.by));
        Ok(Self {
            // An empty one is a word, too: nothing is asked.
            ignore_command: ignore_command.filter(|(command, _)| !command.is_empty()),
            watch: if watch.is_empty() { None } else { Some(globs(watch)?) },
        })
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern.trim_start_matches("./"));
        set.add(glob.map_err(|error| failure(format!("watch of gv.toml: {error}.")))?);
    }
    set.build().map_err(|error| failure(format!("watch of gv.toml: {error}.")))
}

fn failure(message: String) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, message)
}

/// Whether a file says how the project at `root` is built or served, which counts whatever is watched. Both are
/// relative to the repository.
fn decides(path: &Path, root: &str) -> bool {
    let (Some(name), Some(folder)) = (path.file_name().and_then(OsStr::to_str), path.parent()) else {
        return false;
    };
    let root = Path::new(if root == "." { "" } else { root });
    // On the way down to the project, or in what may be published of it.
    ([GV_TOML, VERCEL_JSON, NETLIFY_TOML].contains(&name) && root.starts_with(folder))
        || (CLOUDFLARE_PROJECT.contains(&name) && root == folder)
        || ([REDIRECTS, HEADERS].contains(&name) && folder.starts_with(root))
        || (CLOUDFLARE_PUBLISHED.contains(&name) && folder.starts_with(root))
}

/// Names the state of all files below `source` that are watched, and of those that decide how the project at
/// `root` is built and served: their paths, modes and contents. Blocks. Nothing may have run in there.
pub fn watched(source: &Path, watch: &GlobSet, root: &str) -> std::io::Result<Digest> {
    let mut digester = Digester::default();
    for entry in WalkDir::new(source).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let Ok(path) = entry.path().strip_prefix(source) else { continue };
        let kind = entry.file_type();
        if kind.is_dir() || !(watch.is_match(path) || decides(path, root)) {
            continue;
        }
        let name = path.as_os_str().as_bytes();
        digester.update(&(name.len() as u64).to_le_bytes());
        digester.update(name);
        if kind.is_symlink() {
            digester.update(b"l");
            digester.update(std::fs::read_link(entry.path())?.as_os_str().as_bytes());
            continue;
        }
        use std::os::unix::fs::PermissionsExt;
        let runs = entry.metadata()?.permissions().mode() & 0o100 != 0;
        digester.update(if runs { b"x" } else { b"f" });
        digester.update(content(entry.path())?.as_bytes());
    }
    Ok(digester.finish())
}

fn content(path: &Path) -> std::io::Result<Digest> {
    let mut digester = Digester::default();
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            read => digester.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_command_asks_nothing_and_a_pattern_that_is_none_is_refused() {
        let command = |text: &str| Said { value: CommandLine::parse(text).unwrap(), by: "gv.toml" };
        let of = |command: &Said<CommandLine>| SkipRules::new(Some(command), &[]).unwrap().ignore_command;
        assert_eq!(of(&command("a")), Some(("a".to_owned(), "gv.toml")));
        assert_eq!(of(&command(" ")), None);
        assert!(SkipRules::new(None, &[]).unwrap().watch.is_none());
        assert!(SkipRules::new(None, &["a[".to_owned()]).is_err());
    }

    #[test]
    fn only_watched_files_change_the_name_of_their_state() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("web")).unwrap();
        write("web/index.html", "one");
        write("README.md", "one");
        let watch = globs(&["web/**".to_owned()]).unwrap();
        let named = || watched(folder.path(), &watch, "web").unwrap();
        let first = named();
        write("README.md", "two");
        assert_eq!(named(), first);
        write("web/index.html", "two");
        let second = named();
        assert_ne!(second, first);
        write("web/other.html", "");
        let third = named();
        assert_ne!(third, second);
        // Of another project.
        write("_redirects", "/a /b");
        assert_eq!(named(), third);
        for decides in ["gv.toml", "vercel.json", "web/gv.toml"] {
            let before = named();
            write(decides, "");
            assert_ne!(named(), before, "{decides}");
        }
    }

    #[test]
    fn rules_and_settings_of_the_project_count_whatever_is_watched() {
        for (path, root, counts) in [
            ("_redirects", ".", true),
            ("public/_headers", ".", true),
            ("netlify.toml", "apps/web", true),
            ("apps/gv.toml", "apps/web", true),
            ("apps/web/vercel.json", "apps/web", true),
            ("apps/web/public/_redirects", "apps/web", true),
            ("apps/web/wrangler.toml", "apps/web", true),
            ("apps/docs/vercel.json", "apps/web", false),
            ("apps/docs/_redirects", "apps/web", false),
            ("apps/web/deep/vercel.json", "apps/web", false),
            ("README.md", ".", false),
        ] {
            assert_eq!(decides(Path::new(path), root), counts, "{path} for {root}");
        }
    }
}
