use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use chassis::ProxyNetwork;
use clap::Parser;
use cluster::{Connector, List, Shard};

/// A whole chat server in one process: the web page, a gate, a connector and a
/// chat shard. Messages are kept in a file.
#[derive(Parser, Clone, Debug)]
#[command(name = "standalone", version)]
pub struct Config {
    /// Where browsers find the page (HTTP)
    #[arg(long, env = "SHADDOCK_WEB_ADDR", value_name = "ADDR", default_value = "127.0.0.1:3001")]
    pub web_addr: SocketAddr,

    /// Where Pomelo clients find the gate (WebSocket)
    #[arg(
        long,
        env = "SHADDOCK_GATE_CLIENT_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:3014"
    )]
    pub gate_client_addr: SocketAddr,

    /// Where Pomelo clients find the connector (WebSocket)
    #[arg(
        long,
        env = "SHADDOCK_CONNECTOR_CLIENT_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:3050"
    )]
    pub connector_client_addr: SocketAddr,

    /// Where the gate sends clients, if that is not --connector-client-addr
    #[arg(long, env = "SHADDOCK_ADVERTISE", value_name = "HOST:PORT", value_parser = connector::parse_advertise)]
    pub advertise: Option<(String, u16)>,

    /// What the gate tells clients; perPod: what --advertise says. As sameHost it sends
    /// them to the host that they came to, which is also right behind a proxy
    #[arg(
        long,
        env = "SHADDOCK_GATE_ADVERTISE",
        value_enum,
        value_name = "MODE",
        default_value = "perPod"
    )]
    pub gate_advertise: gate::Advertise,

    /// More about it.
    #[command(flatten)]
    pub advertise_options: gate::AdvertiseOptions,

    /// Where to serve the gate's gRPC
    #[arg(
        long,
        env = "SHADDOCK_GATE_GRPC_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:4014"
    )]
    pub gate_grpc_addr: SocketAddr,

    /// Where to serve the connector's gRPC
    #[arg(
        long,
        env = "SHADDOCK_CONNECTOR_GRPC_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:4050"
    )]
    pub connector_grpc_addr: SocketAddr,

    /// Where to serve the chat shard's gRPC
    #[arg(
        long,
        env = "SHADDOCK_CHAT_GRPC_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:6050"
    )]
    pub chat_grpc_addr: SocketAddr,

    /// Lead browsers to the gate and the connector through the web port, so that
    /// one open port is enough. Who then connects to their ports from this machine
    /// is a trusted proxy
    #[arg(long, env = "SHADDOCK_PROXY")]
    pub proxy: bool,

    /// How often clients have to send a heartbeat; one that is silent for twice
    /// as long is closed
    #[arg(long, env = "SHADDOCK_HEARTBEAT", value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub heartbeat: u16,

    /// Longest message, in bytes of UTF-8; longer ones are answered with code 413
    #[arg(long, env = "SHADDOCK_CONTENT_MAX", value_name = "BYTES", default_value = "32768", value_parser = chat::parse_content_max)]
    pub content_max: usize,

    /// Words that nobody gets to read: a file with one a line, # begins a comment;
    /// read again when it changes
    #[arg(long, env = "SHADDOCK_WORD_FILTER", value_name = "FILE")]
    pub word_filter: Option<PathBuf>,

    /// Messages that one client may send per second; 0: as many as it likes. What is
    /// beyond is answered with code 429
    #[arg(long, env = "SHADDOCK_SENDS_PER_SECOND", value_name = "COUNT", default_value = "20")]
    pub sends_per_second: u32,

    /// Messages that one client may send at once after a silence
    #[arg(long, env = "SHADDOCK_SENDS_BURST", value_name = "COUNT", default_value = "40")]
    pub sends_burst: NonZeroU32,

    /// Rooms that are new here and that clients of one address may enter per minute;
    /// 0: as many as they like. What is beyond is answered with code 429. Behind a
    /// proxy all come from one address
    #[arg(
        long,
        env = "SHADDOCK_ADDRESS_ROOMS_PER_MINUTE",
        value_name = "COUNT",
        default_value = "60"
    )]
    pub address_rooms_per_minute: u32,

    /// Rooms that are new here and that clients of one address may enter at once after
    /// a silence
    #[arg(long, env = "SHADDOCK_ADDRESS_ROOMS_BURST", value_name = "COUNT", default_value = "120")]
    pub address_rooms_burst: NonZeroU32,

    /// How long a request may wait for the shard; then it is answered with code 503
    #[arg(long, env = "SHADDOCK_REQUEST_TIMEOUT", value_name = "TIME", default_value = "8s", value_parser = humantime::parse_duration)]
    pub request_timeout: Duration,

    /// Over how long clients are sent away, evenly, after SIGTERM and --accept-grace;
    /// 0s: all are closed at once, as there is nowhere else to go
    #[arg(long, env = "SHADDOCK_DRAIN_TIME", value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub drain_time: Duration,

    /// Names that one room may hold; further ones are refused
    #[arg(long, env = "SHADDOCK_ROOM_MEMBERS_MAX", value_name = "COUNT", default_value = "20000")]
    pub room_members_max: NonZeroUsize,

    /// Folder of what is to outlive the process, made if it is not there; default:
    /// shaddock in $XDG_STATE_HOME, else in ~/.local/state, else ./shaddock-data
    #[arg(long, env = "SHADDOCK_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,

    /// Where messages are kept: memory, sqlite:FILE or postgres://USER@HOST/DATABASE;
    /// default: sqlite:chat.db in --data
    #[arg(
        long,
        env = "SHADDOCK_STORE",
        hide_env_values = true,
        value_name = "STORE",
        global = true
    )]
    pub store: Option<chat::StoreAt>,

    /// Rest of what the store needs.
    #[command(flatten)]
    pub more_store: chat::MoreStoreOptions,

    /// Newest messages of each room that the memory store keeps
    #[arg(long, env = "SHADDOCK_MEMORY_ENTRIES_MAX", value_name = "COUNT", default_value = "1000")]
    pub memory_entries_max: NonZeroUsize,

    /// How long an empty room stays loaded
    #[arg(long, env = "SHADDOCK_ROOM_IDLE", value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    pub room_idle: Duration,

    /// What clients are told.
    #[command(flatten)]
    pub protocol: frontend::ProtocolOptions,

    /// Demand that clients sign what they say to the connector (RSA, `encrypt:
    /// true` of the JavaScript client); a wrong signature ends the session
    #[arg(long, env = "SHADDOCK_CRYPTO")]
    pub crypto: bool,

    /// Limits towards clients.
    #[command(flatten)]
    pub frontend: frontend::Options,

    /// The certificate that clients are shown.
    #[command(flatten)]
    pub tls: frontend::TlsOptions,

    /// Tokens.
    #[command(flatten)]
    pub access: rpc::AccessOptions,

    /// The process.
    #[command(flatten)]
    pub chassis: chassis::Options,

    /// Something else than to serve.
    #[command(subcommand)]
    pub command: Option<chat::Command>,
}

