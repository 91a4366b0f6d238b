//! Whether a deployment is to be built at all, as far as files of its repository say so: the command that
//! decides it, and the files that count. A commit's own marks are `domain::skip`'s.
//!
//! Start with [`SkipRules::of_project`].

use crate::domain::deployment::{Failure, FailureCode};
use crate::domain::digest::{Digest, Digester};
use crate::domain::settings::CommandLine;
use crate::worker::inside::{Inside, join};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use walkdir::WalkDir;

/// A build's own word for "there was nothing to do, and that is well".
pub const NOTHING_TO_DO: i32 = 183;
/// Patterns of one project.
const MOST_PATTERNS: usize = 200;

#[derive(Debug, Default)]
pub struct SkipRules {
    /// Skips when it ends with 0, as Vercel's and Netlify's do; and who says so.
    pub ignore_command: Option<(String, &'static str)>,
    /// Files that a build depends on; `None`: all.
    pub watch: Option<GlobSet>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GvToml {
    ignore_command: Option<String>,
    watch: Option<Vec<String>>,
    build: GvBuild,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GvBuild {
    ignore_command: Option<String>,
    watch: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VercelJson {
    ignore_command: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetlifyToml {
    build: NetlifyBuild,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetlifyBuild {
    ignore: Option<String>,
}

impl SkipRules {
    /// What `gv.toml`, `vercel.json` and `netlify.toml` of a project say, in that order. A file that cannot
    /// be read says nothing here: whoever reads the rest of it complains.
    pub fn of_project(repository: &Inside, root: &str) -> Result<Self, Failure> {
        let text = |name: &str| repository.text(&join(root, name));
        let own = text("gv.toml").and_then(|text| toml::from_str::<GvToml>(&text).ok()).unwrap_or_default();
        let vercel = text("vercel.json").and_then(|text| serde_json::from_str::<VercelJson>(&text).ok());
        let netlify = text("netlify.toml").and_then(|text| toml::from_str::<NetlifyToml>(&text).ok());
        let named = [
            (own.ignore_command.or(own.build.ignore_command), "gv.toml"),
            (vercel.and_then(|file| file.ignore_command), "vercel.json"),
            (netlify.and_then(|file| file.build.ignore), "netlify.toml"),
        ];
        let ignore_command = named.into_iter().find_map(|(command, file)| Some((command?, file)));
        let ignore_command = match ignore_command.filter(|(command, _)| !command.trim().is_empty()) {
            Some((command, file)) => {
                let command = CommandLine::parse(&command)
                    .map_err(|invalid| failure(format!("The ignore command of {file} {invalid}.")))?;
                Some((command.as_str().to_owned(), file))
            }
            None => None,
        };
        let watch = own.watch.or(own.build.watch).filter(|patterns| !patterns.is_empty());
        Ok(Self { ignore_command, watch: watch.map(|patterns| globs(&patterns)).transpose()? })
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    if patterns.len() > MOST_PATTERNS {
        return Err(failure(format!("watch of gv.toml has more than {MOST_PATTERNS} patterns.")));
    }
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

/// Names the state of all files below `source` that are watched: their paths, modes and contents. Blocks.
/// Nothing may have run in there.
pub fn watched(source: &Path, watch: &GlobSet) -> std::io::Result<Digest> {
    let mut digester = Digester::default();
    for entry in WalkDir::new(source).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let Ok(path) = entry.path().strip_prefix(source) else { continue };
        let kind = entry.file_type();
        if kind.is_dir() || !watch.is_match(path) {
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

    fn rules(files: &[(&str, &str)]) -> Result<SkipRules, Failure> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        SkipRules::of_project(&Inside::open(folder.path()).unwrap(), ".")
    }

    #[test]
    fn the_command_is_read_from_the_files_that_people_have() {
        let of = |files| rules(files).unwrap().ignore_command.map(|(command, _)| command);
        assert_eq!(of(&[("gv.toml", "ignore_command = \"a\"")]).as_deref(), Some("a"));
        assert_eq!(of(&[("gv.toml", "[build]\nignore_command = \"b\"")]).as_deref(), Some("b"));
        assert_eq!(of(&[("vercel.json", r#"{"ignoreCommand": "c"}"#)]).as_deref(), Some("c"));
        assert_eq!(of(&[("netlify.toml", "[build]\nignore = \"d\"")]).as_deref(), Some("d"));
        let both = [("gv.toml", "ignore_command = \"\""), ("netlify.toml", "[build]\nignore = \"d\"")];
        assert_eq!(of(&both), None, "an empty one of gv.toml's is a word too");
        assert_eq!(of(&[("netlify.toml", "[[")]), None);
        assert!(rules(&[("gv.toml", "ignore_command = \"a\\nb\"")]).is_err());
        assert!(rules(&[("gv.toml", "watch = [\"a[\"]")]).is_err());
    }

    #[test]
    fn only_watched_files_change_the_name_of_their_state() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("web")).unwrap();
        write("web/index.html", "one");
        write("README.md", "one");
        let watch = globs(&["web/**".to_owned()]).unwrap();
        let named = || watched(folder.path(), &watch).unwrap();
        let first = named();
        write("README.md", "two");
        assert_eq!(named(), first);
        write("web/index.html", "two");
        let second = named();
        assert_ne!(second, first);
        write("web/other.html", "");
        assert_ne!(named(), second);
    }
}
