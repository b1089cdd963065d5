//! Probes and metrics, on a thread and runtime of their own, so that they answer
//! when the service is stuck.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::get,
};
use prometheus_client::registry::Registry;

/// What the probes say.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) started: AtomicBool,
    pub(crate) ready: AtomicBool,
    /// What the start waits for, for the start-up probe.
    pub(crate) waits: Mutex<String>,
}

#[derive(Clone)]
struct Admin {
    probes: Arc<Probes>,
    registry: Arc<OnceLock<Registry>>,
}

/// Serves until the process ends; the registry is there once the service has started.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    probes: Arc<Probes>,
    registry: Arc<OnceLock<Registry>>,
) -> std::io::Result<()> {
    let admin = Admin { probes, registry };
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/startupz", get(async |State(admin): State<Admin>| started(&admin.probes)))
        .route("/readyz", get(async |State(admin): State<Admin>| verdict(&admin.probes.ready)))
        .route("/metrics", get(async |State(admin): State<Admin>| metrics(&admin.registry)))
        .with_state(admin);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            let served =
                async { axum::serve(tokio::net::TcpListener::from_std(listener)?, routes).await };
            if let Err(error) = served.await {
                tracing::error!(error = %error, "admin port failed");
            }
        });
    })?;
    Ok(())
}

fn started(probes: &Probes) -> (StatusCode, String) {
    let (status, text) = verdict(&probes.started);
    match probes.waits.lock().expect("a text").as_str() {
        waits if status != StatusCode::OK && !waits.is_empty() => (status, format!("{waits}\n")),
        _ => (status, text.to_owned()),
    }
}

fn verdict(probe: &AtomicBool) -> (StatusCode, &'static str) {
    match probe.load(Ordering::Acquire) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not yet, or no longer\n"),
    }
}

fn metrics(registry: &OnceLock<Registry>) -> axum::response::Response {
    let Some(registry) = registry.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "not yet\n").into_response();
    };
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
