use std::{net::SocketAddr, time::Duration};

/// Options that every process has.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
#[group(id = "process")]
pub struct Options {
    /// Where to serve /livez, /readyz, /startupz and /metrics (HTTP)
    #[arg(
        long,
        env = "SHADDOCK_ADMIN_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:9090"
    )]
    pub admin_addr: SocketAddr,

    /// How long the process may take to end after SIGTERM before it gives up
    /// with exit code 1, for example 25s; a second signal ends it at once
    #[arg(long, env = "SHADDOCK_SHUTDOWN_GRACE", value_name = "TIME", default_value = "25s", value_parser = humantime::parse_duration)]
    pub shutdown_grace: Duration,

    /// How long the process serves on as before, but is not ready, after SIGTERM: on
    /// Kubernetes clients are led to a pod for a few seconds after it was told to end,
    /// so 5s there
    #[arg(long, env = "SHADDOCK_ACCEPT_GRACE", value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub accept_grace: Duration,

    /// What to log: a level, or a list such as info,connector=debug
    #[arg(long, env = "SHADDOCK_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How to log: text, json, or auto (text on a terminal, else json)
    #[arg(long, env = "SHADDOCK_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// Where to send traces (OTLP over gRPC), for example http://127.0.0.1:4317;
    /// without it no trace is recorded
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// The share of requests that are traced, 0 to 1
    #[arg(long, env = "SHADDOCK_TRACE_RATIO", value_name = "SHARE", default_value_t = 0.01)]
    pub trace_ratio: f64,
}

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One object a line, for collectors.
    Json,
}
