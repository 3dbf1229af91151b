//! What a process says of itself: logs (JSON or for people), traces by OTLP if asked, metrics, and whether it is well.

use crate::config::Faults;
use crate::drain::Drain;
use crate::egress::Egress;
use crate::http::Json;
use crate::openapi::Public;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::IsTerminal;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};
use utoipa_axum::router::OpenApiRouter;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Pretty,
}

/// What is said, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How logs look.
    pub format: Format,
    /// Which events and spans are logged: `info`, `info,platform=debug` (the directives of tracing's `EnvFilter`).
    pub filter: String,
    /// Where traces go: the full URL of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318/v1/traces`. Its host has to
    /// be in the egress list. Nowhere, if absent.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            format: Format::Pretty,
            filter: "info,sea_orm_migration=warn,s3s=warn,s3s_fs=warn".to_owned(),
            otlp_endpoint: None,
        }
    }
}

impl TelemetryConfig {
    /// Adds what is wrong, as keys of the table `at`.
    pub fn check(&self, at: &str, faults: &mut Faults) {
        if let Err(error) = EnvFilter::try_new(&self.filter) {
            faults
                .add(format!("{at}.filter"), format!("be directives such as `info,platform=debug`: {error}"));
        }
    }
}

/// What leaves in traces: what this crate and those named in `crates` say. Libraries put whole requests, with their
/// credentials, into their spans. Those of our requests are at debug level, so that they cost nothing where nobody collects
/// them.
fn exported(crates: &[&str]) -> EnvFilter {
    let own = crates.iter().map(|name| format!(",{name}=info"));
    EnvFilter::new(format!("platform=info,platform::layers=debug{}", own.collect::<String>()))
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("telemetry.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Traces cannot go there.
    #[error("telemetry.otlp_endpoint: {0}")]
    Otlp(Box<dyn Error + Send + Sync>),
    /// The metrics recorder cannot be made.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// What was set up; keep it until the end of the process.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: PrometheusHandle,
}

impl Telemetry {
    /// Sets up logs, traces and metrics for this process, named `service`, whose own crates are `crates`: traces have what
    /// these say. Logs go to standard error. Call it once, inside of the runtime.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn init(
        service: &'static str,
        crates: &[&str],
        config: &TelemetryConfig,
        egress: &Egress,
    ) -> Result<Self, TelemetryError> {
        let stderr = std::io::stderr;
        let logs = tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
        let logs: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
            Format::Json => logs.json().flatten_event(true).with_span_list(false).boxed(),
            Format::Pretty => logs.compact().boxed(),
        };
        let traces = config.otlp_endpoint.as_deref().map(|url| exporter(service, url, egress)).transpose()?;
        let exported = traces.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(service));
            layer.with_filter(exported(crates))
        });
        let subscriber =
            Registry::default().with(logs.with_filter(EnvFilter::try_new(&config.filter)?)).with(exported);
        if subscriber.try_init().is_err() {
            tracing::debug!("a subscriber was set before; it stays");
        }
        let metrics = metrics()?;
        let kept = metrics.clone();
        // Histograms gather samples until somebody looks; nobody may for a long time.
        tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(5));
            loop {
                every.tick().await;
                kept.run_upkeep();
            }
        });
        Ok(Self { traces, metrics })
    }

    /// The metrics so far, for [`probes`].
    #[must_use]
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// Sends what is left to send. Last thing in `main`.
    pub fn shutdown(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Seconds; money requests take 1 to 100 ms.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The process's recorder, installed on the first call.
///
/// # Errors
/// When another recorder is installed.
pub fn metrics() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    // A lock and not a `OnceLock`: of two first calls at once only one may install.
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut known = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*known {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    Ok(known.insert(handle).clone())
}

fn exporter(service: &'static str, url: &str, egress: &Egress) -> Result<SdkTracerProvider, TelemetryError> {
    let refused = |error: Box<dyn Error + Send + Sync>| TelemetryError::Otlp(error);
    // Asked now, so that a receiver that is not allowed stops the start and not the first export.
    drop(egress.post(url).map_err(|error| refused(error.into()))?);
    let client = OverEgress { egress: egress.clone(), runtime: tokio::runtime::Handle::current() };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url)
        .build()
        .map_err(|error| refused(error.into()))?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The exporter's client: it runs on a thread without a runtime, and must not go around the egress list.
#[derive(Debug)]
struct OverEgress {
    egress: Egress,
    runtime: tokio::runtime::Handle,
}

impl HttpClient for OverEgress {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: axum::http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<axum::http::Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let egress = self.egress.clone();
        let sent = self.runtime.spawn(async move {
            let (parts, body) = request.into_parts();
            let request =
                egress.request(parts.method, &parts.uri.to_string())?.headers(parts.headers).body(body);
            let answer = Egress::send(request).await?;
            let mut response = axum::http::Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.body_mut() = answer.bytes().await?;
            Ok::<_, HttpError>(response)
        });
        Box::pin(async move { sent.await? })
    }
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Box<dyn Error + Send + Sync>>> + Send + Sync>;

/// Whether this process can take requests: it is not stopping, and every registered check passes.
#[derive(Clone)]
pub struct Readiness {
    drain: Drain,
    checks: Vec<(&'static str, Check)>,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|(name, _)| name)).finish()
    }
}

/// How long one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

impl Readiness {
    /// Ready until the drain begins.
    #[must_use]
    pub const fn new(drain: Drain) -> Self {
        Self { drain, checks: Vec::new() }
    }

    /// Ready only while this passes too, within two seconds each time. It runs on every probe: keep it cheap.
    #[must_use]
    pub fn check<F, E>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let check = move || -> BoxFuture<'static, _> {
            let result = check();
            Box::pin(async move { result.await.map_err(Into::into) })
        };
        self.checks.push((name, Arc::new(check)));
        self
    }

    async fn report(&self) -> Report {
        let checks = self.checks.iter().map(async |(name, check)| {
            let ok = match tokio::time::timeout(CHECK_LIMIT, check()).await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::warn!(check = name, error, "not ready");
                    false
                }
                Err(_) => {
                    tracing::warn!(check = name, "not ready: the check took too long");
                    false
                }
            };
            CheckReport { name, ok }
        });
        let checks = futures::future::join_all(checks).await;
        let stopping = self.drain.has_begun();
        Report { ready: !stopping && checks.iter().all(|check| check.ok), stopping, checks }
    }
}

