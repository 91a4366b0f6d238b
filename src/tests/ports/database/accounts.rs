//! Users, sessions and tokens.

use super::contracts_of_two;

contracts_of_two! {
    a_user_is_found_by_id_and_by_e_mail_address
    a_taken_e_mail_address_is_a_conflict
    a_refresh_token_is_used_once_and_its_reuse_ends_the_session
    of_two_uses_of_a_refresh_token_at_once_one_rotates
    expired_and_unknown_refresh_tokens_are_refused
    closing_a_session_ends_it_for_every_token_of_it
    a_session_is_open_for_its_own_account_only
    tokens_are_listed_newest_first_for_their_owner_alone
    a_token_is_good_until_it_expires_and_notes_its_use_once_a_minute
    only_its_owner_deletes_a_token
    users_are_listed_by_their_addresses_in_pages
    a_disabled_account_holds_nothing_that_opens_and_an_enabled_one_its_tokens
    a_session_that_began_while_its_account_was_disabled_is_of_no_use
    another_password_takes_the_place_of_the_first_and_ends_the_sessions
    all_tokens_of_an_account_are_deleted_at_once
    what_is_done_to_an_account_that_is_not_there_is_told
}

mod contracts {
    use crate::ports::database::{digest, now, seconds, user};
    use futures_util::future::join_all;
    use gv::domain::account::{DisplayName, Session, Token, User};
    use gv::domain::id::{SessionId, TokenId, UserId};
    use gv::ports::accounts::Rotation;
    use gv::ports::database::Database;
    use time::OffsetDateTime;

    fn later() -> OffsetDateTime {
        now() + seconds(1_000)
    }

    async fn stored(db: &dyn Database, name: &str) -> User {
        let user = user(name);
        db.insert_user(&user).await.unwrap();
        user
    }

    async fn opened(db: &dyn Database, account: UserId, token: &str) -> Session {
        let session = Session { id: SessionId::new(now(), &mut rand::rng()), account, created_at: now() };
        db.open_session(&session, &digest(token), later()).await.unwrap();
        session
    }

    fn token(account: UserId, name: &str) -> Token {
        Token {
            id: TokenId::new(now(), &mut rand::rng()),
            account,
            name: DisplayName::parse(name).unwrap(),
            created_at: now(),
            expires_at: Some(later()),
            last_used_at: None,
        }
    }

    pub(super) async fn a_user_is_found_by_id_and_by_e_mail_address(one: &dyn Database, two: &dyn Database) {
        let mut ada = user("ada");
        ada.name = DisplayName::parse("Ada, Countess of Lovelace").ok();
        one.insert_user(&ada).await.unwrap();
        let nobody = user("nobody");
        assert_eq!(two.find_user(ada.id).await.unwrap(), Some(ada.clone()));
        assert_eq!(two.find_user_by_email(&ada.email).await.unwrap(), Some(ada));
        assert_eq!(two.find_user(nobody.id).await.unwrap(), None);
        assert_eq!(two.find_user_by_email(&nobody.email).await.unwrap(), None);
    }

    pub(super) async fn a_taken_e_mail_address_is_a_conflict(one: &dyn Database, two: &dyn Database) {
        let people: Vec<_> = (0..8).map(|_| user("ada")).collect();
        let done =
            join_all(people.iter().zip([one, two].into_iter().cycle()).map(|(p, db)| db.insert_user(p)));
        let done = done.await;
        assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
        assert!(
            done.iter().all(|done| done.as_ref().err().is_none_or(|error| error.is_conflict())),
            "{done:?}"
        );
    }

    pub(super) async fn a_refresh_token_is_used_once_and_its_reuse_ends_the_session(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let ada = stored(db, "ada").await;
        let session = opened(db, ada.id, "first").await;
        let rotate = async |used: &str, next: &str| {
            db.rotate(&digest(used), &digest(next), now(), later()).await.unwrap()
        };
        assert_eq!(rotate("first", "second").await, Rotation::Rotated(session.clone()));
        assert_eq!(rotate("second", "third").await, Rotation::Rotated(session.clone()));
        assert!(db.is_session_open(ada.id, session.id).await.unwrap());
        assert_eq!(rotate("first", "stolen").await, Rotation::Reused);
        assert!(!db.is_session_open(ada.id, session.id).await.unwrap());
        assert_eq!(rotate("third", "fourth").await, Rotation::Refused, "the whole family has ended");
        assert_eq!(rotate("stolen", "again").await, Rotation::Refused);
    }

