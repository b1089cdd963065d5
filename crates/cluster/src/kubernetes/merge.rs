//! What the EndpointSlices of one Service say together. Pure.

use std::{collections::HashSet, hash::Hash, net::IpAddr};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::{Connector, ENTRIES_MAX, Entry, Shard};

/// The port of a Service behind which our gRPC services listen.
const PORT: &str = "grpc";

/// One pod, as one slice shows it: all that is kept of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) addr: String,
    pub(crate) is_v6: bool,
    /// Passes its readiness probe, and does not end.
    pub(crate) ready: bool,
    /// Passes its readiness probe.
    pub(crate) serving: bool,
    /// Is about to end.
    pub(crate) terminating: bool,
}

/// What can be read from the EndpointSlices of a Service.
pub(crate) trait Listed: Entry + Hash {
    /// The entry that stands for a pod, if it is to be listed: while it serves, also when
    /// it is about to end. That it ends it says itself, when it is told to, which may be
    /// seconds later; until then it has its rooms, or its sessions.
    fn of(endpoint: &Endpoint) -> Option<Self>;

    /// Its name, if it has one.
    fn id(&self) -> Option<&str>;

    /// Where it listens.
    fn addr(&self) -> &str;

    /// The entry as it stands in a list's file.
    fn line(&self) -> String {
        match self.id() {
            Some(id) => format!("{id}={}", self.addr()),
            None => self.addr().to_owned(),
        }
    }
}

impl Listed for Shard {
    /// The id is the pod's UID: another pod at the same address is another shard.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let id = endpoint.uid.parse().ok().filter(|_| endpoint.serving)?;
        Some(Self { id, addr: endpoint.addr.clone() })
    }

    fn id(&self) -> Option<&str> {
        Some(self.id.as_str())
    }

    fn addr(&self) -> &str {
        &self.addr
    }
}

impl Listed for Connector {
    /// One that drains serves no more, soon, but goes on saying that it drains: gates look
    /// after its clients until it has ended.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        // A pod's name may be too long for a connector's: then it is known once heard.
        let id = endpoint.name.parse().ok();
        let is_listed = endpoint.serving || endpoint.terminating;
        is_listed.then(|| Self { id, addr: endpoint.addr.clone() })
    }

    fn id(&self) -> Option<&str> {
        self.id.as_ref().map(model::ConnectorId::as_str)
    }

    fn addr(&self) -> &str {
        &self.addr
    }
}

/// What is kept of a slice. Who is no pod, or has no address, is left out.
pub(crate) fn endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports = slice.ports.iter().flatten();
    let port = ports.filter(|port| port.name.as_deref() == Some(PORT)).find_map(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) else {
        return Vec::new();
    };
    let pods = slice.endpoints.iter().filter_map(|endpoint| {
        let target = endpoint.target_ref.as_ref()?;
        // All addresses of one endpoint are the same pod's, says the API.
        let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        Some(Endpoint {
            uid: target.uid.clone()?,
            name: target.name.clone().unwrap_or_default(),
            addr: std::net::SocketAddr::new(ip, port).to_string(),
            is_v6: ip.is_ipv6(),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
        })
    });
    pods.collect()
}

/// What all slices list together, in order, and how many there was no place for.
///
/// While the cluster moves a pod from one slice to another it may be in both, with
/// what is known of it now and what was: it counts as ready if one says so, since
/// whether it is will be seen by asking it. Where it has two addresses, IPv4 counts.
pub(crate) fn merge<'a, T: Listed>(
    slices: impl Iterator<Item = &'a [Endpoint]>,
) -> (Vec<T>, usize) {
    let listed = |endpoint: &'a Endpoint| Some((endpoint, T::of(endpoint)?));
    let mut listed: Vec<(&Endpoint, T)> = slices.flatten().filter_map(listed).collect();
    listed.sort_by(|(one, _), (other, _)| {
        let rank = |e: &'a Endpoint| (!e.ready, e.is_v6, &e.uid, &e.addr);
        rank(one).cmp(&rank(other))
    });
    // An address or a name that two have is the one's that ranks higher.
    let (mut uids, mut names, mut addrs) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut entries: Vec<T> = Vec::new();
    for (endpoint, entry) in listed {
        let name_is_new = entry.id().is_none_or(|name| names.insert(name.to_owned()));
        if name_is_new && uids.insert(&endpoint.uid) && addrs.insert(&endpoint.addr) {
            entries.push(entry);
        }
    }
    entries.sort_by_cached_key(Listed::line);
    let left_out = entries.len().saturating_sub(ENTRIES_MAX);
    entries.truncate(ENTRIES_MAX);
    (entries, left_out)
}

#[cfg(test)]
mod tests {
    use fake_api::{Pod, slice};

    use super::*;

