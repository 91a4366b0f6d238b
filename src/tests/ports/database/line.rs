//! The line of what waits: whose turn it is, how much of one account runs and waits, what a newer one does.

use super::contracts_of_two;

contracts_of_two! {
    next_is_the_oldest_of_the_account_that_has_the_fewest_running
    an_account_that_has_as_many_running_as_it_may_is_passed_over
    of_claims_at_once_for_one_account_only_so_many_win
    places_are_those_in_which_deployments_would_be_taken
    a_place_asked_for_alone_is_that_among_all
    a_deployment_whose_lease_is_over_is_in_the_line_again
    an_account_has_so_many_waiting
    a_newer_deployment_of_the_branch_calls_off_what_waits
    a_newer_deployment_may_stop_what_is_built
    what_was_made_of_the_same_is_found_while_it_is_ready
}

mod contracts {
    use crate::ports::database::{
        ANY, LONG, OVER, account, advance, commit, deployment, digest, now, submit, take,
    };
    use futures_util::future::join_all;
    use gv::domain::deployment::{Deployment, SourceRequest, State, Target};
    use gv::domain::failure::FailureCode;
    use gv::domain::id::DeploymentId;
    use gv::domain::project::Project;
    use gv::domain::repo::GitRef;
    use gv::ports::database::Database;
    use gv::ports::deployments::{Claim, IdempotencyKey, Renewal, Submitted};
    use rand::Rng;

    async fn some(db: &dyn Database, project: &Project, count: usize) -> Vec<Deployment> {
        let mut queued = Vec::new();
        for _ in 0..count {
            queued.push(submit(db, deployment(project)).await);
        }
        queued
    }

    async fn next(db: &dyn Database, account_builds: u32) -> Option<DeploymentId> {
        db.next_in_line(account_builds).await.unwrap()
    }

    pub(super) async fn next_is_the_oldest_of_the_account_that_has_the_fewest_running(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        assert_eq!(next(db, ANY).await, None);
        let many = some(db, &blog, 3).await;
        let few = some(db, &shop, 1).await;
        let mut taken = Vec::new();
        while let Some(id) = next(db, ANY).await {
            taken.push(id);
            assert!(matches!(db.claim(id, "ada", LONG, now(), ANY).await.unwrap(), Claim::Taken(_)));
        }
        assert_eq!(taken, [many[0].id, few[0].id, many[1].id, many[2].id]);
    }

    pub(super) async fn an_account_that_has_as_many_running_as_it_may_is_passed_over(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        let many = some(db, &blog, 3).await;
        let held = take(db, &many[0], "ada", LONG).await;
        assert_eq!(next(db, 1).await, None);
        assert_eq!(db.claim(many[1].id, "ada", LONG, now(), 1).await.unwrap(), Claim::AccountBusy);
        let few = some(db, &shop, 1).await;
        assert_eq!(next(db, 1).await, Some(few[0].id));
        advance(db, held.cancel(now()).unwrap()).await;
        assert_eq!(next(db, 1).await, Some(many[1].id));
    }

    pub(super) async fn of_claims_at_once_for_one_account_only_so_many_win(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let many = some(one, &blog, 10).await;
        let claims = many.iter().zip([one, two].into_iter().cycle());
        let claims = join_all(claims.map(|(waiting, db)| db.claim(waiting.id, "ada", LONG, now(), 3))).await;
        let taken = claims.into_iter().filter(|claim| matches!(claim, Ok(Claim::Taken(_)))).count();
        assert_eq!(taken, 3);
    }

