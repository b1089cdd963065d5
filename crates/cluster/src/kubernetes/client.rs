//! How the API server is reached.

use std::{path::Path, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, Config,
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, Service, ServiceBuilder};

use super::status::Status;

/// An API server that is up takes far less; a dead node's address takes for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What has not begun to answer by then is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Requests in a second, whatever the answers: a proxy that ends each watch at once
/// must not be asked as fast as it can.
const REQUESTS_PER_SECOND: u64 = 10;

/// The EndpointSlices of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct ApiServer {
    pub(crate) slices: Api<EndpointSlice>,
    pub(crate) namespace: String,
    pub(crate) status: Arc<Status>,
}

impl ApiServer {
    /// The one that a kubeconfig names, else that of the cluster that this is a pod
    /// of; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// One line: the files that say where it is cannot be read.
    pub(crate) async fn find(
        kubeconfig: Option<&Path>,
        namespace: Option<&str>,
        status: Arc<Status>,
    ) -> Result<Self, String> {
        let config = match kubeconfig {
            Some(paths) => read(paths).await.map_err(|error| format!("--kubeconfig: {error}"))?,
            None => Config::incluster().map_err(|error| {
                format!(
                    "--discovery kubernetes: this is no pod, and there is no --kubeconfig: {error}"
                )
            })?,
        };
        let refuse = |error: kube::Error| format!("--discovery kubernetes: {error}");
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = config.rustls_https_connector_with_connector(connector).map_err(refuse)?;
        let http = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(refuse)?)
            .map_err(BoxError::from)
            .service(Http::builder(TokioExecutor::new()).build::<_, Body>(connector));
        Ok(Self::behind(http, namespace.unwrap_or(&config.default_namespace), status))
    }

    /// The one that `service` speaks for.
    pub(crate) fn behind<S, B>(service: S, namespace: &str, status: Arc<Status>) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let noted = Arc::clone(&status);
        let service = ServiceBuilder::new()
            .map_response(move |response: Response<B>| {
                if response.status().is_success() {
                    noted.note_answer();
                }
                response
            })
            .rate_limit(REQUESTS_PER_SECOND, Duration::from_secs(1))
            .timeout(ANSWER_MAX)
            .service(service);
        let slices = Api::namespaced(Client::new(service, namespace), namespace);
        Self { slices, namespace: namespace.to_owned(), status }
    }
}

/// Reads a kubeconfig, or several that belong together, as `KUBECONFIG` lists them.
async fn read(paths: &Path) -> Result<Config, kube::config::KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for path in std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()) {
        merged = merged.merge(Kubeconfig::read_from(path)?)?;
    }
    Config::from_custom_kubeconfig(merged, &KubeConfigOptions::default()).await
}
