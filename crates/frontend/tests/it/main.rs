//! The engine over real sockets, and over simulated ones where time matters.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod close;
mod corpus;
mod fixture;
mod hostile;
mod limits;
mod protocol;
mod proxies;
mod push;
mod segments;
mod tcp;
mod timeouts;
mod tls;
