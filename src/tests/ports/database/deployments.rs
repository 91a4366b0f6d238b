//! Deployments as people meet them.

use super::contracts_of_two;

contracts_of_two! {
    a_deployment_comes_back_as_it_was_submitted
    a_deployment_comes_back_as_it_was_written_in_every_state
    another_accounts_deployments_are_absent
    deployments_are_paged_newest_first_and_filtered
    the_deployment_before_is_the_newest_ready_production_one
    a_key_repeats_its_submission_and_refuses_another_one
    a_key_is_its_accounts_own
    a_key_is_forgotten_after_a_day
    a_key_whose_deployment_was_deleted_stays_taken
    of_submissions_at_once_with_one_key_exactly_one_is_stored
    of_submissions_at_once_with_an_expired_key_exactly_one_is_stored
    a_submission_to_a_project_that_is_gone_stores_nothing
    a_queued_deployment_is_cancelled_at_once
    a_held_deployment_is_left_word_and_its_holder_can_still_write
    an_ended_deployment_stays_as_it_is_when_cancelled
    only_ended_deployments_that_are_not_in_production_are_deleted
    deleting_a_deployment_empties_the_hosts_that_showed_it
    the_number_of_a_deleted_deployment_is_not_given_again
}

mod contracts {
    use crate::ports::database::{
        ANY, LONG, account, advance, claim, commit, deployment, digest, host, now, production, ready,
        seconds, submit, take,
    };
    use futures_util::future::join_all;
    use gv::domain::deployment::{Deployment, SourceRequest, State, StateName, Target};
    use gv::domain::failure::{Failure, FailureCode};
    use gv::domain::host::HostKind;
    use gv::domain::project::Project;
    use gv::domain::repo::{GitRef, RepoUrl};
    use gv::domain::secret::Secret;
    use gv::domain::settings::{BuildSettings, RelativeDir, Variables};
    use gv::ports::database::Database;
    use gv::ports::deployments::{Deletion, DeploymentFilter, IdempotencyKey, Renewal, Submitted};
    use gv::ports::projects::ProjectDeletion;
    use std::collections::BTreeMap;

    const ALL: DeploymentFilter = DeploymentFilter { project: None, state: None };

    fn key(request: &str) -> IdempotencyKey {
        IdempotencyKey { key: "once".into(), fingerprint: digest(request) }
    }

    async fn list(db: &dyn Database, project: &Project) -> Vec<Deployment> {
        db.list_deployments(project.account, ALL, None, 100).await.unwrap()
    }

    pub(super) async fn a_deployment_comes_back_as_it_was_submitted(one: &dyn Database, two: &dyn Database) {
        let blog = account(one, "blog").await;
        let submitted = Deployment {
            target: Target::Preview,
            source: SourceRequest {
                repo_url: RepoUrl::parse("https://example.com/site.git").unwrap(),
                reference: GitRef::parse("feature/x").ok(),
                git_token: Some(Secret::new("token")),
            },
            settings: BuildSettings { root_dir: RelativeDir::parse("web").ok(), ..Default::default() },
            env: Variables::parse(BTreeMap::from([("KEY".into(), "line\nÿ\"".into())])).unwrap(),
            ..deployment(&blog)
        };
        let stored = submit(one, submitted.clone()).await;
        assert!(stored.seq > 0);
        assert_eq!(stored, Deployment { seq: stored.seq, ..submitted });
        assert_eq!(two.find_deployment(blog.account, stored.id).await.unwrap(), Some(stored));
    }

