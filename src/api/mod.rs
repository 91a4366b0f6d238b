//! The api role: gv's REST API over HTTP, with TLS or without.
//!
//! Handlers are thin: they read the request, call a use case of `app` or a query of a port, and
//! show the answer. Statuses are known to [`error`] alone, shapes to [`views`]. Nothing here
//! speaks to git hosts or runs builds. Native paths stay below `/api/`: `/v<number>/` belongs to
//! other tools' APIs.
//!
//! Start with [`routes`], then [`deployments`]. [`server`] has the listeners, [`https`] what they have to do with
//! TLS, [`http2`] what actix-web does not do well enough.

pub mod auth;
pub mod cursor;
pub mod deployments;
pub mod error;
pub mod explain;
pub mod extract;
pub mod http2;
pub mod https;
pub mod limits;
pub mod logs;
pub mod observe;
pub mod openapi;
pub mod projects;
pub mod server;
pub mod source;
pub mod tokens;
pub mod traced;
pub mod variables;
pub mod views;

pub use server::serve;

use crate::api::error::Problem;
use crate::app::App;
use crate::config::{Config, Registration};
use crate::domain::address::AllowedHost;
use crate::ports::error::{StoreError, StoreErrorKind};
use actix_web::http::Method;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Resource, Route};
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use utoipa_swagger_ui::SwaggerUi;

/// How long a client waits for a use case: five seconds are promised, and signing in is a use case of
/// its own before most.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// What the role needs to know beyond what the use cases go by.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    pub registration: Registration,
    /// How often one address, and one e-mail address, may try to sign in within a minute.
    pub attempts_per_min: u32,
    /// Hosts and ports that may be cloned from although they are not public.
    pub source_allow: Vec<AllowedHost>,
    /// Load balancers, whose word for whom they speak is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// For how long browsers are told to stay with TLS, in seconds; 0: they are not.
    pub hsts_max_age_s: u64,
    /// Whether nobody else in this process renews certificates.
    pub renews_certificates: bool,
}

/// What every handler has at hand.
pub struct Api {
    pub app: Arc<App>,
    pub settings: ApiSettings,
    /// Cancelled when the process is to stop: what would go on for ever ends.
    pub stop: CancellationToken,
    /// The process's own runtime, with threads that may block, unlike those of the HTTP server.
    pub runtime: Handle,
}

impl Api {
    /// Runs a use case to its end on the process's own runtime, whether or not the client still
    /// waits: who hangs up cuts nothing in half. (The server drops the handler of a lost
    /// connection where it stands, and a database driver may then wait, which the server's threads
    /// are not made for.) The client is answered within 4 s all the same: a database that hangs is
    /// one that is not there.
    pub async fn run<T, F>(&self, work: impl FnOnce(Arc<App>) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.app));
        let running = self.runtime.spawn(work.in_current_span());
        match tokio::time::timeout(ANSWER_WITHIN, running).await {
            Ok(Ok(done)) => done.map_err(Problem::from),
            Ok(Err(error)) => {
                tracing::error!(%error, "a use case fell over");
                Err(Problem::internal())
            }
            Err(late) => Err(Problem::from(StoreError::new(
                StoreErrorKind::Unavailable,
                "waiting for a use case, which goes on",
                late,
            ))),
        }
    }
}

impl From<&Config> for ApiSettings {
    fn from(config: &Config) -> Self {
        Self {
            registration: config.auth.registration,
            attempts_per_min: config.auth.attempts_per_min,
            source_allow: config.source.allow.clone(),
            trusted_proxies: config.api.trusted_proxies.clone(),
            hsts_max_age_s: config.api.hsts_max_age_s,
            renews_certificates: true,
        }
    }
}

/// Every path that the role answers to.
pub fn routes(api: Data<Api>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(api).configure(paths);
    }
}

fn paths(config: &mut ServiceConfig) {
    config
        .app_data(web::PathConfig::default().error_handler(|_, _| {
            // An id or a name that cannot be one names nothing.
            Problem::not_found("thing: the id or name in the path is malformed").into()
        }))
        .service(at("/api/v1/auth/register", [(Method::POST, web::route().to(auth::register))]))
        .service(at("/api/v1/auth/login", [(Method::POST, web::route().to(auth::login))]))
        .service(at("/api/v1/auth/refresh", [(Method::POST, web::route().to(auth::refresh))]))
        .service(at("/api/v1/auth/logout", [(Method::POST, web::route().to(auth::logout))]))
        .service(at("/api/v1/me", [(Method::GET, web::route().to(auth::me))]))
        .configure(token_routes)
        .configure(deployment_routes)
        .configure(project_routes)
        .service(at(openapi::DOCUMENT, [(Method::GET, web::route().to(openapi::document))]))
        .service(web::redirect("/docs", openapi::DOCS))
        .service(web::redirect("/api/v1/docs", openapi::DOCS))
        .service(
            SwaggerUi::new("/api/v1/docs/{_:.*}").config(utoipa_swagger_ui::Config::from(openapi::DOCUMENT)),
        )
        .service(at("/", [(Method::GET, web::route().to(openapi::welcome))]))
        .default_service(web::to(no_such_path));
}

