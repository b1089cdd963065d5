use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde_json::json;

use crate::{Dictionary, Profile, Protos, Schema, route};

/// What the servers of a branch of chatofpomelo-websocket announce.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ProfileName {
    /// Branch `tutorial-starter`: JSON and routes as text.
    Starter,
    /// Branch `master`: on the connector codes for the three handler routes; on
    /// both protobuf for onChat.
    #[default]
    Master,
    /// Branch `tutorial-protobuf`: codes for the pushes, too, protobuf for all
    /// requests and pushes, and the gate as the connector.
    Full,
}

impl ProfileName {
    /// All names, for a list in a help text.
    pub const ALL: [Self; 3] = [Self::Starter, Self::Master, Self::Full];

    /// The name as it is written in an option.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Master => "master",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A profile name that does not exist.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no profile {0:?}: there are starter, master and full")]
pub struct UnknownProfile(pub String);

impl FromStr for ProfileName {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|profile| profile.as_str() == name);
        found.ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

/// Which of the two servers that clients see.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// Tells clients where to go.
    Gate,
    /// Keeps their sessions.
    Connector,
}

/// The handler routes of the sample, on all its branches.
pub(crate) const HANDLERS: [&str; 3] = [route::QUERY_ENTRY, route::ENTER, route::SEND];

impl Profile {
    /// A server of the sample's branch `name`.
    ///
    /// `heartbeat_secs` is 3 on the sample's connectors; 0 means no heartbeat,
    /// as on its gates.
    pub fn named(name: ProfileName, side: Side, heartbeat_secs: u16) -> Self {
        let (dictionary, protos) = parts(name, side);
        Self::new(NonZeroU16::new(heartbeat_secs), dictionary, protos)
            .expect("the sample's schemas take text and fit a package")
    }

    /// The connector of the chatofpomelo-websocket sample, branch `master`:
    /// codes for the three handler routes, protobuf for onChat.
    ///
    /// `heartbeat_secs` is 3 in the sample; 0 means no heartbeat.
    pub fn master_connector(heartbeat_secs: u16) -> Self {
        Self::named(ProfileName::Master, Side::Connector, heartbeat_secs)
    }

    /// The gate of the same sample: no heartbeat, no codes, the same protos.
    pub fn master_gate() -> Self {
        Self::named(ProfileName::Master, Side::Gate, 0)
    }
}

/// What a branch has in its configuration files.
pub(crate) fn parts(name: ProfileName, side: Side) -> (Option<Dictionary>, Option<Protos>) {
    match (name, side) {
        // Its gate has protobuf on, but the branch has no schema files. It
        // makes a JS client forget the schemas of other servers.
        (ProfileName::Starter, Side::Gate) => (None, Some(Protos::without_files())),
        (ProfileName::Starter, Side::Connector) => (None, None),
        (ProfileName::Master, Side::Gate) => (None, Some(master_protos())),
        (ProfileName::Master, Side::Connector) => {
            (Some(Dictionary::new(&HANDLERS, &[])), Some(master_protos()))
        }
        (ProfileName::Full, _) => {
            let pushes = [route::ON_CHAT, route::ON_ADD, route::ON_LEAVE];
            (Some(Dictionary::new(&HANDLERS, &pushes)), Some(full_protos()))
        }
    }
}

fn master_protos() -> Protos {
    let server = json!({
        route::ON_CHAT: {
            "required string msg": 1,
            "required string from": 2,
            "required string target": 3,
        },
    });
    Protos::new(Schema::parse(&server), Schema::default())
}

fn full_protos() -> Protos {
    let server = json!({
        route::ON_CHAT: {
            "required string msg": 1,
            "required string from": 2,
            "required string target": 3,
        },
        route::ON_LEAVE: { "required string user": 1 },
        route::ON_ADD: { "required string user": 1 },
    });
    let client = json!({
        route::SEND: {
            "required string rid": 1,
            "required string content": 2,
            "required string from": 3,
            "required string target": 4,
        },
        route::ENTER: { "required string username": 1, "required string rid": 2 },
        route::QUERY_ENTRY: { "required string uid": 1 },
    });
    Protos::new(Schema::parse(&server), Schema::parse(&client))
}
