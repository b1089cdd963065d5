//! What is answered to which request, and the headers that every answer has.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{self, ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};

use crate::{Config, Metrics, assets::Assets, tunnel::Tunnels};

/// What all requests share.
#[derive(Debug)]
struct Site {
    assets: Assets,
    /// The body of `/config.json`.
    config: String,
    policy: HeaderValue,
    gate_addr: String,
    connectors: Vec<crate::Backend>,
    connector_addr: Option<String>,
    connector_pods: Option<String>,
    metrics: Metrics,
    tunnels: Tunnels,
}

/// What leads to the connectors that are listed, by their ids.
const LISTED: &str = "/ws";

pub(crate) fn router(config: &Config, metrics: Metrics, tunnels: Tunnels) -> Router {
    let site = Arc::new(Site {
        assets: Assets::load(),
        config: config.for_page().to_string(),
        policy: content_security_policy(config.proxy),
        gate_addr: config.gate_addr.clone(),
        connectors: config.connectors.clone(),
        connector_addr: config.connector_addr.clone(),
        connector_pods: config.connector_pods.clone(),
        metrics,
        tunnels,
    });
    let mut router = Router::new().route("/config.json", get(page_config));
    if config.proxy {
        let listed = format!("{LISTED}/{{id}}");
        router = router.route("/gate", any(gate)).route(&listed, any(connector));
        if config.connector_addr.is_some() {
            router = router.route(&config.advertise_path, any(any_connector));
        }
        if config.connector_pods.is_some() && config.advertise_path != LISTED {
            let path = format!("{}/{{id}}", config.advertise_path);
            router = router.route(&path, any(connector));
        }
    }
    router
        .fallback(asset)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), finish))
        .with_state(site)
}

/// Everything is forbidden that the page does not need. Gate and connectors are
/// at other origins, unless this server leads to them.
fn content_security_policy(proxy: bool) -> HeaderValue {
    let connect = if proxy { "'self'" } else { "'self' ws: wss:" };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("the policy is ASCII")
}

const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Adds the security headers, and counts.
async fn finish(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, site.policy.clone());
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    site.metrics.answered(response.status());
    response
}

async fn page_config(State(site): State<Arc<Site>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (headers, site.config.clone()).into_response()
}

async fn asset(State(site): State<Arc<Site>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed().await;
    }
    site.assets.get(request.uri().path(), request.headers())
}

#[allow(clippy::unused_async, reason = "axum's handlers are async")]
async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], "method not allowed\n").into_response()
}

async fn gate(State(site): State<Arc<Site>>, request: Request) -> Response {
    site.tunnels.open(&site.gate_addr, None, request).await
}

async fn any_connector(State(site): State<Arc<Site>>, request: Request) -> Response {
    match &site.connector_addr {
        Some(addr) => site.tunnels.open(addr, None, request).await,
        None => (StatusCode::NOT_FOUND, "no such connector\n").into_response(),
    }
}

async fn connector(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    if let Some(connector) = site.connectors.iter().find(|connector| connector.id == id) {
        return site.tunnels.open(&connector.addr, None, request).await;
    }
    let chosen = address_of(&id);
    let (Some(chosen), Some(pods), Some(any)) =
        (chosen, &site.connector_pods, &site.connector_addr)
    else {
        return (StatusCode::NOT_FOUND, "no such connector\n").into_response();
    };
    site.tunnels.open(any, Some((pods, chosen)), request).await
}

/// The address that eight or 32 hexadecimal digits stand for.
fn address_of(digits: &str) -> Option<IpAddr> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match digits.len() {
        8 => Some(IpAddr::from(u32::from_str_radix(digits, 16).ok()?.to_be_bytes())),
        32 => Some(IpAddr::from(u128::from_str_radix(digits, 16).ok()?.to_be_bytes())),
        _ => None,
    }
}
