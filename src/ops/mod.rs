//! The operator's listener that every role has: `/healthz` (the process lives), `/readyz` (it can
//! do its work, and what is missing where it cannot), `/metrics` (Prometheus' text format). Each answer
//! says in [`ROLE`] whose it is.

use actix_web::middleware::DefaultHeaders;
use actix_web::web::Data;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// One thing that a role needs to do its work, or does it better with.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    is_required: bool,
    ask: Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>,
}

impl Check {
    /// `name` is what `/readyz` calls it: `database`, `queue` ... `ask` answers what it is, in a
    /// word; or, in words for an operator, what is missing.
    pub fn new<F>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self { name, is_required: true, ask: Arc::new(move || ask().boxed()) }
    }

    /// The role works without it: what is missing is shown, and it is ready all the same.
    pub fn optional(self) -> Self {
        Self { is_required: false, ..self }
    }
}

pub type Checks = Vec<Check>;

/// The field of an answer that names the role of its process: `api`, `worker`, `edge` or `up`.
pub const ROLE: &str = "gv-role";

/// A check that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(2);

struct State {
    role: &'static str,
    checks: Checks,
    metrics: PrometheusHandle,
    stopping: CancellationToken,
    runtime: Handle,
}

/// Serves until `stop`. While `stopping` is cancelled and this still runs, `/readyz` says so, so
/// that a load balancer sends nothing new.
pub async fn serve(
    role: &'static str,
    checks: Checks,
    metrics: PrometheusHandle,
    listener: TcpListener,
    stopping: CancellationToken,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let state = Data::new(State { role, checks, metrics, stopping, runtime: Handle::current() });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .wrap(DefaultHeaders::new().add((ROLE, role)))
            .service(web::resource("/healthz").route(web::get().to(healthz)).route(web::head().to(healthz)))
            .service(web::resource("/readyz").route(web::get().to(readyz)).route(web::head().to(readyz)))
            .route("/metrics", web::get().to(metrics_text))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)
    .context("ops.listen")?
    .run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    stop.cancelled().await;
    handle.stop(true).await;
    serving.await.context("the ops listener fell over")?.context("the ops listener failed")
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

async fn readyz(state: Data<State>) -> HttpResponse {
    let runtime = &state.runtime;
    let outcomes = futures_util::future::join_all(state.checks.iter().map(|check| async move {
        let asking = (check.ask)();
        // On the process's own runtime: a database call that is given up may have to block.
        let asked = runtime.spawn(async move { tokio::time::timeout(DEADLINE, asking).await });
        let outcome = match asked.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
            Err(error) => Err(format!("the check fell over: {error}")),
        };
        (check, outcome)
    }))
    .await;
    let stopping = state.stopping.is_cancelled();
    let ready = !stopping && outcomes.iter().all(|(check, outcome)| outcome.is_ok() || !check.is_required);
    let checks: Map<String, Value> = outcomes
        .into_iter()
        .map(|(check, outcome)| {
            let is_ok = outcome.is_ok();
            let (Ok(detail) | Err(detail)) = outcome;
            let value = json!({"ok": is_ok, "required": check.is_required, "detail": detail});
            (check.name.to_owned(), value)
        })
        .collect();
    let body = json!({"role": state.role, "ready": ready, "stopping": stopping, "checks": checks});
    if ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn metrics_text(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(state.metrics.render())
}
