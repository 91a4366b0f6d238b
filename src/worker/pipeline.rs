//! One attempt at one deployment: clone, plan, build, collect, upload, go live.
//!
//! Each step's own work is in its own file; here is their order, what runs beside what, and the
//! row's transitions between them. How an attempt that does not get through ends is
//! `worker::attempt`'s. Start with [`Pipeline::run`].

use crate::app::App;
use crate::app::lease::{Interruption, Lease};
use crate::app::logs::LogWriter;
use crate::domain::deployment::{Deployment, InvalidTransition, StepName};
use crate::domain::failure::FailureCode;
use crate::domain::manifest::Manifest;
use crate::domain::repo::Commit;
use crate::domain::routing::compile::Settings;
use crate::domain::routing::rules::Rules;
use crate::ports::error::StoreErrorKind;
use crate::ports::source::{FetchRequest, Fetched, SourceError};
use crate::ports::traces::Span;
use crate::worker::Worker;
use crate::worker::archive;
use crate::worker::caches::ProjectCache;
use crate::worker::codings::{self, ByDigest, Place};
use crate::worker::collect::{CollectedFile, Origin, collect};
use crate::worker::failure::{Halt, Step};
use crate::worker::inside::Inside;
use crate::worker::output::{self, Moment, Site};
use crate::worker::plan::{self, Plan};
use crate::worker::reuse::Known;
use crate::worker::rules::RuleFiles;
use crate::worker::seats::Seat;
use crate::worker::timer::{Timer, UNFINISHED};
use crate::worker::upload::{self, amount, files_of};
use crate::worker::workspace::Workspace;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Pipeline<'a> {
    pub worker: &'a Worker,
    pub seat: &'a Seat,
    pub lease: &'a mut Lease,
    pub log: &'a LogWriter,
    pub workspace: &'a Workspace,
    /// The attempt, whose parts the steps are.
    pub span: &'a Span,
}

/// The source while it is packed, and after. Dropped, the packing stops.
pub(super) struct Packing {
    /// Its length in bytes; `None`: stopped.
    packed: JoinHandle<std::io::Result<Option<u64>>>,
    _guard: DropGuard,
}

/// What is to be published.
struct Built {
    place: Place,
    files: Vec<CollectedFile>,
    rules: Rules,
}

/// How often a server that cannot be reached is asked.
const CLONE_TRIES: u32 = 3;
/// Before hosts are moved again that could not be.
const GO_LIVE_PAUSE: Duration = Duration::from_millis(500);

