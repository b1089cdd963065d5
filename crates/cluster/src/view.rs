//! The set of ready shards.

use std::sync::Arc;

use model::{RoomId, ShardId};

/// One chat process and where its gRPC services listen; or one process of another
/// service that is placed alike (docs/extending.md).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// Its address, `host:port`.
    pub addr: String,
}

/// The ready shards as one process sees them, ordered by id. Cheap to clone.
///
/// Two equal views place every room alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    shards: Arc<[Shard]>,
}

impl Default for View {
    /// Nobody.
    fn default() -> Self {
        Self::new([])
    }
}

impl View {
    /// Makes a view of `shards`, in any order. Of two with one id, the first stays.
    #[must_use]
    pub fn new(shards: impl IntoIterator<Item = Shard>) -> Self {
        let mut shards: Vec<Shard> = shards.into_iter().collect();
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        shards.dedup_by(|one, other| one.id == other.id);
        Self { shards: shards.into() }
    }

    /// The ready shards, ordered by id.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard that should serve `room`; `None` if nobody is ready. O(shards).
    #[must_use]
    pub fn owner(&self, room: &RoomId) -> Option<&Shard> {
        self.get(model::owner(room, self.shards.iter().map(|shard| &shard.id))?)
    }

    /// The server that should answer for `key`, in a view of a service without rooms;
    /// `None` if nobody is ready. O(servers).
    #[must_use]
    pub fn owner_of(&self, key: &str) -> Option<&Shard> {
        self.get(model::owner_of(key, self.shards.iter().map(|shard| &shard.id))?)
    }

    /// All shards, the best for `room` first: whom to try if the owner fails.
    #[must_use]
    pub fn ranked(&self, room: &RoomId) -> Vec<&Shard> {
        let ids = model::ranked(room, self.shards.iter().map(|shard| &shard.id));
        ids.into_iter().filter_map(|id| self.get(id)).collect()
    }

    /// The shard of this name, if it is ready. O(log shards).
    #[must_use]
    pub fn get(&self, id: &ShardId) -> Option<&Shard> {
        let found = self.shards.binary_search_by(|shard| shard.id.cmp(id)).ok()?;
        self.shards.get(found)
    }

    /// This view with `shard` in it, in place of another of its id.
    pub(crate) fn with(&self, shard: &Shard) -> Self {
        Self::new(std::iter::once(shard.clone()).chain(self.shards.iter().cloned()))
    }

    /// This view without the shard of this name and address.
    pub(crate) fn without(&self, gone: &Shard) -> Self {
        Self::new(self.shards.iter().filter(|shard| *shard != gone).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, addr: &str) -> Shard {
        Shard { id: id.parse().unwrap(), addr: addr.into() }
    }

    #[test]
    fn a_view_is_ordered_and_names_nobody_twice() {
        let view = View::new([shard("b", "h:2"), shard("a", "h:1"), shard("b", "h:3")]);
        assert_eq!(view.shards(), [shard("a", "h:1"), shard("b", "h:2")]);
        assert_eq!(view.get(&"b".parse().unwrap()), Some(&shard("b", "h:2")));
        assert_eq!(view.get(&"c".parse().unwrap()), None);
        assert_eq!(view.with(&shard("b", "h:9")).shards()[1], shard("b", "h:9"));
        assert_eq!(view.without(&shard("b", "h:9")), view);
        assert_eq!(view.without(&shard("b", "h:2")), View::new([shard("a", "h:1")]));
    }

    #[test]
    fn placement_is_that_of_model() {
        let ids = ["chat-2", "chat-0", "chat-1"];
        let view = View::new(ids.map(|id| shard(id, &format!("{id}:1"))));
        for (room, owner) in [("room1", "chat-0"), ("房间", "chat-1"), ("a", "chat-2")] {
            let room = RoomId::parse(room).unwrap();
            assert_eq!(view.owner(&room), Some(&shard(owner, &format!("{owner}:1"))));
            assert_eq!(view.owner_of(room.as_str()), view.owner(&room));
            assert_eq!(view.ranked(&room)[0].id.as_str(), owner);
            assert_eq!(view.ranked(&room).len(), 3);
        }
        assert_eq!(View::default().owner(&RoomId::parse("r").unwrap()), None);
    }
}
