//! `gv.toml`, gv's own file in a repository:
//!
//! ```toml
//! [build]
//! root_dir = "apps/web"          # only in the file at the top of the repository
//! install_command = "npm ci"
//! build_command = "npm run build"
//! output_dir = "dist"
//! framework = "vite"             # a preset by its name; "none" for none
//! node_version = "24"
//! ignore_command = "grep -q draft apps/web/state.txt"
//! watch = ["apps/web/**"]
//!
//! [build.environment]
//! SITE_NAME = "My site"
//! ```
//!
//! It was written for gv, so that what cannot be understood in it fails the deployment. Start with
//! [`read`].

use super::{Declared, GV_TOML, environment, invalid, said};
use crate::domain::failure::Failure;
use crate::domain::settings::{CommandLine, NodeVersion, RelativeDir, Variables};
use crate::worker::inside::{Inside, join};
use crate::worker::presets::presets;
use serde::Deserialize;

const MAX_WATCHED: usize = 100;

pub(super) struct GvToml {
    build: Build,
    pub(super) root_dir: Option<super::Said<RelativeDir>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    build: Build,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Build {
    root_dir: Option<RelativeDir>,
    install_command: Option<CommandLine>,
    build_command: Option<CommandLine>,
    output_dir: Option<RelativeDir>,
    framework: Option<String>,
    node_version: Option<NodeVersion>,
    ignore_command: Option<CommandLine>,
    watch: Vec<String>,
    environment: Variables,
}

/// The file of a folder; `None`: there is none.
pub(super) fn read(repository: &Inside, folder: &str) -> Result<Option<GvToml>, Failure> {
    let path = join(folder, GV_TOML);
    if !repository.is_file(&path) {
        return Ok(None);
    }
    let text = repository.text(&path).ok_or_else(|| invalid(format!("{path} is not readable as text.")))?;
    let document: Document = toml::from_str(&text).map_err(|error| {
        let place = super::line_of(&text, error.span());
        invalid(format!("{path}{place}: {}.", error.message().replace('\n', " ").trim_end_matches('.')))
    })?;
    let build = document.build;
    if folder != "." && build.root_dir.is_some() {
        return Err(invalid(format!("{path}: root_dir has a meaning only at the top of the repository.")));
    }
    if let Some(name) = build.framework.as_deref().filter(|name| *name != "none")
        && presets().named(name).is_none()
    {
        let known: Vec<&str> = presets().frameworks.iter().map(|known| known.slug.as_str()).collect();
        return Err(invalid(format!(
            "{path}: there is no framework {name:?}; gv knows none, {}.",
            known.join(", ")
        )));
    }
    if build.watch.len() > MAX_WATCHED {
        return Err(invalid(format!("{path}: watch has more than {MAX_WATCHED} patterns.")));
    }
    let root_dir = said(build.root_dir.clone(), GV_TOML);
    Ok(Some(GvToml { build, root_dir }))
}

impl GvToml {
    pub(super) fn names(&self, root: &str) -> bool {
        self.root_dir.as_ref().is_some_and(|dir| dir.value.as_str() == root)
    }

    pub(super) fn declared(self) -> Declared {
        let build = self.build;
        let mut notes = Vec::new();
        let pairs = build.environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = environment(pairs, GV_TOML, &mut notes);
        Declared {
            root_dir: None,
            install_command: said(build.install_command, GV_TOML),
            build_command: said(build.build_command, GV_TOML),
            output_dir: said(build.output_dir, GV_TOML),
            framework: said(build.framework.map(|name| Some(name).filter(|name| name != "none")), GV_TOML),
            node_version: said(build.node_version, GV_TOML),
            ignore_command: said(build.ignore_command, GV_TOML),
            watch: build.watch,
            environment,
            notes,
        }
    }
}
