use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use cluster::{List, Shard};
use model::ConnectorId;

/// Holds clients' connections, and carries what they say to the chat shards.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "connector", version)]
pub struct Config {
    /// This connector's name, 1 to 63 letters, digits, - . _
    #[arg(long, env = "SHADDOCK_CONNECTOR_ID", value_name = "ID", default_value = "connector-1")]
    pub connector_id: ConnectorId,

    /// Where clients connect (WebSocket)
    #[arg(
        long,
        env = "SHADDOCK_LISTEN_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:3050"
    )]
    pub listen_addr: SocketAddr,

    /// Where the gate sends clients, if that is not the address listened on
    #[arg(long, env = "SHADDOCK_ADVERTISE", value_name = "HOST:PORT", value_parser = parse_advertise)]
    pub advertise: Option<(String, u16)>,

    /// Where to serve gRPC: gates and operators
    #[arg(long, env = "SHADDOCK_GRPC_ADDR", value_name = "ADDR", default_value = "127.0.0.1:4050")]
    pub grpc_addr: SocketAddr,

    /// The chat shards: ID=HOST:PORT,… or @FILE with one a line, read again when
    /// it changes
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

    /// How often clients have to send a heartbeat; one that is silent for twice
    /// as long is closed
    #[arg(long, env = "SHADDOCK_HEARTBEAT", value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub heartbeat: u16,

    /// Longest message, in bytes of UTF-8; longer ones are answered with code 413
    #[arg(long, env = "SHADDOCK_CONTENT_MAX", value_name = "BYTES", default_value = "32768", value_parser = parse_content_max)]
    pub content_max: usize,

    /// How long a request may wait for its shard; then it is answered with code 503
    #[arg(long, env = "SHADDOCK_REQUEST_TIMEOUT", value_name = "TIME", default_value = "8s", value_parser = humantime::parse_duration)]
    pub request_timeout: Duration,

    /// Over how long clients are sent to other connectors, evenly, after SIGTERM and
    /// --accept-grace; they have what they asked for, and are told to come back. The
    /// process then has --shutdown-grace, or as long as this needs if that is longer.
    /// 0s: all are closed at once
    #[arg(long, env = "SHADDOCK_DRAIN_TIME", value_name = "TIME", default_value = "90s", value_parser = humantime::parse_duration)]
    pub drain_time: Duration,

    /// Requests of one session that may wait at once; further ones are answered
    /// with code 429
    #[arg(
        long,
        env = "SHADDOCK_SESSION_REQUESTS_MAX",
        value_name = "COUNT",
        default_value = "256"
    )]
    pub session_requests_max: NonZeroUsize,

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

    /// Bytes of commands that may wait for one shard; then its link is cut, and
    /// opened again
    #[arg(
        long,
        env = "SHADDOCK_LINK_OUTBOX_MAX",
        value_name = "BYTES",
        default_value = "67108864"
    )]
    pub link_outbox_max: NonZeroUsize,

    /// What clients are told.
    #[command(flatten)]
    pub protocol: frontend::ProtocolOptions,

    /// Demand that clients sign what they say (RSA, `encrypt: true` of the
    /// JavaScript client); a wrong signature ends the session
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
}

impl Config {
    /// What the process is run with.
    #[must_use]
    pub fn process(&self) -> chassis::Options {
        process(self.chassis.clone(), self.drain_time, self.request_timeout)
    }
}

/// For the last clients to read what they were sent, and for the links' end.
const AFTER_DRAIN: Duration = Duration::from_secs(7);

/// What a process with a connector is run with: it may take as long to end as a drain
/// needs.
#[must_use]
pub fn process(
    mut process: chassis::Options,
    drain_time: Duration,
    request_timeout: Duration,
) -> chassis::Options {
    if !drain_time.is_zero() {
        let drain = process.accept_grace + drain_time + request_timeout + AFTER_DRAIN;
        process.shutdown_grace = process.shutdown_grace.max(drain);
    }
    process
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

/// Reads a `HOST:PORT` that clients are sent to.
///
/// # Errors
///
/// One line that says what is expected.
pub fn parse_advertise(raw: &str) -> Result<(String, u16), String> {
    let (host, port) = raw.rsplit_once(':').ok_or("must be HOST:PORT")?;
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err("must be HOST:PORT, with a port of 1 to 65535".into()),
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
