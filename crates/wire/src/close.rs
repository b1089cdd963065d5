use crate::DecodeError;

/// Why a connection is closed on account of what the client sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseReason {
    /// The handshake request was refused, and told so.
    HandshakeFailed,
    /// A package of a type that does not exist.
    UnknownPackageType,
    /// A package that declares more than this server takes.
    PackageTooLong,
    /// Empty or cut packages in a WebSocket message.
    MalformedFrame,
    /// A DATA package that is not a message.
    MalformedMessage,
    /// A protobuf body that does not follow its schema.
    MalformedBody,
    /// A body that is not signed with the key of the handshake, where the
    /// profile asks for it.
    BadSignature,
    /// The client sent a KICK, which only servers may.
    ClientKick,
    /// A route that ends in `constructor`; the client was kicked.
    Attack,
}

impl CloseReason {
    /// All reasons, to register a metric for each.
    pub const ALL: [Self; 9] = [
        Self::HandshakeFailed,
        Self::UnknownPackageType,
        Self::PackageTooLong,
        Self::MalformedFrame,
        Self::MalformedMessage,
        Self::MalformedBody,
        Self::BadSignature,
        Self::ClientKick,
        Self::Attack,
    ];

    /// A name that never changes, for metric labels and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::HandshakeFailed => "handshake_failed",
            Self::UnknownPackageType => "unknown_package_type",
            Self::PackageTooLong => "package_too_long",
            Self::MalformedFrame => "malformed_frame",
            Self::MalformedMessage => "malformed_message",
            Self::MalformedBody => "malformed_body",
            Self::BadSignature => "bad_signature",
            Self::ClientKick => "client_kick",
            Self::Attack => "attack",
        }
    }
}

/// For the shell, which runs [`crate::Decoder`] or [`crate::decode_frame`].
impl From<DecodeError> for CloseReason {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownKind(_) => Self::UnknownPackageType,
            DecodeError::BodyTooLong { .. } => Self::PackageTooLong,
            DecodeError::EmptyFrame | DecodeError::Truncated => Self::MalformedFrame,
            DecodeError::IdTooLong
            | DecodeError::IdTooLarge
            | DecodeError::RouteNotUtf8
            | DecodeError::Compressed => Self::MalformedMessage,
        }
    }
}
