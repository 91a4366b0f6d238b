//! Which of a project's words count.

use super::*;

const PRODUCTION: Target = Target::Production;

fn declared(files: &[(&str, &str)], settings: &BuildSettings, target: Target) -> Result<Declared, Failure> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    read(&Inside::open(folder.path()).unwrap(), settings, target)
}

fn plain(files: &[(&str, &str)]) -> Declared {
    declared(files, &BuildSettings::default(), PRODUCTION).unwrap()
}

fn build_command(found: &Declared) -> Option<(&str, &str)> {
    found.build_command.as_ref().map(|said| (said.value.as_str(), said.by))
}

const GV: (&str, &str) = ("gv.toml", "[build]\nbuild_command = \"from gv\"\n");
const VERCEL: (&str, &str) =
    ("vercel.json", r#"{"buildCommand": "from vercel", "outputDirectory": "out", "framework": null}"#);
const NETLIFY: (&str, &str) = ("netlify.toml", "[build]\ncommand = \"from netlify\"\npublish = \"site/\"\n");

#[test]
fn each_key_is_taken_from_the_first_source_that_says_it() {
    let settings = BuildSettings { build_command: CommandLine::parse("asked").ok(), ..Default::default() };
    let all = [GV, VERCEL, NETLIFY];
    let found = declared(&all, &settings, PRODUCTION).unwrap();
    assert_eq!(build_command(&found), Some(("asked", SETTINGS)));
    let output = found.output_dir.unwrap();
    assert_eq!((output.value.as_str(), output.by), ("out", "vercel.json"));
    assert_eq!(found.framework.unwrap().value, None);
    assert_eq!(build_command(&plain(&all)), Some(("from gv", "gv.toml")));
    assert_eq!(build_command(&plain(&[VERCEL, NETLIFY])), Some(("from vercel", "vercel.json")));
    assert_eq!(build_command(&plain(&[NETLIFY])), Some(("from netlify", "netlify.toml")));
    assert_eq!(build_command(&plain(&[])), None);
}

#[test]
fn the_files_of_two_hosts_are_never_mixed_and_the_routing_setting_chooses() {
    let half = ("vercel.json", r#"{"buildCommand": "from vercel"}"#);
    assert_eq!(plain(&[half, NETLIFY]).output_dir, None);
    let rules_only = ("vercel.json", r#"{"cleanUrls": true}"#);
    assert_eq!(build_command(&plain(&[rules_only, NETLIFY])), Some(("from netlify", "netlify.toml")));
    let settings = BuildSettings { routing: Some(Dialect::Netlify), ..Default::default() };
    let found = declared(&[half, NETLIFY], &settings, PRODUCTION).unwrap();
    assert_eq!(build_command(&found), Some(("from netlify", "netlify.toml")));
}

#[test]
fn a_netlify_toml_speaks_for_its_base_and_by_its_context() {
    let toml = "[build]\nbase = \"web\"\ncommand = \"build\"\npublish = \"dist\"\n[build.environment]\nNODE_VERSION = \"22\"\nA = \"1\"\n\
                [context.deploy-preview]\ncommand = \"preview\"\n[context.deploy-preview.environment]\nA = 2\n";
    let files = [("netlify.toml", toml), ("web/index.html", "")];
    let found = plain(&files);
    assert_eq!((found.root(), build_command(&found)), ("web", Some(("build", "netlify.toml"))));
    assert_eq!(found.environment["A"].value, "1");
    let found = declared(&files, &BuildSettings::default(), Target::Preview).unwrap();
    assert_eq!(build_command(&found), Some(("preview", "netlify.toml")));
    assert_eq!((&*found.environment["A"].value, &*found.environment["NODE_VERSION"].value), ("2", "22"));
    let elsewhere = BuildSettings { root_dir: RelativeDir::parse("docs").ok(), ..Default::default() };
    let found = declared(&files, &elsewhere, PRODUCTION).unwrap();
    assert_eq!((found.root(), build_command(&found)), ("docs", None), "it is about another project");
    let both = format!(
        "{toml}[context.branch-deploy]\ncommand = \"branch\"\npublish = \"out\"\n[context.branch-deploy.environment]\nA = 3\nB = 3\n"
    );
    let files = [("netlify.toml", both.as_str()), ("web/index.html", "")];
    let found = declared(&files, &BuildSettings::default(), Target::Preview).unwrap();
    assert_eq!(
        build_command(&found),
        Some(("preview", "netlify.toml")),
        "a preview is a deploy preview first"
    );
    assert_eq!(found.output_dir.unwrap().value.as_str(), "out");
    assert_eq!((&*found.environment["A"].value, &*found.environment["B"].value), ("2", "3"));
}

#[test]
fn a_gv_toml_names_the_project_s_folder_or_lies_in_it() {
    let top =
        ("gv.toml", "[build]\nroot_dir = \"apps/web\"\nbuild_command = \"top\"\noutput_dir = \"out\"\n");
    let own = ("apps/web/gv.toml", "[build]\nbuild_command = \"own\"\n[build.environment]\nNAME = \"x\"\n");
    let found = plain(&[top, ("apps/web/index.html", "")]);
    assert_eq!((found.root(), build_command(&found)), ("apps/web", Some(("top", "gv.toml"))));
    let found = plain(&[top, own]);
    assert_eq!((found.root(), build_command(&found)), ("apps/web", Some(("own", "gv.toml"))));
    assert_eq!(found.output_dir.as_ref().unwrap().value.as_str(), "out");
    assert_eq!(found.environment["NAME"].value, "x");
    let elsewhere = BuildSettings { root_dir: RelativeDir::parse("docs").ok(), ..Default::default() };
    let found = declared(&[top, own], &elsewhere, PRODUCTION).unwrap();
    assert_eq!((found.root(), build_command(&found)), ("docs", None));
}

#[test]
fn a_gv_toml_is_read_whole_or_the_deployment_fails_with_the_place() {
    let text = "[build]\nframework = \"none\"\nnode_version = \"22\"\ninstall_command = \"\"\n\
                ignore_command = \"git diff --quiet\"\nwatch = [\"apps/**\"]\n";
    let found = plain(&[("gv.toml", text)]);
    assert_eq!(found.framework.unwrap().value, None);
    assert_eq!(found.node_version.unwrap().value.as_str(), "22");
    assert_eq!(found.install_command.unwrap().value.as_str(), "");
    assert_eq!(found.ignore_command.unwrap().value.as_str(), "git diff --quiet");
    assert_eq!(found.watch, ["apps/**"]);
    for (text, part) in [
        ("[build]\n\noutput = \"x\"\n", "gv.toml:3: unknown field `output`"),
        ("[build]\noutput_dir = \"../x\"\n", "must not leave the repository"),
        ("[build]\nframework = \"rails\"\n", "there is no framework \"rails\""),
        ("[build", "gv.toml:1"),
        ("[build.environment]\n\"A B\" = \"1\"\n", "name is not letters"),
    ] {
        let failure = declared(&[("gv.toml", text)], &BuildSettings::default(), PRODUCTION).unwrap_err();
        assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

#[test]
fn what_other_hosts_files_say_wrongly_is_told_and_left_out() {
    let found = plain(&[("netlify.toml", "[build]\npublish = \"../../etc\"\ncommand = \"make\"\n")]);
    assert_eq!((&found.output_dir, build_command(&found)), (&None, Some(("make", "netlify.toml"))));
    assert!(found.notes[0].contains("publish must not leave the repository"), "{:?}", found.notes);
    let found =
        plain(&[("vercel.json", r#"{"framework": "blitzjs", "buildCommand": null, "installCommand": ""}"#)]);
    assert_eq!((&found.framework, build_command(&found)), (&None, None));
    assert_eq!(found.install_command.unwrap().value.as_str(), "");
    assert!(found.notes[0].contains("\"blitzjs\""), "{:?}", found.notes);
    for (file, text, key) in [
        ("vercel.json", r#"{"buildCommand": 3}"#, "buildCommand"),
        ("vercel.json", r#"{"framework": ["vite"], "installCommand": "x"}"#, "framework"),
        ("netlify.toml", "[build]\ncommand = 3\n", "command"),
        ("netlify.toml", "build = \"x\"\n", "build"),
        ("netlify.toml", "[build]\ncommand = \"x\"\n[build.environment]\nA = [1]\n", "environment.A"),
    ] {
        let notes = plain(&[(file, text)]).notes;
        assert!(
            notes.iter().any(|note| note.contains(&format!("{file}: {key} is not a"))),
            "{text}: {notes:?}"
        );
    }
}

#[test]
fn a_netlify_toml_that_nobody_can_read_fails_where_it_would_have_counted() {
    let broken = ("netlify.toml", "\n[build\ncommand = \"x\"\n");
    let failure = declared(&[broken], &BuildSettings::default(), PRODUCTION).unwrap_err();
    assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
    assert!(failure.message.starts_with("netlify.toml:2: "), "{}", failure.message);
    assert_eq!(build_command(&plain(&[VERCEL, broken])), Some(("from vercel", "vercel.json")));
    let settings = BuildSettings { routing: Some(Dialect::Vercel), ..Default::default() };
    assert!(declared(&[broken], &settings, PRODUCTION).is_ok(), "the project speaks another language");
    // Told when rules are read, which these are as well.
    assert_eq!(build_command(&plain(&[("vercel.json", "{")])), None);
}
