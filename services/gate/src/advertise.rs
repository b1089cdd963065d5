//! What clients are told of the connector that was chosen for them. Pure.

use std::{borrow::Cow, net::IpAddr};

use chassis::StartError;
use cluster::is_host;
use http::{HeaderMap, Request, header};
use tokio::sync::watch;

use crate::directory::Announcement;

/// Where clients are sent.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Advertise {
    /// To the host that they came to
    #[value(name = "sameHost")]
    SameHost,
    /// To --advertise-host
    #[value(name = "static")]
    Static,
    /// To the address that the load balancer of --advertise-service was given
    #[value(name = "loadBalancer")]
    LoadBalancer,
    /// To the address that the chosen connector announces
    #[default]
    #[value(name = "perPod")]
    PerPod,
}

/// More about where clients are sent.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Where clients are sent")]
#[group(id = "advertise-options")]
pub struct AdvertiseOptions {
    /// With --advertise static: the host, a name, an IPv4 address or an IPv6 address in
    /// brackets
    #[arg(long, env = "SHADDOCK_ADVERTISE_HOST", value_name = "HOST", value_parser = parse_host)]
    pub advertise_host: Option<String>,

    /// The port, unless clients are sent back to the origin that they came by
    /// (sameHost); default: the one that the chosen connector announces. perPod does
    /// not look at it
    #[arg(long, env = "SHADDOCK_ADVERTISE_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub advertise_port: Option<u16>,

    /// Clients use TLS there. Only extended sessions and gRPC callers are told: plain
    /// clients have no word for it
    #[arg(long, env = "SHADDOCK_ADVERTISE_TLS")]
    pub advertise_tls: bool,

    /// With sameHost and static: the path that leads to connectors at an origin at which
    /// /gate leads here. Clients are told it that came by such an origin
    #[arg(long, env = "SHADDOCK_ADVERTISE_PATH", value_name = "PATH", default_value = "/ws", value_parser = parse_path)]
    pub advertise_path: String,

    /// With sameHost: say in that path which connector was chosen, as PATH/ADDRESS with
    /// the IP address that it announces, in hexadecimal digits; for a web-server with
    /// --connector-pods, which leads there
    #[arg(long, env = "SHADDOCK_ADVERTISE_CHOSEN")]
    pub advertise_chosen: bool,

    /// With --advertise loadBalancer: the Kubernetes Service
    #[arg(long, env = "SHADDOCK_ADVERTISE_SERVICE", value_name = "NAME")]
    pub advertise_service: Option<String>,
}

impl Default for AdvertiseOptions {
    /// What the flags default to.
    fn default() -> Self {
        Self {
            advertise_host: None,
            advertise_port: None,
            advertise_tls: false,
            advertise_path: "/ws".into(),
            advertise_chosen: false,
            advertise_service: None,
        }
    }
}

/// A mode with all that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    told: Told,
    port: Option<u16>,
    tls: bool,
    path: String,
    /// Whether the path says who was chosen.
    says_chosen: bool,
}

#[derive(Clone, Debug)]
enum Told {
    SameHost,
    Host(String),
    /// As soon as it has one.
    Balancer(watch::Receiver<cluster::Host>),
    Announced,
}

/// Where a client is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Empty: where the client reached the gate.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Empty: any.
    pub(crate) path: String,
}

/// Where a client's WebSocket said that it goes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    host: String,
    port: Option<u16>,
    /// Some proxy took it here from an origin, at which connectors have a path.
    by_origin: bool,
    /// Whether that origin has TLS, if it is known.
    is_https: Option<bool>,
}

/// The longest host name of DNS.
const HOST_LEN_MAX: usize = 253;

/// The path at an origin that leads to gates.
const GATE_PATH: &str = "/gate";

impl Way {
    /// Puts a mode and what it needs together; for a load balancer, [`Way::to`] follows.
    pub(crate) fn new(mode: Advertise, options: &AdvertiseOptions) -> Result<Self, StartError> {
        let refuse = |text: &str| Err(StartError(text.into()));
        let AdvertiseOptions { advertise_host: host, advertise_service: service, .. } = options;
        let told = match (mode, host, service) {
            (Advertise::Static, None, _) => {
                return refuse("--advertise static needs --advertise-host");
            }
            (Advertise::LoadBalancer, _, None) => {
                return refuse("--advertise loadBalancer needs --advertise-service");
            }
            (Advertise::SameHost | Advertise::LoadBalancer | Advertise::PerPod, Some(_), _) => {
                return refuse("--advertise-host goes with --advertise static only");
            }
            (Advertise::SameHost | Advertise::Static | Advertise::PerPod, _, Some(_)) => {
                return refuse("--advertise-service goes with --advertise loadBalancer only");
            }
            (Advertise::LoadBalancer, None, Some(_)) => Told::Balancer(watch::channel(None).1),
            (Advertise::SameHost, None, None) => Told::SameHost,
            (Advertise::Static, Some(host), None) => Told::Host(host.clone()),
            (Advertise::PerPod, None, None) => Told::Announced,
        };
        let (port, tls) = (options.advertise_port, options.advertise_tls);
        let (path, says_chosen) = (options.advertise_path.clone(), options.advertise_chosen);
        Ok(Self { told, port, tls, path, says_chosen })
    }

