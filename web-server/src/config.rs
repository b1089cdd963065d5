//! Options, and what the page is told of them.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, str::FromStr};

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
    /// /gate and /ws/ID; the page then reaches only connectors that are listed
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
        default_value = "connector-1=127.0.0.1:3050"
    )]
    pub connectors: Vec<Backend>,

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

    /// HTTP connections that may be open at once, those of WebSockets not
    /// counted; more wait to be accepted
    #[arg(long, env = "SHADDOCK_CONNECTIONS_MAX", value_name = "COUNT", default_value = "4096")]
    pub connections_max: NonZeroUsize,

    /// Options that every process has.
    #[command(flatten)]
    pub chassis: chassis::Options,
}

impl Config {
    /// What `/config.json` answers: where the page finds gate and connectors.
    #[must_use]
    pub fn for_page(&self) -> serde_json::Value {
        if !self.proxy {
            return json!({ "gate": self.public_gate.0, "connectors": {} });
        }
        let paths =
            self.connectors.iter().map(|c| (c.addr.clone(), format!("/ws/{}", c.id).into()));
        json!({ "gate": "/gate", "connectors": serde_json::Map::from_iter(paths) })
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
    fn what_is_no_address_is_refused() {
        for raw in ["a", "a=", "=h:1", "a=h", "a=:1", "a=h:x", "a=::1:2", "a/b=h:1", "a=u@h:1"] {
            assert!(raw.parse::<Backend>().is_err(), "{raw}");
        }
        for raw in ["", "host", "http://host:1", "host:99999", "ws://a b"] {
            assert!(raw.parse::<GateAddress>().is_err(), "{raw}");
        }
    }
}