impl Config {
    /// What the process is run with: it may take as long to end as a drain needs.
    #[must_use]
    pub fn process(&self) -> chassis::Options {
        let process = self.chassis.clone();
        connector::process(process, self.drain_time, self.request_timeout)
    }

    /// Where messages are kept, and for how long.
    #[must_use]
    pub fn storage(&self) -> chat::StoreOptions {
        let file = || self.data.clone().unwrap_or_else(default_data).join("chat.db");
        let store = self.store.clone().unwrap_or_else(|| chat::StoreAt::Sqlite(file()));
        chat::StoreOptions { store, more: self.more_store.clone() }
    }

    pub(crate) fn chat(&self) -> chat::Config {
        chat::Config {
            grpc_addr: self.chat_grpc_addr,
            // The only shard: it is the whole list.
            shards: List::fixed([]),
            room_members_max: self.room_members_max,
            content_max: self.content_max,
            word_filter: self.word_filter.clone(),
            memory_entries_max: self.memory_entries_max,
            room_idle: self.room_idle,
            storage: self.storage(),
            access: self.access.clone(),
            chassis: self.chassis.clone(),
            ..defaults()
        }
    }

    pub(crate) fn connector(&self, shard: Shard) -> connector::Config {
        connector::Config {
            listen_addr: self.connector_client_addr,
            advertise: self.advertise.clone(),
            grpc_addr: self.connector_grpc_addr,
            shards: List::fixed([shard]),
            heartbeat: self.heartbeat,
            content_max: self.content_max,
            request_timeout: self.request_timeout,
            drain_time: self.drain_time,
            sends_per_second: self.sends_per_second,
            sends_burst: self.sends_burst,
            address_rooms_per_minute: self.address_rooms_per_minute,
            address_rooms_burst: self.address_rooms_burst,
            protocol: self.protocol.clone(),
            crypto: self.crypto,
            frontend: self.frontend_at(self.connector_client_addr, CONNECTOR_NINTHS),
            tls: self.tls.clone(),
            access: self.access.clone(),
            chassis: self.chassis.clone(),
            ..defaults()
        }
    }

