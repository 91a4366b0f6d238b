//! What a build is told about itself by names that other hosts made known, so that projects which ask for them
//! go on working.
//!
//! The two names by which frameworks recognise a host (`VERCEL`, `NETLIFY`) are given only where the repository
//! speaks that host's language: adapters that see them write for that host's functions, which gv does not run.
//! Sources: <https://vercel.com/docs/environment-variables/system-environment-variables>,
//! <https://docs.netlify.com/configure-builds/environment-variables/>.

use crate::domain::deployment::Target;
use crate::domain::routing::dialect::Dialect;
use crate::worker::environment::Context;

/// All of them, in no order.
pub fn variables(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let (deployment, commit) = (context.deployment, context.commit);
    let branch = commit.branch.clone().unwrap_or_default();
    let host = |url: &str| url.split_once("://").map_or(url, |(_, host)| host).to_owned();
    let production = deployment.target == Target::Production;
    let repository = deployment.source.repo_url.url();
    let path = repository.path().trim_matches('/').trim_end_matches(".git").to_owned();
    let (owner, slug) = path.rsplit_once('/').unwrap_or(("", path.as_str()));
    let number = deployment.id.body().to_owned();
    let mut all = vec![
        ("URL", context.production_url.to_owned()),
        ("DEPLOY_URL", context.url.to_owned()),
        ("DEPLOY_PRIME_URL", if production { context.production_url } else { context.url }.to_owned()),
        ("DEPLOY_ID", number.clone()),
        ("BUILD_ID", number),
        ("SITE_NAME", deployment.project_name.to_string()),
        ("SITE_ID", deployment.project.to_string()),
        ("CONTEXT", if production { "production" } else { "deploy-preview" }.to_owned()),
        ("REPOSITORY_URL", repository.to_string()),
        ("BRANCH", branch.clone()),
        ("HEAD", branch.clone()),
        ("COMMIT_REF", commit.id.clone()),
        ("VERCEL_URL", host(context.url)),
        ("VERCEL_BRANCH_URL", host(context.url)),
        ("VERCEL_PROJECT_PRODUCTION_URL", host(context.production_url)),
        ("VERCEL_DEPLOYMENT_ID", deployment.id.to_string()),
        ("VERCEL_PROJECT_ID", deployment.project.to_string()),
        ("VERCEL_GIT_COMMIT_SHA", commit.id.clone()),
        ("VERCEL_GIT_COMMIT_REF", branch),
        ("VERCEL_GIT_COMMIT_MESSAGE", commit.message.clone()),
        ("VERCEL_GIT_REPO_OWNER", owner.to_owned()),
        ("VERCEL_GIT_REPO_SLUG", slug.to_owned()),
        ("VERCEL_GIT_PROVIDER", provider(repository.host_str().unwrap_or_default()).to_owned()),
    ];
    match context.dialect {
        Some(Dialect::Vercel) => {
            let target = if production { "production" } else { "preview" };
            all.push(("VERCEL", "1".to_owned()));
            all.extend(
                [("VERCEL_ENV", target), ("VERCEL_TARGET_ENV", target)].map(|(n, v)| (n, v.to_owned())),
            );
        }
        Some(Dialect::Netlify) => all.push(("NETLIFY", "true".to_owned())),
        _ => {}
    }
    all
}

fn provider(host: &str) -> &'static str {
    match host {
        "github.com" => "github",
        "gitlab.com" => "gitlab",
        "bitbucket.org" => "bitbucket",
        _ => "",
    }
}
