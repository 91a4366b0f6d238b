//! Projects.

use super::contracts_of_two;

contracts_of_two! {
    a_project_is_found_by_its_name_and_by_its_repository
    another_accounts_projects_are_absent
    a_name_that_the_account_has_is_a_conflict_and_leaves_nothing
    the_second_account_of_a_name_gets_the_second_host
    of_projects_that_want_one_host_at_once_each_gets_its_own
    projects_are_paged_by_name
    a_build_notes_the_framework_and_only_a_missing_branch
    a_project_with_unended_deployments_is_not_deleted
    deleting_a_project_takes_its_deployments_and_empties_its_hosts
    the_host_of_a_deleted_project_goes_on_counting_under_the_next
}

mod contracts {
    use crate::ports::database::{
        ANY, LONG, account, deployment, digest, host, now, production, project, ready, seconds, submit, take,
        user,
    };
    use futures_util::future::join_all;
    use gv::domain::host::{HostClaim, HostKind};
    use gv::domain::project::{Project, ProjectName};
    use gv::domain::repo::RepoUrl;
    use gv::domain::settings::{BuildSettings, CommandLine};
    use gv::ports::database::Database;
    use gv::ports::deployments::{DeploymentFilter, IdempotencyKey, Submitted};
    use gv::ports::projects::ProjectDeletion;
    use std::collections::BTreeSet;

    fn name(text: &str) -> ProjectName {
        ProjectName::parse(text).unwrap()
    }

    pub(super) async fn a_project_is_found_by_its_name_and_by_its_repository(
        db: &dyn Database,
        two: &dyn Database,
    ) {
        let ada = user("ada");
        db.insert_user(&ada).await.unwrap();
        let settings =
            BuildSettings { build_command: CommandLine::parse("make").ok(), ..BuildSettings::default() };
        let newer = Project { settings, created_at: now() + seconds(1), ..project(ada.id, "blog") };
        let older = Project { repo_url: newer.repo_url.clone(), ..project(ada.id, "attic") };
        let newer = db.insert_project(newer, &production("blog")).await.unwrap();
        let older = db.insert_project(older, &production("attic")).await.unwrap();
        assert_eq!(two.find_project(ada.id, &name("blog")).await.unwrap(), Some(newer.clone()));
        let found = two.find_project_by_repo(ada.id, newer.repo_url.as_ref().unwrap()).await;
        assert_eq!(found.unwrap(), Some(older), "the oldest of the repository's projects");
        let unknown = RepoUrl::parse("https://example.com/unknown.git").unwrap();
        assert_eq!(two.find_project_by_repo(ada.id, &unknown).await.unwrap(), None);
        assert_eq!(two.find_project(ada.id, &name("unknown")).await.unwrap(), None);
    }

    pub(super) async fn another_accounts_projects_are_absent(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        let eve = user("eve");
        db.insert_user(&eve).await.unwrap();
        assert_eq!(db.find_project(eve.id, &blog.name).await.unwrap(), None);
        let by_repo = db.find_project_by_repo(eve.id, blog.repo_url.as_ref().unwrap()).await;
        assert_eq!(by_repo.unwrap(), None);
        assert_eq!(db.list_projects(eve.id, None, 10).await.unwrap(), []);
        assert_eq!(db.delete_project(eve.id, &blog.name).await.unwrap(), ProjectDeletion::NotFound);
        assert!(db.find_project(blog.account, &blog.name).await.unwrap().is_some());
    }

    pub(super) async fn a_name_that_the_account_has_is_a_conflict_and_leaves_nothing(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let again = db.insert_project(project(blog.account, "blog"), &production("elsewhere")).await;
        assert!(again.unwrap_err().is_conflict());
        assert_eq!(db.find_host(&host("elsewhere")).await.unwrap(), None);
        assert_eq!(db.list_projects(blog.account, None, 10).await.unwrap(), [blog]);
    }

    pub(super) async fn the_second_account_of_a_name_gets_the_second_host(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let first = account(db, "blog").await;
        let eve = user("eve");
        db.insert_user(&eve).await.unwrap();
        let second = db.insert_project(project(eve.id, "blog"), &production("blog")).await.unwrap();
        assert_eq!((first.host, second.host.clone()), (host("blog"), host("blog-2")));
        assert_eq!(db.find_project(eve.id, &name("blog")).await.unwrap(), Some(second.clone()));
        let record = db.find_host(&second.host).await.unwrap().unwrap();
        assert_eq!((record.project, record.account), (Some(second.id), Some(eve.id)));
        assert_eq!((record.kind, record.deployment), (HostKind::Production, None));
        let third = db.insert_project(project(eve.id, "third"), &production("blog")).await;
        assert!(third.unwrap_err().is_conflict(), "both names are taken");
        assert_eq!(db.find_project(eve.id, &name("third")).await.unwrap(), None);
    }

