//! Gate, connector, chat and web-server in one process, for laptops and small
//! servers.
//!
//! The same code as in the four processes: they speak gRPC to each other over
//! loopback, and can be asked there with grpcurl.

mod config;
mod program;
mod server;

pub use config::Config;
pub use program::main;
pub use server::Server;