impl Pipeline<'_> {
    /// Brings the deployment to `ready`. Whatever ends it before, ends it with the row as it was.
    pub async fn run(&mut self) -> Step<()> {
        if let Some(manifest) = self.earlier_manifest().await? {
            self.log.say(StepName::Upload, "An earlier attempt had stored everything: it only goes live.");
            self.advance(Deployment::upload).await?;
            return self.go_live(&manifest, self.span).await;
        }
        let timer = Timer::start("clone", self.span);
        let fetched = self.clone_source().await?;
        timer.stop();

        let timer = Timer::start("build", self.span);
        let packing = self.pack();
        let commit = fetched.commit.clone();
        let now = self.app().clock.now();
        let planning = self.prepare();
        let (advanced, planned) =
            tokio::join!(self.lease.advance(|deployment| deployment.build(now, commit)), planning);
        if !advanced? {
            return Err(Halt::Interrupted);
        }
        let (repository, plan) = planned?;
        let known = self.know(&fetched, &plan).await?;
        let packing = match self.take_over(&known, packing).await? {
            Ok(manifest) => {
                timer.leave();
                return self.go_live(&manifest, self.span).await;
            }
            Err(packing) => packing,
        };
        let building = self.build(&fetched, repository, (&plan, &known), packing, &timer.span);
        let (built, packing, cache) = building.await?;
        timer.stop();

        let timer = Timer::start("upload", self.span);
        let manifest = self.upload(&fetched, (&plan, &known), built, packing).await?;
        self.go_live(&manifest, &timer.span).await?;
        timer.stop();
        self.keep_cache(cache).await;
        Ok(())
    }

    /// Decides what is to be done with what was checked out.
    fn prepare(&self) -> impl Future<Output = Step<(Inside, Plan)>> + use<> {
        let (source, deployment) = (self.workspace.source(), self.lease.deployment().clone());
        let settings = &self.worker.settings;
        let operator = settings.build_env.clone();
        let (machine, brings_tools) = (self.worker.machine.clone(), self.worker.tools.is_some());
        let planning = move || -> Step<(Inside, Plan)> {
            let repository = Inside::open(&source).map_err(Halt::internal)?;
            let request = plan::Request {
                settings: &deployment.settings,
                target: deployment.target,
                variables: (&deployment.env, &operator),
                is_installed: &|program| machine.has(program),
                brings_tools,
            };
            let plan = plan::make(&repository, &request)?;
            Ok((repository, plan))
        };
        async { tokio::task::spawn_blocking(planning).await.map_err(Halt::internal)? }
    }

    fn app(&self) -> &Arc<App> {
        &self.worker.app
    }

    async fn advance(
        &mut self,
        transition: impl FnOnce(Deployment, time::OffsetDateTime) -> Result<Deployment, InvalidTransition>,
    ) -> Step<()> {
        let now = self.app().clock.now();
        let held = self.lease.advance(|deployment| transition(deployment, now)).await?;
        if held { Ok(()) } else { Err(Halt::Interrupted) }
    }

    /// The manifest of an earlier attempt, which fell over between storing it and the end.
    async fn earlier_manifest(&self) -> Step<Option<Manifest>> {
        let deployment = self.lease.deployment();
        if deployment.attempt < 2 {
            return Ok(None);
        }
        let reading = upload::stored_manifest(&*self.app().blobs, deployment.id);
        let read = self.lease.stop().run_until_cancelled(reading).await.ok_or(Halt::Interrupted)?;
        read.map_err(Halt::storage)
    }

    async fn clone_source(&self) -> Step<Fetched> {
        let deployment = self.lease.deployment();
        let source = &deployment.source;
        let named = source.reference.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        self.log.say(StepName::Clone, format!("Cloning {}{named}.", source.repo_url));
        let began = Instant::now();
        let mut tried = 1;
        let fetched = loop {
            match self.fetch(deployment).await {
                Ok(fetched) => break fetched,
                Err(SourceError::Unreachable(reason)) if tried < CLONE_TRIES => {
                    self.log.say(
                        StepName::Clone,
                        format!("The server could not be read ({reason}): trying again."),
                    );
                    let pause = tokio::time::sleep(Duration::from_secs(u64::from(tried)));
                    self.lease.stop().run_until_cancelled(pause).await.ok_or(Halt::Interrupted)?;
                    tried += 1;
                }
                Err(error) => return Err(Halt::source(error, deployment)),
            }
        };
        let Commit { id, message, .. } = &fetched.commit;
        self.log.say(
            StepName::Clone,
            format!(
                "Checked out {} \"{message}\": {}, {}, in {:.1} s.",
                id.get(..7).unwrap_or(id),
                files_of(fetched.files),
                amount(fetched.bytes),
                began.elapsed().as_secs_f64()
            ),
        );
        if !fetched.submodules.is_empty() {
            let some: Vec<&str> = fetched.submodules.iter().take(5).map(String::as_str).collect();
            self.log.say(
                StepName::Clone,
                format!(
                    "Warning: submodules without a URL in .gitmodules are not fetched ({}): their folders are \
                     empty. Add them with git submodule add, or commit their files.",
                    some.join(", ")
                ),
            );
        }
        Ok(fetched)
    }

    async fn fetch(&self, deployment: &Deployment) -> Result<Fetched, SourceError> {
        let into = self.workspace.source();
        let leftover = into.clone();
        // What a try before this one left there.
        let cleared = tokio::task::spawn_blocking(move || super::workspace::remove_tree(&leftover)).await;
        cleared
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| SourceError::Internal(error.to_string()))?;
        let log = self.log.clone();
        let request = FetchRequest {
            repo_url: deployment.source.repo_url.clone(),
            reference: deployment.source.reference.clone(),
            commit: deployment.commit.as_ref().map(|commit| commit.id.clone()),
            token: deployment.source.git_token.clone(),
            into,
            limits: self.worker.settings.fetch,
            progress: Arc::new(move |text| log.say(StepName::Clone, text)),
        };
        self.worker.source.fetch(request, self.lease.stop().clone()).await
    }

    /// Packs the source beside everything that only reads it.
    fn pack(&self) -> Packing {
        let (source, archive, stop) =
            (self.workspace.source(), self.workspace.archive(), self.lease.stop().child_token());
        let guard = stop.clone().drop_guard();
        let packed = tokio::task::spawn_blocking(move || archive::pack(&source, &archive, &stop));
        Packing { packed, _guard: guard }
    }

    /// Runs what is to be run and gathers what is to be published.
    async fn build(
        &self,
        fetched: &Fetched,
        repository: Inside,
        (plan, known): (&Plan, &Known),
        mut packing: Packing,
        span: &Span,
    ) -> Step<(Built, Packing, Option<ProjectCache>)> {
        let routing = Settings::from(&self.lease.deployment().settings);
        let rule_files = RuleFiles::of_project(&repository, &plan.root);
        // What is wrong before the build is told before the build.
        rule_files.compile(routing)?;
        for note in &plan.notes {
            self.log.say(StepName::Build, note);
        }
        let started = self.moment().map_err(Halt::internal)?;
        let mut cache = None;
        if !plan.commands.is_empty() || known.rules.ignore_command.is_some() {
            // What the build writes is not part of the source.
            let packed = packing.packed.await.map_err(std::io::Error::other).flatten();
            packing.packed = tokio::spawn(std::future::ready(packed));
            let dialect = rule_files.dialect(routing);
            cache = self.run_commands(fetched, (plan, known), dialect, span).await?;
        }
        let site = output::find(&repository, plan, started)?;
        let rules = rule_files.with_published(&repository, &site.folder).compile(routing)?;
        for note in &rules.notes {
            self.log.say(StepName::Build, note.to_string());
        }
        let mut collecting = span.part("collect");
        let (files, folder) =
            self.collect(repository, &site).await.inspect_err(|_| collecting.fail(UNFINISHED))?;
        collecting.note("gv.files", files.len() as u64);
        drop(collecting);
        if files.is_empty() {
            return Err(Halt::failed(
                FailureCode::OutputMissing,
                "There is no file to publish. Set output_dir to the folder of the site, or build_command to what makes it.",
            ));
        }
        if !files.iter().any(|file| file.path.as_str() == "index.html") {
            self.log.say(
                StepName::Build,
                "Warning: there is no index.html in what is published: the start page will be a 404.",
            );
        }
        let place = Place { folder: Arc::new(folder), origin: site.origin };
        Ok((Built { place, files, rules: rules.rules }, packing, cache))
    }

    /// The present moment by the file system's clock, which is what files are dated with.
    fn moment(&self) -> std::io::Result<Moment> {
        let marker = self.workspace.root().join("started");
        std::fs::write(&marker, "")?;
        Ok(Moment::of_change(&rustix::fs::stat(&marker)?))
    }

    /// The files, and the folder that they were found in.
    async fn collect(&self, repository: Inside, site: &Site) -> Step<(Vec<CollectedFile>, Inside)> {
        let (folder, origin, limits) = (site.folder.clone(), site.origin, self.worker.settings.collect);
        let stop = self.lease.stop().clone();
        let collecting = move || -> Step<(Vec<CollectedFile>, Inside)> {
            let folder = repository.folder(&folder).map_err(|error| {
                tracing::debug!(%error, folder, "the output folder cannot be opened");
                Halt::failed(
                    FailureCode::OutputInvalid,
                    format!("{folder} is not a folder inside the repository: a link that leads out of it?"),
                )
            })?;
            Ok((collect(&folder, origin, limits, &stop)?, folder))
        };
        tokio::task::spawn_blocking(collecting).await.map_err(Halt::internal)?
    }

    async fn upload(
        &mut self,
        fetched: &Fetched,
        (plan, known): (&Plan, &Known),
        built: Built,
        packing: Packing,
    ) -> Step<Manifest> {
        let Built { place, files, rules } = built;
        // A worker that slept past its lease finds its build done: it stores nothing of it.
        if self.lease.interruption().is_some() {
            return Err(Halt::Interrupted);
        }
        let (app, log, now) = (self.app().clone(), self.log, self.app().clock.now());
        let deployment = self.lease.deployment().clone();
        let stop = self.lease.stop().clone();
        let (archive, origin) = (self.workspace.archive(), place.origin);
        let storing = async {
            tokio::try_join!(
                Box::pin(store_site((&app, log, &deployment), &files, place, &stop)),
                store_source(&app, &deployment, packing, &archive),
            )
        };
        let noting = note_build(&app, &deployment, fetched, plan);
        let fingerprint = known.fingerprint;
        // An earlier attempt may have been about to take something over.
        let built = |next| Deployment { fingerprint, reused: false, ..next };
        let advancing = self.lease.advance(|deployment| deployment.upload(now).map(built));
        let (advanced, stored, ()) = tokio::join!(advancing, stop.run_until_cancelled(storing), noting);
        if !advanced? {
            return Err(Halt::Interrupted);
        }
        let (codings, ()) = stored.ok_or(Halt::Interrupted)??;
        let spa_fallback = plan.framework.and_then(|framework| framework.spa_fallback.as_deref());
        let spa_fallback = spa_fallback.filter(|_| origin == Origin::Build);
        let manifest = upload::manifest(&deployment, (&files, &codings), spa_fallback, rules).ok();
        let fits = |manifest: &Manifest| manifest.encode().len() as u64 <= Manifest::MAX_BYTES;
        let manifest = manifest.filter(fits).ok_or_else(|| {
            Halt::failed(
                FailureCode::LimitExceeded,
                format!(
                    "The list of the site's files and rules is larger than {}: publish fewer files, or shorten their paths.",
                    amount(Manifest::MAX_BYTES)
                ),
            )
        })?;
        if self.lease.interruption().is_some() {
            return Err(Halt::Interrupted);
        }
        upload::store_manifest(&app, manifest).await.map_err(Halt::storage)
    }

    /// Moves the hosts and ends the deployment. From the first try on there is no way back: hosts
    /// may show it already, so that only the loss of the lease still ends it otherwise.
    async fn go_live(&mut self, manifest: &Manifest, within: &Span) -> Step<()> {
        if self.lease.interruption().is_some() {
            return Err(Halt::Interrupted);
        }
        let span = within.part("publish");
        loop {
            match self.app().go_live(self.lease.deployment(), span.context()).await {
                Ok(true) => break,
                // Its row was taken by someone else.
                Ok(false) => return Err(Halt::Interrupted),
                Err(error) if error.kind == StoreErrorKind::Unavailable => {
                    tracing::debug!(%error, "hosts could not be moved yet");
                }
                Err(error) => return Err(Halt::storage(error)),
            }
            tokio::time::sleep(GO_LIVE_PAUSE).await;
            if self.lease.interruption() == Some(Interruption::Lost) {
                return Err(Halt::Interrupted);
            }
        }
        drop(span);
        let (files, bytes) = (manifest.files.len() as u64, manifest.bytes());
        self.log.say(StepName::Upload, format!("Ready: {}, {}.", files_of(files), amount(bytes)));
        super::attempt::finish_log(self.log, self.lease).await;
        self.advance(|deployment, now| deployment.finish(now, files, bytes)).await
    }
}

