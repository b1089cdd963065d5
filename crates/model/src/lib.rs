//! The vocabulary that every service must share: identifiers, limits,
//! placement, what is kept.
//!
//! The test for what belongs here: if two services disagreed about it, one room
//! would be served in two places, or one name would be two people. Nothing here
//! does I/O, reads a clock or draws a random number.

mod digest;
mod id;
mod placement;
pub mod planted;
mod position;
pub mod retention;

pub use digest::{RoomDigest, message_digest, roster_hash};
pub use id::{
    ConnectorId, Identity, InvalidId, LinkId, NAME_LEN_MAX, PROCESS_ID_LEN_MAX, RoomId, SessionId,
    ShardId, UserName,
};
pub use placement::{owner, owner_of, ranked};
pub use position::{Epoch, Fence, Gen, Grant, Position, SEQ_MAX, Seq, Term};

/// Longest message content that any configuration may allow, in bytes of UTF-8.
///
/// The limit in force is a flag of the connector and of the shard, 32 KiB by
/// default; this one bounds the flag, so that a message always fits a client
/// package and a link frame.
pub const CONTENT_LEN_CEILING: usize = 1024 * 1024;

/// The target that addresses everybody in the room (`chatofpomelo`'s convention).
pub const TARGET_ALL: &str = "*";
