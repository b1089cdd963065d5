//! `--discovery` and what belongs to it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    Connector, Entry, Jitter, List, Shard, Source,
    kubernetes::{self, ApiServer, Host, Listed, StateFile, Status},
};

/// Who lists the peers of a process.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Discovery")]
#[group(id = "discovery-options")]
pub struct DiscoveryOptions {
    /// Who lists the peers: the operator, or Kubernetes, by the EndpointSlices of
    /// headless Services; who of them is ready is asked of each
    #[arg(long, env = "SHADDOCK_DISCOVERY", value_name = "BY", default_value = "static")]
    pub discovery: Lister,

    /// With --discovery kubernetes: the headless Service of the chat shards, with a port
    /// named grpc; a shard's name is its pod's UID
    #[arg(
        long,
        env = "SHADDOCK_CHAT_SERVICE",
        value_name = "NAME",
        default_value = "chat-headless"
    )]
    pub chat_service: String,

    /// The same of the connectors; a connector's name is its pod's
    #[arg(
        long,
        env = "SHADDOCK_CONNECTOR_SERVICE",
        value_name = "NAME",
        default_value = "connector-headless"
    )]
    pub connector_service: String,

    /// With --discovery kubernetes: a folder where the last list is kept, for a start
    /// while the API server is away
    #[arg(long, env = "SHADDOCK_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The file that says where the API server is; without one, this has to be a pod
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The namespace of the Services, if it is not the pod's or the file's
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// This pod's address
    #[arg(long, env = "POD_IP", value_name = "IP")]
    pub pod_ip: Option<IpAddr>,
}

/// Who lists the peers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Lister {
    /// An operator, in a flag or a file.
    Static,
    /// The EndpointSlices of headless Services.
    Kubernetes,
}

impl DiscoveryOptions {
    /// Whether Kubernetes lists the peers.
    #[must_use]
    pub fn is_kubernetes(&self) -> bool {
        self.discovery == Lister::Kubernetes
    }

    /// Where others reach a process that listens at `listening`, as far as it can know
    /// by itself.
    #[must_use]
    pub fn own_addr(&self, listening: SocketAddr) -> SocketAddr {
        let ip = self.pod_ip.filter(|_| self.is_kubernetes() && listening.ip().is_unspecified());
        SocketAddr::new(ip.unwrap_or(listening.ip()), listening.port())
    }

    /// The list of the shards, not opened yet; `list` is the operator's.
    ///
    /// Where Kubernetes lists, metrics are registered.
    pub fn shards(&self, list: &List<Shard>, to: &mut Registry, jitter: Jitter) -> Opening<Shard> {
        self.opening(&self.chat_service, list, to, jitter)
    }

    /// As [`DiscoveryOptions::shards`], of the connectors.
    pub fn connectors(
        &self,
        list: &List<Connector>,
        to: &mut Registry,
        jitter: Jitter,
    ) -> Opening<Connector> {
        self.opening(&self.connector_service, list, to, jitter)
    }

    /// The host that the cluster's load balancer gave a Service, as it is and will be,
    /// whoever lists the peers; and the future that follows it: run it until shutdown.
    ///
    /// # Errors
    ///
    /// One line: where the API server is cannot be found out.
    pub async fn balancer(
        &self,
        service: &str,
    ) -> Result<(watch::Receiver<Host>, BoxFuture<'static, ()>), String> {
        let (file, namespace) = (self.kubeconfig.as_deref(), self.namespace.as_deref());
        let api = ApiServer::find(file, namespace, Status::new()).await?;
        Ok(kubernetes::balancer(api, service))
    }

    fn opening<T: Entry>(
        &self,
        service: &str,
        list: &List<T>,
        registry: &mut Registry,
        jitter: Jitter,
    ) -> Opening<T> {
        if !self.is_kubernetes() {
            return Opening(By::List(list.clone()));
        }
        let status = Status::new();
        status.register(registry, service);
        let (options, service) = (self.clone(), service.to_owned());
        Opening(By::Kubernetes { options, service, status, jitter })
    }
}

/// A list that is not opened yet.
#[derive(Debug)]
pub struct Opening<T>(By<T>);

enum By<T> {
    List(List<T>),
    Kubernetes { options: DiscoveryOptions, service: String, status: Arc<Status>, jitter: Jitter },
}

impl<T: std::fmt::Debug> std::fmt::Debug for By<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Kubernetes { service, .. } => f.debug_tuple("Kubernetes").field(service).finish(),
        }
    }
}

#[allow(private_bounds, reason = "shards and connectors; there is nothing else to list")]
impl<T: Listed> Opening<T> {
    /// Waits for the first list; an operator's is there, and that of Kubernetes may be
    /// empty. `waits_for` is told why there is none yet.
    ///
    /// # Errors
    ///
    /// One line that names the option: where the API server is cannot be found out.
    pub async fn open(self, waits_for: impl Fn(&str)) -> Result<Source<T>, String> {
        match self.0 {
            By::List(list) => Ok(list.into()),
            By::Kubernetes { options, service, status, jitter } => {
                let (file, namespace) =
                    (options.kubeconfig.as_deref(), options.namespace.as_deref());
                let api = ApiServer::find(file, namespace, status).await?;
                let state = options.state_dir.map(|folder| StateFile::new(&folder, &service));
                Ok(kubernetes::open(api, &service, state, jitter, waits_for).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        discovery: DiscoveryOptions,
    }

    #[test]
    fn a_pod_that_listens_everywhere_is_reached_at_its_own_address() {
        let addr = |args: &[&str], listening: &str| {
            let program = Program::parse_from(["program"].iter().chain(args));
            program.discovery.own_addr(listening.parse().unwrap()).to_string()
        };
        let pod = ["--discovery=kubernetes", "--pod-ip=10.0.0.7"];
        assert_eq!(addr(&pod, "0.0.0.0:6050"), "10.0.0.7:6050");
        assert_eq!(addr(&pod, "127.0.0.1:6050"), "127.0.0.1:6050");
        assert_eq!(addr(&pod[..1], "0.0.0.0:6050"), "0.0.0.0:6050");
        assert_eq!(addr(&pod[1..], "0.0.0.0:6050"), "0.0.0.0:6050");
        let six = ["--discovery=kubernetes", "--pod-ip=fd00::7"];
        assert_eq!(addr(&six, "[::]:6050"), "[fd00::7]:6050");
    }

    #[tokio::test]
    async fn where_the_api_server_is_has_to_be_known() {
        let args = ["program", "--discovery=kubernetes", "--kubeconfig=/does/not/exist"];
        let options = Program::parse_from(args).discovery;
        let jitter: Jitter = Arc::new(|bound| bound);
        let opening = options.shards(&List::fixed([]), &mut Registry::default(), jitter);
        let refused = opening.open(|_| {}).await.unwrap_err();
        assert!(refused.starts_with("--kubeconfig: "), "{refused}");
    }
}
