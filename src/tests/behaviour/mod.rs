//! gv as its users meet it: a real `gv up`, a real Git server, HTTP.

mod accounts;
mod api_http2;
mod api_https;
mod api_tls;
mod bad_input;
mod builds;
mod codings;
mod commands;
mod container;
mod crashes;
mod doctor;
mod failures;
mod going_live;
mod isolation;
mod operations;
mod pointers;
mod queue;
mod reuse;
mod routing;
mod sandbox;
mod sharing;
mod toolchains;
pub mod tracing;
mod users;
mod variables;

use super::support::git::{GitServer, Repository, borrowed, built_by};
use super::support::gv::{Gv, Settings};
use serde_json::{Value, json};

/// For builds that leave traces outside of their own folders, or kill their worker: no sandbox lets
/// them.
fn unheld() -> Settings {
    Settings::default().set("GV_WORKER__SANDBOX", "unsafe-none")
}

/// A gv that may clone from a Git server of its own.
struct Stage {
    gv: Gv,
    git: GitServer,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(Settings::default()).await
    }

    async fn set_with(settings: Settings) -> Self {
        let git = GitServer::start().await;
        let gv = Gv::start(settings.allow(git.address())).await;
        Self { gv, git }
    }

    async fn site(&self, name: &str) -> Repository {
        self.git.repository(name, &[("index.html", "<h1>first</h1>"), ("about.html", "about")]).await
    }

    /// A deployment that has ended, however long that takes: what it needs comes from a registry.
    async fn ended(&self, id: &str) -> Value {
        loop {
            let deployment = self.gv.get(&format!("/deployments/{id}")).await;
            if !["queued", "cloning", "building", "uploading"]
                .contains(&deployment["state"].as_str().unwrap())
            {
                return deployment;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    async fn deploy(&self, repository: &Repository) -> Value {
        self.gv.deploy(json!({"repo_url": repository.url()})).await
    }
}