    /// The same way to a load balancer, whose host is as `host` says.
    pub(crate) fn to(self, host: watch::Receiver<cluster::Host>) -> Self {
        Self { told: Told::Balancer(host), ..self }
    }

    /// What a client is told for which `chosen` was chosen, and which came with `asked`
    /// if it came over a WebSocket. None as long as the load balancer has no address.
    pub(crate) fn entry(&self, chosen: &Announcement, asked: Option<&Asked>) -> Option<Entry> {
        let Self { told, port, tls, path, says_chosen } = self;
        let by_origin = asked.filter(|asked| asked.by_origin);
        let tls = by_origin.and_then(|asked| asked.is_https).unwrap_or(*tls);
        let path = by_origin.map_or(String::new(), |_| path.clone());
        let default_port = if tls { 443 } else { 80 };
        let port_at = |host: String, port: Option<u16>| match (port, by_origin) {
            (Some(port), _) => Entry { host, port, tls, path: path.clone() },
            (None, Some(_)) => Entry { host, port: default_port, tls, path: path.clone() },
            (None, None) => Entry { host, port: chosen.port, tls, path: path.clone() },
        };
        Some(match (told, asked) {
            (Told::Balancer(host), _) => {
                let host = host.borrow().as_deref()?.to_owned();
                let port = port.unwrap_or(chosen.port);
                Entry { host, port, tls: self.tls, path: String::new() }
            }
            (Told::Announced, _) => {
                let (host, port) = (chosen.host.clone(), chosen.port);
                Entry { host, port, tls: self.tls, path: String::new() }
            }
            (Told::Host(host), _) => port_at(host.clone(), *port),
            (Told::SameHost, Some(asked)) => {
                let port = if asked.by_origin { asked.port } else { *port };
                let entry = port_at(asked.host.clone(), port);
                let chosen = says_chosen.then(|| in_digits(&chosen.host)).flatten();
                match chosen.filter(|_| asked.by_origin) {
                    Some(chosen) => Entry { path: format!("{path}/{chosen}"), ..entry },
                    None => entry,
                }
            }
            (Told::SameHost, None) => port_at(String::new(), *port),
        })
    }
}

impl Entry {
    /// The host for clients that know no path: those of the JavaScript family make
    /// `ws://HOST:PORT` of it. So it brings its port and path along, and what they append
    /// becomes a query, at which nobody looks.
    pub(crate) fn plain_host(&self) -> Cow<'_, str> {
        match self.path.as_str() {
            "" => Cow::Borrowed(&self.host),
            path => Cow::Owned(format!("{}:{}{path}?", self.host, self.port)),
        }
    }
}

impl Asked {
    /// What `request` says; `None` if it names no host, or none that can be one.
    pub(crate) fn of(request: &Request<()>) -> Option<Self> {
        let headers = request.headers();
        let forwarded = first(headers, "x-forwarded-host").and_then(parse_authority);
        let by_origin = forwarded.is_some()
            || request.uri().path().strip_suffix('/').unwrap_or(request.uri().path()) == GATE_PATH;
        let host = || first(headers, header::HOST.as_str()).and_then(parse_authority);
        let (host, port) = forwarded.or_else(host)?;
        let proto = first(headers, "x-forwarded-proto");
        let is_https = proto
            .map(|proto| proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss"));
        Some(Self { host: host.to_owned(), port, by_origin, is_https })
    }
}

/// An IP address in hexadecimal digits, eight or 32, which stand in any path.
fn in_digits(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(match bare.parse().ok()? {
        IpAddr::V4(ip) => format!("{:08x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}", ip.to_bits()),
    })
}

/// The first of a header's values: the one that stands for the client's own request.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim)
}

/// Takes `HOST` or `HOST:PORT` apart.
fn parse_authority(raw: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an address in brackets are its own.
    let (host, port) = match raw.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (raw, None),
    };
    let port = match port {
        // `parse` alone would take "+80".
        Some("") | None => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().ok().filter(|port| *port > 0)?)
        }
        Some(_) => return None,
    };
    is_host(host).then_some((host, port))
}

fn parse_host(raw: &str) -> Result<String, String> {
    let wrong = "must be a host name, an IPv4 address or an IPv6 address in brackets";
    is_host(raw).then(|| raw.to_owned()).ok_or_else(|| wrong.into())
}

/// Reads a path of an origin: plain enough to stand in a URL as it is, and not one that
/// leads elsewhere, as web-server has them.
fn parse_path(raw: &str) -> Result<String, String> {
    let may_stand = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if ["/", GATE_PATH, "/config.json"].contains(&raw) {
        return Err("something else is at this path".into());
    }
    if raw.ends_with('/') {
        return Err("must not end with /".into());
    }
    let is_path = raw.starts_with('/') && raw.len() <= HOST_LEN_MAX && raw.bytes().all(may_stand);
    let wrong = "must begin with / and have letters, digits and /-._~ only";
    is_path.then(|| raw.to_owned()).ok_or_else(|| wrong.into())
}

#[cfg(test)]
mod tests;
