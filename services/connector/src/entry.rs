//! One message of a room, as it goes to clients.

use model::Epoch;
use rpc::chat::v1 as pb;

/// What a shard sent, and the log that it is of. Shared by all who get it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) epoch: Epoch,
    pub(crate) entry: pb::Entry,
}

impl Entry {
    /// What extended sessions are told.
    pub(crate) fn said(&self) -> wire::Said<'_> {
        let entry = &self.entry;
        wire::Said {
            msg: &entry.content,
            from: &entry.author,
            target: &entry.target,
            seq: entry.seq,
            epoch: self.epoch.0,
            at_ms: entry.at_ms,
            cmid: &entry.cmid,
            redacted: entry.redacted,
        }
    }
}
