//! Where the site will be, as far as files tell that without running anything.

use super::{Command, CommandKind, Output, Planner};
use crate::domain::settings::RelativeDir;
use crate::worker::declared::{GV_TOML, SETTINGS, Said};
use crate::worker::inside::join;
use crate::worker::presets::{Framework, presets};
use serde_json::Value;

impl Planner<'_> {
    pub(super) fn output(&mut self, commands: &[Command]) -> Output {
        let builds = commands.iter().any(|command| command.kind == CommandKind::Build);
        let said = self.declared.output_dir.take();
        let said = said.filter(|said| [SETTINGS, GV_TOML].contains(&said.by) || self.may_be_site(said));
        if let Some(Said { value, by }) = said.as_ref().filter(|said| [SETTINGS, GV_TOML].contains(&said.by))
        {
            let folder = join(&self.root, value.as_str());
            self.notes.push(format!("Output: {folder}, by {by}."));
            return Output::Named(folder);
        }
        let published = said.map(|said| (join(&self.root, said.value.as_str()), said.by));
        if !builds {
            let published = published.filter(|(folder, _)| self.repository.is_folder(folder));
            let (folder, by) =
                published.map_or_else(|| (self.source_folder(), None), |(folder, by)| (folder, Some(by)));
            if let Some(by) = by {
                self.notes.push(format!("Output: {folder}, by {by}."));
            }
            return Output::Source(folder);
        }
        let mut folders =
            self.framework().map(|framework| self.preset_folders(framework)).unwrap_or_default();
        for folder in &mut folders {
            *folder = join(&self.root, folder);
        }
        let by = published.as_ref().map(|(_, by)| format!("by {by}"));
        let by = by.or_else(|| Some(format!("as {} does it", self.framework()?.name)));
        folders.splice(0..0, published.map(|(folder, _)| folder));
        self.notes.push(match (folders.first(), by) {
            (Some(folder), Some(by)) => format!("Output: {folder}, {by}."),
            _ => "Output: the folder that the build writes a page to.".to_owned(),
        });
        Output::Built(folders)
    }

    /// Whether a folder that another host's file names can be a site at all. That host may run it.
    fn may_be_site(&mut self, said: &Said<RelativeDir>) -> bool {
        let folder = said.value.as_str();
        let first = folder.split('/').next().unwrap_or(folder);
        let never = presets().output.never.iter().any(|never| never == first);
        if never {
            self.notes.push(format!(
                "Warning: {}: {folder} is no site that can be served as it is: not followed.",
                said.by
            ));
        }
        !never
    }

    /// Where a framework writes to, relative to the project: what its configuration says, as far
    /// as that can be read without running it, then its habit.
    fn preset_folders(&self, framework: &Framework) -> Vec<String> {
        let mut folders = Vec::new();
        if let Some(config) = &framework.output_config {
            let named = config.files.iter().find_map(|file| {
                let text = self.repository.text(&join(&self.root, file))?;
                Some(config.matches.0.captures(&text)?.get(1)?.as_str().to_owned())
            });
            folders.extend(named);
        }
        if let Some(rule) = &framework.output_script {
            let script = framework.script.as_deref();
            let script = script.and_then(|script| self.package.as_ref()?.script(script));
            if let Some(found) = script.and_then(|script| rule.matches.0.captures(script)) {
                let folder = found.get(1).map_or(".", |group| group.as_str());
                folders.push(join(folder.trim_end_matches('/'), &rule.suffix));
            }
        }
        if let Some(file) = &framework.output_workspace {
            let text = self.repository.text(&join(&self.root, file));
            folders.extend(text.as_deref().map(angular_folders).unwrap_or_default());
        }
        // Only habits of the project's own files so far: none may lead out of the repository.
        folders.retain_mut(|folder| match RelativeDir::parse(folder) {
            Ok(normal) => {
                normal.as_str().clone_into(folder);
                let first = folder.split('/').next().unwrap_or(folder);
                folder != "." && !presets().output.never.iter().any(|never| never == first)
            }
            Err(_) => false,
        });
        let has = |file: &str| self.repository.is_file(&join(&self.root, file));
        let variant = framework.variants.iter().find(|variant| has(&variant.file));
        folders.push(variant.map_or(&framework.output_dir, |variant| &variant.output_dir).clone());
        folders.extend(framework.alternatives.iter().cloned());
        folders
    }

    /// The site of a repository in which nothing is built: itself, unless only `public` has a page.
    fn source_folder(&self) -> String {
        let public = join(&self.root, "public");
        if !self.repository.is_file(&join(&self.root, "index.html")) && self.repository.is_folder(&public) {
            return public;
        }
        self.root.clone()
    }
}

/// The output folders that an `angular.json` names, the likeliest first.
fn angular_folders(text: &str) -> Vec<String> {
    let Ok(workspace) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let Some(projects) = workspace["projects"].as_object() else { return Vec::new() };
    let default = workspace["defaultProject"].as_str().and_then(|name| projects.get_key_value(name));
    let Some((name, project)) = default.or_else(|| projects.iter().next()) else { return Vec::new() };
    let targets = if project["architect"].is_object() { &project["architect"] } else { &project["targets"] };
    let path = &targets["build"]["options"]["outputPath"];
    let (base, browser) = match path {
        Value::String(base) => (base.clone(), "browser"),
        Value::Object(_) => (
            path["base"].as_str().map_or_else(|| format!("dist/{name}"), str::to_owned),
            path["browser"].as_str().unwrap_or("browser"),
        ),
        _ => (format!("dist/{name}"), "browser"),
    };
    // The older builder has no folder of its own for what browsers get.
    vec![join(&base, browser), base]
}
