//! Workspaces: one installation for many projects of a repository, and whose they are.
//!
//! Start with [`root`].

use crate::worker::inside::{Inside, join, upwards};
use crate::worker::package::PackageJson;
use globset::GlobBuilder;

pub(super) const PNPM: &str = "pnpm-workspace.yaml";

/// The folder above `folder` whose workspace it belongs to.
pub(super) fn root<'a>(repository: &Inside, folder: &'a str) -> Option<&'a str> {
    upwards(folder)
        .skip(1)
        .find(|at| patterns(repository, at).is_some_and(|patterns| is_member(&patterns, below(at, folder))))
}

/// Whether `at` holds packages of its own and those of `folder` are none of them.
pub(super) fn leaves_out(repository: &Inside, at: &str, folder: &str) -> bool {
    let package = |at: &str| PackageJson::read(repository, at).ok().flatten();
    if !package(folder).is_some_and(|own| own.has_dependencies()) {
        return false;
    }
    match patterns(repository, at) {
        Some(patterns) => !is_member(&patterns, below(at, folder)),
        None => package(at).is_some_and(|above| above.has_dependencies()),
    }
}

/// Whether packages of other folders are installed with those of `folder`.
pub fn has_members(repository: &Inside, folder: &str) -> bool {
    let package = PackageJson::read(repository, folder).ok().flatten();
    package.is_some_and(|package| package.workspaces().is_some())
        || patterns(repository, folder).is_some_and(|patterns| !patterns.is_empty())
}

/// The patterns of a workspace's folders; `None`: there is no workspace here.
fn patterns(repository: &Inside, at: &str) -> Option<Vec<String>> {
    match repository.text(&join(at, PNPM)) {
        Some(text) => Some(of_pnpm(&text)),
        None => PackageJson::read(repository, at).ok().flatten()?.workspaces(),
    }
}

/// The list `packages` of a `pnpm-workspace.yaml`, as people write it.
fn of_pnpm(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim_end());
    let rest = lines.skip_while(|line| !line.starts_with("packages:")).skip(1);
    let items = rest.take_while(|line| line.is_empty() || line.starts_with([' ', '-', '#']));
    let item =
        |line: &str| Some(line.trim_start().strip_prefix('-')?.trim().trim_matches(['\'', '"']).to_owned());
    items.filter_map(item).collect()
}

fn below<'a>(at: &str, folder: &'a str) -> &'a str {
    if at == "." { folder } else { folder.strip_prefix(at).unwrap_or(folder).trim_start_matches('/') }
}

/// The last pattern that fits decides, as npm and pnpm do it.
fn is_member(patterns: &[String], folder: &str) -> bool {
    let mut member = false;
    for pattern in patterns {
        let (wanted, glob) = match pattern.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, pattern.as_str()),
        };
        let glob = glob.trim_start_matches("./").trim_end_matches('/');
        let built = GlobBuilder::new(glob).literal_separator(true).build();
        if built.is_ok_and(|glob| glob.compile_matcher().is_match(folder)) {
            member = wanted;
        }
    }
    member
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_a_pnpm_workspace_are_read() {
        let text = "# ours\npackages:\n  - 'apps/*'\n  # all of these\n  - \"packages/**\" # deep\n\n- '!**/test'\ncatalog:\n  - no\n";
        assert_eq!(of_pnpm(text), ["apps/*", "packages/**", "!**/test"]);
        assert_eq!(of_pnpm("catalog:\n  react: 19\n"), [""; 0]);
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let patterns = ["apps/*", "!apps/old", "tools/**"].map(str::to_owned);
        for (folder, member) in
            [("apps/web", true), ("apps/old", false), ("apps/web/x", false), ("tools/a/b", true)]
        {
            assert_eq!(is_member(&patterns, folder), member, "{folder}");
        }
    }
}
