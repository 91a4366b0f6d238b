//! What is run for a repository, and where its site is looked for.

use super::*;
use crate::domain::settings::{CommandLine, RelativeDir};

fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn planned(files: &[(&str, &str)], settings: &BuildSettings) -> Result<Plan, Failure> {
    let folder = repository(files);
    planned_in(&folder, settings, false)
}

fn planned_in(
    folder: &tempfile::TempDir,
    settings: &BuildSettings,
    brings_tools: bool,
) -> Result<Plan, Failure> {
    let none = Variables::default();
    let request = Request {
        settings,
        target: Target::Production,
        variables: (&none, &none),
        is_installed: &|program| program != "hugo" && !brings_tools,
        brings_tools,
    };
    make(&Inside::open(folder.path()).unwrap(), &request)
}

fn plain(files: &[(&str, &str)]) -> Plan {
    planned(files, &BuildSettings::default()).unwrap()
}

fn lines(plan: &Plan) -> Vec<&str> {
    plan.commands.iter().map(|command| command.line.as_str()).collect()
}

const VITE: (&str, &str) =
    ("package.json", r#"{"scripts": {"build": "tsc && vite build"}, "devDependencies": {"vite": "7"}}"#);

#[test]
fn a_project_with_a_lockfile_is_installed_by_it_and_built_by_its_script() {
    let plan = planned(&[VITE, ("package-lock.json", "{}")], &BuildSettings::default()).unwrap();
    assert_eq!(lines(&plan), ["npm ci", "npm run build"]);
    assert_eq!(plan.commands[0].fallback, Some(("EUSAGE", "npm install".to_owned())));
    assert_eq!(plan.commands[0].again.as_deref(), Some("npm install --no-save"));
    assert_eq!(plan.commands[1].again, None);
    assert_eq!(plan.output, Output::Built(vec!["dist".into()]));
    assert_eq!(plan.framework.unwrap().slug, "vite");
    assert_eq!(
        plan.notes[0],
        "Recognised Vite (React, Vue, Svelte, Solid, Preact, Lit, vanilla): package.json depends on vite."
    );
}

#[test]
fn without_a_script_the_command_of_the_framework_runs() {
    let package = ("package.json", r#"{"devDependencies": {"@11ty/eleventy": "3"}}"#);
    let plan = planned(&[package], &BuildSettings::default()).unwrap();
    assert_eq!(lines(&plan), ["npm install", "eleventy"]);
}

#[test]
fn nuxt_is_generated_although_it_has_a_build_script_too() {
    let package =
        r#"{"scripts": {"build": "nuxt build", "generate": "nuxt generate"}, "dependencies": {"nuxt": "4"}}"#;
    let plan = planned(&[("package.json", package)], &BuildSettings::default()).unwrap();
    assert_eq!(lines(&plan), ["npm install", "npm run generate"]);
}

#[test]
fn in_a_monorepo_packages_are_installed_where_the_lockfile_is() {
    let settings = BuildSettings { root_dir: RelativeDir::parse("apps/web").ok(), ..Default::default() };
    let files = [("apps/web/package.json", VITE.1), ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")];
    let plan = planned(&files, &settings).unwrap();
    assert_eq!(lines(&plan), ["pnpm install --frozen-lockfile", "pnpm run build"]);
    let folders: Vec<_> = plan.commands.iter().map(|command| command.folder.as_str()).collect();
    assert_eq!(folders, [".", "apps/web"]);
    assert_eq!(plan.output, Output::Built(vec!["apps/web/dist".into()]));
}

#[test]
fn what_the_person_says_wins_and_an_empty_command_runs_nothing() {
    let settings = BuildSettings {
        install_command: CommandLine::parse("").ok(),
        build_command: CommandLine::parse("make site").ok(),
        output_dir: RelativeDir::parse("out").ok(),
        ..Default::default()
    };
    let plan = planned(&[VITE], &settings).unwrap();
    assert_eq!((lines(&plan), &plan.output), (vec!["make site"], &Output::Named("out".into())));
    let nothing = BuildSettings { build_command: CommandLine::parse("").ok(), ..Default::default() };
    let plan = planned(&[VITE, ("index.html", "")], &nothing).unwrap();
    assert_eq!((lines(&plan), &plan.output), (vec![], &Output::Source(".".into())));
}

#[test]
fn plain_files_are_the_site_themselves_or_their_public_folder() {
    let source = |files: &[(&str, &str)]| planned(files, &BuildSettings::default()).unwrap().output;
    assert_eq!(source(&[("index.html", "")]), Output::Source(".".into()));
    assert_eq!(source(&[("public/index.html", "")]), Output::Source("public".into()));
    assert_eq!(source(&[("index.html", ""), ("public/logo.svg", "")]), Output::Source(".".into()));
    assert_eq!(source(&[("package.json", "{}"), ("index.html", "")]), Output::Source(".".into()));
}

#[test]
fn a_build_script_without_a_known_framework_is_run() {
    let plan =
        planned(&[("package.json", r#"{"scripts": {"build": "node make.js"}}"#)], &BuildSettings::default());
    let plan = plan.unwrap();
    assert_eq!((lines(&plan), &plan.output), (vec!["npm run build"], &Output::Built(vec![])));
}

#[test]
fn a_missing_program_or_folder_and_a_broken_package_json_say_what_to_do() {
    let failure = planned(&[("hugo.toml", "")], &BuildSettings::default()).unwrap_err();
    assert_eq!(failure.code, FailureCode::ToolMissing);
    assert!(failure.message.starts_with("hugo is not installed"), "{}", failure.message);
    let settings = BuildSettings { root_dir: RelativeDir::parse("web").ok(), ..Default::default() };
    let failure = planned(&[VITE], &settings).unwrap_err();
    assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
    let failure = planned(&[("package.json", "{")], &BuildSettings::default()).unwrap_err();
    assert!(failure.message.starts_with("package.json is not valid JSON"), "{}", failure.message);
}

#[test]
fn a_netlify_toml_says_which_folder_is_published() {
    let toml = ("netlify.toml", "[build]\npublish = \"./site/\"\n");
    let output = |files: &[(&str, &str)]| planned(files, &BuildSettings::default()).unwrap().output;
    assert_eq!(output(&[toml, ("site/index.html", ""), ("index.html", "")]), Output::Source("site".into()));
    assert_eq!(output(&[toml, ("index.html", "")]), Output::Source(".".into()));
    assert_eq!(output(&[toml, VITE]), Output::Built(vec!["site".into(), "dist".into()]));
    let outside = ("netlify.toml", "[build]\npublish = \"../../etc\"\n");
    assert_eq!(output(&[outside, ("index.html", "")]), Output::Source(".".into()));
}

#[test]
fn the_output_folder_is_read_from_the_configuration_where_it_can_be() {
    let folders = |files: &[(&str, &str)]| match planned(files, &BuildSettings::default()).unwrap().output {
        Output::Built(folders) => folders[0].clone(),
        other => panic!("{other:?}"),
    };
    let vitepress = |script: &str| {
        format!(r#"{{"scripts": {{"build": "{script}"}}, "dependencies": {{"vitepress": "1"}}}}"#)
    };
    assert_eq!(folders(&[("package.json", &vitepress("vitepress build site"))]), "site/.vitepress/dist");
    assert_eq!(folders(&[("package.json", &vitepress("vitepress build"))]), ".vitepress/dist");
    assert_eq!(folders(&[VITE, ("vite.config.ts", "build: { outDir: './site/' }")]), "site");
    assert_eq!(folders(&[VITE, ("vite.config.ts", "build: { outDir: '../../x' }")]), "dist");
    let angular = ("package.json", r#"{"devDependencies": {"@angular/cli": "20"}}"#);
    let workspace = r#"{"projects": {"shop": {"architect": {"build": {"options": {"outputPath": "out"}}}}}}"#;
    assert_eq!(folders(&[angular, ("angular.json", workspace)]), "out/browser");
}

#[test]
fn the_log_opens_with_what_was_recognised_and_why() {
    let files = [VITE, ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n"), (".nvmrc", "22\n")];
    assert_eq!(
        plain(&files).notes,
        [
            "Recognised Vite (React, Vue, Svelte, Solid, Preact, Lit, vanilla): package.json depends on vite.",
            "Node.js 22: .nvmrc is 22.",
            "Packages by pnpm 10: there is a pnpm-lock.yaml.",
            "Install: `pnpm install --frozen-lockfile`, by the project's files.",
            "Build: `pnpm run build`, package.json's script \"build\" (`tsc && vite build`).",
            "Output: dist, as Vite (React, Vue, Svelte, Solid, Preact, Lit, vanilla) does it.",
        ]
    );
    let settings = BuildSettings {
        build_command: CommandLine::parse("make site").ok(),
        output_dir: RelativeDir::parse("out").ok(),
        ..Default::default()
    };
    let notes = planned(&[("index.html", "")], &settings).unwrap().notes;
    assert_eq!(
        notes,
        ["Build: `make site`, by the deployment's settings.", "Output: out, by the deployment's settings.",]
    );
}

#[test]
fn a_worker_that_brings_its_tools_needs_none_installed() {
    for (lockfile, text, install) in [
        ("yarn.lock", "__metadata:\n  version: 8\n", "yarn install --immutable"),
        ("yarn.lock", "", "yarn install --frozen-lockfile"),
        ("bun.lock", "{}", "bun install --frozen-lockfile"),
        ("package-lock.json", "{}", "npm ci"),
    ] {
        let folder = repository(&[VITE, (lockfile, text)]);
        let plan = planned_in(&folder, &BuildSettings::default(), true).unwrap();
        assert_eq!(lines(&plan)[0], install);
        assert_eq!(plan.node.unwrap().major, 24);
    }
}

#[test]
fn node_is_wanted_where_something_runs_on_it_and_only_there() {
    let node = |files: &[(&str, &str)]| plain(files).node.map(|node| node.major);
    assert_eq!(node(&[VITE]), Some(24));
    assert_eq!(node(&[("mkdocs.yml", "")]), None);
    assert_eq!(node(&[("index.html", ""), (".nvmrc", "22")]), None);
    assert_eq!(
        node(&[("gv.toml", "[build]\nbuild_command = \"npx serve-nothing\"\n"), (".nvmrc", "22")]),
        Some(22)
    );
    let toml = "[build]\ncommand = \"npm run build\"\n[build.environment]\nNODE_VERSION = \"26\"\n";
    assert_eq!(node(&[VITE, ("netlify.toml", toml), (".nvmrc", "22")]), Some(26));
}

#[test]
fn a_file_of_the_repository_names_framework_folder_and_variables() {
    let gv = ("gv.toml", "[build]\nframework = \"none\"\n[build.environment]\nA = \"1\"\n");
    let plan = plain(&[gv, VITE]);
    assert!(plan.framework.is_none());
    assert_eq!((lines(&plan), &plan.output), (vec!["npm install", "npm run build"], &Output::Built(vec![])));
    assert_eq!(plan.environment["A"], "1");
    let plan = plain(&[("gv.toml", "[build]\noutput_dir = \"out\"\n"), VITE]);
    assert_eq!(plan.output, Output::Named("out".into()));
    let plan = plain(&[("vercel.json", r#"{"framework": "create-react-app"}"#), VITE]);
    assert_eq!(plan.framework.unwrap().slug, "cra");
    assert_eq!(plan.notes[0], "Recognised Create React App: vercel.json names it.");
    let plan = plain(&[("vercel.json", r#"{"outputDirectory": "public/site"}"#), VITE]);
    assert_eq!(plan.output, Output::Built(vec!["public/site".into(), "dist".into()]));
}

#[test]
fn what_another_host_would_run_is_never_taken_for_a_site() {
    let package = ("package.json", r#"{"scripts": {"build": "next build"}, "dependencies": {"next": "15"}}"#);
    let plan = plain(&[package, ("netlify.toml", "[build]\npublish = \".next\"\n")]);
    assert_eq!(plan.output, Output::Built(vec!["out".into()]));
    assert!(
        plan.notes.iter().any(|note| note.contains("netlify.toml: .next is no site")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn habits_that_hang_on_a_file_are_followed() {
    let plan = plain(&[("docs/source/conf.py", "")]);
    assert_eq!(lines(&plan), ["sphinx-build -b html docs/source docs/_build/html"]);
    assert_eq!(plan.output, Output::Built(vec!["docs/_build/html".into()]));
    let plan = plain(&[("conf.py", ""), ("requirements.txt", "sphinx")]);
    assert_eq!(lines(&plan)[1], "sphinx-build -b html . _build/html");
}
