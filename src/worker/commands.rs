//! The commands of a plan: what they run on (tools, variables, caches of earlier builds), and their order.
//!
//! Each command is run by `worker::build`. Start with `Pipeline::run_commands`.

use crate::domain::deployment::StepName;
use crate::domain::host::HostClaim;
use crate::domain::repo::Commit;
use crate::domain::routing::dialect::Dialect;
use crate::ports::executor::JobLimits;
use crate::ports::source::Fetched;
use crate::ports::traces::Span;
use crate::worker::build::Build;
use crate::worker::caches::{Caches, Opened, Packages, ProjectCache};
use crate::worker::environment::{Context, environment};
use crate::worker::failure::{Halt, Step};
use crate::worker::inside::Inside;
use crate::worker::pipeline::Pipeline;
use crate::worker::plan::{Command, CommandKind, Plan};
use crate::worker::reuse::Known;
use crate::worker::timer::in_span;
use crate::worker::toolchain::Toolchain;
use std::io;
use std::time::Instant;

impl Pipeline<'_> {
    /// Asks whether there is anything to build, and builds. Gives the cache that was used, to be kept.
    pub(super) async fn run_commands(
        &self,
        fetched: &Fetched,
        (plan, known): (&Plan, &Known),
        dialect: Option<Dialect>,
        span: &Span,
    ) -> Step<Option<ProjectCache>> {
        let settings = &self.worker.settings;
        let deployment = self.lease.deployment();
        let policy = &self.worker.app.policy;
        let toolchain = Toolchain::prepare(
            plan,
            self.worker.tools.as_deref(),
            &self.worker.machine,
            self.log,
            self.lease.stop(),
        );
        let toolchain = toolchain.await?;
        let (name, project) = (&deployment.project_name, deployment.project);
        let url = |claim: HostClaim| policy.site_urls.url(&claim.candidates[0]);
        let cache = self.open_cache(&fetched.commit, plan).await;
        let caches = cache
            .as_ref()
            .map(|cache| cache.environment(plan.manager.as_ref().map(|manager| manager.tool)))
            .unwrap_or_default();
        let context = Context {
            toolchain: &toolchain,
            deployment,
            commit: &fetched.commit,
            url: &url(policy.names.deployment(name, project, deployment.id)),
            workspace: self.workspace,
            path: &settings.path,
            operator: &settings.build_env,
            project: &known.variables,
            production_url: &url(policy.names.production(name, project)),
            dialect,
            caches: &caches,
        };
        self.say_how_it_is_held();
        let mut build = Build {
            executor: &*self.worker.executor,
            deployment: deployment.id,
            seat: self.seat.number(),
            workspace: self.workspace,
            tools: toolchain.folders.clone(),
            env: environment(plan, &context),
            limits: JobLimits { time: settings.build_timeout, ..settings.job },
            timeout: settings.build_timeout,
            log: self.log,
            stop: self.lease.stop(),
            caches: cache.iter().map(ProjectCache::folder).collect(),
        };
        let began = Instant::now();
        if let Some((line, file)) = known.rules.ignore_command.clone().filter(|_| !deployment.options.force) {
            let kind = CommandKind::Build;
            let ask = Command { kind, line, folder: plan.root.clone(), fallback: None, again: None };
            if build.has_nothing_to_build(&ask).await? {
                return Err(Halt::Skipped(format!(
                    "the ignore command of {file} ended with exit code 0, which says that there is nothing to build."
                )));
            }
        }
        let (installs, builds): (Vec<&Command>, Vec<&Command>) =
            plan.commands.iter().partition(|command| command.kind == CommandKind::Install);
        build.limits.time = settings.build_timeout.saturating_sub(began.elapsed());
        let packages = self.packages(plan, known, &toolchain).await?;
        let installing = self.install(&mut build, &installs, cache, packages);
        let cache = in_span(span, "install", &installs, installing).await?;
        build.limits.time = settings.build_timeout.saturating_sub(began.elapsed());
        in_span(span, "run", &builds, build.run(&builds)).await?;
        Ok(cache)
    }

    /// What will be installed, where that can be told beforehand.
    async fn packages(&self, plan: &Plan, known: &Known, toolchain: &Toolchain) -> Step<Option<Packages>> {
        let (deployment, settings) = (self.lease.deployment(), &self.worker.settings);
        let mut made_with = vec![settings.path.clone(), format!("{:?}", plan.framework.map(|own| &own.slug))];
        made_with.extend(toolchain.folders.iter().map(|folder| folder.display().to_string()));
        made_with.extend(self.worker.machine.node().await);
        made_with.extend(plan.environment.iter().map(|(name, value)| format!("{name}={value}")));
        for variables in [&settings.build_env, &deployment.env] {
            made_with.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        }
        made_with.extend(known.variables.iter().map(|own| format!("{}={}", own.name, own.value.expose())));
        let (source, plan, secrets) =
            (self.workspace.source(), plan.clone(), self.worker.app.secrets.clone());
        let naming = tokio::task::spawn_blocking(move || {
            let repository = Inside::open(&source)?;
            io::Result::Ok(Packages::of(&repository, &plan, &made_with, |bytes| secrets.fingerprint(bytes)))
        });
        naming.await.map_err(io::Error::other).flatten().map_err(Halt::internal)
    }

    /// Installs, with what earlier builds left, and makes what frameworks keep ready for the build.
    async fn install(
        &self,
        build: &mut Build<'_>,
        installs: &[&Command],
        cache: Option<ProjectCache>,
        packages: Option<Packages>,
    ) -> Step<Option<ProjectCache>> {
        let Some(mut cache) = cache else {
            build.run(installs).await?;
            return Ok(None);
        };
        let mut is_installed = false;
        if let (Some(packages), [install]) = (packages, installs) {
            let given = self.with_cache(cache, |cache, source| cache.give_packages(source, packages));
            let found;
            (cache, found) = given.await?;
            if found {
                self.log.say(
                    StepName::Build,
                    "The packages of an earlier build are there: the lockfile is the same.",
                );
                let began = Instant::now();
                is_installed = build.again(install).await?;
                build.limits.time = build.limits.time.saturating_sub(began.elapsed());
            }
            if found && !is_installed {
                self.log.say(StepName::Build, "They cannot be used after all: all are installed anew.");
                let cleared;
                (cache, cleared) =
                    self.with_cache(cache, |cache, source| cache.clear_packages(source)).await?;
                cleared.map_err(Halt::internal)?;
            }
        }
        if !is_installed {
            build.run(installs).await?;
        }
        // Not before: what installs packages empties the folder in which some caches lie.
        let given = self.with_cache(cache, |cache, source| {
            cache.note_packages(source);
            cache.give(source);
        });
        Ok(Some(given.await?.0))
    }

    async fn with_cache<T: Send + 'static>(
        &self,
        mut cache: ProjectCache,
        work: impl FnOnce(&mut ProjectCache, &Inside) -> T + Send + 'static,
    ) -> Step<(ProjectCache, T)> {
        let source = self.workspace.source();
        let working = tokio::task::spawn_blocking(move || {
            let source = Inside::open(&source)?;
            let done = work(&mut cache, &source);
            io::Result::Ok((cache, done))
        });
        working.await.map_err(io::Error::other).flatten().map_err(Halt::internal)
    }

    /// A cache that cannot be had makes a build slower, and no more.
    async fn open_cache(&self, commit: &Commit, plan: &Plan) -> Option<ProjectCache> {
        if plan.commands.is_empty() {
            return None;
        }
        let (caches, deployment) = (self.worker.settings.caches.clone(), self.lease.deployment().clone());
        let (commit, root) = (commit.clone(), plan.root.clone());
        let (log, stop) = (self.log.clone(), self.lease.stop().clone());
        let opening = tokio::task::spawn_blocking(move || {
            let copying =
                || log.say(StepName::Build, "The cache of production's builds is copied for this branch.");
            caches.open(&deployment, (&commit, &root), &stop, copying)
        });
        match opening.await.map_err(io::Error::other).flatten() {
            Ok(Opened::Off) => None,
            Ok(Opened::Cold(cache)) => Some(cache),
            Ok(Opened::Warm(cache)) => {
                self.log.say(StepName::Build, "The cache of earlier builds is used.");
                Some(cache)
            }
            Ok(Opened::Busy) => {
                self.log
                    .say(StepName::Build, "Another build uses the cache just now: this one builds without.");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a build's cache could not be opened");
                None
            }
        }
    }

    /// After the deployment is ready: nobody waits for it.
    pub(super) async fn keep_cache(&self, cache: Option<ProjectCache>) {
        let Some(cache) = cache else { return };
        let source = self.workspace.source();
        let keeping = tokio::task::spawn_blocking(move || Caches::keep(cache, &Inside::open(&source)?)).await;
        match keeping.map_err(io::Error::other).flatten() {
            Ok(None) => {}
            Ok(Some(said)) => tracing::info!("{said}"),
            Err(error) => tracing::warn!(%error, "a build's cache could not be kept"),
        }
    }

    fn say_how_it_is_held(&self) {
        let executor = &self.worker.executor;
        let mode = executor.mode();
        self.log.say(
            StepName::Build,
            if executor.is_sandbox() {
                format!("Sandbox: {mode}.")
            } else {
                format!("Warning: there is no sandbox ({mode}): this build can read and do whatever its worker can.")
            },
        );
    }
}
