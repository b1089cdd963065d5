//! Where repeated cmids are found.
//!
//! An index that is written with every entry costs more than the log itself: each of
//! its keys is on a page of its own. So the newest keys wait in memory (the *tail*)
//! and are written in order, many at once; and what is surely not in the tables is not
//! looked for there. After a crash the tail is read from the
//! log again: `unindexed` names the rooms, and where to begin.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use model::{Identity, Seq};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Dedup, filter::Filter, place};
use crate::{Found, KNOWN_MS, raw};

/// Keys that wait in memory. To write them takes some 20 ms, in which nothing else is
/// written.
const TAIL_MAX: usize = if cfg!(test) { 1024 } else { 16 * 1024 };

/// Keys that may follow each other: a few different cmids may have one hash.
const SLOTS: i64 = 4;

const ALL: [&str; 2] = ["select key from recent0", "select key from recent1"];
const FIND: [&str; 2] = [
    "select place from recent0 where key between ?1 and ?2",
    "select place from recent1 where key between ?1 and ?2",
];
const INSERT: [&str; 2] = [
    "insert or ignore into recent0 (key, place) values (?1, ?2)",
    "insert or ignore into recent1 (key, place) values (?1, ?2)",
];
const CLEAR: [&str; 2] = ["delete from recent0", "delete from recent1"];

/// The first key of (room, author, cmid).
fn key(room: i64, dedup: i64) -> i64 {
    let room = room.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    (dedup ^ room.cast_signed()) & !(SLOTS - 1)
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Keys, and the places of the entries.
    tail: BTreeSet<(i64, i64)>,
    /// Rooms that are in `unindexed`.
    marked: HashSet<i64>,
    /// Which of the two tables is written.
    generation: i64,
    /// When it was begun.
    since_ms: i64,
    /// What is in each of them.
    filters: [Filter; 2],
    // What the transaction under way has changed.
    added: Vec<(i64, i64)>,
    added_marks: Vec<i64>,
    flushed: Option<(i64, i64)>,
}

impl Recent {
    /// Reads what a process before has left.
    pub(super) fn load(connection: &Connection, dedup: Dedup) -> rusqlite::Result<Self> {
        let meta = |key: &str| {
            let query = "select value from meta where key = ?1";
            connection.query_row(query, [key], |row| row.get::<_, i64>(0)).optional()
        };
        let mut recent = Self {
            generation: meta("generation")?.unwrap_or(0),
            since_ms: meta("generation_since")?.unwrap_or(0),
            ..Self::default()
        };
        for (filter, query) in recent.filters.iter_mut().zip(ALL) {
            let mut keys = connection.prepare(query)?;
            let mut keys = keys.query([])?;
            while let Some(key) = keys.next()? {
                filter.add(key.get::<_, i64>(0)? & !(SLOTS - 1));
            }
        }
        let mut rooms = connection.prepare("select room, first from unindexed")?;
        let mut rooms = rooms.query([])?;
        let mut entries = connection.prepare(
            "select place, author, cmid from entry
             where place between ?1 and ?2 and kind < 2",
        )?;
        while let Some(row) = rooms.next()? {
            let (room, first): (i64, i64) = (row.get(0)?, row.get(1)?);
            let mut entries = entries.query([place(room, first), place(room, super::SEQ_MAX)])?;
            while let Some(entry) = entries.next()? {
                let author: [u8; 16] = entry.get(1)?;
                let dedup = dedup(Identity(author), entry.get_ref(2)?.as_blob()?, 0);
                recent.tail.insert((key(room, dedup), entry.get(0)?));
            }
            recent.marked.insert(room);
        }
        Ok(recent)
    }

    /// Looks for what an author stored under a cmid.
    pub(super) fn find(
        &self,
        connection: &Connection,
        room: i64,
        dedup: i64,
        (author, cmid): (Identity, &Bytes),
    ) -> rusqlite::Result<Option<Found>> {
        let key = key(room, dedup);
        let mut places: Vec<i64> = Vec::new();
        for (filter, query) in self.filters.iter().zip(FIND) {
            if filter.may_have(key) {
                let mut query = connection.prepare_cached(query)?;
                let found = query.query_map([key, key + SLOTS - 1], |row| row.get::<_, i64>(0))?;
                places.extend(found.collect::<Result<Vec<_>, _>>()?);
            }
        }
        places.extend(self.tail.range((key, 0)..=(key, i64::MAX)).map(|(_, place)| place));
        // Of other rooms, too, if the hash is the same.
        places.retain(|place| place >> super::SEQ_BITS == room);
        if places.is_empty() {
            return Ok(None);
        }
        let mut query = connection.prepare_cached(
            "select at, digest from entry where place = ?1 and author = ?2 and cmid = ?3",
        )?;
        for place in places {
            let found = query.query_row(params![place, author.0, &**cmid], |row| {
                let digest: i64 = row.get(1)?;
                let at_ms = raw::unsigned(row.get(0)?);
                let seq = Seq(raw::unsigned(place & super::SEQ_MAX));
                Ok(Found { seq, at_ms, digest: digest.cast_unsigned() })
            });
            if let Some(found) = found.optional()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Notes an entry of the transaction under way.
    pub(super) fn add(
        &mut self,
        connection: &Connection,
        room: i64,
        dedup: i64,
        seq: i64,
    ) -> rusqlite::Result<()> {
        if self.marked.insert(room) {
            self.added_marks.push(room);
            let mut mark = connection
                .prepare_cached("insert or ignore into unindexed (room, first) values (?1, ?2)")?;
            mark.execute([room, seq])?;
        }
        let added = (key(room, dedup), place(room, seq));
        self.tail.insert(added);
        self.added.push(added);
        Ok(())
    }

    /// Before a commit: writes the tail, if it is long.
    pub(super) fn flush(&mut self, connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
        if self.tail.len() < TAIL_MAX {
            return Ok(());
        }
        let (mut generation, mut since_ms) = (self.generation, self.since_ms);
        if since_ms.saturating_add(raw::signed(KNOWN_MS)) <= now_ms {
            // All of the other one is a day old, at least.
            generation = 1 - generation;
            since_ms = now_ms;
            connection.execute(CLEAR[usize::from(generation == 1)], [])?;
            for (key, value) in [("generation", generation), ("generation_since", since_ms)] {
                connection.execute(
                    "insert into meta (key, value) values (?1, ?2)
                     on conflict (key) do update set value = excluded.value",
                    params![key, value],
                )?;
            }
        }
        let mut insert = connection.prepare_cached(INSERT[usize::from(generation == 1)])?;
        for (key, place) in &self.tail {
            for slot in *key..*key + SLOTS {
                if insert.execute([slot, *place])? > 0 {
                    break;
                }
            }
        }
        connection.execute("delete from unindexed", [])?;
        self.flushed = Some((generation, since_ms));
        Ok(())
    }

    pub(super) fn committed(&mut self) {
        if let Some((generation, since_ms)) = self.flushed.take() {
            let filter = &mut self.filters[usize::from(generation == 1)];
            if generation != self.generation {
                *filter = Filter::default();
            }
            self.tail.iter().for_each(|(key, _)| filter.add(*key));
            (self.generation, self.since_ms) = (generation, since_ms);
            self.tail.clear();
            self.marked.clear();
        }
        self.added.clear();
        self.added_marks.clear();
    }

    pub(super) fn rolled_back(&mut self) {
        self.flushed = None;
        for key in self.added.drain(..) {
            self.tail.remove(&key);
        }
        for room in self.added_marks.drain(..) {
            self.marked.remove(&room);
        }
    }
}