    pub(super) async fn a_deployment_comes_back_as_it_was_written_in_every_state(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let mut submitted = deployment(&blog);
        submitted.source.git_token = Some(Secret::new("token"));
        let check = async |written: &Deployment, stored: Deployment| {
            let expected = Deployment { revision: written.revision + 1, ..written.clone() };
            assert_eq!(stored, expected);
            assert_eq!(db.find_deployment(blog.account, stored.id).await.unwrap(), Some(stored));
        };
        let at = |s| now() + seconds(s);
        let queued = submit(db, submitted.clone()).await;
        let taken = take(db, &queued, "worker", LONG).await;
        check(&queued.take(now()).unwrap(), taken.clone()).await;
        let next = taken.build(at(1), commit()).unwrap();
        let stored = advance(db, next.clone()).await;
        check(&next, stored.clone()).await;
        let mut next = stored.upload(at(2)).unwrap();
        next.reused = true;
        let stored = advance(db, next.clone()).await;
        check(&next, stored.clone()).await;
        assert!(stored.source.git_token.is_some());
        let mut next = stored.finish(at(3), 7, u64::from(u32::MAX) * 9).unwrap();
        let stored = advance(db, next.clone()).await;
        next.source.git_token = None;
        check(&next, stored).await;

        let failing = submit(db, deployment(&blog)).await;
        let failure = Failure::new(FailureCode::BuildFailed, "`npm run build` exited with 1: see the log");
        let next = failing.fail(at(4), failure).unwrap();
        check(&next.clone(), advance(db, next).await).await;
        let cancelled = submit(db, deployment(&blog)).await;
        let next = cancelled.cancel(at(5)).unwrap();
        check(&next.clone(), advance(db, next).await).await;
    }

    pub(super) async fn another_accounts_deployments_are_absent(db: &dyn Database, _: &dyn Database) {
        let (blog, evil) = (account(db, "blog").await, account(db, "evil").await);
        let (eve, mine) = (evil.account, ready(db, &blog).await);
        let queued = submit(db, deployment(&blog)).await;
        assert_eq!(db.find_deployment(eve, mine.id).await.unwrap(), None);
        assert_eq!(list(db, &evil).await, []);
        let of_project = DeploymentFilter { project: Some(blog.id), state: None };
        assert_eq!(db.list_deployments(eve, of_project, None, 10).await.unwrap(), []);
        assert_eq!(db.previous_ready(eve, blog.id, i64::MAX).await.unwrap(), None);
        assert_eq!(db.request_cancel(eve, queued.id, now()).await.unwrap(), None);
        assert_eq!(db.delete_deployment(eve, mine.id).await.unwrap(), Deletion::NotFound);
        assert_eq!(list(db, &blog).await, [queued, mine]);
    }

    pub(super) async fn deployments_are_paged_newest_first_and_filtered(db: &dyn Database, _: &dyn Database) {
        let (blog, other) = (account(db, "blog").await, account(db, "other").await);
        let mut submitted = Vec::new();
        for _ in 0..5 {
            submitted.push(submit(db, deployment(&blog)).await);
            submit(db, deployment(&other)).await;
        }
        submitted.reverse();
        let mut seen: Vec<Deployment> = Vec::new();
        loop {
            let before = seen.last().map(|last| last.seq);
            let page = db.list_deployments(blog.account, ALL, before, 2).await.unwrap();
            assert!(page.len() <= 2);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, submitted);
        let cancelled = db.request_cancel(blog.account, submitted[1].id, now()).await.unwrap().unwrap();
        let filter = |state| DeploymentFilter { project: Some(blog.id), state: Some(state) };
        let found = async |filter| db.list_deployments(blog.account, filter, None, 10).await.unwrap();
        assert_eq!(found(filter(StateName::Canceled)).await, [cancelled]);
        assert_eq!(found(filter(StateName::Queued)).await.len(), 4);
        assert_eq!(found(DeploymentFilter { project: Some(other.id), state: None }).await, []);
    }

    pub(super) async fn the_deployment_before_is_the_newest_ready_production_one(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let first = ready(db, &blog).await;
        let second = ready(db, &blog).await;
        let preview = submit(db, Deployment { target: Target::Preview, ..deployment(&blog) }).await;
        let taken = take(db, &preview, "worker", LONG).await;
        let uploading = advance(db, taken.upload(now()).unwrap()).await;
        advance(db, uploading.finish(now(), 1, 1).unwrap()).await;
        let failed = submit(db, deployment(&blog)).await;
        let failure = Failure::new(FailureCode::BuildFailed, "it did");
        advance(db, failed.fail(now(), failure).unwrap()).await;
        let last = ready(db, &blog).await;
        let before = async |seq| db.previous_ready(blog.account, blog.id, seq).await.unwrap();
        assert_eq!(before(last.seq).await, Some(second.clone()));
        assert_eq!(before(second.seq).await, Some(first.clone()));
        assert_eq!(before(first.seq).await, None);
    }

