use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use cluster::{List, Shard};
use model::ShardId;

use crate::{Command, StoreOptions};

/// One shard of all chat rooms: keeps rosters, numbers and stores messages, and
/// tells the connectors.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "chat", version)]
pub struct Config {
    /// This shard's name, 1 to 63 letters, digits, - . _; must be its own for ever
    #[arg(long, env = "SHADDOCK_SHARD_ID", value_name = "ID", default_value = "chat-0")]
    pub shard_id: ShardId,

    /// Where to serve gRPC: connectors, other shards, operators
    #[arg(long, env = "SHADDOCK_GRPC_ADDR", value_name = "ADDR", default_value = "127.0.0.1:6050")]
    pub grpc_addr: SocketAddr,

    /// All shards, this one included: ID=HOST:PORT,… or @FILE with one a line,
    /// read again when it changes
    #[arg(
        long,
        env = "SHADDOCK_SHARDS",
        value_name = "LIST",
        default_value = "chat-0=127.0.0.1:6050"
    )]
    pub shards: List<Shard>,

    /// Who lists the shards.
    #[command(flatten)]
    pub discovery: cluster::DiscoveryOptions,

    /// Names that one room may hold; further ones are refused
    #[arg(long, env = "SHADDOCK_ROOM_MEMBERS_MAX", value_name = "COUNT", default_value = "20000")]
    pub room_members_max: NonZeroUsize,

    /// Longest message, in bytes of UTF-8; longer ones are refused
    #[arg(long, env = "SHADDOCK_CONTENT_MAX", value_name = "BYTES", default_value = "32768", value_parser = parse_content_max)]
    pub content_max: usize,

    /// Words that nobody gets to read: a file with one a line, # begins a comment;
    /// read again when it changes
    #[arg(long, env = "SHADDOCK_WORD_FILTER", value_name = "FILE")]
    pub word_filter: Option<PathBuf>,

    /// Messages of one room that may wait to be stored; further ones are refused
    #[arg(long, env = "SHADDOCK_ROOM_PENDING_MAX", value_name = "COUNT", default_value = "4096")]
    pub room_pending_max: NonZeroUsize,

    /// Newest messages of each room that the memory store keeps
    #[arg(long, env = "SHADDOCK_MEMORY_ENTRIES_MAX", value_name = "COUNT", default_value = "1000")]
    pub memory_entries_max: NonZeroUsize,

    /// How long a name is kept after its connector was lost, so that coming back
    /// goes unnoticed
    #[arg(long, env = "SHADDOCK_GRACE", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub grace: Duration,

    /// How long an empty room stays loaded
    #[arg(long, env = "SHADDOCK_ROOM_IDLE", value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    pub room_idle: Duration,

    /// Bytes of events that may wait for one connector; then its link is cut, and
    /// the connector opens a new one and fetches what it missed
    #[arg(
        long,
        env = "SHADDOCK_LINK_OUTBOX_MAX",
        value_name = "BYTES",
        default_value = "67108864"
    )]
    pub link_outbox_max: NonZeroUsize,

    /// Where messages are kept.
    #[command(flatten)]
    pub storage: StoreOptions,

    /// Tokens.
    #[command(flatten)]
    pub access: rpc::AccessOptions,

    /// The process.
    #[command(flatten)]
    pub chassis: chassis::Options,

    /// Something else than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Reads a limit on the length of messages, in bytes.
///
/// # Errors
///
/// One line that says what is allowed.
pub fn parse_content_max(raw: &str) -> Result<usize, String> {
    match raw.parse() {
        Ok(bytes) if (1..=model::CONTENT_LEN_CEILING).contains(&bytes) => Ok(bytes),
        _ => Err(format!("must be 1 to {} bytes", model::CONTENT_LEN_CEILING)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_well_formed() {
        super::Config::command().debug_assert();
    }
}
