//! How a project's package manager is told.

use super::*;

#[test]
fn a_package_manager_that_cannot_be_followed_is_told() {
    let warned = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let package = format!(r#"{{"packageManager": {text}}}"#);
        std::fs::write(folder.path().join("package.json"), package).unwrap();
        warning(&Inside::open(folder.path()).unwrap(), ".")
    };
    for text in [r#""pnpm""#, r#""pnpm@^9""#, r#""vlt@1.0.0""#, r#""pnpm@latest""#, "3"] {
        let told = warned(text).unwrap_or_else(|| panic!("{text} is not told"));
        assert!(told.contains(text.trim_matches('"')), "{told}");
    }
    for text in [r#""pnpm@9.1.0+sha512.abc""#, r#""yarn@4.1.0""#, r#""bun@1.2.0""#, "null"] {
        assert_eq!(warned(text), None, "{text}");
    }
}

fn chosen(files: &[(&str, &str)], folder: &str) -> PackageManager {
    let repository = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = repository.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    choose(&Inside::open(repository.path()).unwrap(), folder)
}

#[test]
fn the_lockfile_tells_the_package_manager_and_where_to_install() {
    for (file, text, tool, version) in [
        ("package-lock.json", "{}", Tool::Npm, None),
        ("pnpm-lock.yaml", "lockfileVersion: '6.0'\n", Tool::Pnpm, Some("8")),
        ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n", Tool::Pnpm, Some("10")),
        ("yarn.lock", "# yarn lockfile v1\n", Tool::YarnClassic, None),
        ("yarn.lock", "__metadata:\n  version: 6\n", Tool::YarnBerry, Some("3")),
        ("bun.lock", "{}", Tool::Bun, None),
    ] {
        let found = chosen(&[(file, text), ("apps/web/package.json", "{}")], "apps/web");
        assert_eq!((found.tool, found.version.as_deref()), (tool, version), "{file}");
        assert_eq!((found.folder.as_str(), found.has_lockfile), (".", true), "{file}");
    }
}

#[test]
fn the_nearest_lockfile_wins_and_without_one_it_is_npm() {
    let found = chosen(&[("yarn.lock", ""), ("apps/web/package-lock.json", "{}")], "apps/web");
    assert_eq!((found.tool, found.folder.as_str()), (Tool::Npm, "apps/web"));
    let found = chosen(&[("apps/web/package.json", "{}")], "apps/web");
    assert_eq!((found.tool, found.install(), found.folder.as_str()), (Tool::Npm, "install", "apps/web"));
}

#[test]
fn the_field_wins_over_the_lockfile() {
    let package = ("package.json", r#"{"packageManager": "pnpm@9.1.0+sha512.abc"}"#);
    let found = chosen(&[package, ("package-lock.json", "{}")], ".");
    assert_eq!((found.tool, found.version.as_deref()), (Tool::Pnpm, Some("9.1.0")));
    assert!(!found.has_lockfile);
    let hostile = ("package.json", r#"{"packageManager": "pnpm@9; rm -rf /"}"#);
    assert_eq!(chosen(&[hostile], ".").tool, Tool::Npm);
}

#[test]
fn a_package_manager_that_is_not_installed_is_run_from_its_package() {
    let found = chosen(&[("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")], ".");
    assert_eq!(found.invocation(".", |_| true).as_deref(), Some("pnpm"));
    let only_npm = |program: &str| program != "pnpm";
    assert_eq!(found.invocation(".", only_npm).as_deref(), Some("npx --yes --package=pnpm@10 -- pnpm"));
    assert_eq!(found.invocation(".", |_| false), None);
}

#[test]
fn a_release_of_yarn_in_the_repository_is_run_from_where_it_lies() {
    let files = [
        ("yarn.lock", "__metadata:\n  version: 8\n"),
        (".yarnrc.yml", "yarnPath: .yarn/releases/yarn 4.cjs\n"),
        (".yarn/releases/yarn 4.cjs", ""),
    ];
    let found = chosen(&files, "apps/web");
    let call = found.invocation("apps/web", |_| true).unwrap();
    assert_eq!(call, "node '../../.yarn/releases/yarn 4.cjs'");
}

const DEPENDENT: &str = r#"{"dependencies": {"vite": "7"}}"#;

#[test]
fn a_member_of_a_workspace_without_a_lockfile_is_installed_with_it() {
    let root = ("package.json", r#"{"workspaces": ["apps/*"]}"#);
    let found = chosen(&[root, ("apps/web/package.json", DEPENDENT)], "apps/web");
    assert_eq!((found.tool, found.folder.as_str()), (Tool::Npm, "."));
    let found = chosen(&[root, ("docs/package.json", DEPENDENT)], "docs");
    assert_eq!((found.tool, found.folder.as_str()), (Tool::Npm, "docs"));
    let pnpm = ("pnpm-workspace.yaml", "packages:\n  - apps/*\n");
    let found = chosen(&[pnpm, ("apps/web/package.json", DEPENDENT)], "apps/web");
    assert_eq!((found.tool, found.folder.as_str()), (Tool::Pnpm, "."));
}

#[test]
fn the_lockfile_of_other_packages_above_is_not_the_project_s() {
    let tools = ("package.json", r#"{"devDependencies": {"prettier": "3"}}"#);
    let lockfile = ("package-lock.json", "{}");
    let found = chosen(&[tools, lockfile, ("docs/package.json", DEPENDENT)], "docs");
    assert_eq!((found.folder.as_str(), found.has_lockfile), ("docs", false));
    let found = chosen(&[tools, lockfile, ("docs/package.json", "{}")], "docs");
    assert_eq!((found.folder.as_str(), found.has_lockfile), (".", true), "it has none of its own");
}

#[test]
fn without_a_version_of_its_own_a_project_gets_the_one_that_gv_names() {
    assert_eq!(chosen(&[("package-lock.json", "{}")], ".").version(), "11");
    assert_eq!(chosen(&[("bun.lock", "{}")], ".").version(), "1");
    assert_eq!(chosen(&[("yarn.lock", "")], ".").version(), "1");
}
