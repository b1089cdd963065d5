//! Which shard serves a room: rendezvous hashing over the ready shards.
//!
//! Each process computes it from its own view. Two views may differ for a while,
//! so placement is a hint; safety is in the log (`store`).

use xxhash_rust::xxh3::xxh3_64;

use crate::{RoomId, ShardId};

/// Returns the shard that should serve `room`: the one with the highest score.
///
/// When a shard comes or goes, only the rooms move that it wins or held: 1/(n+1)
/// of them on average. O(shards); the order of `shards` does not matter.
#[must_use]
pub fn owner<'a>(
    room: &RoomId,
    shards: impl IntoIterator<Item = &'a ShardId>,
) -> Option<&'a ShardId> {
    owner_of(room.as_str(), shards)
}

/// As [`owner`], for what is no room: the servers of a service beyond the chat are
/// chosen by a key that means something to it, for example a user's name.
#[must_use]
pub fn owner_of<'a>(
    key: &str,
    servers: impl IntoIterator<Item = &'a ShardId>,
) -> Option<&'a ShardId> {
    let key_hash = xxh3_64(key.as_bytes());
    // The id breaks ties, so that two processes never disagree over one view.
    servers.into_iter().max_by_key(|server| (score(key_hash, server), *server))
}

/// Returns all of `shards`, the best for `room` first.
#[must_use]
pub fn ranked<'a>(
    room: &RoomId,
    shards: impl IntoIterator<Item = &'a ShardId>,
) -> Vec<&'a ShardId> {
    let room_hash = xxh3_64(room.as_str().as_bytes());
    let mut ranked: Vec<_> = shards.into_iter().collect();
    ranked.sort_by_key(|shard| std::cmp::Reverse((score(room_hash, shard), *shard)));
    ranked
}

fn score(room_hash: u64, shard: &ShardId) -> u64 {
    mix(room_hash, xxh3_64(shard.as_str().as_bytes()))
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014) over the sum of one hash
/// and the rotated other. Part of the wire contract between versions: never change it.
fn mix(room: u64, shard: u64) -> u64 {
    let mut z = room.wrapping_add(shard.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(names: &[&str]) -> Vec<ShardId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    /// Pins the function: a release that placed rooms elsewhere would serve them
    /// twice during a rolling upgrade.
    #[test]
    fn vectors() {
        let three = shards(&["chat-0", "chat-1", "chat-2"]);
        let placed: Vec<String> = ["room1", "room2", "lobby", "房间", "a", "b", "c"]
            .iter()
            .map(|name| format!("{name} {}", owner(&room(name), &three).unwrap()))
            .collect();
        assert_eq!(
            placed,
            [
                "room1 chat-0",
                "room2 chat-0",
                "lobby chat-0",
                "房间 chat-1",
                "a chat-2",
                "b chat-1",
                "c chat-2",
            ]
        );
        assert_eq!(score(xxh3_64(b"room1"), &three[0]), 0xe2ba_bbe6_854f_e001);
    }

    #[test]
    fn a_key_is_placed_as_the_room_of_that_name() {
        let three = shards(&["chat-0", "chat-1", "chat-2"]);
        for name in ["room1", "房间", "a", "b"] {
            assert_eq!(owner_of(name, &three), owner(&room(name), &three));
        }
        // What could never be a room has its place, too.
        assert!(owner_of("", &three).is_some());
        assert_eq!(owner_of("a", &[]), None);
    }

    #[test]
    fn the_order_of_the_view_does_not_matter() {
        let there = shards(&["x", "y", "z"]);
        let back = shards(&["z", "y", "x"]);
        for i in 0..100 {
            let room = room(&format!("r{i}"));
            assert_eq!(owner(&room, &there), owner(&room, &back));
            assert_eq!(ranked(&room, &there)[0], owner(&room, &back).unwrap());
        }
    }

    #[test]
    fn nobody_owns_a_room_without_shards() {
        assert_eq!(owner(&room("r"), &[]), None);
    }

    #[test]
    fn a_new_shard_takes_its_share_and_moves_nothing_else() {
        let before = shards(&["s0", "s1", "s2", "s3"]);
        let mut after = before.clone();
        after.push("s4".parse().unwrap());
        let rooms = 20_000;
        let mut moved = 0;
        for i in 0..rooms {
            let room = room(&format!("room-{i}"));
            let (old, new) = (owner(&room, &before).unwrap(), owner(&room, &after).unwrap());
            if old != new {
                assert_eq!(new.as_str(), "s4");
                moved += 1;
            }
        }
        let share = f64::from(moved) / f64::from(rooms);
        assert!((share - 0.2).abs() < 0.02, "moved {share}");
    }
}