    /// Merges slices and compares the lists of shards and of connectors.
    #[track_caller]
    fn check(slices: &[serde_json::Value], shards: &str, connectors: &str) {
        let read = |slice: &serde_json::Value| {
            endpoints(&serde_json::from_value::<EndpointSlice>(slice.clone()).unwrap())
        };
        let slices: Vec<Vec<Endpoint>> = slices.iter().map(read).collect();
        assert_eq!(lines::<Shard>(&slices), shards, "shards");
        assert_eq!(lines::<Connector>(&slices), connectors, "connectors");
    }

    fn lines<T: Listed>(slices: &[Vec<Endpoint>]) -> String {
        let (entries, _) = merge::<T>(slices.iter().map(Vec::as_slice));
        entries.iter().map(Listed::line).collect::<Vec<_>>().join(" ")
    }

    fn of(pods: &[Pod]) -> serde_json::Value {
        slice("ns", "one", "chat", 6050, pods)
    }

    fn pod(n: u32) -> Pod {
        Pod::new(&format!("u{n}"), &format!("p{n}"), &format!("10.0.0.{n}"))
    }

    #[test]
    fn conditions_decide_who_is_listed_and_what_is_nil_has_a_meaning() {
        let (t, f) = (Some(true), Some(false));
        for (conditions, is_shard, is_connector) in [
            ([t, t, f], true, true),
            ([None, None, None], true, true),
            ([f, f, f], false, false),
            ([f, None, None], false, false),
            // About to end.
            ([f, t, t], true, true),
            ([f, f, t], false, true),
            ([None, f, None], false, false),
        ] {
            let shard = if is_shard { "u1=10.0.0.1:6050" } else { "" };
            let connector = if is_connector { "p1=10.0.0.1:6050" } else { "" };
            check(&[of(&[pod(1).with(conditions)])], shard, connector);
        }
    }

    #[test]
    fn several_slices_are_one_list_in_order() {
        let all = [of(&[pod(3), pod(1)]), of(&[pod(2)]), of(&[])];
        let shards = "u1=10.0.0.1:6050 u2=10.0.0.2:6050 u3=10.0.0.3:6050";
        check(&all, shards, &shards.replace('u', "p"));
    }

    #[test]
    fn a_pod_that_is_in_two_slices_is_listed_once_and_as_ready_if_one_says_so() {
        let all = [of(&[pod(1).unready()]), of(&[pod(1)])];
        check(&all, "u1=10.0.0.1:6050", "p1=10.0.0.1:6050");
        check(&[of(&[pod(1)]), of(&[pod(1)])], "u1=10.0.0.1:6050", "p1=10.0.0.1:6050");
    }

    #[test]
    fn of_two_addresses_of_a_pod_ipv4_counts_and_ipv6_stands_in_brackets() {
        let six = |n| Pod::new(&format!("u{n}"), &format!("p{n}"), &format!("fd00::{n}"));
        let all = [of(&[six(1), six(2)]), of(&[pod(1)])];
        check(&all, "u1=10.0.0.1:6050 u2=[fd00::2]:6050", "p1=10.0.0.1:6050 p2=[fd00::2]:6050");
        // Also of one whose name no connector could have.
        let odd = |ip: &str| of(&[Pod::new("u3", &"n".repeat(64), ip)]);
        check(&[odd("fd00::3"), odd("10.0.0.3")], "u3=10.0.0.3:6050", "10.0.0.3:6050");
    }

    #[test]
    fn an_address_that_was_given_to_another_pod_is_that_ones() {
        let late = Pod::new("u0", "p0", "10.0.0.1").terminating();
        check(&[of(&[late, pod(1)])], "u1=10.0.0.1:6050", "p1=10.0.0.1:6050");
    }

    #[test]
    fn who_is_no_pod_or_listens_nowhere_is_left_out() {
        let mut no_target = of(&[pod(1)]);
        no_target["endpoints"][0]["targetRef"] = serde_json::Value::Null;
        let mut no_port = of(&[pod(2)]);
        no_port["ports"][1]["name"] = "http".into();
        let mut all_ports = of(&[pod(3)]);
        all_ports["ports"] = serde_json::Value::Null;
        let named = of(&[Pod::new("u4", "p4", "host.example.com")]);
        check(&[no_target, no_port, all_ports, named], "", "");

        // No name that a connector could have; no id that a shard could.
        let odd = Pod::new("u/5", &"n".repeat(64), "10.0.0.5");
        check(&[of(&[odd])], "", "10.0.0.5:6050");
    }

    #[test]
    fn a_list_has_a_limit() {
        let pod = |n: usize| {
            Pod::new(
                &format!("u{n:04}"),
                &format!("p{n}"),
                &format!("10.0.{}.{}", n / 256, n % 256),
            )
        };
        let pods: Vec<Pod> = (0..ENTRIES_MAX + 2).map(pod).collect();
        let slice = endpoints(&serde_json::from_value(of(&pods)).unwrap());
        let (entries, left_out) = merge::<Shard>(std::iter::once(slice.as_slice()));
        assert_eq!((entries.len(), left_out), (ENTRIES_MAX, 2));
        assert_eq!(entries[0].id.as_str(), "u0000");
    }
}
