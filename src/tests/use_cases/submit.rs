//! Submitting, redeploying, canceling, deleting.

use super::{BLOG, house, name, new_account, request};
use futures_util::future::join_all;
use gv::app::projects::NewProject;
use gv::app::submit::SubmitRequest;
use gv::domain::deployment::{State, StateName, Target};
use gv::domain::digest::Digest;
use gv::domain::secret::Secret;
use gv::domain::settings::BuildSettings;
use gv::ports::deployments::{Deletion, IdempotencyKey, Submitted};
use gv::ports::notices::{Heard, Notice};
use gv::ports::projects::ProjectDeletion;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_deployment_makes_its_project() {
    let gv = house().await;
    let first = gv.submit(request(BLOG)).await;
    let project = gv.database.find_project(gv.account, &name("blog")).await.unwrap().unwrap();
    assert_eq!((first.project, first.state.clone()), (project.id, State::Queued));
    assert_eq!(project.host.as_str(), "blog.example.com");
    assert_eq!(project.repo_url.unwrap().as_str(), BLOG);
    let second = gv.submit(request(BLOG)).await;
    assert_eq!(second.project, first.project);
    assert!(second.seq > first.seq);
    // The bell has rung for both.
    let mut bell = gv.app.queue.listen(2).await.unwrap();
    let heard = [bell.next().await.deployment, bell.next().await.deployment];
    assert!(heard.contains(&first.id) && heard.contains(&second.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_deployments_at_once_share_one_project() {
    let gv = house().await;
    let submitted = join_all((0..8).map(|_| gv.submit(request(BLOG)))).await;
    assert!(submitted.iter().all(|deployment| deployment.project == submitted[0].project));
    assert_eq!(gv.projects().await, ["blog"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_of_one_name_get_numbered_projects() {
    let gv = house().await;
    for owner in ["ada", "bob", "cleo"] {
        gv.submit(request(&format!("https://git.example.com/{owner}/blog.git"))).await;
    }
    assert_eq!(gv.projects().await, ["blog", "blog-2", "blog-3"]);
    gv.submit(request("https://git.example.com/bob/blog.git")).await;
    assert_eq!(gv.projects().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_project_is_used_whatever_its_repository() {
    let gv = house().await;
    let named = |repo| SubmitRequest { project: Some(name("site")), ..request(repo) };
    let submitted = join_all((0..4).map(|_| gv.submit(named(BLOG)))).await;
    let other = gv.submit(named("https://git.example.com/other.git")).await;
    assert!(submitted.iter().all(|deployment| deployment.project == other.project));
    assert_eq!(gv.projects().await, ["site"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_request_go_before_those_of_the_project() {
    let gv = house().await;
    let settings = |build: &str, output: Option<&str>| BuildSettings {
        build_command: Some(build.parse().unwrap()),
        output_dir: output.map(|dir| dir.parse().unwrap()),
        ..BuildSettings::default()
    };
    let new = NewProject { name: name("blog"), repo_url: None, settings: settings("make", Some("out")) };
    gv.app.create_project(gv.account, new).await.unwrap().unwrap();
    let submitted = gv.submit(SubmitRequest { settings: settings("just", None), ..request(BLOG) }).await;
    assert_eq!(submitted.settings, settings("just", Some("out")));
    // What one request says is not the project's from then on.
    assert_eq!(gv.submit(request(BLOG)).await.settings, settings("make", Some("out")));
}

fn key(request: &str) -> IdempotencyKey {
    IdempotencyKey { key: "once".into(), fingerprint: Digest::of(request.as_bytes()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twelve_submissions_with_one_key_one_is_stored() {
    let gv = house().await;
    let submitting = (0..12).map(|_| gv.app.submit(gv.account, request(BLOG), Some(key("a"))));
    let (mut new, mut repeated) = (Vec::new(), Vec::new());
    for submitted in join_all(submitting).await {
        match submitted.unwrap() {
            Submitted::New(deployment) => new.push(deployment),
            Submitted::Repeated(deployment) => repeated.push(deployment),
            other @ (Submitted::KeyTaken | Submitted::LineFull(_)) => {
                panic!("it is the same request: {other:?}")
            }
        }
    }
    assert_eq!((new.len(), repeated.len()), (1, 11));
    assert!(repeated.iter().all(|deployment| deployment.id == new[0].id));
    assert_eq!(gv.projects().await, ["blog"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_leaves_no_project_behind() {
    let gv = house().await;
    gv.app.submit(gv.account, request(BLOG), Some(key("a"))).await.unwrap();
    let other = request("https://git.example.com/other.git");
    let submitted = gv.app.submit(gv.account, other, Some(key("b"))).await.unwrap();
    assert_eq!(submitted, Submitted::KeyTaken);
    assert_eq!(gv.projects().await, ["blog"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redeploying_submits_the_same_again() {
    let gv = house().await;
    let first = SubmitRequest {
        target: Target::Preview,
        reference: Some("v1".parse().unwrap()),
        git_token: Some(Secret::new("token-1")),
        ..request(BLOG)
    };
    let first = gv.deploy(first).await;
    let token = Some(Secret::new("token-2"));
    let again = gv.app.redeploy(gv.account, first.id, token.clone(), false, (None, None)).await.unwrap();
    let Some(Submitted::New(again)) = again else { panic!("not submitted: {again:?}") };
    assert_ne!(again.id, first.id);
    assert_eq!((again.project, again.target, &again.commit), (first.project, Target::Preview, &None));
    assert_eq!(again.source.reference, first.source.reference);
    assert_eq!(again.source.git_token, token);
    let stranger = new_account(&*gv.database, "bob@example.com").await;
    assert_eq!(gv.app.redeploy(stranger, first.id, None, false, (None, None)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_deployment_is_canceled_at_once() {
    let gv = house().await;
    let waiting = gv.submit(request(BLOG)).await;
    let canceled = gv.app.cancel(gv.account, waiting.id).await.unwrap().unwrap();
    assert_eq!(canceled.state.name(), StateName::Canceled);
    assert_eq!(gv.app.cancel(gv.account, waiting.id).await.unwrap().unwrap(), canceled);
    let stranger = new_account(&*gv.database, "bob@example.com").await;
    assert_eq!(gv.app.cancel(stranger, waiting.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canceling_waits_for_the_worker_that_holds_it() {
    let gv = house().await;
    let held = gv.submit(request(BLOG)).await;
    let held = gv.take(held.id).await;
    let mut notices = gv.app.notices.subscribe().await.unwrap();
    let worker = async {
        let notice = Notice::CancelRequested { deployment: held.id };
        while notices.next().await != Heard::Notice(notice.clone()) {}
        let present = gv.database.find_deployment(gv.account, held.id).await.unwrap().unwrap();
        assert!(present.cancel_requested);
        gv.advance(present.cancel(gv.app.clock.now()).unwrap()).await
    };
    let (canceled, ended) = tokio::join!(gv.app.cancel(gv.account, held.id), worker);
    assert_eq!(canceled.unwrap().unwrap().state, ended.state);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_deployment_is_out_of_view_and_its_objects_are_gone() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    let content = gv.content();
    let preview = gv.deploy(SubmitRequest { target: Target::Preview, ..request(BLOG) }).await;
    let own = format!("blog-{}.example.com", preview.id.body());
    assert_eq!(gv.shown(&own).await, Some(preview.id));
    let deleted = gv.app.delete_deployment(gv.account, preview.id).await.unwrap();
    assert!(matches!(deleted, Deletion::Deleted(_)), "{deleted:?}");
    assert_eq!(gv.shown(&own).await, None);
    assert_eq!(gv.content(), content);
    let kept = gv.app.delete_deployment(gv.account, first.id).await.unwrap();
    assert_eq!(kept, Deletion::InProduction);
    assert_eq!(gv.shown("blog.example.com").await, Some(first.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_project_is_out_of_view_and_its_objects_are_gone() {
    let gv = house().await;
    let first = gv.deploy(request(BLOG)).await;
    gv.deploy(request(BLOG)).await;
    let deleted = gv.app.delete_project(gv.account, &name("blog")).await.unwrap();
    assert!(matches!(deleted, ProjectDeletion::Deleted { .. }), "{deleted:?}");
    for host in ["blog.example.com", "blog-git-main.example.com"] {
        assert_eq!(gv.shown(host).await, None);
    }
    assert_eq!(gv.content(), Vec::<String>::new());
    assert_eq!(gv.database.find_deployment(gv.account, first.id).await.unwrap(), None);
    // The name is free again, and what it shows next is newer than that it showed nothing.
    let again = gv.deploy(request(BLOG)).await;
    assert_eq!(gv.shown("blog.example.com").await, Some(again.id));
}
