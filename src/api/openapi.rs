//! The OpenAPI document, generated from the handlers, and the page that shows it.

use crate::api::error::ProblemView;
use crate::api::{auth, deployments, explain, logs, projects, tokens, variables};
use actix_web::HttpResponse;
use actix_web::web::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// Where the page that shows the document is.
pub const DOCS: &str = "/api/v1/docs/";
pub const DOCUMENT: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(title = "gv", description = "Give it a Git URL, get a site. Errors are problem documents (RFC 9457)."),
    paths(
        auth::register,
        auth::login,
        auth::refresh,
        auth::logout,
        auth::me,
        tokens::create,
        tokens::list,
        tokens::delete,
        deployments::create,
        deployments::list,
        deployments::show,
        deployments::delete,
        deployments::cancel,
        deployments::promote,
        deployments::redeploy,
        explain::explain,
        logs::read,
        projects::list,
        projects::create,
        projects::show,
        projects::delete,
        projects::rollback,
        variables::list,
        variables::put,
        variables::delete,
    ),
    components(schemas(ProblemView, logs::EndView)),
    security(("bearer" = [])),
    modifiers(&Everywhere)
)]
pub struct Document;

/// What holds for every call: how to sign in, and what an error looks like.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let problem = ResponseBuilder::new()
            .description("A problem document")
            .content("application/problem+json", content)
            .build();
        for path in document.paths.paths.values_mut() {
            let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.delete];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert("default".to_owned(), problem.clone().into());
            }
        }
    }
}

pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

/// What a person finds at the root.
pub async fn welcome() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({
        "name": "gv",
        "version": env!("CARGO_PKG_VERSION"),
        "docs": DOCS,
        "openapi": DOCUMENT,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::StateName;

    fn schemas() -> serde_json::Value {
        serde_json::to_value(Document::openapi()).unwrap()["components"]["schemas"].clone()
    }

    #[test]
    fn the_documents_words_are_the_domains() {
        let words: Vec<_> = StateName::ALL.iter().map(|name| name.word()).collect();
        assert_eq!(schemas()["DeploymentState"]["enum"], serde_json::json!(words));
    }

    #[test]
    fn every_schema_that_is_spoken_of_is_there() {
        let text = Document::openapi().to_json().unwrap();
        let schemas = schemas();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_deployment_has_these_fields() {
        let fields = "attempt branch bytes commit commit_message created_at error files finished_at hosts id \
                      project queue_position ref repo_url reused started_at state steps target url";
        let schema = &schemas()["Deployment"];
        let mut names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(names, fields.split_whitespace().collect::<Vec<_>>());
        assert_eq!(schema["required"].as_array().unwrap().len(), names.len(), "null, but never left out");
    }
}