/// Stores the files and, beside them, their codings.
async fn store_site(
    (app, log, deployment): (&App, &LogWriter, &Deployment),
    files: &[CollectedFile],
    place: Place,
    stop: &CancellationToken,
) -> Step<ByDigest> {
    let (missing, known) =
        tokio::join!(upload::missing(app, deployment, files), codings::known(app, deployment));
    let missing = missing.map_err(Halt::storage)?;
    let (whose, folder) = ((app, log, deployment), Arc::clone(&place.folder));
    let stored = tokio::try_join!(
        upload::store_files(whose, files, &missing, &folder),
        codings::store(whose, files, (&known, &missing), place, stop),
    );
    let ((), codings) = stored.map_err(Halt::storage)?;
    Ok(codings)
}

pub(super) async fn store_source(
    app: &App,
    deployment: &Deployment,
    packing: Packing,
    archive: &Path,
) -> Step<()> {
    let packed = packing.packed.await.map_err(std::io::Error::other).flatten().map_err(Halt::internal)?;
    let len = packed.ok_or(Halt::Interrupted)?;
    upload::store_source(app, deployment, archive.to_owned(), len).await.map_err(Halt::storage)
}

/// What the project learns from a build is a convenience: its loss fails nothing.
async fn note_build(app: &App, deployment: &Deployment, fetched: &Fetched, plan: &Plan) {
    let slug = plan.framework.map(|framework| framework.slug.as_str());
    let framework = slug.or(plan.commands.is_empty().then_some("static"));
    let noted =
        app.database.note_build(deployment.project, framework, fetched.default_branch.as_deref()).await;
    if let Err(error) = noted {
        tracing::warn!(%error, "the project's framework could not be noted");
    }
}
