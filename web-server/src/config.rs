//! Options, and what the page is told of them.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, str::FromStr, time::Duration};

use chassis::ProxyNetwork;
use serde_json::json;

/// Options of the web server.
///
/// Every option is a flag and an environment variable, and `--help` is the
/// reference. Values are checked while they are parsed: a `Config` is valid.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "web-server", version, about = env!("CARGO_PKG_DESCRIPTION"), long_about = None)]
pub struct Config {
    /// Where to serve the page (HTTP)
    #[arg(
        long,
        env = "SHADDOCK_LISTEN_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:3001"
    )]
    pub listen_addr: SocketAddr,

    /// Where browsers find the gate, unless --proxy: HOST:PORT or a ws:// or
    /// wss:// URL, where no host means the host of the page; or a path of the
    /// page's own origin
    #[arg(long, env = "SHADDOCK_PUBLIC_GATE", value_name = "ADDRESS", default_value = ":3014")]
    pub public_gate: GateAddress,

    /// Lead the page's WebSockets to gate and connectors through this server, at
    /// /gate, /ws/ID and, with --connector-addr, --advertise-path; the page then reaches
    /// only connectors that are behind one of these
    #[arg(long, env = "SHADDOCK_PROXY")]
    pub proxy: bool,

    /// With --proxy: where this server finds the gate
    #[arg(
        long,
        env = "SHADDOCK_GATE_ADDR",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:3014"
    )]
    pub gate_addr: String,

    /// With --proxy: a connector's id and its address, as the gate answers it;
    /// repeatable, or separated by commas
    #[arg(
        long = "connector",
        env = "SHADDOCK_CONNECTORS",
        value_name = "ID=HOST:PORT",
        value_delimiter = ',',
        default_value = "connector-1=127.0.0.1:3050",
        default_value_if("connector_addr", clap::builder::ArgPredicate::IsPresent, None)
    )]
    pub connectors: Vec<Backend>,

    /// With --proxy: where this server finds any connector, for example a Service of
    /// Kubernetes; opens --advertise-path. The page goes there to all that --connector
    /// does not list
    #[arg(long, env = "SHADDOCK_CONNECTOR_ADDR", value_name = "HOST:PORT", value_parser = parse_addr)]
    pub connector_addr: Option<String>,

    /// With --connector-addr: a name that leads to all connectors there are, as a headless
    /// Service has it, and their port. A path of --advertise-path and the digits of an
    /// address (the gate's --advertise-chosen) leads to the one that has it, and to any
    /// if none has
    #[arg(long, env = "SHADDOCK_CONNECTOR_PODS", value_name = "HOST:PORT", value_parser = parse_addr, requires = "connector_addr")]
    pub connector_pods: Option<String>,

    /// With --connector-addr: the path that leads to any connector; the gate's flag of
    /// this name tells it to clients
    #[arg(long, env = "SHADDOCK_ADVERTISE_PATH", value_name = "PATH", default_value = "/ws", value_parser = parse_path)]
    pub advertise_path: String,

    /// With --proxy: WebSockets that may be open at once, though never so many that
    /// they take more than half of the descriptors that the process may have, three
    /// each; more are refused with 503
    #[arg(long, env = "SHADDOCK_TUNNELS_MAX", value_name = "COUNT", default_value = "4096")]
    pub tunnels_max: NonZeroUsize,

    /// With --proxy: proxies before this server that are believed who their clients
    /// are: addresses or networks, as 10.0.0.0/8, separated by commas. What they say
    /// in X-Forwarded-For goes on to gate and connectors, and theirs is appended;
    /// what others say is dropped. Default: none
    ///
    /// Gate and connectors have to trust this server, and all of these.
    #[arg(long, env = "SHADDOCK_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxies: Vec<ProxyNetwork>,

    /// With --proxy: over how long WebSockets are ended after SIGTERM, each at a time of
    /// its own, so that their clients do not all come back at once. The process then has
    /// --shutdown-grace, or as long as this needs if that is longer. 0s: all at once, after
    /// --accept-grace
    #[arg(long, env = "SHADDOCK_DRAIN_TIME", value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub drain_time: Duration,

    /// HTTP connections that may be open at once, those of WebSockets not
    /// counted; more wait to be accepted
    #[arg(long, env = "SHADDOCK_CONNECTIONS_MAX", value_name = "COUNT", default_value = "4096")]
    pub connections_max: NonZeroUsize,

    /// Options that every process has.
    #[command(flatten)]
    pub chassis: chassis::Options,
}

/// For the last requests, when the last tunnel has ended: longer than they may take.
const AFTER_DRAIN: Duration = Duration::from_secs(15);

impl Config {
    /// What the process is run with: it may take as long to end as its tunnels.
    pub(crate) fn process(&self) -> chassis::Options {
        let mut process = self.chassis.clone();
        if !self.drain_time.is_zero() {
            let drain = process.accept_grace + self.drain_time + AFTER_DRAIN;
            process.shutdown_grace = process.shutdown_grace.max(drain);
        }
        process
    }

    /// What `/config.json` answers: where the page finds gate and connectors.
    #[must_use]
    pub fn for_page(&self) -> serde_json::Value {
        if !self.proxy {
            return json!({ "gate": self.public_gate.0, "connectors": {} });
        }
        let paths =
            self.connectors.iter().map(|c| (c.addr.clone(), format!("/ws/{}", c.id).into()));
        let mut page = json!({ "gate": "/gate", "connectors": serde_json::Map::from_iter(paths) });
        if self.connector_addr.is_some() {
            page["connector"] = self.advertise_path.as_str().into();
        }
        page
    }
}

