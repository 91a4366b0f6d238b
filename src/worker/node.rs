//! Which Node.js a project is built with: by its own settings, then by the files in which projects
//! keep a version. Only majors are chosen; the newest release of one is what runs.
//!
//! Ranges are read as npm reads them. Start with [`choose`].

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::settings::NodeVersion;
use crate::worker::declared::Said;
use crate::worker::inside::{Inside, join, upwards};
use crate::worker::package::PackageJson;
use crate::worker::presets::{Node, presets};
use nodejs_semver::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChoice {
    pub major: u64,
    /// For the log: `.nvmrc says 22`.
    pub because: String,
    pub warning: Option<String>,
}

/// What somebody asked for.
struct Wish {
    text: String,
    by: String,
    /// Whether it was said to gv, and not left in the repository at some time.
    to_gv: bool,
}

/// Chooses for the project in `folder`. `variable`: the build's NODE_VERSION.
pub fn choose(
    repository: &Inside,
    folder: &str,
    setting: Option<&Said<NodeVersion>>,
    variable: Option<&Said<String>>,
) -> Result<NodeChoice, Failure> {
    let said = setting.map(|said| Wish {
        text: said.value.as_str().to_owned(),
        by: format!("node_version in {}", said.by),
        to_gv: true,
    });
    let variable = || {
        let said = variable.filter(|said| !said.value.trim().is_empty())?;
        Some(Wish { text: said.value.clone(), by: format!("NODE_VERSION in {}", said.by), to_gv: true })
    };
    let wish = said.or_else(variable).or_else(|| in_files(repository, folder));
    let Some(wish) = wish else {
        let default = presets().node.default;
        let because = "nothing in the project asks for another".to_owned();
        return Ok(NodeChoice { major: default, because, warning: None });
    };
    wish.grant(&presets().node)
}

/// The kinds of files in their order; of each kind the nearest on the way up.
fn in_files(repository: &Inside, folder: &str) -> Option<Wish> {
    let found = |text: String, by: String| Wish { text, by, to_gv: false };
    let line = |name: &'static str| {
        upwards(folder).find_map(|at| {
            let path = join(at, name);
            let text = repository.text(&path)?;
            let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
            Some(found(lines.find(|line| !line.is_empty())?.to_owned(), path))
        })
    };
    let tool_versions = || {
        upwards(folder).find_map(|at| {
            let path = join(at, ".tool-versions");
            let text = repository.text(&path)?;
            let version = text.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                words.next().filter(|name| ["node", "nodejs"].contains(name))?;
                words.next().map(str::to_owned)
            })?;
            Some(found(version, path))
        })
    };
    let package = |field: fn(&PackageJson) -> Option<&str>, name: &str| {
        upwards(folder).find_map(|at| {
            let package = PackageJson::read(repository, at).ok().flatten()?;
            let version = field(&package)?.to_owned();
            Some(found(version, format!("{name} in {}", join(at, "package.json"))))
        })
    };
    line(".nvmrc")
        .or_else(|| line(".node-version"))
        .or_else(tool_versions)
        .or_else(|| package(PackageJson::volta_node, "volta.node"))
        .or_else(|| package(PackageJson::engines_node, "engines.node"))
}

impl Wish {
    fn grant(self, node: &Node) -> Result<NodeChoice, Failure> {
        let shown: String = self.text.chars().filter(|c| !c.is_control()).take(50).collect();
        let because = format!("{} is {shown}", self.by);
        let majors = node.supported.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let Some(range) = range(&self.text, node) else {
            let why = format!("{because}, which is no version of Node.js");
            if self.to_gv {
                return Err(refused(format!("{why}: give a major ({majors}) or a range such as >=22.")));
            }
            let warning = format!("Warning: {why}: it is not followed.");
            return Ok(NodeChoice { major: node.default, because, warning: Some(warning) });
        };
        let allows = |major: u64| any_of(major).is_some_and(|any| range.allows_any(&any));
        if allows(node.default) {
            return Ok(NodeChoice { major: node.default, because, warning: None });
        }
        if let Some(major) = node.supported.iter().copied().rev().find(|major| allows(*major)) {
            return Ok(NodeChoice { major, because, warning: None });
        }
        let why = format!("{because}, but gv builds with Node.js {majors}");
        // Old projects mostly build with a newer one; those that say so to gv mean it.
        let oldest = node.supported.first().copied().unwrap_or(node.default);
        let is_older = (0..oldest).any(allows);
        if self.to_gv || !is_older {
            return Err(refused(format!("{why}: ask for one of these.")));
        }
        let warning = format!(
            "Warning: {why}: {oldest} is used. Where that does not work, the project has to be brought up to date."
        );
        Ok(NodeChoice { major: oldest, because, warning: Some(warning) })
    }
}

fn any_of(major: u64) -> Option<Range> {
    Range::parse(format!("{major}.x")).ok()
}