/// Whether this process can take requests, and why not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Readiness)]
struct Report {
    /// Whether to send requests here.
    ready: bool,
    /// Whether it is being stopped.
    stopping: bool,
    /// What was looked at.
    checks: Vec<CheckReport>,
}

/// One thing that has to be well.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReadinessCheck)]
struct CheckReport {
    /// Its name.
    name: &'static str,
    /// Whether it is well.
    ok: bool,
}

#[derive(Clone)]
struct Probed {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

/// `/livez`, `/readyz` and `/metrics`. Merge them beside the stack of layers, so that they answer under overload.
pub fn probes<S: Clone + Send + Sync + 'static>(
    readiness: Readiness,
    metrics: PrometheusHandle,
) -> OpenApiRouter<S> {
    OpenApiRouter::new()
        .routes(crate::operation!(probe_live))
        .routes(crate::operation!(probe_ready))
        .routes(crate::operation!(probe_metrics))
        .with_state(Probed { readiness, metrics })
}

/// Whether the process runs at all.
#[utoipa::path(get, path = "/livez", operation_id = "probe_live", tag = "probes",
    responses((status = 200, description = "It runs", content_type = "text/plain", body = String)))]
async fn probe_live(_: Public) -> &'static str {
    "ok"
}

/// Whether requests should be sent here.
#[utoipa::path(get, path = "/readyz", operation_id = "probe_ready", tag = "probes",
    responses((status = 200, description = "Yes", body = Report), (status = 503, description = "Not now", body = Report)))]
async fn probe_ready(_: Public, State(probed): State<Probed>) -> (StatusCode, Json<Report>) {
    let report = probed.readiness.report().await;
    (if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(report))
}

/// The process's metrics, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "probe_metrics", tag = "probes",
    responses((status = 200, description = "The metrics", content_type = "text/plain", body = String)))]
async fn probe_metrics(_: Public, State(probed): State<Probed>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], probed.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::EgressConfig;
    use opentelemetry::trace::Tracer;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    #[tokio::test(flavor = "multi_thread")]
    async fn traces_reach_an_allowed_receiver_and_no_other() {
        let (sent, mut received) = mpsc::unbounded_channel();
        let receiver = axum::Router::new().fallback(async move |uri: axum::http::Uri| {
            sent.send(uri.path().to_owned()).unwrap();
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let url = format!("http://{host}/v1/traces");
        let server = tokio::spawn(async move { axum::serve(listener, receiver).await });

        let denied = exporter("test", &url, &Egress::new(&EgressConfig::default()).unwrap());
        assert!(matches!(denied, Err(TelemetryError::Otlp(error)) if error.to_string().contains(&host)));

        let egress = Egress::new(&EgressConfig { allow: vec![host], ..EgressConfig::default() }).unwrap();
        let provider = exporter("test", &url, &egress).unwrap();
        provider.tracer("test").in_span("work", |_| ());
        tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
        assert_eq!(received.recv().await.as_deref(), Some("/v1/traces"));
        server.abort();
    }
}
