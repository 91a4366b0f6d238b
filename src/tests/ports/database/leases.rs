//! Leases: who works on a deployment, and that nobody else does.

use super::contracts_of_two;

contracts_of_two! {
    of_workers_that_claim_at_once_one_wins
    a_held_deployment_is_not_taken_and_an_ended_one_is_over
    a_lease_that_ran_out_is_taken_over_and_counted_as_a_loss
    of_workers_that_take_over_at_once_one_wins
    a_worker_that_woke_too_late_changes_nothing
    a_late_lease_that_nobody_took_is_held_on_to
    renewing_keeps_others_away_and_does_not_disturb_the_holders_writes
    of_writes_from_one_revision_one_is_done
    giving_back_ends_the_lease_and_keeps_the_commit
    an_ended_deployment_has_no_lease_to_renew
    only_what_nobody_holds_and_nobody_announced_is_given_oldest_first
    each_deployment_is_given_to_one_announcer
    the_leases_of_a_dead_worker_end_at_once
    the_backlog_counts_what_waits
    of_each_account_no_more_waits_than_it_has_free_places
    what_a_dead_worker_held_waits_since_its_lease_ran_out
    what_no_key_opens_fails_in_words_and_stands_in_nobodys_way
}

mod contracts {
    use crate::ports::database::{
        ANY, LONG, OVER, account, advance, commit, deployment, now, ready, submit, take,
    };
    use futures_util::future::join_all;
    use gv::domain::deployment::{Deployment, State, StateName};
    use gv::domain::failure::{Failure, FailureCode};
    use gv::domain::id::DeploymentId;
    use gv::domain::settings::Variables;
    use gv::ports::database::Database;
    use gv::ports::deployments::{Backlog, Claim, Deployments, Renewal};
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    async fn queued(db: &dyn Database) -> Deployment {
        let blog = account(db, "blog").await;
        submit(db, deployment(&blog)).await
    }

