//! EndpointSlices as the cluster's controller writes them.

use serde_json::{Value, json};

/// One endpoint of a slice.
#[derive(Clone, Debug)]
pub struct Pod {
    uid: String,
    name: String,
    address: String,
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Pod {
    /// A pod that is ready.
    #[must_use]
    pub fn new(uid: &str, name: &str, address: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            name: name.to_owned(),
            address: address.to_owned(),
            ready: Some(true),
            serving: Some(true),
            terminating: Some(false),
        }
    }

    /// With these conditions: ready, serving, terminating.
    #[must_use]
    pub fn with(mut self, conditions: [Option<bool>; 3]) -> Self {
        [self.ready, self.serving, self.terminating] = conditions;
        self
    }

    /// About to end, and serving until then.
    #[must_use]
    pub fn terminating(self) -> Self {
        self.with([Some(false), Some(true), Some(true)])
    }

    /// Not ready.
    #[must_use]
    pub fn unready(self) -> Self {
        self.with([Some(false), Some(false), Some(false)])
    }
}

/// A slice of a Service's pods, whose port is named `grpc`.
#[must_use]
pub fn slice(namespace: &str, name: &str, service: &str, port: u16, pods: &[Pod]) -> Value {
    let is_v6 = pods.first().is_some_and(|pod| pod.address.contains(':'));
    let endpoints = pods.iter().map(|pod| {
        let target = json!({
            "kind": "Pod", "namespace": namespace, "name": pod.name, "uid": pod.uid,
        });
        let conditions =
            [("ready", pod.ready), ("serving", pod.serving), ("terminating", pod.terminating)];
        // What is nil is left out.
        let conditions =
            conditions.into_iter().filter_map(|(name, is)| Some((name.to_owned(), is?.into())));
        json!({
            "addresses": [pod.address],
            "conditions": Value::Object(conditions.collect()),
            "targetRef": target,
        })
    });
    json!({
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": if is_v6 { "IPv6" } else { "IPv4" },
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [
            { "name": "admin", "port": 9090, "protocol": "TCP" },
            { "name": "grpc", "port": port, "protocol": "TCP" },
        ],
    })
}
