//! The client-facing engine: accept, upgrade, read, write. The gate and the
//! connector are a [`Handler`] each; everything about sockets is here.
//!
//! ```text
//!  accept ─▶ (PROXY header, TLS) ─▶ upgrade ─▶ Connection, one task ────────┐
//!                      │   WebSocket or TCP ─▶ packages ─▶ wire::Conn ─▶ Handler::call
//!                    refuse       outbox ◀── what the socket did not take ◀─┐
//!                                                                   │
//!  any task ─▶ Session::send ─▶ one write, straight to the socket ──┘
//! ```
//!
//! # Invariants
//!
//! * Who sends never waits: what the socket does not take goes into the session's
//!   outbox, and at its bound the session is closed.
//! * A push is encoded once, however many sessions get it ([`Outgoing`]).
//! * Nothing that a client declares sizes a buffer above [`Options::package_max`].
//! * A session costs one task and no timer; all time-outs are one wheel's.
//! * What one client sends never ends another's session.

mod addresses;
mod arrival;
mod boundary;
mod close;
mod connection;
pub mod fuzzing;
mod metrics;
mod options;
mod origins;
mod outgoing;
mod paces;
mod protocol;
mod proxy_header;
mod rate;
mod server;
mod session;
mod socket;
mod tcp;
mod tls;
mod upgrade;
mod wheel;
mod writer;

use std::sync::Arc;

pub use crate::close::CloseReason;
pub use crate::metrics::{AddressSource, Direction, HandshakeResult, Metrics};
pub use crate::options::Options;
pub use crate::origins::{InvalidOrigin, Origin};
pub use crate::outgoing::{Outgoing, OutgoingBuilder};
pub use crate::paces::Paces;
pub use crate::protocol::ProtocolOptions;
pub use crate::rate::{Pace, Rate};
pub use crate::server::Server;
pub use crate::session::Session;
pub use crate::tls::{Tls, TlsOptions};

/// What a service does with its clients.
///
/// All methods run in the session's own task, one at a time per session, and
/// must not block: whatever takes time is handed to somebody else, who answers
/// through the [`Session`]. A panic ends the session, and only that.
pub trait Handler: Send + Sync + 'static {
    /// What the service keeps about each session; made when the client connects.
    type State: Default + Send + Sync + 'static;

    /// The three-part routes that [`Handler::call`] answers; others are answered
    /// by the engine, as Pomelo does.
    const KNOWN: &'static [&'static str];

    /// The client comes over a WebSocket, which `request` asked for. Comes before all
    /// else; who comes over TCP has asked nothing.
    fn upgraded(&self, session: &Arc<Session<Self::State>>, request: &http::Request<()>) {
        let _ = (session, request);
    }

    /// The client has acknowledged the handshake: from now on it may be sent to.
    /// `conn` tells what it can read and what it said about its user.
    fn opened(&self, session: &Arc<Session<Self::State>>, conn: &mut wire::Conn) {
        let _ = (session, conn);
    }

    /// The client calls. Comes after [`Handler::opened`], in the order of sending.
    fn call(&self, session: &Arc<Session<Self::State>>, call: wire::Call);

    /// The session is over, see [`Session::close_reason`]. Comes exactly once
    /// for each [`Handler::opened`], as soon as the end is known, also after a
    /// panic; nothing comes after it.
    fn closed(&self, session: &Arc<Session<Self::State>>);
}