/// Where browsers find the gate: a `ws:`/`wss:` URL, whose host may be missing,
/// or a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GateAddress(String);

/// A connector behind this server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// Its name in `/ws/{id}`.
    pub id: String,
    /// Where it is, as `host:port`.
    pub addr: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidAddress(&'static str);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for GateAddress {
    type Err = InvalidAddress;

    fn from_str(raw: &str) -> Result<Self, InvalidAddress> {
        if raw.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidAddress("an address has no white space"));
        }
        if raw.starts_with('/') || raw.starts_with("ws://") || raw.starts_with("wss://") {
            return Ok(Self(raw.to_owned()));
        }
        if !is_host_port(raw) {
            return Err(InvalidAddress("expected HOST:PORT, a ws:// or wss:// URL, or a path"));
        }
        Ok(Self(format!("ws://{raw}")))
    }
}

impl fmt::Display for GateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Backend {
    type Err = InvalidAddress;

    fn from_str(raw: &str) -> Result<Self, InvalidAddress> {
        let (id, addr) = raw.split_once('=').ok_or(InvalidAddress("expected ID=HOST:PORT"))?;
        let may_stand = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if id.is_empty() || !id.chars().all(may_stand) {
            return Err(InvalidAddress("an id has letters, digits, and -._ only"));
        }
        if addr.starts_with(':') || !is_host_port(addr) {
            return Err(InvalidAddress("expected ID=HOST:PORT"));
        }
        Ok(Self { id: id.to_owned(), addr: addr.to_owned() })
    }
}

fn parse_addr(raw: &str) -> Result<String, InvalidAddress> {
    let is_addr = !raw.starts_with(':') && is_host_port(raw);
    is_addr.then(|| raw.to_owned()).ok_or(InvalidAddress("expected HOST:PORT"))
}

/// Reads a path that is none of our own.
fn parse_path(raw: &str) -> Result<String, InvalidAddress> {
    const OURS: [&str; 3] = ["/", "/gate", "/config.json"];
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if !raw.starts_with('/') || !raw.chars().all(may_stand) {
        return Err(InvalidAddress("must begin with / and have letters, digits and /-._~ only"));
    }
    if raw.len() > 1 && raw.ends_with('/') {
        return Err(InvalidAddress("must not end with /"));
    }
    let is_free = !OURS.contains(&raw);
    is_free.then(|| raw.to_owned()).ok_or(InvalidAddress("something else is at this path"))
}

/// The host may be empty here.
fn is_host_port(raw: &str) -> bool {
    let Some((host, port)) = raw.rsplit_once(':') else { return false };
    // Without its brackets, an IPv6 address would swallow its port.
    let is_one_host = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    is_one_host && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn options_are_well_formed() {
        Config::command().debug_assert();
    }

    #[track_caller]
    fn check(args: &[&str], page: &str) {
        let config = Config::parse_from(["web-server"].iter().chain(args));
        assert_eq!(config.for_page().to_string(), page);
    }

    #[test]
    fn the_page_learns_where_the_gate_is() {
        check(&[], r#"{"gate":"ws://:3014","connectors":{}}"#);
        check(
            &["--public-gate=gate.example:1"],
            r#"{"gate":"ws://gate.example:1","connectors":{}}"#,
        );
        check(
            &["--public-gate=wss://g.example/x"],
            r#"{"gate":"wss://g.example/x","connectors":{}}"#,
        );
        check(&["--public-gate=/gate"], r#"{"gate":"/gate","connectors":{}}"#);
    }

    #[test]
    fn behind_the_proxy_the_page_stays_at_its_origin() {
        check(
            &["--proxy"],
            r#"{"gate":"/gate","connectors":{"127.0.0.1:3050":"/ws/connector-1"}}"#,
        );
        check(
            &["--proxy", "--connector=a=h:1,b=[::1]:2", "--connector=c=h:3"],
            r#"{"gate":"/gate","connectors":{"h:1":"/ws/a","[::1]:2":"/ws/b","h:3":"/ws/c"}}"#,
        );
    }

    #[test]
    fn any_connector_is_at_one_path() {
        check(
            &["--proxy", "--connector-addr=connector.ns.svc:3050"],
            r#"{"gate":"/gate","connectors":{},"connector":"/ws"}"#,
        );
        check(
            &["--proxy", "--connector-addr=c:1", "--advertise-path=/to/chat", "--connector=a=h:1"],
            r#"{"gate":"/gate","connectors":{"h:1":"/ws/a"},"connector":"/to/chat"}"#,
        );
        check(&["--connector-addr=c:1"], r#"{"gate":"ws://:3014","connectors":{}}"#);
        for flag in [
            "--connector-addr=:1",
            "--connector-addr=c",
            "--advertise-path=ws",
            "--advertise-path=/gate",
            "--advertise-path=/config.json",
            "--advertise-path=/{id}",
            "--advertise-path=/a?b",
        ] {
            assert!(Config::try_parse_from(["web-server", flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for raw in ["a", "a=", "=h:1", "a=h", "a=:1", "a=h:x", "a=::1:2", "a/b=h:1", "a=u@h:1"] {
            assert!(raw.parse::<Backend>().is_err(), "{raw}");
        }
        for raw in ["", "host", "http://host:1", "host:99999", "ws://a b"] {
            assert!(raw.parse::<GateAddress>().is_err(), "{raw}");
        }
    }
}
