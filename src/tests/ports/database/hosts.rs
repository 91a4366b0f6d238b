//! Hosts: which deployment each name shows.

use super::contracts_of_two;

contracts_of_two! {
    a_host_follows_the_newest_submission_whatever_ends_first
    assigning_again_changes_nothing_and_returns_the_same
    a_deployment_that_was_taken_by_someone_else_moves_nothing
    of_assignments_at_once_the_newest_submission_stays
    a_host_of_another_account_is_not_taken
    of_projects_that_claim_one_host_at_once_one_gets_it
    a_project_keeps_its_second_choice_when_the_first_becomes_free
    what_a_person_pointed_at_stays_until_a_later_submission
    pointing_where_it_points_already_is_no_move_but_holds_off_older_submissions
    only_ready_deployments_and_hosts_of_the_project_are_pointed
    hosts_of_deployments_are_given_in_the_order_of_their_names
    a_move_is_unpublished_until_that_revision_was_published
    a_host_behind_its_storage_is_lifted_once_and_loses_no_move
    all_hosts_are_lifted_page_by_page_over_whatever_was_published
}

mod contracts {
    use crate::ports::database::{
        LONG, OVER, account, advance, claim, deployment, host, now, production, ready, submit, take,
    };
    use futures_util::future::join_all;
    use gv::domain::deployment::Deployment;
    use gv::domain::host::{HostClaim, HostKind, HostRecord};
    use gv::ports::database::Database;

    fn of_each_kind() -> [HostClaim; 3] {
        [
            production("blog"),
            claim(HostKind::Branch, "blog-git-main", "b2"),
            claim(HostKind::Deployment, "blog-0", "d2"),
        ]
    }

    async fn assign(db: &dyn Database, deployment: &Deployment, name: &str) -> Vec<HostRecord> {
        db.assign(deployment, &[production(name)]).await.unwrap().expect("nobody took it")
    }

    async fn shown(db: &dyn Database, name: &str) -> HostRecord {
        db.find_host(&host(name)).await.unwrap().unwrap()
    }

    pub(super) async fn a_host_follows_the_newest_submission_whatever_ends_first(
        db: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let (older, newer) = (ready(db, &blog).await, ready(db, &blog).await);
        let moved = assign(db, &newer, "blog").await;
        assert_eq!(moved.len(), 1);
        assert_eq!((moved[0].deployment, moved[0].revision), (Some(newer.id), 1));
        assert_eq!((moved[0].as_of, moved[0].published), (newer.seq, 0));
        assert_eq!(assign(two, &older, "blog").await, []);
        assert_eq!(shown(two, "blog").await, moved[0]);
        let newest = ready(db, &blog).await;
        let moved = assign(two, &newest, "blog").await;
        assert_eq!((moved[0].deployment, moved[0].revision), (Some(newest.id), 2));
    }

    pub(super) async fn assigning_again_changes_nothing_and_returns_the_same(
        db: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let done = ready(db, &blog).await;
        let claims = of_each_kind();
        let first = db.assign(&done, &claims).await.unwrap().unwrap();
        let names: Vec<_> = first.iter().map(|record| record.host.clone()).collect();
        assert_eq!(names, [host("blog"), host("blog-git-main"), host("blog-0")]);
        assert!(first.iter().all(|record| record.revision == 1 && record.deployment == Some(done.id)));
        assert_eq!(two.assign(&done, &claims).await.unwrap().unwrap(), first);
    }

    pub(super) async fn a_deployment_that_was_taken_by_someone_else_moves_nothing(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let waiting = submit(one, deployment(&blog)).await;
        let late = advance(one, take(one, &waiting, "ada", OVER).await.upload(now()).unwrap()).await;
        let holder = take(two, &waiting, "eve", LONG).await;
        assert_eq!(one.assign(&late, &[production("blog")]).await.unwrap(), None);
        assert_eq!(shown(one, "blog").await.deployment, None);
        assert_eq!(assign(two, &holder, "blog").await[0].deployment, Some(holder.id));
    }

    pub(super) async fn of_assignments_at_once_the_newest_submission_stays(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let mut done = Vec::new();
        for _ in 0..6 {
            done.push(ready(one, &blog).await);
        }
        let claims = [production("blog"), claim(HostKind::Branch, "blog-git-main", "b2")];
        let assigned = done.iter().zip([one, two].into_iter().cycle());
        let assigned = join_all(assigned.map(|(done, db)| db.assign(done, &claims))).await;
        let moves: usize = assigned.into_iter().map(|moved| moved.unwrap().unwrap().len()).sum();
        let (site, branch) = (shown(one, "blog").await, shown(one, "blog-git-main").await);
        assert_eq!((site.deployment, branch.deployment), (Some(done[5].id), Some(done[5].id)));
        assert_eq!((site.revision + branch.revision) as usize, moves, "each move was counted once");
    }

