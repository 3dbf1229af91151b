//! The OpenAPI document, made of the same things that serve the requests.
//!
//! An operation is registered with [`operation!`](crate::operation) and with nothing else. The macro reads the handler's
//! signature: its first argument is [`Authorized`](crate::token::Authorized)`<Scope>` or [`Public`], which both checks the
//! caller and states the scope in the document, and every further argument adds the problems it can answer. So the router,
//! the check and the document cannot part, and a handler that states no scope does not compile.

use crate::page::{Cursor, Limit};
use crate::problem::{Code, codes};
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation as PathOperation, Parameter, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::UtoipaMethodRouter;

#[doc(hidden)]
pub use utoipa_axum;

/// The name of the security scheme in the document.
const SCHEME: &str = "token";
/// The operation's extension that lists its problem codes.
const CODES: &str = "x-problem-codes";

/// What a handler says of itself by its arguments.
#[derive(Default)]
#[allow(missing_debug_implementations, reason = "utoipa's `Parameter` has none")]
pub struct Description {
    scope: Option<&'static str>,
    codes: Vec<&'static Code>,
    parameters: Vec<Parameter>,
}

impl Description {
    /// The caller's token needs this scope.
    pub fn scope(&mut self, scope: &'static str) {
        self.scope = Some(scope);
    }

    /// The operation may answer these.
    pub fn codes(&mut self, codes: &[&'static Code]) {
        self.codes.extend_from_slice(codes);
    }

    /// The operation takes this parameter.
    pub fn parameter(&mut self, parameter: Parameter) {
        self.parameters.push(parameter);
    }
}

/// An argument of a handler and what it adds to the operation's description.
pub trait Argument {
    /// Adds it.
    fn describe(_: &mut Description) {}
}

impl<T> Argument for axum::extract::State<T> {}
impl<T> Argument for axum::Extension<T> {}
impl<T> Argument for Option<axum::Extension<T>> {}
impl Argument for axum::http::HeaderMap {}

/// The first argument of a handler: who may call it.
pub trait Guard {
    /// Adds the scope and the problems of the check.
    fn describe(description: &mut Description);
}

/// A guard that lets everybody pass. For pages and probes, never for a tenant's data.
#[derive(Debug, Clone, Copy)]
pub struct Public;

impl Guard for Public {
    fn describe(_: &mut Description) {}
}

impl<S: Sync> FromRequestParts<S> for Public {
    type Rejection = Infallible;
    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

/// A handler whose first argument is a [`Guard`].
pub trait Handler<Arguments> {
    /// What its arguments add up to.
    fn description() -> Description;
}

macro_rules! handlers {
    ($(($($argument:ident),*))*) => {$(
        impl<F, Fut, G, $($argument),*> Handler<(G, $($argument,)*)> for F
        where
            F: Fn(G, $($argument),*) -> Fut,
            G: Guard,
            $($argument: Argument,)*
        {
            fn description() -> Description {
                let mut description = Description::default();
                G::describe(&mut description);
                $($argument::describe(&mut description);)*
                description
            }
        }
    )*};
}
handlers! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, H) }

/// Registers one handler: `.routes(operation!(account_open, &ACCOUNT_CLOSED, &PARTY_NOT_FOUND))`.
///
/// After the handler stand the problem codes of its own; those of its arguments need not be named.
#[macro_export]
macro_rules! operation {
    ($handler:path $(, $code:expr)* $(,)?) => {
        $crate::openapi::describe($crate::openapi::utoipa_axum::routes!($handler), $handler, &[$($code),*])
    };
}

/// What [`operation!`](crate::operation) expands to.
#[doc(hidden)]
pub fn describe<S, H, A>(
    (schemas, mut paths, router): UtoipaMethodRouter<S>,
    _: H,
    own: &[&'static Code],
) -> UtoipaMethodRouter<S>
where
    H: Handler<A>,
{
    let mut description = H::description();
    description.codes(own);
    description.codes(&[&codes::INTERNAL, &codes::OVERLOADED, &codes::TIMEOUT]);
    for item in paths.paths.values_mut() {
        for (_, operation) in methods_mut(item) {
            apply(&description, operation);
        }
    }
    (schemas, paths, router)
}

fn apply(description: &Description, operation: &mut PathOperation) {
    if let Some(scope) = description.scope {
        operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope])]);
    }
    for parameter in &description.parameters {
        operation.parameters.get_or_insert_default().push(RefOr::T(parameter.clone()));
    }
    let mut by_status: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for code in &description.codes {
        by_status.entry(code.status).or_default().insert(code.name);
    }
    let names: BTreeSet<&str> = by_status.values().flatten().copied().collect();
    let names: Vec<&str> = names.into_iter().collect();
    operation.extensions.get_or_insert_default().merge(ExtensionsBuilder::new().add(CODES, names).build());
    for (status, names) in by_status {
        let list = names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut response = Response::new(list);
        response.content.insert(
            "application/problem+json".to_owned(),
            RefOr::T(Content::new(Some(Ref::from_schema_name("Problem")))),
        );
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
    }
}

