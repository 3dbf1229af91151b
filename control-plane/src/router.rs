//! The routes of the control plane behind the tower stack, and the document that knows them all.

use std::sync::Arc;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use platform::{
    drain::Drain,
    layers::{self, HttpConfig},
    oauth,
    openapi::{self, utoipa_axum::router::OpenApiRouter},
    problem::{self, Catalogue, Domain, Language},
    telemetry::{self, Readiness},
};
use utoipa::openapi::OpenApi;

use crate::{
    ControlPlaneError, app::App, caller, cells, clients, documents, environments, links, names, operations,
    organizations, regions, tenants,
};

/// The problem codes of this crate, and their texts.
pub static DOMAIN: Domain = Domain {
    name: "control-plane",
    codes: &[
        caller::CODES,
        names::CODES,
        organizations::http::CODES,
        regions::http::CODES,
        tenants::http::CODES,
        tenants::residency::http::CODES,
        documents::http::CODES,
        operations::http::CODES,
        environments::http::CODES,
        clients::http::CODES,
        cells::http::CODES,
        links::http::CODES,
    ],
    en: include_str!("../locales/en.ftl"),
    es: include_str!("../locales/es.ftl"),
    pt: include_str!("../locales/pt.ftl"),
};

/// Every scope of the control plane, for who issues tokens.
#[must_use]
pub fn scopes() -> Vec<&'static str> {
    [
        organizations::http::SCOPES,
        regions::http::SCOPES,
        tenants::http::SCOPES,
        documents::http::SCOPES,
        operations::http::SCOPES,
        environments::http::SCOPES,
        clients::http::SCOPES,
        cells::http::SCOPES,
    ]
    .concat()
}

fn slices() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(organizations::http::router())
        .merge(regions::http::router())
        .merge(tenants::http::router())
        .merge(documents::http::router())
        .merge(operations::http::router())
        .merge(environments::http::router())
        .merge(clients::http::router())
        .merge(cells::http::router())
        .merge(oauth::http::router())
}

pub(crate) fn catalogue(default: Language) -> Result<Arc<Catalogue>, ControlPlaneError> {
    Ok(Arc::new(Catalogue::new(default, &[&DOMAIN])?))
}

/// The router of the control plane.
///
/// # Errors
/// A problem code lacks a text, which the tests exclude.
pub fn router(
    app: App,
    http: &HttpConfig,
    readiness: Readiness,
    metrics: PrometheusHandle,
) -> Result<Router, ControlPlaneError> {
    let catalogue = Arc::clone(&app.catalogue);
    let routes: Router = slices().with_state(app).merge(problem::router(Arc::clone(&catalogue))).into();
    let served = layers::apply(routes.merge(openapi::router(document()?)), http, catalogue);
    // Beside the stack, so that they answer under overload.
    Ok(served.merge(telemetry::probes(readiness, metrics)))
}

/// The router of the links, for a listener that knows its peers. A request may take as long as a poll waits.
///
/// # Errors
/// As [`router`].
pub fn link_router(app: App, http: &HttpConfig) -> Router {
    let catalogue = Arc::clone(&app.catalogue);
    let longest = u64::try_from(links::LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX);
    let http = HttpConfig { timeout_ms: http.timeout_ms.saturating_add(longest), ..http.clone() };
    layers::apply(links::http::router().with_state(app).into(), &http, catalogue)
}

/// The document of the links: what cells call.
///
/// # Errors
/// As [`router`].
pub fn link_document() -> Result<OpenApi, ControlPlaneError> {
    let problems = problem::router::<()>(catalogue(Language::En)?).into_openapi();
    let all = links::http::router::<App>().into_openapi().merge_from(problems);
    Ok(openapi::document(all, "Tambo cell link", env!("CARGO_PKG_VERSION")))
}

/// The document of the control plane: every operation, with its scopes and problems.
///
/// # Errors
/// As [`router`].
pub fn document() -> Result<OpenApi, ControlPlaneError> {
    let problems = problem::router::<()>(catalogue(Language::En)?).into_openapi();
    let probes = telemetry::probes::<()>(Readiness::new(Drain::new()), telemetry::metrics()?).into_openapi();
    let all = slices().into_openapi().merge_from(problems).merge_from(probes);
    Ok(openapi::document(all, "Tambo control plane", env!("CARGO_PKG_VERSION")))
}
