//! The gate that asks, between real time servers and a real connector.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::disallowed_methods, reason = "a test makes its own world")]

mod asking;
mod deploy;
mod scene;