    pub(crate) fn gate(&self, connector: Connector) -> gate::Config {
        gate::Config {
            listen_addr: self.gate_client_addr,
            grpc_addr: self.gate_grpc_addr,
            connectors: List::fixed([connector]),
            advertise: self.gate_advertise,
            advertise_options: self.advertise_options.clone(),
            protocol: self.protocol.clone(),
            frontend: self.frontend_at(self.gate_client_addr, GATE_NINTHS),
            tls: self.tls.clone(),
            access: self.access.clone(),
            chassis: self.chassis.clone(),
            ..defaults()
        }
    }

    /// Limits at `listen_addr`, where our own proxy is believed who its clients are. It
    /// dials from this machine. What is left to us of the connections is shared.
    fn frontend_at(&self, listen_addr: SocketAddr, ninths: usize) -> frontend::Options {
        let mut options = self.frontend.clone();
        let share = NonZeroUsize::new(options.connections_max() / 9 * ninths);
        options.connections_max = options.connections_max.or(share);
        if self.proxy {
            let mut ours: Vec<IpAddr> =
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            if !listen_addr.ip().is_unspecified() {
                ours.push(listen_addr.ip());
            }
            options.trusted_proxies.extend(ours.into_iter().map(ProxyNetwork::from));
        }
        options
    }

    pub(crate) fn web_server(&self, gate: SocketAddr, connector: SocketAddr) -> web_server::Config {
        let public_gate = match gate.ip().is_unspecified() {
            true => format!(":{}", gate.port()),
            false => gate.to_string(),
        };
        let backend = web_server::Backend { id: "connector-1".into(), addr: connector.to_string() };
        web_server::Config {
            listen_addr: self.web_addr,
            public_gate: public_gate.parse().expect("a socket's address"),
            proxy: self.proxy,
            gate_addr: gate.to_string(),
            connectors: vec![backend],
            connector_addr: Some(connector.to_string()),
            advertise_path: self.advertise_options.advertise_path.clone(),
            trusted_proxies: self.frontend.trusted_proxies.clone(),
            chassis: self.chassis.clone(),
            ..defaults()
        }
    }
}

/// Without --connections-max, gate and connector share nine of ten descriptors: at the
/// gate clients stay for a moment only.
const GATE_NINTHS: usize = 1;
const CONNECTOR_NINTHS: usize = 8;

/// The folder for what a user's programs keep, by the XDG rules.
fn default_data() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local").join("state")));
    state.map_or_else(|| "shaddock-data".into(), |state| state.join("shaddock"))
}

/// What a service's flags default to, whatever the environment says: a variable
/// such as `SHADDOCK_LISTEN_ADDR` would be for one of them only.
fn defaults<C: Parser>() -> C {
    let command = C::command().mut_args(|arg| arg.env(None));
    let matches = command
        .try_get_matches_from(["defaults"])
        .and_then(|matches| C::from_arg_matches(&matches));
    matches.unwrap_or_else(|error| panic!("every flag has a default: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_are_well_formed() {
        Config::command().debug_assert();
    }

    #[test]
    fn every_part_has_its_defaults() {
        let config = Config::parse_from(["standalone"]);
        assert_eq!(config.chat().grace, std::time::Duration::from_secs(10));
        let any = "127.0.0.1:1".parse().unwrap();
        assert_eq!(config.web_server(any, any).gate_addr, "127.0.0.1:1");
    }

    #[test]
    fn gate_and_connector_share_the_descriptors() {
        let limits = |args: &[&str]| {
            let config = Config::parse_from(["standalone"].iter().chain(args));
            let connector = Connector { id: None, addr: "127.0.0.1:1".into() };
            let shard = Shard { id: "chat-0".parse().unwrap(), addr: "127.0.0.1:2".into() };
            let (gate, connector) = (config.gate(connector), config.connector(shard));
            let (gate, connector) = (gate.frontend, connector.frontend);
            (gate.connections_max(), connector.connections_max())
        };
        let (gate, connector) = limits(&[]);
        let all = frontend::Options::default().connections_max();
        assert!(gate > 0 && connector > gate && gate + connector <= all, "{gate}, {connector}");
        assert_eq!(limits(&["--connections-max=7"]), (7, 7));
    }

    #[test]
    fn every_flag_is_explained() {
        for arg in Config::command().get_arguments() {
            assert!(arg.get_help().is_some(), "--{} has no help", arg.get_id());
        }
    }
}
