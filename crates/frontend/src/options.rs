use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use chassis::ProxyNetwork;

use crate::Origin;

/// Limits towards clients.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
#[group(id = "clients")]
pub struct Options {
    /// Connections held at once, whatever their state; one more is answered with
    /// HTTP 503 and closed. Default: nine of ten descriptors that the process may have,
    /// which gate and connector of standalone share
    #[arg(long, env = "SHADDOCK_CONNECTIONS_MAX", value_name = "COUNT")]
    pub connections_max: Option<NonZeroUsize>,

    /// Connections held at once from one address (IPv6: one network of 64 bits); one
    /// more is answered with HTTP 503 and closed. Behind a proxy all come from one,
    /// unless --trusted-proxies names it
    #[arg(
        long,
        env = "SHADDOCK_ADDRESS_CONNECTIONS_MAX",
        value_name = "COUNT",
        default_value = "10000"
    )]
    pub address_connections_max: NonZeroUsize,

    /// Proxies that are believed who their clients are: addresses or networks, as
    /// 10.0.0.0/8, separated by commas. They may send a PROXY header (version 2)
    /// before anything else, or X-Forwarded-For with WebSocket upgrades. Default:
    /// none, and what others say of addresses is not looked at
    #[arg(long, env = "SHADDOCK_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxies: Vec<ProxyNetwork>,

    /// Connections taken per second, and as many at once after a silence. Those beyond
    /// have to wait, up to a second; then more are answered with HTTP 503 and closed.
    /// 0: as many as come
    #[arg(long, env = "SHADDOCK_ACCEPTS_PER_SECOND", value_name = "COUNT", default_value = "2000")]
    pub accepts_per_second: u32,

    /// Web pages that may connect: scheme://host or scheme://host:port, …; others get
    /// HTTP 403. Clients that are no browsers may, whatever this says. Default: any
    #[arg(long, env = "SHADDOCK_ALLOWED_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,

    /// How long a client may take from the connection to the handshake's ACK, for
    /// example 10s; one that takes longer is closed
    #[arg(long, env = "SHADDOCK_HANDSHAKE_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub handshake_timeout: Duration,

    /// How long a client may be connected without having asked for anything (gate)
    /// or being in a room (connector), for example 30s; then it is closed
    #[arg(long, env = "SHADDOCK_IDLE_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,

    /// Bytes that one client may send as one package or WebSocket message, 256 to
    /// 16777215; a longer one is refused at its header and the session closed
    #[arg(long, env = "SHADDOCK_PACKAGE_MAX", value_name = "BYTES", default_value = "262144", value_parser = parse_package_max)]
    pub package_max: NonZeroU32,

    /// Bytes that may wait in memory for one client that reads slowly, each piece
    /// counted with 32 more; beyond it the session is closed (slow_consumer)
    #[arg(long, env = "SHADDOCK_OUTBOX_MAX", value_name = "BYTES", default_value = "1048576")]
    pub outbox_max: NonZeroUsize,
}

/// A handshake has to fit.
const PACKAGE_MAX_MIN: u32 = 256;

fn parse_package_max(raw: &str) -> Result<NonZeroU32, String> {
    let parsed = raw.parse::<NonZeroU32>().ok();
    let is_possible =
        |max: &NonZeroU32| (PACKAGE_MAX_MIN..=wire::BODY_LEN_MAX as u32).contains(&max.get());
    let wrong = || format!("must be {PACKAGE_MAX_MIN} to {}", wire::BODY_LEN_MAX);
    parsed.filter(is_possible).ok_or_else(wrong)
}

impl Options {
    /// How many connections may be held at once.
    pub fn connections_max(&self) -> usize {
        self.connections_max.map_or_else(default_connections_max, NonZeroUsize::get)
    }

    /// The longest package body, in bytes.
    pub(crate) fn body_len_max(&self) -> usize {
        (self.package_max.get() as usize).min(wire::BODY_LEN_MAX)
    }

    /// The longest WebSocket message: one package of the longest body.
    pub(crate) fn message_len_max(&self) -> usize {
        self.body_len_max() + wire::HEADER_LEN
    }
}

/// As many as leave some descriptors for the rest of the process: its ports, links,
/// files, and whoever asks the admin port how it is.
fn default_connections_max() -> usize {
    let nine_tenths = chassis::descriptor_limit() / 10 * 9;
    usize::try_from(nine_tenths).unwrap_or(usize::MAX).max(1)
}

impl Default for Options {
    /// What the flags default to.
    fn default() -> Self {
        Self {
            address_connections_max: NonZeroUsize::new(10_000).expect("not zero"),
            accepts_per_second: 2_000,
            allowed_origins: Vec::new(),
            connections_max: None,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            package_max: NonZeroU32::new(256 * 1024).expect("not zero"),
            trusted_proxies: Vec::new(),
            outbox_max: NonZeroUsize::new(1024 * 1024).expect("not zero"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn flags_default_to_the_defaults() {
        let options = Command::parse_from(["test"]).options;
        assert_eq!(format!("{options:?}"), format!("{:?}", Options::default()));
    }

    #[test]
    fn without_a_limit_some_descriptors_are_left() {
        let limit = usize::try_from(chassis::descriptor_limit()).unwrap_or(usize::MAX);
        let max = Options::default().connections_max();
        assert!(max < limit && max >= limit / 10 * 9, "{max} of {limit}");
        let options = Command::parse_from(["test", "--connections-max=7"]).options;
        assert_eq!(options.connections_max(), 7);
    }

    #[test]
    fn a_package_has_a_length_that_can_be_written_and_that_a_handshake_has() {
        let is_taken = |max: &str| Command::try_parse_from(["test", "--package-max", max]).is_ok();
        for (max, expected) in [("255", false), ("256", true), ("16777215", true)] {
            assert_eq!(is_taken(max), expected, "{max}");
        }
        assert!(!is_taken("16777216") && !is_taken("0") && !is_taken("1k"));
    }
}
