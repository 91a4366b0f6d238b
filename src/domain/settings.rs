//! How a project is built and served, as far as a person said so. What is left out is recognised from the
//! source (see `worker::presets`).

use crate::domain::routing::dialect::Dialect;
use crate::domain::text::{Invalid, parsed_text, printable};
use crate::domain::variable::is_name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Each field may come with a request, from the project, or be left to detection, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_dir: Option<RelativeDir>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_command: Option<CommandLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_command: Option<CommandLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_dir: Option<RelativeDir>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_version: Option<NodeVersion>,
    /// Whose rules are read; left out, the files in the repository say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Dialect>,
    /// Whether unknown paths show `/index.html`; left out, the rules and the framework say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spa: Option<bool>,
}

impl BuildSettings {
    /// These settings, with `fallback`'s where these say nothing.
    pub fn or(self, fallback: Self) -> Self {
        Self {
            root_dir: self.root_dir.or(fallback.root_dir),
            install_command: self.install_command.or(fallback.install_command),
            build_command: self.build_command.or(fallback.build_command),
            output_dir: self.output_dir.or(fallback.output_dir),
            node_version: self.node_version.or(fallback.node_version),
            routing: self.routing.or(fallback.routing),
            spa: self.spa.or(fallback.spa),
        }
    }
}

/// A folder inside the repository: relative, with `/`, never upwards. `.` is the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativeDir(String);

impl RelativeDir {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = printable(text, 500)?;
        if text.starts_with('/') || text.contains('\\') {
            return Err(Invalid::new("must be a folder inside the repository, such as apps/web"));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") || parts.contains(&".git") {
            return Err(Invalid::new("must not leave the repository"));
        }
        Ok(Self(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }
}
parsed_text!(RelativeDir);

/// A command as the person would type it, on one line. It runs in the build's sandbox, by its shell.
/// An empty one means "run nothing".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Ok(Self(String::new()));
        }
        printable(text.trim(), 2_000).map(|text| Self(text.to_owned()))
    }
}
parsed_text!(CommandLine);

/// A version of Node.js as people write it: `24`, `v24.1.0`, `>=22`, `lts/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVersion(String);

impl NodeVersion {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = printable(text.trim(), 50)?;
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || " .<>=^~|*/-".contains(c)) {
            return Err(Invalid::new("is not a Node.js version such as 24 or >=22"));
        }
        Ok(Self(text.to_owned()))
    }
}
parsed_text!(NodeVersion);

/// Variables for one build. Names are those a shell can hold; values are never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub const MAX_COUNT: usize = 200;
    pub const MAX_BYTES: usize = 64 * 1024;

    pub fn parse(map: BTreeMap<String, String>) -> Result<Self, Invalid> {
        let bytes: usize = map.iter().map(|(name, value)| name.len() + value.len()).sum();
        if map.len() > Self::MAX_COUNT || bytes > Self::MAX_BYTES {
            return Err(Invalid::new("must have at most 200 variables of 64 KiB together"));
        }
        for (name, value) in &map {
            if !is_name(name) {
                return Err(Invalid::new(format!(
                    "has a variable whose name is not letters, digits and _: {name:?}"
                )));
            }
            if value.contains('\0') {
                return Err(Invalid::new(format!("has a NUL character in the value of {name}")));
            }
        }
        Ok(Self(map))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(BTreeMap::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_normalised_and_stay_inside() {
        assert_eq!(RelativeDir::parse("./apps//web/").unwrap().as_str(), "apps/web");
        assert_eq!(RelativeDir::parse("./").unwrap().as_str(), ".");
        for bad in ["/etc", "../x", "a/../../b", "a\\b", ".git/hooks", ""] {
            assert!(RelativeDir::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_request_says_wins_over_the_project() {
        let request = BuildSettings { build_command: CommandLine::parse("make").ok(), ..Default::default() };
        let project = BuildSettings {
            build_command: CommandLine::parse("npm run build").ok(),
            output_dir: RelativeDir::parse("out").ok(),
            ..Default::default()
        };
        let merged = request.or(project);
        assert_eq!(merged.build_command.unwrap().as_str(), "make");
        assert_eq!(merged.output_dir.unwrap().as_str(), "out");
    }

    #[test]
    fn variables_print_their_names_only() {
        let variables = Variables::parse(BTreeMap::from([("KEY".into(), "hush".into())])).unwrap();
        assert_eq!(format!("{variables:?}"), "{\"KEY\"}");
        assert!(Variables::parse(BTreeMap::from([("A=B".into(), "x".into())])).is_err());
    }
}
