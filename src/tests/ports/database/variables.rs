//! Variables of projects: whose they are, what they may have, and that they lie sealed.

use super::contracts_of_two;

contracts_of_two! {
    a_variable_comes_back_by_name_with_the_targets_that_it_was_set_for
    setting_a_variable_for_one_target_leaves_the_other
    another_accounts_variables_are_absent_and_cannot_be_changed
    a_project_has_so_many_variables_and_bytes
    the_variables_of_a_project_go_with_it
    without_the_key_nothing_opens_and_nothing_is_stored
    everything_is_sealed_anew_by_the_first_key_and_the_old_one_may_go
    keys_are_tried_on_what_none_of_them_has_sealed
}

mod contracts {
    use crate::ports::database::{ANY, account, deployment, now, submit};
    use gv::domain::deployment::Target;
    use gv::domain::project::Project;
    use gv::domain::sealing::SealError;
    use gv::domain::secret::Secret;
    use gv::domain::settings::Variables;
    use gv::domain::variable::{ProjectVariable, VariableName};
    use gv::ports::database::Database;
    use gv::ports::deployments::Deployments;
    use gv::ports::error::StoreErrorKind;
    use gv::ports::variables::{KeyTrial, ProjectVariables, PutVariable};
    use std::collections::BTreeMap;

    const BOTH: &[Target] = &[Target::Production, Target::Preview];

    fn variable(name: &str, value: &str, targets: &[Target]) -> ProjectVariable {
        ProjectVariable {
            name: VariableName::parse(name).unwrap(),
            value: Secret::new(value),
            targets: targets.to_vec(),
            secret: true,
            updated_at: now(),
        }
    }

    async fn put(db: &dyn Database, project: &Project, variable: &ProjectVariable) -> PutVariable {
        db.put_variable(project.account, project.id, variable).await.unwrap()
    }

    async fn list(db: &dyn Database, project: &Project, target: Option<Target>) -> Vec<ProjectVariable> {
        db.list_variables(project.account, project.id, target).await.unwrap()
    }

    pub(super) async fn a_variable_comes_back_by_name_with_the_targets_that_it_was_set_for(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let blog = account(one, "blog").await;
        let (b, a) = (variable("B", "line\nÿ", BOTH), variable("A", "", &[Target::Preview]));
        assert_eq!(put(one, &blog, &b).await, PutVariable::Stored);
        assert_eq!(put(one, &blog, &a).await, PutVariable::Stored);
        assert_eq!(list(two, &blog, None).await, [a.clone(), b.clone()]);
        let live = ProjectVariable { targets: vec![Target::Production], ..b };
        assert_eq!(list(two, &blog, Some(Target::Production)).await, [live]);
        assert_eq!(list(two, &blog, Some(Target::Preview)).await.len(), 2);
    }

    pub(super) async fn setting_a_variable_for_one_target_leaves_the_other(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let blog = account(db, "blog").await;
        put(db, &blog, &variable("A", "one", BOTH)).await;
        put(db, &blog, &variable("A", "two", &[Target::Preview])).await;
        let of = async |target| list(db, &blog, Some(target)).await.remove(0).value.expose().to_owned();
        assert_eq!((of(Target::Production).await, of(Target::Preview).await), ("one".into(), "two".into()));
        let name = VariableName::parse("A").unwrap();
        let delete = |target| db.delete_variable(blog.account, blog.id, &name, target);
        assert!(delete(Some(Target::Preview)).await.unwrap());
        assert!(!delete(Some(Target::Preview)).await.unwrap());
        assert_eq!(of(Target::Production).await, "one");
        assert!(delete(None).await.unwrap());
        assert!(list(db, &blog, None).await.is_empty());
    }

    pub(super) async fn another_accounts_variables_are_absent_and_cannot_be_changed(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (blog, shop) = (account(db, "blog").await, account(db, "shop").await);
        put(db, &blog, &variable("A", "one", BOTH)).await;
        let stranger = shop.account;
        let changed = db.put_variable(stranger, blog.id, &variable("A", "two", BOTH)).await.unwrap();
        assert_eq!(changed, PutVariable::NotFound);
        assert!(db.list_variables(stranger, blog.id, None).await.unwrap().is_empty());
        let name = VariableName::parse("A").unwrap();
        assert!(!db.delete_variable(stranger, blog.id, &name, None).await.unwrap());
        assert_eq!(list(db, &blog, None).await[0].value.expose(), "one");
    }

    pub(super) async fn a_project_has_so_many_variables_and_bytes(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        for n in 0..Variables::MAX_COUNT {
            let stored = put(db, &blog, &variable(&format!("V{n}"), "x", &[Target::Production])).await;
            assert_eq!(stored, PutVariable::Stored);
        }
        assert_eq!(put(db, &blog, &variable("ONE_MORE", "x", BOTH)).await, PutVariable::TooMany);
        let large = "x".repeat(Variables::MAX_BYTES - 100);
        assert_eq!(put(db, &blog, &variable("V0", &large, BOTH)).await, PutVariable::TooLarge);
        let preview = variable("V0", &large, &[Target::Preview]);
        assert_eq!(put(db, &blog, &preview).await, PutVariable::Stored, "each target has its own room");
    }

