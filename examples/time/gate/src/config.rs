use cluster::{List, Shard};

/// Tells chat clients which connector to use, and asks a time server before.
///
/// All of the gate's options, and one more.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "time-gate", version)]
#[group(id = "time-gate")]
pub struct Config {
    /// The time servers: ID=HOST:PORT,… or @FILE with one a line, read again when it
    /// changes
    #[arg(
        long,
        env = "SHADDOCK_TIME_SERVERS",
        value_name = "LIST",
        default_value = "time-0=127.0.0.1:7000,time-1=127.0.0.1:7001"
    )]
    pub time_servers: List<Shard>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the help text")]
    pub gate: gate::Config,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Config;

    #[test]
    fn options_are_well_formed_and_hold_the_gates() {
        let mut command = Config::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for part in
            ["and asks a time server before", "--time-servers <LIST>", "--connectors <LIST>"]
        {
            assert!(help.contains(part), "{part} is missing from:\n{help}");
        }
        let config = Config::parse_from(["time-gate", "--grpc-addr=127.0.0.1:1"]);
        assert_eq!(config.gate.grpc_addr.port(), 1);
        assert_eq!(config.time_servers.entries()[1].addr, "127.0.0.1:7001");
    }
}
