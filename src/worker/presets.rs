//! The frameworks that gv recognises, and how each is built: `config/presets.toml`, read once.
//!
//! The data says what to look for and what to run; what is done with it is `worker::plan`'s and
//! `worker::output`'s. Start with [`presets`], then [`Presets::recognise`].

use crate::worker::inside::{Inside, join};
use crate::worker::package::PackageJson;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presets {
    #[serde(rename = "framework")]
    pub frameworks: Vec<Framework>,
    pub output: Output,
    pub node: Node,
    pub package_managers: PackageManagers,
    /// For every build.
    pub environment: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Folders that a build may have written to, the likeliest first.
    pub fallback: Vec<String>,
    /// Folders that are no site, whatever another host's file says.
    pub never: Vec<String>,
}

/// By majors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub default: u64,
    /// Rising.
    pub supported: Vec<u64>,
    /// What people call versions: `lts/*`, `jod`.
    pub names: BTreeMap<String, u64>,
}

/// The version of each where the project does not say, as npm takes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackageManagers {
    pub npm: String,
    pub pnpm: String,
    pub yarn_classic: String,
    pub yarn_berry: String,
    pub bun: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// What the project's row keeps.
    pub slug: String,
    /// What other hosts' files call it.
    #[serde(default)]
    aliases: Vec<String>,
    pub name: String,
    pub runtime: Runtime,
    #[serde(default)]
    any: Vec<Rule>,
    #[serde(default)]
    all: Vec<Rule>,
    #[serde(default)]
    none: Vec<Rule>,
    pub script: Option<String>,
    pub build_command: String,
    pub output_dir: String,
    /// Other habits of projects that have a file.
    #[serde(default)]
    pub variants: Vec<Variant>,
    #[serde(default)]
    pub alternatives: Vec<String>,
    pub output_config: Option<OutputConfig>,
    pub output_script: Option<OutputScript>,
    /// The file in which an Angular workspace names its output.
    pub output_workspace: Option<String>,
    pub spa_fallback: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub hint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub file: String,
    pub build_command: String,
    pub output_dir: String,
}

/// What must be installed on the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    Node,
    Hugo,
    Zola,
    Ruby,
    Python,
    Mdbook,
    Php,
}

/// Where the project's own configuration names its output.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    pub files: Vec<String>,
    pub matches: Pattern,
}

/// Where the build script names a folder that the output is below of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputScript {
    pub matches: Pattern,
    pub suffix: String,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "RuleText")]
enum Rule {
    Dependency(String),
    File(String),
    Content { file: String, matches: Pattern },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    dependency: Option<String>,
    file: Option<String>,
    matches: Option<Pattern>,
}

/// A regular expression that compiled.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(pub Regex);

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        Regex::new(&text).map(Self)
    }
}

impl TryFrom<RuleText> for Rule {
    type Error = &'static str;

    fn try_from(text: RuleText) -> Result<Self, &'static str> {
        match (text.dependency, text.file, text.matches) {
            (Some(name), None, None) => Ok(Self::Dependency(name)),
            (None, Some(file), None) => Ok(Self::File(file)),
            (None, Some(file), Some(matches)) => Ok(Self::Content { file, matches }),
            _ => Err("a rule is { dependency }, { file } or { file, matches }"),
        }
    }
}

/// A framework, and by what it was recognised.
pub struct Recognised {
    pub framework: &'static Framework,
    /// For the log: `package.json depends on astro`.
    pub because: String,
}

/// The presets that this binary was built with.
pub fn presets() -> &'static Presets {
    static PRESETS: OnceLock<Presets> = OnceLock::new();
    PRESETS.get_or_init(|| {
        #[expect(clippy::expect_used, reason = "the text is part of the binary, and a test reads it")]
        toml::from_str(include_str!("../../config/presets.toml")).expect("config/presets.toml is valid")
    })
}

impl Presets {
    /// A framework by its slug, or by what another host calls it.
    pub fn named(&self, name: &str) -> Option<&Framework> {
        let mut all = self.frameworks.iter();
        all.find(|framework| framework.slug == name || framework.aliases.iter().any(|alias| alias == name))
    }

    /// The first framework whose rules hold in `folder` of a repository.
    pub fn recognise(
        &'static self,
        repository: &Inside,
        folder: &str,
        package: Option<&PackageJson>,
    ) -> Option<Recognised> {
        let project = Project { repository, folder, package };
        self.frameworks.iter().find_map(|framework| {
            let because = framework.recognise(&project)?;
            Some(Recognised { framework, because })
        })
    }
}

struct Project<'a> {
    repository: &'a Inside,
    folder: &'a str,
    package: Option<&'a PackageJson>,
}

