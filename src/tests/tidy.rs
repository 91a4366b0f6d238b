//! What the compiler cannot see: which module may know which, how long files grow, what every
//! file opens with.

use std::path::{Path, PathBuf};

/// Who may be named by whom: a module, and what its `use crate::` lines may begin with.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("ports", &["domain", "ports"]),
    ("app", &["domain", "ports", "app"]),
    ("adapters", &["domain", "ports", "adapters"]),
    ("config", &["domain", "config"]),
    ("telemetry", &["config"]),
    ("ops", &["ops"]),
    ("demo", &["domain", "demo"]),
    ("flights", &["flights"]),
    ("http2", &["http2"]),
    ("tls", &["domain", "ports", "flights", "tls"]),
    ("api", &["domain", "ports", "app", "config", "ops", "http2", "tls", "api"]),
    ("worker", &["domain", "ports", "app", "config", "ops", "worker"]),
    ("edge", &["domain", "ports", "config", "ops", "flights", "http2", "tls", "edge"]),
    (
        "wiring",
        &[
            "domain",
            "ports",
            "app",
            "adapters",
            "config",
            "telemetry",
            "ops",
            "tls",
            "api",
            "worker",
            "edge",
            "wiring",
        ],
    ),
];

/// Modules that may name everything: the top of the tree, and the tests.
const FREE: &[&str] = &["cli", "tests", "lib", "main"];

fn source_files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"));
    let read =
        |path: &Path| (path.strip_prefix(&root).unwrap().to_owned(), std::fs::read_to_string(path).unwrap());
    let found: Vec<_> = files.map(|entry| read(entry.path())).collect();
    assert!(found.len() > 50, "the tree was not found");
    found
}

fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The first segments of all crate paths in a file, those in braces too: `crate::{a::b, c}`.
fn named_modules(text: &str) -> Vec<String> {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = Vec::new();
    for (at, marker) in code.match_indices("crate::") {
        let rest = &code[at + marker.len()..];
        match rest.strip_prefix('{') {
            None => names.push(rest.chars().take_while(|c| is_name(*c)).collect()),
            Some(group) => {
                let mut depth = 0;
                let mut name = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(std::mem::take(&mut name)),
                        c if depth == 0 => name.push(c),
                        _ => {}
                    }
                }
                names.push(name);
            }
        }
    }
    let first = |name: String| name.trim().chars().take_while(|c| is_name(*c)).collect::<String>();
    names.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn dependencies_between_modules_run_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in source_files() {
        let module = module_of(&path);
        if FREE.contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: a module that the map does not have", path.display()));
            continue;
        };
        for named in named_modules(&text) {
            if !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: names crate::{named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reading_of_crate_paths_sees_groups_and_single_names() {
    let text = "use crate::a::b;\nuse crate::{c::{x, y}, d};\n// crate::comment\nlet z = crate::e::f();";
    assert_eq!(named_modules(text), ["a", "c", "d", "e"]);
}

#[test]
fn every_file_opens_with_what_it_is() {
    let without: Vec<_> = source_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! ") || text.starts_with("//! (being"))
        .map(|(path, _)| path)
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn no_file_grows_past_its_room() {
    let long: Vec<_> = source_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "split these: {long:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here so that this file does not find itself.
    let marks = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let marks = marks.into_iter().chain(["#[igno".to_owned() + "re", "FIX".to_owned() + "ME"]);
    let marks: Vec<String> = marks.collect();
    for (path, text) in source_files() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} has {mark}", path.display());
        }
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |backend: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(backend);
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}
