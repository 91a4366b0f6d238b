//! The variables of a build, all of them: nothing of the worker's own environment goes in but its
//! PATH. Start with [`environment`].

use crate::domain::deployment::Deployment;
use crate::domain::repo::Commit;
use crate::domain::routing::dialect::Dialect;
use crate::domain::settings::Variables;
use crate::domain::variable::ProjectVariable;
use crate::worker::inside::upwards;
use crate::worker::package::Tool;
use crate::worker::plan::Plan;
use crate::worker::presets::presets;
use crate::worker::system;
use crate::worker::toolchain::Toolchain;
use crate::worker::workspace::Workspace;
use std::path::PathBuf;

/// What a build is told about itself.
pub struct Context<'a> {
    pub deployment: &'a Deployment,
    pub commit: &'a Commit,
    /// The deployment's own address.
    pub url: &'a str,
    pub workspace: &'a Workspace,
    pub toolchain: &'a Toolchain,
    /// The worker's own PATH.
    pub path: &'a str,
    /// The operator's variables for every build.
    pub operator: &'a Variables,
    /// The project's own, for this target.
    pub project: &'a [ProjectVariable],
    /// The address of production.
    pub production_url: &'a str,
    /// Whose language the repository speaks, as far as that is known before the build.
    pub dialect: Option<Dialect>,
    /// What points tools to the project's caches.
    pub caches: &'a [(String, String)],
}

/// Later sources win: gv's defaults, what it says of the build, the operator's, the framework's, those of the
/// repository's files, the project's, the request's; what gv must be sure of comes last.
pub fn environment(plan: &Plan, context: &Context<'_>) -> Vec<(String, String)> {
    let mut variables = presets().environment.clone();
    variables.extend(system::variables(context).into_iter().map(|(name, value)| (name.to_owned(), value)));
    variables.extend(context.caches.iter().cloned());
    variables.extend(context.operator.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    if let Some(framework) = plan.framework {
        variables.extend(framework.env.clone());
    }
    if plan.manager.as_ref().is_some_and(|manager| manager.tool == Tool::Pnpm) {
        // Else it replaces itself by the version of `packageManager`, from a fixed place. npm
        // complains of the variable, so only pnpm gets it.
        variables.insert("npm_config_manage_package_manager_versions".to_owned(), "false".to_owned());
    }
    variables.extend(plan.environment.clone());
    let project = context.project.iter();
    variables.extend(project.map(|own| (own.name.to_string(), own.value.expose().to_owned())));
    let own = context.deployment.env.iter();
    variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    set("GV_DEPLOYMENT", context.deployment.id.to_string());
    set("GV_COMMIT", context.commit.id.clone());
    set("GV_BRANCH", context.commit.branch.clone().unwrap_or_default());
    set("GV_URL", context.url.to_owned());
    // What tools keep besides lies below these, and goes with the workspace.
    set("HOME", context.workspace.home().display().to_string());
    set("TMPDIR", context.workspace.tmp().display().to_string());
    if !context.toolchain.bins.is_empty() {
        // Beside the Node.js that was brought nobody may write.
        set("npm_config_prefix", global(context).display().to_string());
    }
    if let Some(headers) = &context.toolchain.headers {
        // Else node-gyp downloads them from a fixed place.
        set("npm_package_config_node_gyp_nodedir", headers.display().to_string());
    }
    set("PATH", path(plan, context));
    variables.into_iter().collect()
}

/// Where `npm install --global` puts things.
fn global(context: &Context<'_>) -> PathBuf {
    context.workspace.home().join(".npm-global")
}

fn path(plan: &Plan, context: &Context<'_>) -> String {
    let source = context.workspace.source();
    let packages = upwards(&plan.root).map(|folder| match folder {
        "." => source.join("node_modules/.bin"),
        inner => source.join(inner).join("node_modules/.bin"),
    });
    let installed = [context.workspace.home().join(".venv/bin"), global(context).join("bin")];
    let brought = context.toolchain.bins.iter().cloned();
    let own = packages.chain(installed).chain(brought);
    let own: Vec<String> = own.map(|folder| folder.display().to_string()).collect();
    format!("{}:{}", own.join(":"), context.path)
}