    pub(super) async fn the_variables_of_a_project_go_with_it(db: &dyn Database, _: &dyn Database) {
        let blog = account(db, "blog").await;
        put(db, &blog, &variable("A", "one", BOTH)).await;
        db.delete_project(blog.account, &blog.name).await.unwrap();
        assert!(list(db, &blog, None).await.is_empty());
        assert_eq!(put(db, &blog, &variable("A", "one", BOTH)).await, PutVariable::NotFound);
    }

    pub(super) async fn without_the_key_nothing_opens_and_nothing_is_stored(
        _: &dyn Database,
        _: &dyn Database,
    ) {
        let place = crate::support::database::fresh_url().await;
        let (with, without) = (place.connect(), place.connect_by(&[]));
        gv::ports::database::Schema::migrate(&with).await.unwrap();
        let blog = account(&with, "blog").await;
        put(&with, &blog, &variable("A", "one", BOTH)).await;
        let read = without.list_variables(blog.account, blog.id, None).await.unwrap_err();
        assert_eq!(read.kind, StoreErrorKind::Locked);
        let env = Variables::parse(BTreeMap::from([("A".into(), "hunter22".into())])).unwrap();
        let submission = gv::domain::deployment::Deployment { env, ..deployment(&blog) };
        let stored = without.submit(submission, None, ANY).await.unwrap_err();
        assert!(!format!("{stored} {stored:?}").contains("hunter22"));
        submit(&without, deployment(&blog)).await;
    }

    pub(super) async fn everything_is_sealed_anew_by_the_first_key_and_the_old_one_may_go(
        _: &dyn Database,
        _: &dyn Database,
    ) {
        use crate::support::database::SECRET_KEY;
        const NEW: &str = "gvs1.new_1.AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let place = crate::support::database::fresh_url().await;
        let (old, both, new) =
            (place.connect(), place.connect_by(&[NEW, SECRET_KEY]), place.connect_by(&[NEW]));
        gv::ports::database::Schema::migrate(&old).await.unwrap();
        let blog = account(&old, "blog").await;
        for n in 0..5 {
            put(&old, &blog, &variable(&format!("V{n}"), "value", BOTH)).await;
        }
        let mut submission = deployment(&blog);
        submission.env = Variables::parse(BTreeMap::from([("A".into(), "one".into())])).unwrap();
        submission.source.git_token = Some(Secret::new("token"));
        let submitted = submit(&old, submission).await;
        assert!(new.find_deployment(blog.account, submitted.id).await.is_err());
        let mut rounds = 0;
        loop {
            match both.reseal(3).await.unwrap().total() {
                0 => break,
                // Two targets of one variable are one text.
                some => assert!(some <= 6),
            }
            rounds += 1;
        }
        assert!(rounds >= 3);
        assert_eq!(new.find_deployment(blog.account, submitted.id).await.unwrap(), Some(submitted));
        let listed = list(&new, &blog, None).await;
        assert_eq!(listed.len(), 5);
        assert!(listed.iter().all(|one| one.value.expose() == "value" && one.targets == BOTH));
    }

    pub(super) async fn keys_are_tried_on_what_none_of_them_has_sealed(_: &dyn Database, _: &dyn Database) {
        use crate::support::database::SECRET_KEY;
        const NEW: &str = "gvs1.new_1.AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        // The same name as that of the tests' key, and not the same key.
        const FALSE: &str = "gvs1.test.AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let unknown = |id: &str| KeyTrial::Refused(SealError::UnknownKey(id.to_owned()));
        for by_variable in [true, false] {
            let place = crate::support::database::fresh_url().await;
            let by = |keys: &[&str]| place.connect_by(keys);
            let (old, new, both) = (by(&[SECRET_KEY]), by(&[NEW]), by(&[NEW, SECRET_KEY]));
            gv::ports::database::Schema::migrate(&old).await.unwrap();
            let blog = account(&old, "blog").await;
            submit(&old, deployment(&blog)).await;
            assert_eq!(old.try_keys().await.unwrap(), KeyTrial::Nothing);
            assert_eq!(by(&[]).try_keys().await.unwrap(), KeyTrial::Nothing);
            let seal = async |db: &dyn Database, name: &str| {
                if by_variable {
                    put(db, &blog, &variable(name, "value", BOTH)).await;
                } else {
                    let mut submission = deployment(&blog);
                    submission.env = Variables::parse(BTreeMap::from([(name.into(), "one".into())])).unwrap();
                    submit(db, submission).await;
                }
            };
            seal(&old, "A").await;
            assert_eq!(old.try_keys().await.unwrap(), KeyTrial::Opens);
            assert_eq!(new.try_keys().await.unwrap(), unknown("test"));
            assert_eq!(by(&[]).try_keys().await.unwrap(), KeyTrial::Refused(SealError::NoKey));
            assert_eq!(by(&[FALSE]).try_keys().await.unwrap(), KeyTrial::Refused(SealError::Invalid));
            seal(&both, "B").await;
            assert_eq!(both.try_keys().await.unwrap(), KeyTrial::Opens);
            assert_eq!(old.try_keys().await.unwrap(), unknown("new_1"), "although it opens the other");
        }
    }
}