impl Framework {
    fn recognise(&self, project: &Project<'_>) -> Option<String> {
        if self.none.iter().any(|rule| rule.holds(project))
            || !self.all.iter().all(|rule| rule.holds(project))
        {
            return None;
        }
        let first = self.any.iter().find(|rule| rule.holds(project));
        let decisive = if self.any.is_empty() { self.all.first() } else { first };
        decisive.map(Rule::describe)
    }
}

impl Rule {
    fn holds(&self, project: &Project<'_>) -> bool {
        match self {
            Self::Dependency(name) => project.package.is_some_and(|package| package.depends_on(name)),
            Self::File(file) => project.repository.is_file(&join(project.folder, file)),
            Self::Content { file, matches } => project
                .repository
                .text(&join(project.folder, file))
                .is_some_and(|text| matches.0.is_match(&text)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Dependency(name) => format!("package.json depends on {name}"),
            Self::File(file) | Self::Content { file, .. } => format!("there is a {file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn recognised(files: &[(&str, &str)]) -> Option<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let inside = Inside::open(folder.path()).unwrap();
        let package = PackageJson::read(&inside, ".").ok().flatten();
        presets().recognise(&inside, ".", package.as_ref()).map(|found| found.framework.slug.as_str())
    }

    #[test]
    fn the_presets_are_readable_and_each_slug_stands_once() {
        let presets = presets();
        let slugs: HashSet<_> = presets.frameworks.iter().map(|framework| &framework.slug).collect();
        assert_eq!(slugs.len(), presets.frameworks.len());
        let aliases = presets.frameworks.iter().flat_map(|framework| &framework.aliases);
        let aliases: Vec<_> = aliases.collect();
        let names: HashSet<_> = aliases.iter().copied().chain(slugs.iter().copied()).collect();
        assert_eq!(names.len(), aliases.len() + slugs.len());
        assert!(presets.node.supported.is_sorted());
        assert!(presets.node.supported.contains(&presets.node.default));
        assert!(slugs.len() > 50);
        for framework in &presets.frameworks {
            assert!(
                !framework.any.is_empty() || !framework.all.is_empty(),
                "{} can never be recognised",
                framework.slug
            );
            assert!(framework.hint.is_some(), "{} has no hint", framework.slug);
            let variants = framework.variants.iter().map(|variant| &variant.output_dir);
            for folder in framework.alternatives.iter().chain([&framework.output_dir]).chain(variants) {
                assert!(crate::domain::settings::RelativeDir::parse(folder).is_ok(), "{}", framework.slug);
            }
        }
    }

    #[test]
    fn the_specific_framework_wins_over_the_bundler_below_it() {
        let package = |dependencies: &str| format!(r#"{{"devDependencies": {{{dependencies}}}}}"#);
        for (dependencies, expected) in [
            (r#""vite": "7""#, "vite"),
            (r#""vite": "7", "@sveltejs/kit": "2""#, "sveltekit"),
            (r#""vite": "7", "astro": "5", "storybook": "9""#, "astro"),
            (r#""vitepress": "1", "vite": "7""#, "vitepress"),
            (r#""@angular/cli": "20", "@analogjs/platform": "1", "vite": "7""#, "analog"),
            (r#""svelte": "3", "sirv-cli": "1""#, "svelte-rollup"),
            (r#""storybook": "9""#, "storybook"),
        ] {
            assert_eq!(recognised(&[("package.json", &package(dependencies))]), Some(expected));
        }
    }

    #[test]
    fn generators_that_are_no_node_programs_win_over_a_task_runner_beside_them() {
        let gulp = ("package.json", r#"{"devDependencies": {"gulp": "5"}}"#);
        assert_eq!(recognised(&[gulp, ("hugo.toml", "")]), Some("hugo"));
        assert_eq!(recognised(&[gulp]), Some("gulp"));
    }

    #[test]
    fn one_file_name_of_several_generators_is_told_apart_by_its_content() {
        assert_eq!(recognised(&[("config.toml", "baseURL = 'https://a.b'")]), Some("hugo"));
        assert_eq!(recognised(&[("config.toml", "base_url = 'https://a.b'")]), Some("zola"));
        assert_eq!(recognised(&[("config.toml", "[server]")]), None);
    }

    #[test]
    fn a_dependency_beats_the_file_that_two_frameworks_share() {
        let hexo = ("package.json", r#"{"dependencies": {"hexo": "7"}}"#);
        assert_eq!(recognised(&[hexo, ("_config.yml", "")]), Some("hexo"));
        assert_eq!(recognised(&[("_config.yml", "")]), Some("jekyll"));
    }

    #[test]
    fn plain_files_are_no_framework() {
        assert_eq!(recognised(&[("index.html", "<h1>")]), None);
        assert_eq!(recognised(&[("package.json", r#"{"scripts": {"build": "make"}}"#)]), None);
    }
}
