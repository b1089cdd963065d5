/// Why bytes from the peer are not Pomelo packages or messages.
///
/// Every variant means that the peer broke the protocol in a way that leaves
/// no safe point to continue from, so the caller closes the connection. The
/// original server instead stays open with a dead receive path (observed with
/// pomelo 2.2.7); closing at once is a deliberate deviation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The type byte is not 1 to 5. The original disconnects too.
    #[error("unknown package type {0}")]
    UnknownKind(u8),
    /// The header declares more body bytes than this server takes.
    #[error("package body of {len} bytes is over the limit of {max}")]
    BodyTooLong {
        /// Body bytes that the header declares.
        len: usize,
        /// Body bytes that are allowed.
        max: usize,
    },
    /// A WebSocket message without a single byte.
    #[error("empty frame")]
    EmptyFrame,
    /// The bytes end inside a header, an id, a route or a declared body.
    #[error("data ends too early")]
    Truncated,
    /// More than five bytes of message id.
    #[error("message id has no end")]
    IdTooLong,
    /// A message id above 2³¹−1, which no real client sends: pomelo-protocol
    /// 0.1.6 reads such an id as negative (vectors MSG-35 to MSG-37).
    #[error("message id is above 2^31-1")]
    IdTooLarge,
    /// The route's bytes are not UTF-8.
    #[error("route is not utf-8")]
    RouteNotUtf8,
    /// Flag bit 0x10: the sender compressed the body. Only the Pitaya family
    /// sets it; this server does not inflate.
    #[error("compressed message bodies are not supported")]
    Compressed,
}

/// Why something cannot be put on the wire; nothing was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TooLong {
    /// A package body does not fit the three length bytes.
    #[error("package body of {0} bytes does not fit a package")]
    Body(usize),
    /// A route does not fit the one length byte.
    #[error("route of {0} bytes does not fit a message")]
    Route(usize),
}