/// What a text of any of those files allows.
fn range(text: &str, node: &Node) -> Option<Range> {
    let text = text.trim();
    let name = text.to_ascii_lowercase();
    let plain = name.strip_prefix("lts/").unwrap_or(&name);
    if let Some(major) = node.names.get(&name).or_else(|| node.names.get(plain)) {
        return any_of(*major);
    }
    if text.len() > 200 {
        return None;
    }
    // `nodejs` and `node` stand before it in some files: node-v22.1.0, node/22.
    let text = name.strip_prefix("node").map_or(text, |rest| rest.trim_start_matches(['-', '/', 'v']));
    let range = Range::parse(text).ok()?;
    (!text.is_empty()).then_some(range)
}

fn refused(message: String) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::declared::SETTINGS;

    fn chosen(files: &[(&str, &str)], folder: &str) -> NodeChoice {
        let repository = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = repository.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        choose(&Inside::open(repository.path()).unwrap(), folder, None, None).unwrap()
    }

    fn engines(range: &str) -> NodeChoice {
        chosen(&[("package.json", &format!(r#"{{"engines": {{"node": "{range}"}}}}"#))], ".")
    }

    fn said(text: &str, by: &'static str) -> Result<NodeChoice, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let said = Said { value: NodeVersion::parse(text).unwrap(), by };
        choose(&Inside::open(folder.path()).unwrap(), ".", Some(&said), None)
    }

    #[test]
    fn ranges_are_read_as_npm_reads_them_and_the_default_wins_where_it_fits() {
        for (range, major) in [
            (">=18", 24),
            ("^22.12.0 || >=24", 24),
            (">=22 <24", 22),
            ("22", 22),
            ("22.x", 22),
            ("~22.9", 22),
            ("22 - 23", 22),
            ("^20.19.0 || ^22.12.0", 22),
            (">=25", 26),
            ("*", 24),
            (">= 20.0.0", 24),
            ("v22.1.0", 22),
            ("24.1.0", 24),
        ] {
            let found = engines(range);
            assert_eq!((found.major, found.warning), (major, None), "{range}");
        }
        assert_eq!(engines("22").because, "engines.node in package.json is 22");
    }

    #[test]
    fn files_count_in_their_order_and_the_nearest_of_a_kind() {
        let engines = ("package.json", r#"{"engines": {"node": "26"}, "volta": {"node": "22.3.0"}}"#);
        let all = [
            (".nvmrc", "v26\n"),
            (".node-version", "22"),
            (".tool-versions", "python 3\nnodejs 22.1.0\n"),
            engines,
        ];
        assert_eq!(chosen(&all, ".").because, ".nvmrc is v26");
        assert_eq!(chosen(&all[1..], ".").because, ".node-version is 22");
        assert_eq!(chosen(&all[2..], ".").because, ".tool-versions is 22.1.0");
        assert_eq!(chosen(&all[3..], ".").because, "volta.node in package.json is 22.3.0");
        let inner = [(".nvmrc", "26"), ("apps/web/.nvmrc", "# ours\n22\n")];
        assert_eq!(chosen(&inner, "apps/web").because, "apps/web/.nvmrc is 22");
        assert_eq!(chosen(&inner, "apps").major, 26);
        assert_eq!(
            chosen(&[], "."),
            NodeChoice {
                major: 24,
                because: "nothing in the project asks for another".to_owned(),
                warning: None,
            }
        );
    }

    #[test]
    fn names_of_versions_are_known() {
        for (name, major) in
            [("lts/*", 24), ("lts/jod", 22), ("node", 26), ("lts/Krypton", 24), ("node-v22.1.0", 22)]
        {
            assert_eq!(chosen(&[(".nvmrc", name)], ".").major, major, "{name}");
        }
    }

    #[test]
    fn a_project_that_wants_an_old_one_gets_the_oldest_there_is_and_is_told() {
        let found = chosen(&[(".nvmrc", "16.20.0")], ".");
        assert_eq!(found.major, 22);
        assert!(found.warning.unwrap().contains(".nvmrc is 16.20.0, but gv builds with Node.js 22, 24, 26"));
        assert_eq!(engines("^20.1").major, 22);
        let found = chosen(&[(".nvmrc", "lts/hydrogen")], ".");
        assert!(found.warning.is_some());
        let found = chosen(&[(".nvmrc", "$(rm -rf /)")], ".");
        assert_eq!((found.major, found.warning.is_some()), (24, true));
    }

    #[test]
    fn what_is_asked_of_gv_itself_is_done_or_refused() {
        assert_eq!(said("22", SETTINGS).unwrap().because, "node_version in the deployment's settings is 22");
        for bad in ["18", ">=99", "banana"] {
            let failure = said(bad, "gv.toml").unwrap_err();
            assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
            assert!(failure.message.contains("22, 24, 26"), "{}", failure.message);
        }
    }
}
