//! One number for all that a link should know.
//!
//! A shard and a connector each keep a [`RoomDigest`] per (link, room) and the
//! wrapping sum of them per link. Equal sums at one point of the stream mean
//! that nothing was lost; keeping them up costs O(1) per event.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Epoch, RoomId, Seq, UserName};

/// What one side of a link believes about one room.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RoomDigest {
    room: u64,
    /// The incarnation that `head` belongs to.
    pub epoch: Epoch,
    /// Seq of the last entry of the room that the link was sent.
    pub head: Seq,
    /// Wrapping sum of [`roster_hash`] over the members that the link was told of.
    pub roster: u64,
}

impl RoomDigest {
    /// A room of which nothing was sent yet.
    #[must_use]
    pub fn new(room: &RoomId, epoch: Epoch, head: Seq) -> Self {
        Self { room: xxh3_64(room.as_str().as_bytes()), epoch, head, roster: 0 }
    }

    /// Adds a name to the roster.
    pub fn add(&mut self, name: &UserName) {
        self.roster = self.roster.wrapping_add(roster_hash(name));
    }

    /// Takes a name from the roster.
    pub fn remove(&mut self, name: &UserName) {
        self.roster = self.roster.wrapping_sub(roster_hash(name));
    }

    /// This room's part of the link's sum.
    #[must_use]
    pub fn value(&self) -> u64 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.head.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.roster.to_le_bytes());
        xxh3_64_with_seed(&bytes, self.room)
    }
}

/// The hash of one name in a roster.
#[must_use]
pub fn roster_hash(name: &UserName) -> u64 {
    xxh3_64(name.as_str().as_bytes())
}

/// The hash by which a repeated message is told from another one under the same
/// client message id: over the target and the content as the client sent them.
#[must_use]
pub fn message_digest(target: &str, content: &str) -> u64 {
    xxh3_64_with_seed(content.as_bytes(), xxh3_64(target.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_sees_the_head_and_the_roster_but_not_their_history() {
        let room = RoomId::parse("r").unwrap();
        let ann = UserName::parse("ann").unwrap();
        let bob = UserName::parse("bob").unwrap();
        let start = RoomDigest::new(&room, Epoch(1), Seq(0));

        let (mut one, mut other) = (start, start);
        one.add(&ann);
        one.add(&bob);
        other.add(&bob);
        other.add(&ann);
        assert_eq!(one.value(), other.value());

        one.head = Seq(1);
        assert_ne!(one.value(), other.value());
        other.head = Seq(1);
        other.remove(&bob);
        assert_ne!(one.value(), other.value());
        assert_ne!(
            start.value(),
            RoomDigest::new(&RoomId::parse("s").unwrap(), Epoch(1), Seq(0)).value()
        );
    }
}
