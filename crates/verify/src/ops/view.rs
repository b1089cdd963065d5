//! What one process is shown of Kubernetes: a fake API server of its own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use chassis::Net;
use fake_api::{FakeApi, Pod, Served, slice};

use crate::run::process::free_port;

/// Where all pods are.
pub(crate) const NAMESPACE: &str = "shaddock";
pub(crate) const CHAT: &str = "chat-headless";
pub(crate) const CONNECTOR: &str = "connector-headless";

/// A pod, as its slice shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    Ready,
    Unready,
    Terminating,
}

/// All pods of a Service, by name, which is the UID, too.
pub(crate) type Pods = BTreeMap<String, (u16, Seen)>;

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) api: FakeApi,
    service: &'static str,
    addr: SocketAddr,
    served: Option<Served>,
    shown: Pods,
    kubeconfig: PathBuf,
    /// What changes is not shown.
    pub(crate) is_held: bool,
}

impl View {
    pub(crate) async fn start(
        net: &Net,
        folder: &Path,
        who: &str,
        service: &'static str,
    ) -> anyhow::Result<Self> {
        let (api, addr) = (FakeApi::new(), free_port(net).await?);
        let kubeconfig = folder.join(format!("{who}.kubeconfig"));
        std::fs::write(&kubeconfig, FakeApi::kubeconfig(addr, NAMESPACE))?;
        let (served, shown, is_held) = (Some(api.serve(addr).await?), Pods::new(), false);
        Ok(Self { api, service, addr, served, shown, kubeconfig, is_held })
    }

    /// The flags of a process that looks here.
    pub(crate) fn args(&self) -> Vec<String> {
        let file = self.kubeconfig.display().to_string();
        let args = ["--discovery", "kubernetes", "--kubeconfig", &file, "--namespace", NAMESPACE];
        args.map(str::to_owned).to_vec()
    }

    /// Shows these pods, each in a slice of its own, for each has a port of its own.
    pub(crate) fn show(&mut self, pods: Pods) {
        if self.is_held {
            return;
        }
        for name in self.shown.keys().filter(|name| !pods.contains_key(*name)) {
            self.api.remove(NAMESPACE, name);
        }
        for (name, what) in &pods {
            if self.shown.get(name) == Some(what) {
                continue;
            }
            let (port, seen) = *what;
            let pod = Pod::new(name, name, "127.0.0.1");
            let pod = match seen {
                Seen::Ready => pod,
                Seen::Unready => pod.unready(),
                Seen::Terminating => pod.terminating(),
            };
            self.api.put(slice(NAMESPACE, name, self.service, port, &[pod]));
        }
        self.shown = pods;
    }

    /// Nobody listens where the API server was.
    pub(crate) async fn stop(&mut self) {
        if let Some(served) = self.served.take() {
            served.stop().await;
        }
    }

    /// It is back.
    pub(crate) async fn resume(&mut self) -> anyhow::Result<()> {
        if self.served.is_none() {
            let served = self.api.serve(self.addr).await;
            self.served = Some(served.with_context(|| format!("serve {}", self.addr))?);
        }
        Ok(())
    }
}