    /// Claims by ten workers at once, of which one must win.
    async fn race(one: &dyn Database, two: &dyn Database, id: DeploymentId) -> Deployment {
        let workers: Vec<_> = (0..10).map(|i| format!("worker{i}")).collect();
        let claims = workers.iter().zip([one, two].into_iter().cycle());
        let claims = join_all(claims.map(|(worker, db)| db.claim(id, worker, LONG, now(), ANY))).await;
        let mut taken = Vec::new();
        for claim in claims {
            match claim.unwrap() {
                Claim::Taken(deployment) => taken.push(*deployment),
                Claim::Held | Claim::AccountBusy => {}
                Claim::Over | Claim::Locked => panic!("it has not ended"),
            }
        }
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    pub(super) async fn of_workers_that_claim_at_once_one_wins(one: &dyn Database, two: &dyn Database) {
        let waiting = queued(one).await;
        let taken = race(one, two, waiting.id).await;
        assert_eq!((taken.attempt, taken.losses, taken.revision), (1, 0, waiting.revision + 1));
        assert_eq!(taken.state, State::Cloning { since: now() });
    }

    pub(super) async fn a_held_deployment_is_not_taken_and_an_ended_one_is_over(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let waiting = queued(db).await;
        let taken = take(db, &waiting, "ada", LONG).await;
        assert_eq!(db.claim(waiting.id, "eve", LONG, now(), ANY).await.unwrap(), Claim::Held);
        assert_eq!(db.claim(waiting.id, "ada", LONG, now(), ANY).await.unwrap(), Claim::Held);
        advance(db, taken.cancel(now()).unwrap()).await;
        assert_eq!(db.claim(waiting.id, "eve", LONG, now(), ANY).await.unwrap(), Claim::Over);
        let unknown = DeploymentId::new(now(), &mut rand::rng());
        assert_eq!(db.claim(unknown, "eve", LONG, now(), ANY).await.unwrap(), Claim::Over);
    }

    pub(super) async fn a_lease_that_ran_out_is_taken_over_and_counted_as_a_loss(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let waiting = queued(one).await;
        let first = take(one, &waiting, "ada", Duration::from_millis(50)).await;
        let building = advance(one, first.build(now(), commit()).unwrap()).await;
        // As a sweeper would, until the database says that the lease is over.
        let taken = loop {
            match two.claim(waiting.id, "eve", LONG, now(), ANY).await.unwrap() {
                Claim::Taken(taken) => break *taken,
                Claim::Held | Claim::AccountBusy => tokio::time::sleep(Duration::from_millis(10)).await,
                Claim::Over | Claim::Locked => panic!("it has not ended"),
            }
        };
        assert_eq!((taken.attempt, taken.losses), (2, 1));
        assert_eq!((taken.state.name(), taken.commit.clone()), (StateName::Cloning, Some(commit())));
        assert!(taken.revision > building.revision);
    }

    pub(super) async fn of_workers_that_take_over_at_once_one_wins(one: &dyn Database, two: &dyn Database) {
        let waiting = queued(one).await;
        take(one, &waiting, "ada", OVER).await;
        let taken = race(one, two, waiting.id).await;
        assert_eq!((taken.attempt, taken.losses), (2, 1));
    }

    pub(super) async fn a_worker_that_woke_too_late_changes_nothing(one: &dyn Database, two: &dyn Database) {
        let waiting = queued(one).await;
        let late = take(one, &waiting, "ada", OVER).await;
        let holder = take(two, &waiting, "eve", LONG).await;
        assert_eq!(one.renew(late.id, late.attempt, LONG).await.unwrap(), Renewal::Lost);
        let next = late.clone().build(now(), commit()).unwrap();
        assert_eq!(one.advance(next).await.unwrap(), None);
        assert_eq!(one.advance(late.clone().give_back().unwrap()).await.unwrap(), None);
        let failure = Failure::new(FailureCode::Internal, "late");
        assert_eq!(one.advance(late.clone().fail(now(), failure).unwrap()).await.unwrap(), None);
        assert_eq!(one.assign(&late, &[]).await.unwrap(), None, "it moves no host either");
        let found = one.find_deployment(late.account, late.id).await.unwrap();
        assert_eq!(found, Some(holder.clone()));
        let renewed = two.renew(holder.id, holder.attempt, LONG).await.unwrap();
        assert_eq!(renewed, Renewal::Held { cancel_requested: false });
    }

    pub(super) async fn a_late_lease_that_nobody_took_is_held_on_to(db: &dyn Database, _: &dyn Database) {
        let waiting = queued(db).await;
        let late = take(db, &waiting, "ada", OVER).await;
        let renewed = db.renew(late.id, late.attempt, LONG).await.unwrap();
        assert_eq!(renewed, Renewal::Held { cancel_requested: false });
        assert_eq!(db.claim(late.id, "eve", LONG, now(), ANY).await.unwrap(), Claim::Held);
    }

    pub(super) async fn renewing_keeps_others_away_and_does_not_disturb_the_holders_writes(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let waiting = queued(one).await;
        let mut taken = take(one, &waiting, "ada", OVER).await;
        for _ in 0..3 {
            let renewed = two.renew(taken.id, taken.attempt, LONG).await.unwrap();
            assert_eq!(renewed, Renewal::Held { cancel_requested: false });
        }
        taken = advance(one, taken.build(now(), commit()).unwrap()).await;
        two.renew(taken.id, taken.attempt, LONG).await.unwrap();
        taken = advance(one, taken.upload(now()).unwrap()).await;
        assert_eq!(
            two.claim(taken.id, "eve", LONG, now(), ANY).await.unwrap(),
            Claim::Held,
            "a write keeps it"
        );
    }

    pub(super) async fn of_writes_from_one_revision_one_is_done(one: &dyn Database, two: &dyn Database) {
        let waiting = queued(one).await;
        let taken = take(one, &waiting, "ada", LONG).await;
        let next = taken.build(now(), commit()).unwrap();
        let writes = [one, two].into_iter().cycle().take(8).map(|db| db.advance(next.clone()));
        let written: Vec<_> = join_all(writes).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(written, [Deployment { revision: next.revision + 1, ..next }]);
    }

    pub(super) async fn giving_back_ends_the_lease_and_keeps_the_commit(db: &dyn Database, _: &dyn Database) {
        let waiting = queued(db).await;
        let taken = take(db, &waiting, "ada", LONG).await;
        let building = advance(db, taken.build(now(), commit()).unwrap()).await;
        let back = advance(db, building.give_back().unwrap()).await;
        assert_eq!(back.state, State::Queued);
        assert_eq!(db.renew(back.id, back.attempt, LONG).await.unwrap(), Renewal::Lost);
        assert_eq!(db.take_unannounced(LONG, 10).await.unwrap(), [back.id], "it is to be announced anew");
        let again = take(db, &back, "eve", LONG).await;
        assert_eq!((again.attempt, again.losses, again.commit), (2, 0, Some(commit())));
    }

    pub(super) async fn an_ended_deployment_has_no_lease_to_renew(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let done = ready(db, &blog).await;
        assert_eq!(db.renew(done.id, done.attempt, LONG).await.unwrap(), Renewal::Lost);
        assert_eq!(db.abandon("worker").await.unwrap(), 0);
        assert_eq!(db.take_unannounced(OVER, 10).await.unwrap(), []);
    }

    pub(super) async fn only_what_nobody_holds_and_nobody_announced_is_given_oldest_first(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(submit(db, deployment(&blog)).await);
        }
        let [first, held, lost, last] = waiting.each();
        take(db, held, "ada", LONG).await;
        take(db, lost, "ada", OVER).await;
        ready(db, &blog).await;
        assert_eq!(db.take_unannounced(LONG, 10).await.unwrap(), [lost.id], "submitting announces");
        assert_eq!(db.take_unannounced(OVER, 2).await.unwrap(), [first.id, lost.id]);
        assert_eq!(db.take_unannounced(OVER, 10).await.unwrap(), [first.id, lost.id, last.id]);
        assert_eq!(db.take_unannounced(LONG, 10).await.unwrap(), []);
    }