    pub(super) async fn of_projects_that_want_one_host_at_once_each_gets_its_own(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let users: Vec<_> = (0..6).map(|i| user(&format!("user{i}"))).collect();
        for user in &users {
            one.insert_user(user).await.unwrap();
        }
        let inserts = users.iter().zip([one, two].into_iter().cycle()).map(|(user, db)| async move {
            let own = host(&format!("blog-{}", user.id.body()));
            let claim = HostClaim { kind: HostKind::Production, candidates: [host("blog"), own] };
            db.insert_project(project(user.id, "blog"), &claim).await.unwrap().host
        });
        let hosts = join_all(inserts).await;
        assert_eq!(hosts.iter().collect::<BTreeSet<_>>().len(), users.len(), "{hosts:?}");
        assert!(hosts.contains(&host("blog")), "{hosts:?}");
    }

    pub(super) async fn projects_are_paged_by_name(db: &dyn Database, _: &dyn Database) {
        let ada = user("ada");
        db.insert_user(&ada).await.unwrap();
        // In the order of bytes, whatever the database's language thinks of hyphens and digits.
        let sorted = ["a", "a-b", "a1", "ab", "b"];
        for text in ["ab", "b", "a-b", "a", "a1"] {
            db.insert_project(project(ada.id, text), &production(text)).await.unwrap();
        }
        let mut seen = Vec::new();
        loop {
            let page = db.list_projects(ada.id, seen.last(), 2).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.into_iter().map(|project| project.name));
        }
        assert_eq!(seen, sorted.map(name));
    }

    pub(super) async fn a_build_notes_the_framework_and_only_a_missing_branch(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        db.note_build(blog.id, Some("vite"), Some("main")).await.unwrap();
        db.note_build(blog.id, Some("astro"), Some("other")).await.unwrap();
        db.note_build(blog.id, None, None).await.unwrap();
        let noted = db.find_project(blog.account, &blog.name).await.unwrap().unwrap();
        assert_eq!(noted.framework.as_deref(), Some("astro"));
        assert_eq!(noted.production_branch.as_deref(), Some("main"));
    }

    pub(super) async fn a_project_with_unended_deployments_is_not_deleted(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        ready(db, &blog).await;
        let queued = submit(db, deployment(&blog)).await;
        let deleted = db.delete_project(blog.account, &blog.name).await.unwrap();
        assert_eq!(deleted, ProjectDeletion::Busy(queued.id));
        take(db, &queued, "worker", LONG).await;
        let deleted = db.delete_project(blog.account, &blog.name).await.unwrap();
        assert_eq!(deleted, ProjectDeletion::Busy(queued.id));
        assert!(db.find_project(blog.account, &blog.name).await.unwrap().is_some());
    }

    pub(super) async fn deleting_a_project_takes_its_deployments_and_empties_its_hosts(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, other) = (account(db, "blog").await, account(db, "other").await);
        let key = IdempotencyKey { key: "k".into(), fingerprint: digest("body") };
        let Submitted::New(first) = db.submit(deployment(&blog), Some(&key), ANY).await.unwrap() else {
            panic!("the key is new")
        };
        db.request_cancel(blog.account, first.id, now()).await.unwrap();
        let second = ready(db, &blog).await;
        let kept = ready(db, &other).await;
        db.assign(&second, &[production("blog")]).await.unwrap().unwrap();
        db.assign(&kept, &[production("other")]).await.unwrap().unwrap();
        let deleted = db.delete_project(blog.account, &blog.name).await.unwrap();
        let ProjectDeletion::Deleted { hosts, deployments } = deleted else { panic!("{deleted:?}") };
        assert_eq!(deployments, [first.id, second.id]);
        assert_eq!(hosts.len(), 1);
        assert_eq!((&hosts[0].host, hosts[0].revision), (&host("blog"), 2));
        assert_eq!((hosts[0].project, hosts[0].account, hosts[0].deployment), (None, None, None));
        assert_eq!(db.find_host(&host("blog")).await.unwrap().as_ref(), Some(&hosts[0]));
        assert_eq!(db.find_deployment(blog.account, second.id).await.unwrap(), None);
        assert_eq!(db.find_project(blog.account, &blog.name).await.unwrap(), None);
        assert_eq!(db.delete_project(blog.account, &blog.name).await.unwrap(), ProjectDeletion::NotFound);
        let all = DeploymentFilter::default();
        let untouched = db.find_host(&host("other")).await.unwrap().unwrap();
        assert_eq!(untouched.deployment, Some(kept.id));
        assert_eq!(db.list_deployments(other.account, all, None, 10).await.unwrap(), [kept]);
    }

    pub(super) async fn the_host_of_a_deleted_project_goes_on_counting_under_the_next(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        let old = ready(db, &blog).await;
        db.assign(&old, &[production("blog")]).await.unwrap().unwrap();
        db.delete_project(blog.account, &blog.name).await.unwrap();
        let before = db.find_host(&host("blog")).await.unwrap().unwrap();
        let heir = account(db, "heir").await;
        let next = db.insert_project(project(heir.account, "blog"), &production("blog")).await.unwrap();
        assert_eq!(next.host, host("blog"));
        let new = ready(db, &next).await;
        let moved = db.assign(&new, &[production("blog")]).await.unwrap().unwrap();
        assert_eq!((moved[0].deployment, moved[0].project), (Some(new.id), Some(next.id)));
        assert!(moved[0].revision > before.revision);
    }
}
