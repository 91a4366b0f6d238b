//! Finding the folder that a build wrote its site to. What is in it is `worker::collect`'s.
//!
//! Start with [`find`].

use crate::domain::failure::{Failure, FailureCode};
use crate::worker::collect::Origin;
use crate::worker::inside::{Inside, join, kind};
use crate::worker::plan::{Output, Plan};
use crate::worker::presets::presets;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};

/// Subfolders that tools put what browsers get into.
const BROWSER_FOLDERS: [&str; 2] = ["browser", "client"];
/// How many entries of a folder are looked at to see whether it holds a page or was written to.
const LOOK_AT: usize = 20_000;

/// A moment on the file system's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64, u64);

impl Moment {
    pub fn of_change(stat: &Stat) -> Self {
        // The time of change, unlike that of modification, cannot be set by a copying tool.
        Self(stat.st_ctime, stat.st_ctime_nsec)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Site {
    /// Relative to the repository.
    pub folder: String,
    pub origin: Origin,
}

/// The folder to publish, which exists and is not empty. `started` is a moment before the build.
pub fn find(repository: &Inside, plan: &Plan, started: Moment) -> Result<Site, Failure> {
    let built = |folder: String| {
        // A build in place leaves its sources, packages and settings beside the site.
        let origin = if folder == plan.root { Origin::Repository } else { Origin::Build };
        Site { folder, origin }
    };
    let search = Search { repository };
    match &plan.output {
        Output::Source(folder) => Ok(Site { folder: folder.clone(), origin: Origin::Repository }),
        Output::Named(folder) if search.holds_anything(folder) => {
            let origin =
                if plan.commands.is_empty() { Origin::Repository } else { built(folder.clone()).origin };
            Ok(Site { folder: folder.clone(), origin })
        }
        Output::Named(folder) => Err(missing(plan, &format!("{folder} (output_dir) is missing or empty."))),
        Output::Built(folders) => {
            let usable = folders.iter().filter(|folder| search.holds_anything(folder));
            let (with_page, without): (Vec<_>, Vec<_>) = usable.partition(|folder| search.holds_page(folder));
            if let Some(folder) = with_page.first() {
                return Ok(built(search.descend(folder)));
            }
            if let Some(folder) = search.written_since(plan, started) {
                return Ok(built(search.descend(&folder)));
            }
            if let Some(folder) = without.first() {
                return Ok(built((*folder).clone()));
            }
            let expected = folders.first().map(|folder| format!(" in {folder}")).unwrap_or_default();
            Err(missing(plan, &format!("The build ended well, but left nothing to publish{expected}.")))
        }
    }
}

fn missing(plan: &Plan, what: &str) -> Failure {
    let hint = plan.framework.and_then(|framework| framework.hint.as_deref());
    let advice = hint.unwrap_or("Set output_dir to the folder that the build writes to.");
    Failure::new(FailureCode::OutputMissing, format!("{what} {advice}"))
}

struct Search<'a> {
    repository: &'a Inside,
}

impl Search<'_> {
    fn holds_anything(&self, folder: &str) -> bool {
        !self.entries(folder).is_empty()
    }

    fn has_index(&self, folder: &str) -> bool {
        self.repository.is_file(&join(folder, "index.html"))
    }

    /// An HTML file, at whatever depth. A link that leaves counts too: collecting it names it.
    fn holds_page(&self, folder: &str) -> bool {
        self.has_index(folder)
            || self.any(folder, |name, stat| kind(stat) != FileType::Directory && is_page(name))
    }

    /// The folder's own `browser` or `client`, or its only subfolder with an index, where it has
    /// none itself.
    fn descend(&self, folder: &str) -> String {
        let mut folder = folder.to_owned();
        // Angular: dist/<project>/browser.
        for _ in 0..3 {
            if self.has_index(&folder) {
                break;
            }
            let entries = self.entries(&folder);
            if entries.iter().any(|(name, stat)| kind(stat) != FileType::Directory && is_page(name)) {
                break;
            }
            let inner = |name: &str| join(&folder, name);
            let named = BROWSER_FOLDERS.iter().map(|name| inner(name)).find(|path| self.has_index(path));
            let mut folders = entries
                .iter()
                .filter(|(_, stat)| kind(stat) == FileType::Directory)
                .map(|(name, _)| inner(name));
            let only = folders.next().filter(|_| folders.next().is_none());
            let mut indexed = entries.iter().map(|(name, _)| inner(name)).filter(|path| self.has_index(path));
            let only_indexed = indexed.next().filter(|_| indexed.next().is_none());
            match named.or(only_indexed).or(only) {
                Some(next) => folder = next,
                None => break,
            }
        }
        folder
    }

    /// The likeliest folder that holds a page and was written to by this build.
    fn written_since(&self, plan: &Plan, started: Moment) -> Option<String> {
        let folders = presets().output.fallback.iter().map(|folder| join(&plan.root, folder));
        let written = |folder: &String| {
            self.repository.stat(folder).is_ok_and(|stat| Moment::of_change(&stat) > started)
                || self.any(folder, |_, stat| Moment::of_change(stat) > started)
        };
        let mut folders = folders.filter(|folder| self.repository.is_folder(folder));
        folders.find(|folder| written(folder) && self.holds_page(folder))
    }