    pub(super) async fn a_key_repeats_its_submission_and_refuses_another_one(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let first = db.submit(deployment(&blog), Some(&key("a")), ANY).await.unwrap();
        let Submitted::New(first) = first else { panic!("{first:?}") };
        let repeated = db.submit(deployment(&blog), Some(&key("a")), ANY).await.unwrap();
        assert_eq!(repeated, Submitted::Repeated(first.clone()));
        assert_eq!(db.submit(deployment(&blog), Some(&key("b")), ANY).await.unwrap(), Submitted::KeyTaken);
        assert_eq!(list(db, &blog).await, [first]);
        submit(db, deployment(&blog)).await;
    }

    pub(super) async fn a_key_is_its_accounts_own(db: &dyn Database, _: &dyn Database) {
        for name in ["blog", "other"] {
            let project = account(db, name).await;
            let submitted = db.submit(deployment(&project), Some(&key("a")), ANY).await.unwrap();
            assert!(matches!(submitted, Submitted::New(_)), "{submitted:?}");
        }
    }

    pub(super) async fn a_key_is_forgotten_after_a_day(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let later =
            |hours: i64| Deployment { created_at: now() + seconds(hours * 3_600), ..deployment(&blog) };
        let first = db.submit(later(0), Some(&key("a")), ANY).await.unwrap();
        let Submitted::New(first) = first else { panic!("{first:?}") };
        let within = db.submit(later(23), Some(&key("a")), ANY).await.unwrap();
        assert_eq!(within, Submitted::Repeated(first));
        let after = db.submit(later(24), Some(&key("b")), ANY).await.unwrap();
        let Submitted::New(after) = after else { panic!("{after:?}") };
        assert_eq!(db.submit(later(25), Some(&key("b")), ANY).await.unwrap(), Submitted::Repeated(after));
    }

    pub(super) async fn a_key_whose_deployment_was_deleted_stays_taken(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let first = db.submit(deployment(&blog), Some(&key("a")), ANY).await.unwrap();
        let Submitted::New(first) = first else { panic!("{first:?}") };
        db.request_cancel(blog.account, first.id, now()).await.unwrap();
        assert_eq!(db.delete_deployment(blog.account, first.id).await.unwrap(), Deletion::Deleted(vec![]));
        assert_eq!(db.submit(deployment(&blog), Some(&key("a")), ANY).await.unwrap(), Submitted::KeyTaken);
        assert_eq!(list(db, &blog).await, []);
    }

    /// Twelve at once; says what the one that was stored is.
    async fn race(one: &dyn Database, two: &dyn Database, submission: &Deployment) -> Deployment {
        let key = key("a");
        let submissions = [one, two].into_iter().cycle().take(12).map(|db| {
            let id = gv::domain::id::DeploymentId::new(now(), &mut rand::rng());
            db.submit(Deployment { id, ..submission.clone() }, Some(&key), ANY)
        });
        let done: Vec<_> = join_all(submissions).await.into_iter().map(Result::unwrap).collect();
        let new: Vec<_> = done.iter().filter(|done| matches!(done, Submitted::New(_))).collect();
        let [Submitted::New(new)] = new.as_slice() else { panic!("{done:?}") };
        let repeated = done.iter().filter(|done| **done == Submitted::Repeated((*new).clone()));
        assert_eq!(repeated.count(), 11);
        new.clone()
    }

    pub(super) async fn of_submissions_at_once_with_one_key_exactly_one_is_stored(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let new = race(one, two, &deployment(&blog)).await;
        assert_eq!(list(one, &blog).await, [new]);
    }

    pub(super) async fn of_submissions_at_once_with_an_expired_key_exactly_one_is_stored(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        one.submit(deployment(&blog), Some(&key("a")), ANY).await.unwrap();
        let later = Deployment { created_at: now() + time::Duration::days(2), ..deployment(&blog) };
        let new = race(one, two, &later).await;
        assert_eq!(list(one, &blog).await.len(), 2);
        assert_eq!(list(one, &blog).await[0], new);
    }

    pub(super) async fn a_submission_to_a_project_that_is_gone_stores_nothing(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let gone = db.delete_project(blog.account, &blog.name).await.unwrap();
        assert!(matches!(gone, ProjectDeletion::Deleted { .. }), "{gone:?}");
        assert!(db.submit(deployment(&blog), Some(&key("a")), ANY).await.is_err());
        let again = db.insert_project(blog.clone(), &production("blog")).await.unwrap();
        let submitted = db.submit(deployment(&again), Some(&key("a")), ANY).await.unwrap();
        assert!(matches!(submitted, Submitted::New(_)), "the key was not used up: {submitted:?}");
    }

