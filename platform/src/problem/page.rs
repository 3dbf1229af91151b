//! A page per problem code, where the `type` of a problem leads.

use super::{Catalogue, Code, Language, Problem, codes};
use crate::http::Path;
use crate::openapi::Public;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use std::fmt::Write;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// Nothing may be loaded, run, framed or submitted: the pages are text.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `GET /problems` and `GET /problems/{code}`.
pub fn router<S: Clone + Send + Sync + 'static>(catalogue: Arc<Catalogue>) -> OpenApiRouter<S> {
    OpenApiRouter::new()
        .routes(crate::operation!(problem_list))
        .routes(crate::operation!(problem_read, &codes::NOT_FOUND))
        .with_state(catalogue)
}

/// The codes of all problems, as a page.
#[utoipa::path(get, path = "/problems", operation_id = "problem_list", tag = "problems",
    responses((status = 200, description = "A page in the caller's language", content_type = "text/html", body = String)))]
async fn problem_list(_: Public, State(catalogue): State<Arc<Catalogue>>, headers: HeaderMap) -> Response {
    let language = Language::negotiate(&headers, catalogue.default_language());
    let title = catalogue.page_text("page-index", language);
    let mut body = String::new();
    for code in catalogue.codes() {
        let texts = catalogue.texts(code, language, &Vec::new());
        let _ = write!(
            body,
            "<li><a href=\"/problems/{name}\"><code>{name}</code></a> {title}</li>",
            name = code.name,
            title = escaped(&texts.title)
        );
    }
    page(language, &title, &format!("<ul>{body}</ul>"))
}

/// What a problem code means and what to do about it, as a page.
#[utoipa::path(get, path = "/problems/{code}", operation_id = "problem_read", tag = "problems",
    params(("code" = String, Path, description = "The problem's code")),
    responses((status = 200, description = "A page in the caller's language", content_type = "text/html", body = String)))]
async fn problem_read(
    _: Public,
    State(catalogue): State<Arc<Catalogue>>,
    headers: HeaderMap,
    Path(code): Path<String>,
) -> Result<Response, Problem> {
    let code = catalogue.code(&code).ok_or(&codes::NOT_FOUND)?;
    let language = Language::negotiate(&headers, catalogue.default_language());
    let title = format!("{}: {}", catalogue.page_text("page-title", language), code.name);
    Ok(page(language, &title, &explained(&catalogue, code, language)))
}

fn explained(catalogue: &Catalogue, code: &Code, language: Language) -> String {
    let text = |id| escaped(&catalogue.page_text(id, language));
    let texts = catalogue.texts(code, language, &Vec::new());
    format!(
        "<p><strong>{title}</strong></p><dl><dt>{status_label}</dt><dd>{status}</dd>\
         <dt>{what_label}</dt><dd>{detail}</dd><dt>{remedy_label}</dt><dd>{remedy}</dd></dl><p>{retry}</p>",
        title = escaped(&texts.title),
        status_label = text("page-status"),
        status = code.status,
        what_label = text("page-what"),
        detail = escaped(&texts.detail),
        remedy_label = text("page-remedy"),
        remedy = escaped(&texts.remedy),
        retry = text(if code.retryable { "page-retryable" } else { "page-final" }),
    )
}

fn page(language: Language, title: &str, body: &str) -> Response {
    let title = escaped(title);
    let html = format!(
        "<!doctype html><html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>",
        language.tag()
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag())),
        (header::VARY, HeaderValue::from_static("accept-language")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, Html(html)).into_response()
}

/// The text with the five characters that HTML gives a meaning written as references.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
    out
}