fn methods_mut(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut PathOperation)> {
    [
        ("GET", item.get.as_mut()),
        ("PUT", item.put.as_mut()),
        ("POST", item.post.as_mut()),
        ("DELETE", item.delete.as_mut()),
        ("PATCH", item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

fn methods(item: &PathItem) -> impl Iterator<Item = (&'static str, &PathOperation)> {
    [
        ("GET", item.get.as_ref()),
        ("PUT", item.put.as_ref()),
        ("POST", item.post.as_ref()),
        ("DELETE", item.delete.as_ref()),
        ("PATCH", item.patch.as_ref()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// Completes a document that a root router collected: title, the token, and the shape of problems.
#[must_use]
pub fn document(mut document: OpenApi, title: &str, version: &str) -> OpenApi {
    document.info.title = title.to_owned();
    document.info.version = version.to_owned();
    document.info.description = None;
    document.info.license = None;
    document.info.contact = None;
    let mut schemas = Vec::new();
    crate::problem::ProblemSchema::schemas(&mut schemas);
    schemas.push(("Problem".to_owned(), crate::problem::ProblemSchema::schema()));
    // Types of query parameters, which utoipa names without collecting them.
    schemas.push((Limit::name().into_owned(), Limit::schema()));
    schemas.push((Cursor::name().into_owned(), Cursor::schema()));
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.extend(schemas);
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let token = token.description(Some("A token of one environment, with scopes")).build();
    components.security_schemes.insert(SCHEME.to_owned(), RefOr::T(SecurityScheme::Http(token)));
    document
}

/// One operation of a document, for tests that have to cover all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The path as a template, `/v1/accounts/{id}`.
    pub path: String,
    /// The stable name.
    pub operation_id: String,
    /// One line on what it does.
    pub summary: String,
    /// The scopes that the caller's token needs; empty for a public operation.
    pub scopes: Vec<String>,
    /// The problems it may answer, sorted.
    pub codes: Vec<String>,
    /// The statuses of its answers, problems included, sorted.
    pub statuses: Vec<u16>,
}

impl Operation {
    /// Whether a caller without a token may call it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Whether a request of this method and path is for this operation.
    #[must_use]
    pub fn serves(&self, method: &str, path: &str) -> bool {
        let mut segments = path.split('/');
        let fits = self.path.split('/').all(|template| {
            segments.next().is_some_and(|segment| {
                template == segment || (template.starts_with('{') && !segment.is_empty())
            })
        });
        self.method == method && fits && segments.next().is_none()
    }
}

/// Every operation of a document, by path.
#[must_use]
pub fn operations(document: &OpenApi) -> Vec<Operation> {
    let mut operations: Vec<Operation> = document
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| methods(item).map(move |(method, operation)| read(method, path, operation)))
        .collect();
    operations.sort_by(|a, b| (&a.path, a.method).cmp(&(&b.path, b.method)));
    operations
}

fn read(method: &'static str, path: &str, operation: &PathOperation) -> Operation {
    // `SecurityRequirement` keeps its content private; its JSON is `{"token": ["scope"]}`.
    let security = serde_json::to_value(&operation.security).unwrap_or_default();
    let texts = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let codes = operation.extensions.as_ref().and_then(|extensions| extensions.get(CODES));
    let mut statuses: Vec<u16> =
        operation.responses.responses.keys().filter_map(|key| key.parse().ok()).collect();
    statuses.sort_unstable();
    Operation {
        method,
        path: path.to_owned(),
        operation_id: operation.operation_id.clone().unwrap_or_default(),
        summary: operation.summary.clone().unwrap_or_default(),
        scopes: texts(&security[0][SCHEME]),
        codes: codes.map(texts).unwrap_or_default(),
        statuses,
    }
}

/// The faults of a document that a test should refuse: operations without a name, a summary or a listed problem, names
/// used twice, and schemas that are named and not there.
#[must_use]
pub fn faults(document: &OpenApi) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for operation in operations(document) {
        let Operation { method, path, operation_id, summary, codes, .. } = operation;
        if summary.is_empty() {
            faults.push(format!("{method} {path} has no summary"));
        }
        if codes.is_empty() {
            faults.push(format!("{method} {path} was not registered with operation!"));
        }
        if operation_id.is_empty() || !seen.insert(operation_id.clone()) {
            faults.push(format!("{method} {path}: the operationId `{operation_id}` is empty or used twice"));
        }
    }
    let json = serde_json::to_value(document).unwrap_or_default();
    let mut named = BTreeSet::new();
    references(&json, &mut named);
    for name in named {
        if json.pointer(name.trim_start_matches('#')).is_none() {
            faults.push(format!("{name} is not there"));
        }
    }
    faults
}

/// Every `$ref` of a document.
fn references<'a>(json: &'a serde_json::Value, found: &mut BTreeSet<&'a str>) {
    match json {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(serde_json::Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// The document at `/openapi.json` and its page at `/docs`, built without download and without outside addresses.
pub fn router<S: Clone + Send + Sync + 'static>(document: OpenApi) -> Router<S> {
    // The page loads its own script and styles, and its icons are `data:` images.
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    );
    let page = utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", document);
    Router::from(page).layer(SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, POLICY))
}
