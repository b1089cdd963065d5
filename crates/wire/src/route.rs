//! The routes of the chatofpomelo-websocket sample, which its clients call, and
//! those of extended sessions.

/// Asks the gate for a connector: `{"uid":…}`.
pub const QUERY_ENTRY: &str = "gate.gateHandler.queryEntry";
/// Enters a room: `{"username":…,"rid":…}`.
pub const ENTER: &str = "connector.entryHandler.enter";
/// Says something: `{"content":…,"target":…}`.
pub const SEND: &str = "chat.chatHandler.send";
/// Asks for a page of what was said; extended sessions only.
pub const HISTORY: &str = "room.history";
/// Leaves the room; extended sessions only.
pub const LEAVE: &str = "room.leave";
/// Lists rooms; extended sessions only.
pub const ROOMS: &str = "room.list";
/// Pushed when somebody said something.
pub const ON_CHAT: &str = "onChat";
/// Pushed when a user came.
pub const ON_ADD: &str = "onAdd";
/// Pushed when a user went.
pub const ON_LEAVE: &str = "onLeave";
/// Pushed when what the session has of the room does not go on without a hole;
/// extended sessions only.
pub const ON_VERDICT: &str = "onVerdict";
/// Pushed when the content of a message was taken away; extended sessions only.
pub const ON_REDACT: &str = "onRedact";
/// Pushed when the session has to come back through another connector; extended
/// sessions only.
pub const ON_RECONNECT: &str = "onReconnect";

/// A route that has a handler.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Route {
    /// [`QUERY_ENTRY`].
    QueryEntry,
    /// [`ENTER`].
    Enter,
    /// [`SEND`].
    Send,
    /// [`HISTORY`].
    History,
    /// [`LEAVE`].
    Leave,
    /// [`ROOMS`].
    Rooms,
    /// Any other that the server listed as known.
    Other(&'static str),
}

impl Route {
    /// Returns the route of a listed name.
    pub fn from_name(name: &'static str) -> Self {
        match name {
            QUERY_ENTRY => Self::QueryEntry,
            ENTER => Self::Enter,
            SEND => Self::Send,
            HISTORY => Self::History,
            LEAVE => Self::Leave,
            ROOMS => Self::Rooms,
            other => Self::Other(other),
        }
    }

    /// The name, for example for a metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::QueryEntry => QUERY_ENTRY,
            Self::Enter => ENTER,
            Self::Send => SEND,
            Self::History => HISTORY,
            Self::Leave => LEAVE,
            Self::Rooms => ROOMS,
            Self::Other(name) => name,
        }
    }
}
