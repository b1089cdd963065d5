//! Between generated messages and `model`: the only place that unwraps optionals.

use model::{Epoch, Gen, Identity, Position, RoomId, Seq, Term, UserName};

use crate::chat::v1 as pb;

/// A peer of the cluster sent something that it should know to be wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Malformed {
    /// A name that its sender should have checked.
    #[error("{field}")]
    Name {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: model::InvalidId,
    },
    /// A field without which the message has no meaning.
    #[error("{0} is missing or has the wrong length")]
    Field(&'static str),
}

/// Parses the name of a room.
///
/// # Errors
///
/// [`Malformed::Name`].
pub fn room(raw: &str) -> Result<RoomId, Malformed> {
    RoomId::parse(raw).map_err(|source| Malformed::Name { field: "room", source })
}

/// Parses the name of a user.
///
/// # Errors
///
/// [`Malformed::Name`].
pub fn user(raw: &str) -> Result<UserName, Malformed> {
    UserName::parse(raw).map_err(|source| Malformed::Name { field: "user", source })
}

/// Parses an identity of 16 bytes.
///
/// # Errors
///
/// [`Malformed::Field`].
pub fn identity(raw: &[u8]) -> Result<Identity, Malformed> {
    raw.try_into().map(Identity).map_err(|_| Malformed::Field("identity"))
}

impl From<model::Fence> for pb::Fence {
    fn from(fence: model::Fence) -> Self {
        Self { r#gen: fence.r#gen.0, term: fence.term.0 }
    }
}

impl From<pb::Fence> for model::Fence {
    fn from(fence: pb::Fence) -> Self {
        Self { r#gen: Gen(fence.r#gen), term: Term(fence.term) }
    }
}

impl From<Position> for pb::Position {
    fn from(at: Position) -> Self {
        Self { epoch: at.epoch.0, seq: at.seq.0 }
    }
}

impl From<pb::Position> for Position {
    fn from(at: pb::Position) -> Self {
        Self { epoch: Epoch(at.epoch), seq: Seq(at.seq) }
    }
}

impl From<model::Grant> for pb::Grant {
    fn from(grant: model::Grant) -> Self {
        Self { fence: Some(grant.fence.into()), number: grant.number }
    }
}

impl From<pb::Grant> for model::Grant {
    /// A grant without a fence is the oldest possible.
    fn from(grant: pb::Grant) -> Self {
        Self { fence: grant.fence.unwrap_or_default().into(), number: grant.number }
    }
}