    pub(super) async fn places_are_those_in_which_deployments_would_be_taken(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        let many = some(db, &blog, 4).await;
        let few = some(db, &shop, 2).await;
        take(db, &many[0], "ada", LONG).await;
        let ids: Vec<_> = many.iter().chain(&few).map(|one| one.id).collect();
        let mut places = db.places(&ids).await.unwrap();
        places.sort_by_key(|place| place.position);
        let order: Vec<_> = places.iter().map(|place| place.deployment).collect();
        // shop has none running, blog one.
        assert_eq!(order, [few[0].id, many[1].id, few[1].id, many[2].id, many[3].id]);
        assert_eq!(places.iter().map(|place| place.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!((places[0].account_running, places[1].account_running), (0, 1));
        for place in &places {
            assert_eq!(db.places(&[place.deployment]).await.unwrap(), [*place], "asked for alone");
        }
        assert!(db.places(&[many[0].id]).await.unwrap().is_empty(), "it does not wait");
        assert!(db.places(&[]).await.unwrap().is_empty());
    }

    pub(super) async fn a_place_asked_for_alone_is_that_among_all(db: &dyn Database, _: &dyn Database) {
        let mut rng = crate::support::chance::seeded();
        let mut projects = Vec::new();
        for name in ["blog", "shop", "news", "wiki"] {
            projects.push(account(db, name).await);
        }
        let mut ids = Vec::new();
        for _ in 0..30 {
            let project = &projects[rng.random_range(0..projects.len())];
            let queued = submit(db, deployment(project)).await;
            ids.push(queued.id);
            if rng.random_bool(0.3) {
                take(db, &queued, "ada", LONG).await;
            }
        }
        let among_all = db.places(&ids).await.unwrap();
        assert!(among_all.len() > 10);
        for id in ids {
            let alone = db.places(&[id]).await.unwrap();
            let known: Vec<_> = among_all.iter().filter(|place| place.deployment == id).copied().collect();
            assert_eq!(alone, known);
        }
        // Whoever is first by its place is next.
        let first = among_all.iter().find(|place| place.position == 1).unwrap();
        assert_eq!(next(db, ANY).await, Some(first.deployment));
    }

    pub(super) async fn a_deployment_whose_lease_is_over_is_in_the_line_again(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let waiting = some(db, &blog, 2).await;
        take(db, &waiting[0], "ada", OVER).await;
        assert_eq!(next(db, 1).await, Some(waiting[0].id));
    }

    pub(super) async fn an_account_has_so_many_waiting(db: &dyn Database, _: &dyn Database) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        let on = |branch: &str| {
            let mut wanted = deployment(&blog);
            wanted.source.reference = GitRef::parse(branch).ok();
            wanted
        };
        let first = submit(db, on("a")).await;
        submit(db, on("b")).await;
        let key = IdempotencyKey { key: "once".into(), fingerprint: digest("a") };
        let full = db.submit(on("c"), Some(&key), 2).await.unwrap();
        assert_eq!(full, Submitted::LineFull(2));
        assert!(matches!(db.submit(on("b"), None, 2).await.unwrap(), Submitted::New(_)), "it takes a place");
        let other = db.submit(deployment(&shop), None, 2).await.unwrap();
        assert!(matches!(other, Submitted::New(_)), "each account has its own room");
        take(db, &first, "ada", LONG).await;
        db.request_cancel(blog.account, first.id, now()).await.unwrap();
        let again = db.submit(on("c"), Some(&key), 3).await.unwrap();
        assert!(matches!(again, Submitted::New(_)), "and the key was not used up");
    }

    pub(super) async fn a_newer_deployment_of_the_branch_calls_off_what_waits(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let on = |branch: &str, target| Deployment {
            target,
            source: SourceRequest { reference: GitRef::parse(branch).ok(), ..deployment(&blog).source },
            ..deployment(&blog)
        };
        let held = submit(db, on("main", Target::Production)).await;
        take(db, &held, "ada", LONG).await;
        let older = submit(db, on("main", Target::Production)).await;
        let others = [
            submit(db, on("main", Target::Preview)).await,
            submit(db, on("other", Target::Production)).await,
            submit(db, deployment(&blog)).await,
        ];
        let newer = submit(db, on("main", Target::Production)).await;
        let superseded = db.supersede(&newer, false, now()).await.unwrap();
        assert_eq!((superseded.called_off, superseded.told), (vec![older.id], vec![]));
        let ended = db.find_deployment(blog.account, older.id).await.unwrap().unwrap();
        let State::Canceled { reason: Some(reason), .. } = ended.state else { panic!("{:?}", ended.state) };
        assert_eq!(reason.code, FailureCode::Superseded);
        assert!(reason.message.contains(&newer.id.to_string()), "{}", reason.message);
        for other in others.iter().chain([&newer]) {
            let found = db.find_deployment(blog.account, other.id).await.unwrap().unwrap();
            assert_eq!(found.state, State::Queued);
        }
    }

    pub(super) async fn a_newer_deployment_may_stop_what_is_built(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let queued = submit(db, deployment(&blog)).await;
        let held = take(db, &queued, "ada", LONG).await;
        let newer = submit(db, deployment(&blog)).await;
        let superseded = db.supersede(&newer, true, now()).await.unwrap();
        assert_eq!((superseded.called_off, superseded.told), (vec![], vec![held.id]));
        let renewed = db.renew(held.id, held.attempt, LONG).await.unwrap();
        assert_eq!(renewed, Renewal::Held { cancel_requested: true });
    }

    pub(super) async fn what_was_made_of_the_same_is_found_while_it_is_ready(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        let made_of = digest("these");
        let build = async |project: &Project| {
            let queued = submit(db, deployment(project)).await;
            let held = take(db, &queued, "ada", LONG).await;
            let held = advance(db, held.build(now(), commit()).unwrap()).await;
            let next = held.upload(now()).unwrap();
            advance(db, Deployment { fingerprint: Some(made_of), ..next }).await
        };
        let first = build(&blog).await;
        let find = async |project: &Project| {
            let found = db.find_built(project.account, project.id, &made_of).await.unwrap();
            found.map(|found| found.id)
        };
        assert_eq!(find(&blog).await, None, "it is not ready");
        let first = advance(db, first.finish(now(), 1, 2).unwrap()).await;
        assert_eq!(find(&blog).await, Some(first.id));
        let second = build(&blog).await;
        let second = advance(db, second.finish(now(), 1, 2).unwrap()).await;
        assert_eq!(find(&blog).await, Some(second.id));
        db.delete_deployment(blog.account, second.id).await.unwrap();
        assert_eq!(find(&blog).await, Some(first.id));
        assert_eq!(find(&shop).await, None);
        let found = db.find_built(shop.account, blog.id, &made_of).await.unwrap();
        assert_eq!(found, None, "another account's");
    }
}
