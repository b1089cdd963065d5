//! The Pomelo client protocol, as pure state machines.
//!
//! ```text
//!  TCP bytes ──▶ Decoder ──┐                      ┌─▶ Send   bytes for the client
//!                          ├─▶ Package ─▶ Conn ───┼─▶ Call   for a handler
//!  WS message ▶ Frames ────┘                │     └─▶ Close
//!                                        Profile ──▶ responses, pushes
//! ```
//!
//! A *package* is the unit of framing, a *message* is what a DATA package
//! carries; the words are Pomelo's. Nothing in this crate reads a clock, does
//! I/O, logs, or draws random numbers, and nothing panics on what a client sends.
//!
//! Facts about other implementations come from running or reading pomelo 2.2.7,
//! pomelo-protocol 0.1.6 and pomelo-protobuf 0.4.0. Names such as `MSG-35` are
//! entries of `vectors/wire-vectors.json`, recorded from those.

mod close;
mod conn;
mod decode;
mod dictionary;
mod encode;
mod error;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod hash;
mod id;
mod json;
mod kick;
mod message;
mod named;
mod package;
mod profile;
pub mod route;
mod said;
mod schema;
mod signing;
mod stringify;
mod text;
mod tree;

pub use crate::close::CloseReason;
pub use crate::conn::{Call, Conn, Output};
pub use crate::decode::BodyError;
pub use crate::dictionary::Dictionary;
pub use crate::encode::EncodeError;
pub use crate::error::{DecodeError, TooLong};
pub use crate::files::{FileError, FileProblem, NamedText, ProfileFiles};
pub use crate::handshake::Dialect;
pub use crate::id::RawId;
pub use crate::json::{JsonError, parse_json, to_json, write_json_string};
pub use crate::kick::{KICK_REASON_LEN_MAX, encode_kick};
pub use crate::message::{
    Message, PushRoute, ROUTE_LEN_MAX, RawRoute, encode_notify, encode_push, encode_request,
    encode_response,
};
pub use crate::named::{ProfileName, Side, UnknownProfile};
pub use crate::package::{
    BODY_LEN_MAX, Decoder, Frames, HEADER_LEN, HEARTBEAT_PACKAGE, Kind, Package, decode_frame,
    encode_package,
};
pub use crate::profile::{Profile, ProfileError, PushError};
pub use crate::route::Route;
pub use crate::said::{Said, to_hex};
pub use crate::schema::{Protos, Schema};
pub use crate::stringify::js_number_text;
pub use crate::text::{TextForm, has_astral};