    /// Whether anything below a folder is such; links are not followed, and a huge folder is not
    /// looked through to its end.
    fn any(&self, folder: &str, is: impl Fn(&str, &Stat) -> bool) -> bool {
        let mut waiting = vec![folder.to_owned()];
        let mut looked_at = 0;
        while let Some(folder) = waiting.pop() {
            for (name, stat) in self.entries(&folder) {
                looked_at += 1;
                if looked_at > LOOK_AT {
                    return false;
                }
                if is(&name, &stat) {
                    return true;
                }
                if kind(&stat) == FileType::Directory {
                    waiting.push(join(&folder, &name));
                }
            }
        }
        false
    }

    /// What is in a folder, by name, with names that are UTF-8; nothing, where it cannot be read.
    fn entries(&self, folder: &str) -> Vec<(String, Stat)> {
        let Ok(fd) = self.repository.resolve(folder, OFlags::RDONLY | OFlags::DIRECTORY) else {
            return Vec::new();
        };
        let Ok(dir) = Dir::read_from(&fd) else { return Vec::new() };
        let mut entries: Vec<_> = dir
            .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != "..")
            .filter_map(|name| {
                let stat = rustix::fs::statat(&fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
                Some((name, stat))
            })
            .take(LOOK_AT)
            .collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        entries
    }
}

fn is_page(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("html"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::plan::{Command, CommandKind};

    fn plan(output: Output) -> Plan {
        let command = Command {
            kind: CommandKind::Build,
            line: "make".into(),
            folder: ".".into(),
            fallback: None,
            again: None,
        };
        Plan {
            root: ".".into(),
            framework: None,
            manager: None,
            node: None,
            environment: std::collections::BTreeMap::new(),
            ignore_command: None,
            watch: Vec::new(),
            notes: Vec::new(),
            commands: vec![command],
            output,
        }
    }

    fn write(folder: &std::path::Path, files: &[&str]) {
        for path in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
    }

    /// Looks for the output after a build that wrote `built` beside the sources.
    fn found(sources: &[&str], built: &[&str], output: Output) -> Result<Site, Failure> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), sources);
        let inside = Inside::open(folder.path()).unwrap();
        // The file system's clock ticks in milliseconds: what follows must bear a later time.
        let started = loop {
            write(folder.path(), &["marker"]);
            let first = Moment::of_change(&rustix::fs::stat(folder.path().join("marker")).unwrap());
            write(folder.path(), &["marker"]);
            if Moment::of_change(&rustix::fs::stat(folder.path().join("marker")).unwrap()) > first {
                break first;
            }
        };
        write(folder.path(), built);
        find(&inside, &plan(output), started)
    }

    fn folder(sources: &[&str], built: &[&str], preset: &[&str]) -> String {
        let preset = preset.iter().map(|folder| (*folder).to_owned()).collect();
        found(sources, built, Output::Built(preset)).unwrap().folder
    }

    #[test]
    fn the_framework_s_folder_wins_then_its_alternatives() {
        assert_eq!(folder(&[], &["dist/index.html", "out/index.html"], &["out", "dist"]), "out");
        assert_eq!(folder(&[], &["dist/index.html"], &["out", "dist"]), "dist");
        assert_eq!(folder(&[], &["out/readme.txt", "dist/a/b.html"], &["out", "dist"]), "dist/a");
    }

    #[test]
    fn a_folder_without_an_index_gives_way_to_its_browser_folder() {
        let files = ["dist/app/browser/index.html", "dist/app/3rdpartylicenses.txt"];
        assert_eq!(folder(&[], &files, &["dist"]), "dist/app/browser");
        assert_eq!(folder(&[], &["build/es6/index.html"], &["build"]), "build/es6");
    }

    #[test]
    fn without_a_framework_the_folder_counts_that_the_build_wrote_a_page_to() {
        assert_eq!(folder(&["dist/index.html"], &["build/index.html"], &[]), "build");
        assert_eq!(folder(&["public/index.html"], &["_site/index.html"], &[]), "_site");
        assert_eq!(folder(&["public/logo.svg"], &["public/index.html"], &[]), "public");
    }

    #[test]
    fn a_build_that_left_nothing_fails_and_says_what_to_set() {
        let failure = found(&["dist/index.html"], &["x/index.html"], Output::Built(vec![])).unwrap_err();
        assert_eq!(failure.code, FailureCode::OutputMissing);
        assert!(failure.message.contains("Set output_dir"), "{}", failure.message);
        let failure = found(&[], &[], Output::Named("site".into())).unwrap_err();
        assert!(failure.message.starts_with("site (output_dir) is missing or empty"), "{}", failure.message);
    }

    #[test]
    fn a_page_that_is_a_link_out_is_left_to_collecting_which_names_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dist")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("dist/index.html")).unwrap();
        let inside = Inside::open(folder.path()).unwrap();
        let site = find(&inside, &plan(Output::Built(vec!["dist".into()])), Moment(0, 0)).unwrap();
        assert_eq!(site.folder, "dist");
    }

    #[test]
    fn what_is_built_in_place_is_published_like_a_repository() {
        let site = found(&[], &["index.html"], Output::Named(".".into())).unwrap();
        assert_eq!(site, Site { folder: ".".into(), origin: Origin::Repository });
        let site = found(&[], &["out/index.html"], Output::Named("out".into())).unwrap();
        assert_eq!(site.origin, Origin::Build);
    }
}
