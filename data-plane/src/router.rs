//! The routes of a cell behind the tower stack, and the document that knows them all.

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

use crate::{CellError, accounts, app::App, environments, parties, payments};

/// The problem codes of this crate, and their texts.
pub static DOMAIN: Domain = Domain {
    name: "data-plane",
    codes: &[environments::http::CODES, parties::http::CODES, accounts::http::CODES, payments::http::CODES],
    en: include_str!("../locales/en.ftl"),
    es: include_str!("../locales/es.ftl"),
    pt: include_str!("../locales/pt.ftl"),
};

/// Every scope of a cell, for who issues tokens.
#[must_use]
pub fn scopes() -> Vec<&'static str> {
    [
        ledger::http::SCOPES,
        environments::http::SCOPES,
        parties::http::SCOPES,
        accounts::http::SCOPES,
        payments::http::SCOPES,
    ]
    .concat()
}

fn slices() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(ledger::http::router())
        .merge(environments::http::router())
        .merge(parties::http::router())
        .merge(accounts::http::router())
        .merge(payments::http::router())
        .merge(oauth::http::router())
}

pub(crate) fn catalogue(default: Language) -> Result<Arc<Catalogue>, CellError> {
    Ok(Arc::new(Catalogue::new(default, &[&ledger::http::DOMAIN, &DOMAIN])?))
}

/// The router of a cell.
///
/// # Errors
/// A problem code lacks a text, which the tests exclude.
pub fn router(
    app: App,
    http: &HttpConfig,
    readiness: Readiness,
    metrics: PrometheusHandle,
) -> Result<Router, CellError> {
    let catalogue = Arc::clone(&app.catalogue);
    let routes: Router = slices().with_state(app).merge(problem::router(Arc::clone(&catalogue))).into();
    let served = layers::apply(routes.merge(openapi::router(document()?)), http, catalogue);
    // Beside the stack, so that they answer under overload.
    Ok(served.merge(telemetry::probes(readiness, metrics)))
}

/// The document of a cell: every operation, with its scopes and problems.
///
/// # Errors
/// As [`router`].
pub fn document() -> Result<OpenApi, CellError> {
    let problems = problem::router::<()>(catalogue(Language::En)?).into_openapi();
    let probes = telemetry::probes::<()>(Readiness::new(Drain::new()), telemetry::metrics()?).into_openapi();
    let all = slices().into_openapi().merge_from(problems).merge_from(probes);
    Ok(openapi::document(all, "Tambo data plane", env!("CARGO_PKG_VERSION")))
}