    pub(super) async fn a_queued_deployment_is_cancelled_at_once(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let mut queued = deployment(&blog);
        queued.source.git_token = Some(Secret::new("token"));
        let queued = submit(db, queued).await;
        let cancelled = db.request_cancel(blog.account, queued.id, now()).await.unwrap().unwrap();
        assert_eq!(cancelled.state, State::Canceled { at: now(), reason: None });
        assert_eq!(cancelled.source.git_token, None);
        assert_eq!(cancelled.revision, queued.revision + 1);
        assert_eq!(db.find_deployment(blog.account, queued.id).await.unwrap(), Some(cancelled));
        assert_eq!(db.advance(queued.take(now()).unwrap()).await.unwrap(), None);
    }

    pub(super) async fn a_held_deployment_is_left_word_and_its_holder_can_still_write(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let queued = submit(one, deployment(&blog)).await;
        let taken = take(one, &queued, "worker", LONG).await;
        let asked = two.request_cancel(blog.account, queued.id, now()).await.unwrap().unwrap();
        assert_eq!(asked, Deployment { cancel_requested: true, ..taken.clone() });
        let renewed = one.renew(taken.id, taken.attempt, LONG).await.unwrap();
        assert_eq!(renewed, Renewal::Held { cancel_requested: true });
        let building = advance(one, taken.build(now(), commit()).unwrap()).await;
        assert!(building.cancel_requested, "the holder's write did not know of it and keeps it");
        let ended = advance(one, building.cancel(now()).unwrap()).await;
        assert_eq!(ended.state, State::Canceled { at: now(), reason: None });
    }

    pub(super) async fn an_ended_deployment_stays_as_it_is_when_cancelled(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let done = ready(db, &blog).await;
        assert_eq!(db.request_cancel(blog.account, done.id, now()).await.unwrap(), Some(done));
    }

    pub(super) async fn only_ended_deployments_that_are_not_in_production_are_deleted(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let first = ready(db, &blog).await;
        let live = ready(db, &blog).await;
        db.assign(&live, &[production("blog")]).await.unwrap().unwrap();
        let queued = submit(db, deployment(&blog)).await;
        let delete = async |id| db.delete_deployment(blog.account, id).await.unwrap();
        assert_eq!(delete(queued.id).await, Deletion::NotEnded);
        assert_eq!(delete(live.id).await, Deletion::InProduction);
        assert_eq!(delete(first.id).await, Deletion::Deleted(vec![]));
        assert_eq!(delete(first.id).await, Deletion::NotFound);
        assert_eq!(list(db, &blog).await, [queued, live]);
    }

    pub(super) async fn deleting_a_deployment_empties_the_hosts_that_showed_it(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let old = ready(db, &blog).await;
        let claims = [claim(HostKind::Branch, "blog-git-x", "x"), claim(HostKind::Deployment, "blog-1", "y")];
        let shown = db.assign(&old, &claims).await.unwrap().unwrap();
        let Deletion::Deleted(emptied) = db.delete_deployment(blog.account, old.id).await.unwrap() else {
            panic!("it had ended")
        };
        let hosts: Vec<_> = emptied.iter().map(|record| record.host.clone()).collect();
        assert_eq!(hosts, [host("blog-1"), host("blog-git-x")]);
        for record in &emptied {
            let before = shown.iter().find(|shown| shown.host == record.host).unwrap();
            assert_eq!((record.deployment, record.project), (None, Some(blog.id)));
            assert_eq!(record.revision, before.revision + 1);
            assert_eq!(db.find_host(&record.host).await.unwrap().as_ref(), Some(record));
        }
        assert_eq!(db.hosts_of(&[old.id]).await.unwrap(), []);
    }

    pub(super) async fn the_number_of_a_deleted_deployment_is_not_given_again(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let newest = submit(db, deployment(&blog)).await;
        db.request_cancel(blog.account, newest.id, now()).await.unwrap();
        db.delete_deployment(blog.account, newest.id).await.unwrap();
        assert!(submit(db, deployment(&blog)).await.seq > newest.seq);
    }
}