    pub(super) async fn a_host_of_another_account_is_not_taken(db: &dyn Database, _: &dyn Database) {
        let (blog, evil) = (account(db, "blog").await, account(db, "evil").await);
        let done = ready(db, &evil).await;
        let claims =
            [claim(HostKind::Branch, "blog", "evil-git-x"), claim(HostKind::Deployment, "blog", "evil")];
        let moved = db.assign(&done, &claims).await.unwrap().unwrap();
        assert_eq!(moved.len(), 1, "for the second claim nothing was left: {moved:?}");
        assert_eq!(moved[0].host, host("evil-git-x"));
        let theirs = shown(db, "blog").await;
        assert_eq!((theirs.project, theirs.deployment, theirs.revision), (Some(blog.id), None, 0));
        assert_eq!(shown(db, "evil").await.kind, HostKind::Production, "nor its own of another kind");
        assert_eq!(db.point(&host("blog"), &done).await.unwrap(), None);
    }

    pub(super) async fn of_projects_that_claim_one_host_at_once_one_gets_it(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let mut done = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let project = account(one, name).await;
            done.push((name, ready(one, &project).await));
        }
        let assigned = done.iter().zip([one, two].into_iter().cycle()).map(|((name, done), db)| async move {
            let claims = [claim(HostKind::Branch, "wanted", &format!("{name}-own"))];
            db.assign(done, &claims).await.unwrap().unwrap().remove(0)
        });
        let assigned = join_all(assigned).await;
        let winners = assigned.iter().filter(|record| record.host == host("wanted"));
        assert_eq!(winners.count(), 1, "{assigned:?}");
        for (record, (_, done)) in assigned.iter().zip(&done) {
            assert_eq!(record.deployment, Some(done.id));
            assert_eq!(one.find_host(&record.host).await.unwrap().as_ref(), Some(record));
        }
    }

    pub(super) async fn a_project_keeps_its_second_choice_when_the_first_becomes_free(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let first = account(db, "blog").await;
        let other = account(db, "other").await;
        let second = crate::ports::database::project(other.account, "blog");
        let second = db.insert_project(second, &production("blog")).await.unwrap();
        db.delete_project(first.account, &first.name).await.unwrap();
        let done = ready(db, &second).await;
        assert_eq!(assign(db, &done, "blog").await[0].host, second.host);
        assert_eq!(shown(db, "blog").await.project, None);
    }

    pub(super) async fn what_a_person_pointed_at_stays_until_a_later_submission(
        db: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let (first, second) = (ready(db, &blog).await, ready(db, &blog).await);
        assign(db, &second, "blog").await;
        let waiting = submit(db, deployment(&blog)).await;
        let pointed = two.point(&host("blog"), &first).await.unwrap().unwrap();
        assert_eq!((pointed.deployment, pointed.revision), (Some(first.id), 2));
        assert_eq!(pointed.as_of, waiting.seq, "what waited at that moment comes too late");
        let taken = take(db, &waiting, "ada", LONG).await;
        assert_eq!(assign(db, &taken, "blog").await, []);
        assert_eq!(assign(db, &second, "blog").await, []);
        assert_eq!(shown(db, "blog").await, pointed);
        let later = ready(db, &blog).await;
        assert_eq!(assign(db, &later, "blog").await[0].deployment, Some(later.id));
    }

    pub(super) async fn pointing_where_it_points_already_is_no_move_but_holds_off_older_submissions(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let done = ready(db, &blog).await;
        let moved = assign(db, &done, "blog").await.remove(0);
        let waiting = submit(db, deployment(&blog)).await;
        let pointed = db.point(&host("blog"), &done).await.unwrap().unwrap();
        assert_eq!(pointed, HostRecord { as_of: waiting.seq, ..moved });
        let taken = take(db, &waiting, "ada", LONG).await;
        assert_eq!(assign(db, &taken, "blog").await, []);
    }

    pub(super) async fn only_ready_deployments_and_hosts_of_the_project_are_pointed(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, other) = (account(db, "blog").await, account(db, "other").await);
        let waiting = submit(db, deployment(&blog)).await;
        assert_eq!(db.point(&host("blog"), &waiting).await.unwrap(), None);
        let done = ready(db, &blog).await;
        assert_eq!(db.point(&host("other"), &done).await.unwrap(), None);
        assert_eq!(db.point(&host("unknown"), &done).await.unwrap(), None);
        let forged = Deployment { project: other.id, account: other.account, ..done.clone() };
        assert_eq!(db.point(&host("other"), &forged).await.unwrap(), None);
        db.delete_deployment(blog.account, done.id).await.unwrap();
        assert_eq!(db.point(&host("blog"), &done).await.unwrap(), None);
        assert_eq!(shown(db, "blog").await.deployment, None);
    }

    pub(super) async fn hosts_of_deployments_are_given_in_the_order_of_their_names(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let (first, second) = (ready(db, &blog).await, ready(db, &blog).await);
        let deployment_host = |name: &str| claim(HostKind::Deployment, name, "unused");
        db.assign(&first, &[deployment_host("c"), deployment_host("a-b")]).await.unwrap();
        db.assign(&second, &[deployment_host("ab"), production("blog")]).await.unwrap();
        let names = async |ids: &[_]| -> Vec<_> {
            db.hosts_of(ids).await.unwrap().into_iter().map(|record| record.host).collect()
        };
        assert_eq!(names(&[first.id, second.id]).await, ["a-b", "ab", "blog", "c"].map(host));
        assert_eq!(names(&[first.id]).await, ["a-b", "c"].map(host));
        assert_eq!(names(&[]).await, []);
    }

    pub(super) async fn a_host_behind_its_storage_is_lifted_once_and_loses_no_move(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let (first, second) = (ready(one, &blog).await, ready(one, &blog).await);
        let moved = assign(one, &first, "blog").await.remove(0);
        one.mark_published(&moved.host, moved.revision).await.unwrap();
        let lifts = (0..8).zip([one, two].into_iter().cycle()).map(|(_, db)| db.lift_host(&moved.host, 7));
        let lifted = HostRecord { revision: 8, published: 1, ..moved.clone() };
        for found in join_all(lifts).await {
            assert_eq!(found.unwrap(), Some(lifted.clone()));
        }
        assert_eq!(one.lift_host(&moved.host, 3).await.unwrap(), Some(lifted.clone()), "it is above that");
        assert_eq!(one.unpublished(OVER, 10).await.unwrap(), [lifted]);
        let claims = [production("blog")];
        let (_, assigned) = tokio::join!(one.lift_host(&moved.host, 20), two.assign(&second, &claims));
        assert_eq!(assigned.unwrap().unwrap().len(), 1);
        let present = shown(two, "blog").await;
        assert_eq!((present.deployment, present.as_of), (Some(second.id), second.seq));
        assert!(present.revision > 20, "{present:?}");
        assert_eq!(one.lift_host(&host("unknown"), 7).await.unwrap(), None);
    }

    pub(super) async fn all_hosts_are_lifted_page_by_page_over_whatever_was_published(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let done = ready(db, &blog).await;
        let claims = of_each_kind();
        let before = db.assign(&done, &claims).await.unwrap().unwrap();
        for record in &before {
            db.mark_published(&record.host, record.revision).await.unwrap();
        }
        let mut last_time = 1_700_000_000_000_000;
        for _ in 0..2 {
            let first = db.lift_hosts(None, 2).await.unwrap().unwrap();
            let second = db.lift_hosts(Some(&first.last), 2).await.unwrap().unwrap();
            assert_eq!((first.count, second.count), (2, 1));
            assert_eq!(db.lift_hosts(Some(&second.last), 2).await.unwrap(), None);
            let lifted = db.unpublished(OVER, 10).await.unwrap();
            assert_eq!(lifted.len(), 3, "each is to be published");
            for record in &lifted {
                assert!(record.revision > last_time, "{record:?}");
                assert_eq!((record.deployment, record.published), (Some(done.id), 1));
            }
            last_time = lifted.iter().map(|record| record.revision).max().unwrap();
        }
    }

    pub(super) async fn a_move_is_unpublished_until_that_revision_was_published(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        assert_eq!(db.unpublished(OVER, 10).await.unwrap(), [], "a host that never moved shows nothing");
        let (first, second) = (ready(db, &blog).await, ready(db, &blog).await);
        let moved = assign(db, &first, "blog").await;
        assert_eq!(db.unpublished(OVER, 10).await.unwrap(), moved);
        assert_eq!(db.unpublished(LONG, 10).await.unwrap(), [], "it moved just now");
        let again = assign(db, &second, "blog").await;
        db.mark_published(&host("blog"), moved[0].revision).await.unwrap();
        let left = db.unpublished(OVER, 10).await.unwrap();
        assert_eq!(left, [HostRecord { published: 1, ..again[0].clone() }]);
        db.mark_published(&host("blog"), again[0].revision).await.unwrap();
        db.mark_published(&host("blog"), moved[0].revision).await.unwrap();
        assert_eq!(db.unpublished(OVER, 10).await.unwrap(), []);
        assert_eq!(shown(db, "blog").await.published, 2);
        db.delete_project(blog.account, &blog.name).await.unwrap();
        assert_eq!(db.unpublished(OVER, 10).await.unwrap()[0].revision, 3);
    }
}