    pub(super) async fn of_two_uses_of_a_refresh_token_at_once_one_rotates(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let ada = stored(one, "ada").await;
        let session = opened(one, ada.id, "first").await;
        let (used, next) = (digest("first"), ["second", "third"].map(digest));
        let (a, b) = tokio::join!(
            one.rotate(&used, &next[0], now(), later()),
            two.rotate(&used, &next[1], now(), later()),
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        let won = Rotation::Rotated(session.clone());
        assert!((a == won && b == Rotation::Reused) || (b == won && a == Rotation::Reused), "{a:?} {b:?}");
        assert!(!one.is_session_open(ada.id, session.id).await.unwrap());
    }

    pub(super) async fn expired_and_unknown_refresh_tokens_are_refused(db: &dyn Database, _: &dyn Database) {
        let ada = stored(db, "ada").await;
        let session = opened(db, ada.id, "first").await;
        let (first, next) = (digest("first"), digest("next"));
        let rotated = db.rotate(&first, &next, later(), later() + seconds(9)).await;
        assert_eq!(rotated.unwrap(), Rotation::Refused);
        let rotated = db.rotate(&digest("unknown"), &next, now(), later()).await;
        assert_eq!(rotated.unwrap(), Rotation::Refused);
        let rotated = db.rotate(&first, &next, later() - seconds(1), later()).await;
        assert_eq!(rotated.unwrap(), Rotation::Rotated(session), "being refused had used nothing up");
    }

    pub(super) async fn closing_a_session_ends_it_for_every_token_of_it(db: &dyn Database, _: &dyn Database) {
        let ada = stored(db, "ada").await;
        let session = opened(db, ada.id, "first").await;
        let other = opened(db, ada.id, "other").await;
        db.rotate(&digest("first"), &digest("second"), now(), later()).await.unwrap();
        db.close_session(&digest("unknown"), now()).await.unwrap();
        assert!(db.is_session_open(ada.id, session.id).await.unwrap());
        db.close_session(&digest("first"), now()).await.unwrap();
        db.close_session(&digest("first"), now()).await.unwrap();
        assert!(!db.is_session_open(ada.id, session.id).await.unwrap());
        assert!(db.is_session_open(ada.id, other.id).await.unwrap());
        let rotated = db.rotate(&digest("second"), &digest("third"), now(), later()).await;
        assert_eq!(rotated.unwrap(), Rotation::Refused);
    }

    pub(super) async fn a_session_is_open_for_its_own_account_only(db: &dyn Database, _: &dyn Database) {
        let (ada, eve) = (stored(db, "ada").await, stored(db, "eve").await);
        let session = opened(db, ada.id, "first").await;
        assert!(db.is_session_open(ada.id, session.id).await.unwrap());
        assert!(!db.is_session_open(eve.id, session.id).await.unwrap());
        // Whoever opens one later sweeps up what nothing can continue, and only that.
        let new = Session { id: SessionId::new(now(), &mut rand::rng()), account: ada.id, created_at: now() };
        db.open_session(&new, &digest("new"), later()).await.unwrap();
        assert!(db.is_session_open(ada.id, session.id).await.unwrap());
    }

    pub(super) async fn tokens_are_listed_newest_first_for_their_owner_alone(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let (ada, eve) = (stored(db, "ada").await, stored(db, "eve").await);
        let old = Token { expires_at: None, ..token(ada.id, "old") };
        let new = Token { created_at: now() + seconds(1), ..token(ada.id, "new") };
        db.insert_token(&old, &digest("old")).await.unwrap();
        db.insert_token(&new, &digest("new")).await.unwrap();
        assert_eq!(db.list_tokens(ada.id).await.unwrap(), [new, old]);
        assert_eq!(db.list_tokens(eve.id).await.unwrap(), []);
    }

    pub(super) async fn a_token_is_good_until_it_expires_and_notes_its_use_once_a_minute(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let ada = stored(db, "ada").await;
        db.insert_token(&token(ada.id, "ci"), &digest("ci")).await.unwrap();
        let noted = async |after: i64| {
            let used = db.use_token(&digest("ci"), now() + seconds(after)).await.unwrap().unwrap();
            assert_eq!(db.list_tokens(ada.id).await.unwrap().as_slice(), std::slice::from_ref(&used));
            used.last_used_at.unwrap() - now()
        };
        assert_eq!(noted(0).await, seconds(0));
        assert_eq!(noted(59).await, seconds(0));
        assert_eq!(noted(60).await, seconds(60));
        assert_eq!(db.use_token(&digest("ci"), later()).await.unwrap(), None);
        assert_eq!(db.use_token(&digest("unknown"), now()).await.unwrap(), None);
    }

    pub(super) async fn only_its_owner_deletes_a_token(db: &dyn Database, _: &dyn Database) {
        let (ada, eve) = (stored(db, "ada").await, stored(db, "eve").await);
        let ci = token(ada.id, "ci");
        db.insert_token(&ci, &digest("ci")).await.unwrap();
        assert!(!db.delete_token(eve.id, ci.id).await.unwrap());
        assert!(db.use_token(&digest("ci"), now()).await.unwrap().is_some());
        assert!(db.delete_token(ada.id, ci.id).await.unwrap());
        assert!(!db.delete_token(ada.id, ci.id).await.unwrap());
        assert_eq!(db.use_token(&digest("ci"), now()).await.unwrap(), None);
    }

    pub(super) async fn users_are_listed_by_their_addresses_in_pages(one: &dyn Database, two: &dyn Database) {
        let mut people = Vec::new();
        for name in ["carol", "ada", "bob"] {
            people.push(stored(one, name).await);
        }
        people.sort_by(|one, other| one.email.as_str().cmp(other.email.as_str()));
        let first = two.list_users(None, 2).await.unwrap();
        assert_eq!(first, people[..2]);
        assert_eq!(two.list_users(Some(&first[1].email), 2).await.unwrap(), people[2..]);
        assert_eq!(two.list_users(Some(&people[2].email), 2).await.unwrap(), []);
    }

    pub(super) async fn a_disabled_account_holds_nothing_that_opens_and_an_enabled_one_its_tokens(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let (ada, eve) = (stored(one, "ada").await, stored(one, "eve").await);
        let session = opened(one, ada.id, "first").await;
        one.insert_token(&token(ada.id, "ci"), &digest("ci")).await.unwrap();
        one.insert_token(&token(eve.id, "hers"), &digest("hers")).await.unwrap();
        assert!(!one.is_of_disabled_user(&digest("ci")).await.unwrap());
        assert!(two.disable_user(ada.id, now()).await.unwrap());
        assert!(two.disable_user(ada.id, now() + seconds(9)).await.unwrap());
        assert_eq!(
            one.find_user(ada.id).await.unwrap().unwrap().disabled_at,
            Some(now()),
            "since the first time"
        );
        assert!(!one.is_session_open(ada.id, session.id).await.unwrap());
        let rotated = one.rotate(&digest("first"), &digest("second"), now(), later()).await.unwrap();
        assert_eq!(rotated, Rotation::Refused);
        assert_eq!(one.use_token(&digest("ci"), now()).await.unwrap(), None);
        for (name, is_hers) in [("ci", true), ("first", true), ("hers", false), ("unknown", false)] {
            assert_eq!(one.is_of_disabled_user(&digest(name)).await.unwrap(), is_hers, "{name}");
        }
        assert!(one.use_token(&digest("hers"), now()).await.unwrap().is_some(), "nobody else is kept out");
        assert!(two.enable_user(ada.id).await.unwrap());
        assert_eq!(one.find_user(ada.id).await.unwrap(), Some(ada.clone()));
        assert!(one.use_token(&digest("ci"), now()).await.unwrap().is_some());
        assert!(!one.is_session_open(ada.id, session.id).await.unwrap(), "what has ended stays so");
        assert!(!one.is_of_disabled_user(&digest("ci")).await.unwrap());
    }

    pub(super) async fn a_session_that_began_while_its_account_was_disabled_is_of_no_use(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let ada = stored(db, "ada").await;
        db.disable_user(ada.id, now()).await.unwrap();
        // By a login that had read the account a moment before.
        let session = opened(db, ada.id, "first").await;
        assert!(!db.is_session_open(ada.id, session.id).await.unwrap());
        let rotated = db.rotate(&digest("first"), &digest("second"), now(), later()).await.unwrap();
        assert_eq!(rotated, Rotation::Refused);
    }

    pub(super) async fn another_password_takes_the_place_of_the_first_and_ends_the_sessions(
        one: &dyn Database,
        two: &dyn Database,
    ) {
        let (ada, eve) = (stored(one, "ada").await, stored(one, "eve").await);
        let (session, other) = (opened(one, ada.id, "first").await, opened(one, eve.id, "hers").await);
        assert!(two.set_password(ada.id, "$argon2id$another", now()).await.unwrap());
        let hash = one.find_user(ada.id).await.unwrap().unwrap().password_hash;
        assert_eq!(hash.as_deref(), Some("$argon2id$another"));
        assert!(!one.is_session_open(ada.id, session.id).await.unwrap());
        assert!(one.is_session_open(eve.id, other.id).await.unwrap());
        assert_eq!(one.find_user(eve.id).await.unwrap(), Some(eve));
    }

    pub(super) async fn all_tokens_of_an_account_are_deleted_at_once(db: &dyn Database, _: &dyn Database) {
        let (ada, eve) = (stored(db, "ada").await, stored(db, "eve").await);
        for (account, name) in [(ada.id, "one"), (ada.id, "two"), (eve.id, "hers")] {
            db.insert_token(&token(account, name), &digest(name)).await.unwrap();
        }
        assert_eq!(db.delete_tokens(ada.id).await.unwrap(), 2);
        assert_eq!(db.delete_tokens(ada.id).await.unwrap(), 0);
        assert_eq!(db.use_token(&digest("one"), now()).await.unwrap(), None);
        assert_eq!(db.list_tokens(eve.id).await.unwrap().len(), 1);
    }

    pub(super) async fn what_is_done_to_an_account_that_is_not_there_is_told(
        db: &dyn Database,
        _: &dyn Database,
    ) {
        let nobody = user("nobody").id;
        assert!(!db.disable_user(nobody, now()).await.unwrap());
        assert!(!db.enable_user(nobody).await.unwrap());
        assert!(!db.set_password(nobody, "$argon2id$", now()).await.unwrap());
    }
}
