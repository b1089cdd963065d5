use std::net::SocketAddr;

use model::ShardId;

/// Tells the time over gRPC: the example of a service of one's own.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "time", version)]
pub struct Config {
    /// This server's name, 1 to 63 letters, digits, - . _; as its callers list it
    #[arg(long, env = "SHADDOCK_SERVER_ID", value_name = "ID", default_value = "time-0")]
    pub server_id: ShardId,

    /// Where to serve gRPC: TimeService, health, reflection
    #[arg(long, env = "SHADDOCK_GRPC_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7000")]
    pub grpc_addr: SocketAddr,

    /// Tokens.
    #[command(flatten)]
    pub access: rpc::AccessOptions,

    /// The process.
    #[command(flatten)]
    pub chassis: chassis::Options,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_well_formed() {
        super::Config::command().debug_assert();
    }
}