    trait Each {
        fn each(&self) -> [&Deployment; 4];
    }

    impl Each for Vec<Deployment> {
        fn each(&self) -> [&Deployment; 4] {
            [&self[0], &self[1], &self[2], &self[3]]
        }
    }

    pub(super) async fn each_deployment_is_given_to_one_announcer(one: &dyn Database, two: &dyn Database) {
        let blog = account(one, "blog").await;
        let mut lost = BTreeSet::new();
        for _ in 0..12 {
            let waiting = submit(one, deployment(&blog)).await;
            take(one, &waiting, "ada", OVER).await;
            lost.insert(waiting.id);
        }
        let mut given = Vec::new();
        // A round may give less than there is, to those who met at the same rows: never twice.
        while given.len() < lost.len() {
            let round = [one, two].into_iter().cycle().take(6).map(|db| db.take_unannounced(LONG, 3));
            let round: Vec<_> = join_all(round).await.into_iter().flat_map(Result::unwrap).collect();
            assert!(!round.is_empty(), "something is left, so somebody gets it");
            given.extend(round);
        }
        assert_eq!(given.len(), lost.len());
        assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), lost);
    }

    pub(super) async fn the_leases_of_a_dead_worker_end_at_once(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let mut held = Vec::new();
        for worker in ["ada", "ada", "eve"] {
            let waiting = submit(db, deployment(&blog)).await;
            held.push(take(db, &waiting, worker, LONG).await);
        }
        assert_eq!(db.abandon("ada").await.unwrap(), 2);
        assert_eq!(db.abandon("ada").await.unwrap(), 0);
        assert_eq!(db.renew(held[0].id, held[0].attempt, LONG).await.unwrap(), Renewal::Lost);
        assert_eq!(db.take_unannounced(LONG, 10).await.unwrap(), [held[0].id, held[1].id]);
        assert_eq!(take(db, &held[0], "eve", LONG).await.losses, 1);
        assert_eq!(db.claim(held[2].id, "ada", LONG, now(), ANY).await.unwrap(), Claim::Held);
    }

    pub(super) async fn the_backlog_counts_what_waits(db: &dyn Database, _: &dyn Database) {
        let backlog = async || db.backlog(ANY).await.unwrap();
        assert_eq!(backlog().await, Backlog { waiting: 0, oldest_s: 0, unheld: 0 });
        let blog = account(db, "blog").await;
        let first = submit(db, deployment(&blog)).await;
        submit(db, deployment(&blog)).await;
        ready(db, &blog).await;
        let before = backlog().await;
        assert_eq!((before.waiting, before.unheld), (2, 2));
        // `now()` of these tests is in the past of every database's clock.
        assert!(before.oldest_s > 0);
        take(db, &first, "ada", LONG).await;
        assert_eq!(backlog().await.waiting, 1);
    }

    pub(super) async fn of_each_account_no_more_waits_than_it_has_free_places(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        let mut many = Vec::new();
        for _ in 0..6 {
            many.push(submit(db, deployment(&blog)).await);
        }
        let counted = async |most| {
            let backlog = db.backlog(most).await.unwrap();
            (backlog.waiting, backlog.unheld, backlog.oldest_s > 0)
        };
        assert_eq!(counted(1).await, (1, 6, true));
        take(db, &many[0], "ada", LONG).await;
        assert_eq!(counted(1).await, (0, 5, false), "another worker could take none of it");
        assert_eq!(counted(3).await, (2, 5, true));
        submit(db, deployment(&shop)).await;
        assert_eq!(counted(1).await, (1, 6, true), "each account has places of its own");
        assert_eq!(counted(ANY).await, (6, 6, true));
    }

    pub(super) async fn what_a_dead_worker_held_waits_since_its_lease_ran_out(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let waiting = queued(db).await;
        take(db, &waiting, "ada", OVER).await;
        let backlog = db.backlog(1).await.unwrap();
        assert_eq!((backlog.waiting, backlog.unheld), (1, 1));
        // It was submitted years ago.
        assert!(backlog.oldest_s < 600, "{backlog:?}");
        db.renew(waiting.id, 1, LONG).await.unwrap();
        assert_eq!(db.backlog(1).await.unwrap(), Backlog::default());
    }

    pub(super) async fn what_no_key_opens_fails_in_words_and_stands_in_nobodys_way(
        _: &dyn Database,
        _: &dyn Database,
    ) {
        const NEW: &str = "gvs1.new.AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let place = crate::support::database::fresh_url().await;
        let (with, without) = (place.connect(), place.connect_by(&[NEW]));
        gv::ports::database::Schema::migrate(&with).await.unwrap();
        let blog = account(&with, "blog").await;
        let env = Variables::parse(BTreeMap::from([("A".into(), "hunter22".into())])).unwrap();
        let sealed = || Deployment { env: env.clone(), ..deployment(&blog) };
        let held = take(&with, &submit(&with, sealed()).await, "ada", LONG).await;
        let locked = submit(&with, sealed()).await;
        let plain = submit(&with, deployment(&blog)).await;
        assert_eq!(without.next_in_line(ANY).await.unwrap(), Some(locked.id));
        let claim = async |id| without.claim(id, "eve", LONG, now(), ANY).await.unwrap();
        assert_eq!(claim(locked.id).await, Claim::Locked);
        assert_eq!((claim(locked.id).await, claim(held.id).await), (Claim::Over, Claim::Held));
        take(&without, &plain, "eve", LONG).await;
        assert_eq!(without.next_in_line(ANY).await.unwrap(), None);
        let failed = with.find_deployment(blog.account, locked.id).await.unwrap().unwrap();
        let State::Failed { failure, .. } = &failed.state else { panic!("{failed:?}") };
        assert_eq!(failure.code, FailureCode::StorageFailed);
        assert!(failure.message.contains("secrets.keys"), "{failure}");
        assert_eq!((failed.revision, &failed.env), (locked.revision + 1, &env), "nothing of it is lost");
        assert_eq!(with.find_deployment(blog.account, held.id).await.unwrap(), Some(held));
    }
}
