//! What is known of a deployment once its source is there: its variables, whether it is to be built at all, and
//! whether the same was built before, whose output it then takes over.
//!
//! The same means: the same tree (or the same watched files), settings, plan, variables and presets, for the same
//! target of the same project. What gv tells each build about itself (its commit, its address) is left out:
//! else nothing would ever be the same. Start with `Pipeline::know`.

use crate::app::logs::of_project;
use crate::domain::deployment::{Deployment, StepName};
use crate::domain::digest::Digest;
use crate::domain::manifest::Manifest;
use crate::domain::settings::Variables;
use crate::domain::skip::mark_that_counts;
use crate::domain::variable::ProjectVariable;
use crate::ports::blobs::Key;
use crate::ports::error::StoreError;
use crate::ports::source::Fetched;
use crate::worker::failure::{Halt, Step};
use crate::worker::pipeline::{Packing, Pipeline, store_source};
use crate::worker::plan::Plan;
use crate::worker::skip::{SkipRules, watched};
use crate::worker::upload::{self, CALL, patiently};
use serde_json::json;
use std::collections::HashSet;
use std::sync::LazyLock;

/// How gv builds: another version of it, or of its presets, may build another output.
static RECIPE: LazyLock<Digest> = LazyLock::new(|| {
    let presets = include_str!("../../config/presets.toml");
    Digest::of(format!("{}\n{presets}", env!("CARGO_PKG_VERSION")).as_bytes())
});

pub struct Known {
    /// The project's, for this target.
    pub variables: Vec<ProjectVariable>,
    pub rules: SkipRules,
    /// `None`: nothing is known to be the same.
    pub fingerprint: Option<Digest>,
}

impl Pipeline<'_> {
    /// Reads what the build needs to know, and ends the deployment that need not be built.
    pub(super) async fn know(&self, fetched: &Fetched, plan: &Plan) -> Step<Known> {
        let deployment = self.lease.deployment();
        if let Some(mark) = mark_that_counts(deployment.options, &fetched.message) {
            return Err(Halt::Skipped(format!("The commit's message says {mark}: nothing is built.")));
        }
        let rules = SkipRules::new(plan.ignore_command.as_ref(), &plan.watch)?;
        let (account, project, target) = (deployment.account, deployment.project, deployment.target);
        let database = &self.worker.app.database;
        let reading = patiently(CALL, || database.list_variables(account, project, Some(target)));
        let read = self.lease.stop().run_until_cancelled(reading).await.ok_or(Halt::Interrupted)?;
        let variables = read.map_err(Halt::variables)?;
        self.log.mask(of_project(&variables));
        let source = match &rules.watch {
            None => fetched.tree.clone(),
            Some(watch) => {
                let (folder, watch, root) = (self.workspace.source(), watch.clone(), plan.root.clone());
                let named = tokio::task::spawn_blocking(move || watched(&folder, &watch, &root)).await;
                named.map_err(std::io::Error::other).flatten().map_err(Halt::internal)?.to_string()
            }
        };
        let fingerprint = self.fingerprint(&source, plan, &variables);
        Ok(Known { variables, rules, fingerprint })
    }

    /// Keyed, since variables are a part of it.
    fn fingerprint(&self, source: &str, plan: &Plan, variables: &[ProjectVariable]) -> Option<Digest> {
        let deployment = self.lease.deployment();
        let settings = &self.worker.settings;
        let pairs = |variables: &Variables| {
            variables.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        let own: Vec<_> =
            variables.iter().map(|variable| (variable.name.as_str(), variable.value.expose())).collect();
        let commands: Vec<_> = plan.commands.iter().map(|command| (&command.folder, &command.line)).collect();
        let made_of = json!({
            "recipe": *RECIPE,
            "source": source,
            "target": deployment.target,
            "settings": deployment.settings,
            "root": plan.root,
            "framework": plan.framework.map(|framework| &framework.slug),
            "commands": commands,
            "output": format!("{:?}", plan.output),
            // What was recognised and chosen, versions of tools included.
            "notes": plan.notes,
            "project": own,
            "request": pairs(&deployment.env),
            "operator": pairs(&settings.build_env),
            "path": settings.path,
        });
        self.worker.app.secrets.fingerprint(made_of.to_string().as_bytes())
    }

    /// Takes over the output of a deployment that was made of the same. `None`: there is none, or a part of it
    /// is gone; then the packing goes on.
    pub(super) async fn take_over(
        &mut self,
        known: &Known,
        packing: Packing,
    ) -> Step<Result<Manifest, Packing>> {
        let deployment = self.lease.deployment().clone();
        let Some(fingerprint) = known.fingerprint.filter(|_| !deployment.options.force) else {
            return Ok(Err(packing));
        };
        let looking = self.built_before(&deployment, &fingerprint);
        let found = self.lease.stop().run_until_cancelled(looking).await.ok_or(Halt::Interrupted)?;
        let (earlier, manifest) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Err(packing)),
            Err(error) => {
                tracing::warn!(%error, "whether the same was built before could not be seen: it is built");
                return Ok(Err(packing));
            }
        };
        let source = if known.rules.watch.is_some() { "The watched files" } else { "Source" };
        self.log.say(
            StepName::Build,
            format!(
                "{source}, settings and variables are those of {}: its output is taken over. Force a build to make it anew.",
                earlier.id
            ),
        );
        let now = self.worker.app.clock.now();
        let held = self.lease.advance(|deployment| {
            let next = deployment.upload(now)?;
            Ok(Deployment { reused: true, fingerprint: Some(fingerprint), ..next })
        });
        if !held.await? {
            return Err(Halt::Interrupted);
        }
        let app = self.worker.app.clone();
        let archive = self.workspace.archive();
        let storing = store_source(&app, &deployment, packing, &archive);
        self.lease.stop().run_until_cancelled(storing).await.ok_or(Halt::Interrupted)??;
        let manifest = Manifest { deployment: deployment.id, ..manifest };
        upload::store_manifest(&app, manifest).await.map(Ok).map_err(Halt::storage)
    }

    /// The newest deployment that was made of the same and of which everything is still stored.
    async fn built_before(
        &self,
        deployment: &Deployment,
        fingerprint: &Digest,
    ) -> Result<Option<(Deployment, Manifest)>, StoreError> {
        let app = &self.worker.app;
        let finding = app.database.find_built(deployment.account, deployment.project, fingerprint);
        let Some(earlier) = finding.await? else { return Ok(None) };
        let Some(manifest) = app.manifest(earlier.id).await? else { return Ok(None) };
        let digests: HashSet<Digest> = manifest.files.iter().map(|(_, file)| file.digest).collect();
        let keys: Vec<Key> = digests.iter().map(|digest| Key::blob(deployment.account, digest)).collect();
        for some in keys.chunks(upload::LOOKED_FOR) {
            if !app.blobs.missing(some).await?.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some((earlier, manifest)))
    }
}
