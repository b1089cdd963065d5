use std::net::SocketAddr;

use cluster::{Connector, List};

use crate::{Advertise, AdvertiseOptions};

/// Tells chat clients which connector to use.
///
/// Clients of the Pomelo protocol ask on --listen-addr (gate.gateHandler.queryEntry),
/// people and back ends over gRPC on --grpc-addr. Named is a connector that has
/// announced itself within the last second and does not drain: always the same for a
/// user's name, unless it is much fuller than another. If there is none, clients get
/// code 500 and gRPC callers UNAVAILABLE.
///
/// Every option is a flag and an environment variable. Values are checked before
/// anything starts.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "gate", version)]
pub struct Config {
    /// Where clients of the Pomelo protocol connect (WebSocket)
    #[arg(
        long,
        env = "SHADDOCK_LISTEN_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:3014"
    )]
    pub listen_addr: SocketAddr,

    /// Where to serve gRPC: GateService, health, reflection
    #[arg(long, env = "SHADDOCK_GRPC_ADDR", value_name = "ADDR", default_value = "127.0.0.1:4014")]
    pub grpc_addr: SocketAddr,

    /// The connectors' gRPC addresses: host:port,host:port or, to name them before
    /// they announce themselves, id=host:port; or @FILE with one a line and comments
    /// after #, read again each second; at most 1000
    ///
    /// A file that becomes wrong leaves the list as it was. Replace it by renaming.
    #[arg(
        long,
        env = "SHADDOCK_CONNECTORS",
        value_name = "LIST",
        default_value = "127.0.0.1:4050"
    )]
    pub connectors: List<Connector>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub discovery: cluster::DiscoveryOptions,

    /// Where clients are sent. Whichever it is, a connector is chosen, and if there is
    /// none, the client is told so
    #[arg(
        long,
        env = "SHADDOCK_ADVERTISE",
        value_enum,
        value_name = "MODE",
        default_value = "perPod"
    )]
    pub advertise: Advertise,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub advertise_options: AdvertiseOptions,

    /// What clients are told.
    #[command(flatten)]
    pub protocol: frontend::ProtocolOptions,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub frontend: frontend::Options,

    /// The certificate that clients are shown.
    #[command(flatten)]
    pub tls: frontend::TlsOptions,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub access: rpc::AccessOptions,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub chassis: chassis::Options,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Config;

    #[test]
    fn options_are_well_formed() {
        Config::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_ports_that_people_know() {
        let config = Config::parse_from(["gate"]);
        assert_eq!(config.listen_addr.to_string(), "127.0.0.1:3014");
        assert_eq!(config.grpc_addr.to_string(), "127.0.0.1:4014");
        assert_eq!(config.connectors.entries()[0].addr, "127.0.0.1:4050");
    }

    #[test]
    fn a_wrong_list_is_refused_with_the_entry() {
        let refused = Config::try_parse_from(["gate", "--connectors=a:1,b"]).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("entry 2: \"b\" must be host:port or id=host:port"), "{text}");
        let refused = Config::try_parse_from(["gate", "--connectors=@/does/not/exist"]);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("cannot read /does/not/exist"), "{text}");
    }

    #[test]
    fn help_tells_every_default() {
        let help = Config::command().render_long_help().to_string();
        for part in [
            "--listen-addr <ADDR>",
            "--grpc-addr <ADDR>",
            "--connectors <LIST>",
            "[default: 127.0.0.1:4050]",
        ] {
            assert!(help.contains(part), "{part} is missing from:\n{help}");
        }
    }
}