fn token_routes(config: &mut ServiceConfig) {
    config
        .service(at(
            "/api/v1/tokens",
            [(Method::GET, web::route().to(tokens::list)), (Method::POST, web::route().to(tokens::create))],
        ))
        .service(at("/api/v1/tokens/{id}", [(Method::DELETE, web::route().to(tokens::delete))]));
}

fn deployment_routes(config: &mut ServiceConfig) {
    config
        .service(at(
            "/api/v1/deployments",
            [
                (Method::GET, web::route().to(deployments::list)),
                (Method::POST, web::route().to(deployments::create)),
            ],
        ))
        .service(at(
            "/api/v1/deployments/{id}",
            [
                (Method::GET, web::route().to(deployments::show)),
                (Method::DELETE, web::route().to(deployments::delete)),
            ],
        ))
        .service(at(
            "/api/v1/deployments/{id}/cancel",
            [(Method::POST, web::route().to(deployments::cancel))],
        ))
        .service(at(
            "/api/v1/deployments/{id}/promote",
            [(Method::POST, web::route().to(deployments::promote))],
        ))
        .service(at(
            "/api/v1/deployments/{id}/redeploy",
            [(Method::POST, web::route().to(deployments::redeploy))],
        ))
        .service(at("/api/v1/deployments/{id}/explain", [(Method::GET, web::route().to(explain::explain))]))
        .service(at("/api/v1/deployments/{id}/logs", [(Method::GET, web::route().to(logs::read))]));
}

fn project_routes(config: &mut ServiceConfig) {
    config
        .service(at(
            "/api/v1/projects",
            [
                (Method::GET, web::route().to(projects::list)),
                (Method::POST, web::route().to(projects::create)),
            ],
        ))
        .service(at(
            "/api/v1/projects/{name}",
            [
                (Method::GET, web::route().to(projects::show)),
                (Method::DELETE, web::route().to(projects::delete)),
            ],
        ))
        .service(at("/api/v1/projects/{name}/env", [(Method::GET, web::route().to(variables::list))]))
        .service(at(
            "/api/v1/projects/{name}/env/{key}",
            [
                (Method::PUT, web::route().to(variables::put)),
                (Method::DELETE, web::route().to(variables::delete)),
            ],
        ))
        .service(at(
            "/api/v1/projects/{name}/rollback",
            [(Method::POST, web::route().to(projects::rollback))],
        ));
}

/// A path with its methods; any other method is told which there are.
fn at<const N: usize>(path: &str, methods: [(Method, Route); N]) -> Resource {
    let allow = methods.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
    methods
        .into_iter()
        .fold(web::resource(path), |resource, (method, route)| resource.route(route.method(method)))
        .default_service(web::to(move || {
            let problem = Problem::method_not_allowed(allow.clone());
            async move { Err::<HttpResponse, _>(problem) }
        }))
}

async fn no_such_path() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found("path"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::StatusCode;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use serde_json::Value;
    use utoipa::OpenApi as _;

    /// Status, `Allow` and document of a request without credentials. There is nothing behind the
    /// paths: whatever gets past the door answers 500.
    async fn ask(method: &str, path: &str) -> (StatusCode, Option<String>, Option<Value>) {
        let app =
            actix_web::App::new().wrap(actix_web::middleware::from_fn(observe::observe)).configure(paths);
        let app = init_service(app).await;
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = call_service(&app, TestRequest::with_uri(path).method(method).to_request()).await;
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert!(header("x-request-id").is_some(), "{path}");
        let (status, allow) = (response.status(), header("allow"));
        let problem = header("content-type").as_deref() == Some("application/problem+json");
        let document = if problem { Some(read_body_json(response).await) } else { None };
        (status, allow, document)
    }

    #[actix_web::test]
    async fn every_documented_call_exists_and_knows_nobody_without_a_token() {
        let document = serde_json::to_value(openapi::Document::openapi()).unwrap();
        let mut calls = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                calls += 1;
                let (status, _, problem) = ask(&method.to_uppercase(), path).await;
                // `security: [{}]` is how a call says that it is for everybody.
                if operation["security"] == serde_json::json!([{}]) {
                    assert_eq!(status, 500, "{method} {path} is there");
                } else {
                    assert_eq!(status, 401, "{method} {path}");
                    assert_eq!(problem.unwrap()["status"], 401, "{method} {path}");
                }
            }
        }
        assert_eq!(calls, 25);
    }

    #[actix_web::test]
    async fn a_wrong_method_is_told_which_there_are() {
        let (status, allow, problem) = ask("PUT", "/api/v1/deployments").await;
        assert_eq!((status, allow.as_deref()), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, POST")));
        assert_eq!(problem.unwrap()["status"], 405);
    }

    #[actix_web::test]
    async fn an_unknown_path_is_a_problem_and_other_tools_paths_are_free() {
        for path in ["/nothing", "/api/v1/nothing", "/v2/user", "/api/v1/deployments/a/b/c", "/api/v1/me/"] {
            let (status, _, problem) = ask("GET", path).await;
            assert_eq!(status, 404, "{path}");
            assert_eq!(problem.unwrap()["title"], "Not found", "{path}");
        }
    }

    #[actix_web::test]
    async fn the_document_and_its_page_are_open() {
        for path in ["/", openapi::DOCUMENT, openapi::DOCS] {
            assert_eq!(ask("GET", path).await.0, 200, "{path}");
        }
        assert!(ask("GET", "/docs").await.0.is_redirection());
    }
}
