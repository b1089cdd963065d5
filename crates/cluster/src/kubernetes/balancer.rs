//! The address that the cluster's load balancer gave a Service.

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use tokio::{sync::watch, time::sleep};
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

use super::ApiServer;

/// How often it is asked for. It is given once, minutes after the Service is made, and
/// changes when somebody changes the Service.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A host as it stands in a URL; none as long as none is known.
pub type Host = Option<Arc<str>>;

/// Asks for the address of the Service `name` until nobody listens any more. As long as
/// the API server does not answer, or refuses, the last one counts.
pub(crate) async fn follow(api: ApiServer, name: String, host: watch::Sender<Host>) {
    let services: Api<Service> = Api::namespaced(api.slices.into_client(), &api.namespace);
    let listeners = host.clone();
    let ask = async {
        let mut is_failing = false;
        loop {
            // What is worth a line in the log is said here, once.
            match services.get(&name).with_subscriber(NoSubscriber::new()).await {
                Ok(service) => {
                    is_failing = false;
                    learn(&name, &host_of(&service), &host);
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let error = error.to_string();
                        tracing::warn!(
                            service = name,
                            error,
                            "no word of the address, the last one counts"
                        );
                    }
                }
            }
            sleep(ASK_EVERY).await;
        }
    };
    tokio::select! {
        () = listeners.closed() => {}
        () = ask => {}
    }
}

fn learn(name: &str, now: &Host, host: &watch::Sender<Host>) {
    let has_changed = host.send_if_modified(|last| {
        let differs = last != now;
        last.clone_from(now);
        differs
    });
    if has_changed {
        let host = now.as_deref().unwrap_or("none");
        tracing::info!(service = name, host, "the load balancer's address has changed");
    }
}

/// The first address of the Service: a name or an IP, an IPv6 address in brackets.
fn host_of(service: &Service) -> Host {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    let first = balancer.ingress.as_ref()?.first()?;
    let host = match first.ip.as_deref().map(str::parse) {
        Some(Ok(IpAddr::V6(ip))) => format!("[{ip}]"),
        Some(Ok(IpAddr::V4(ip))) => ip.to_string(),
        Some(Err(_)) | None => first.hostname.clone()?,
    };
    crate::is_host(&host).then(|| host.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(status: &Value, expected: Option<&str>) {
        let service: Service = serde_json::from_value(json!({ "status": status })).unwrap();
        assert_eq!(host_of(&service).as_deref(), expected, "{status}");
    }

    #[test]
    fn the_first_address_counts_as_it_stands_in_a_url() {
        let ingress = |all: Value| json!({ "loadBalancer": { "ingress": all } });
        check(&ingress(json!([{ "ip": "192.0.2.1" }, { "ip": "192.0.2.2" }])), Some("192.0.2.1"));
        check(&ingress(json!([{ "ip": "2001:db8::1" }])), Some("[2001:db8::1]"));
        check(&ingress(json!([{ "hostname": "lb.example.com" }])), Some("lb.example.com"));
        check(&ingress(json!([{ "hostname": "<b>" }])), None);
        check(&ingress(json!([])), None);
        check(&json!({ "loadBalancer": {} }), None);
        check(&json!({}), None);
        assert_eq!(host_of(&Service::default()), None);
    }
}
