//! The one connection that writes.

mod ownership;
mod upkeep;

use std::{collections::HashMap, fs::File, sync::Arc};

use bytes::Bytes;
use model::{
    Epoch, Identity, RoomId, Seq,
    planted::{self, Bug},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Dedup, SEQ_MAX,
    file::{self, OpenFile, Place},
    place,
    recent::Recent,
    worker::Job,
};
use crate::{
    Append, Appended, Found, StoreError,
    raw::{self, Columns},
};

/// Rooms whose id is remembered.
const ROOMS_MAX: usize = 100_000;

pub(super) struct Writer {
    pub(super) place: Place,
    /// `None` after it broke, until it can be opened again.
    pub(super) file: Option<OpenFile>,
    pub(super) recent: Recent,
    pub(super) rooms: HashMap<RoomId, i64>,
    pub(super) dedup: Dedup,
    pub(super) unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(super) random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Keeps other processes away.
    pub(super) _lock: Option<File>,
}

/// Does a group of calls in one transaction. If one call is to blame for a failure,
/// it fails alone.
pub(super) fn serve(writer: &mut Writer, group: Vec<Box<dyn Job<Writer>>>) {
    let mut group: Vec<_> = group.into_iter().filter(|job| job.begin()).collect();
    match writer.transact(&mut group) {
        Ok(()) => group.into_iter().for_each(|job| job.end(None)),
        Err(failed) if failed.of_all || group.len() == 1 => {
            group.into_iter().for_each(|job| job.end(Some(failed.error.clone())));
        }
        Err(_) => {
            for mut job in group {
                let ended = writer.transact(std::slice::from_mut(&mut job));
                job.end(ended.err().map(|failed| failed.error));
            }
        }
    }
}

struct Failed {
    error: StoreError,
    /// No call is to blame.
    of_all: bool,
}

impl Writer {
    fn transact(&mut self, group: &mut [Box<dyn Job<Self>>]) -> Result<(), Failed> {
        if group.is_empty() {
            return Ok(());
        }
        self.reopen().map_err(|error| Failed { error, of_all: true })?;
        let done = self.run(group);
        let Err((error, in_commit)) = done else {
            self.recent.committed();
            return Ok(());
        };
        let what = if in_commit { file::of_commit(&error) } else { file::in_use(&error) };
        self.recent.rolled_back();
        // Rooms may have been made that are not there any more.
        self.rooms.clear();
        if file::is_broken(&error) || self.connection().execute_batch("rollback").is_err() {
            self.file = None;
        }
        Err(Failed { error: what, of_all: in_commit || file::is_common(&error) })
    }

    fn run(&mut self, group: &mut [Box<dyn Job<Self>>]) -> Result<(), (rusqlite::Error, bool)> {
        let before = |error| (error, false);
        self.connection().execute_batch("begin immediate").map_err(before)?;
        for job in group {
            job.run(self).map_err(before)?;
        }
        let now_ms = self.now_ms();
        let Self { file, recent, .. } = self;
        let connection = &file.as_ref().expect("opened above").connection;
        recent.flush(connection, now_ms).map_err(before)?;
        connection.execute_batch("commit").map_err(|error| (error, true))
    }

    /// Opens the file again if it broke or if another one is in its place.
    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.file.as_ref().is_some_and(|file| file.is_there(&self.place)) {
            return Ok(());
        }
        self.file = None;
        self.rooms.clear();
        let again = |error: crate::OpenError| StoreError::Unreachable(error.to_string());
        let file = self.place.open(false).map_err(again)?;
        self.recent = Recent::load(&file.connection, self.dedup)
            .map_err(|error| StoreError::Unreachable(error.to_string()))?;
        self.file = Some(file);
        Ok(())
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.file.as_ref().expect("opened before each group").connection
    }

    fn now_ms(&self) -> i64 {
        raw::signed((self.unix_ms)())
    }

    /// A room's id, if it was ever opened.
    fn room(&mut self, name: &RoomId) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.rooms.get(name) {
            return Ok(Some(*id));
        }
        let id = {
            let query = "select id from room where name = ?1";
            let mut query = self.connection().prepare_cached(query)?;
            query.query_row([name.as_str().as_bytes()], |row| row.get(0)).optional()?
        };
        if let Some(id) = id {
            self.remember(name, id);
        }
        Ok(id)
    }

    fn remember(&mut self, name: &RoomId, id: i64) {
        if self.rooms.len() >= ROOMS_MAX {
            self.rooms.clear();
        }
        self.rooms.insert(name.clone(), id);
    }

    /// The newest entry: its seq and its term; 0 for none.
    fn tip(&self, room: i64) -> rusqlite::Result<(i64, i64)> {
        let mut query = self.connection().prepare_cached(
            "select place, term from entry where place between ?1 and ?2
             order by place desc limit 1",
        )?;
        let tip = query.query_row([place(room, 0), place(room, SEQ_MAX)], |row| {
            Ok((row.get::<_, i64>(0)? & SEQ_MAX, row.get(1)?))
        });
        Ok(tip.optional()?.unwrap_or((0, 0)))
    }

    fn epoch(&self, room: i64) -> rusqlite::Result<Epoch> {
        let mut query = self.connection().prepare_cached("select epoch from room where id = ?1")?;
        Ok(Epoch(query.query_row([room], |row| row.get::<_, i64>(0))?.cast_unsigned()))
    }

    pub(super) fn append(&mut self, appends: &[Append]) -> rusqlite::Result<Vec<Appended>> {
        let at_ms = self.now_ms();
        appends.iter().map(|append| self.append_one(append, at_ms)).collect()
    }

    fn append_one(&mut self, append: &Append, at_ms: i64) -> rusqlite::Result<Appended> {
        let Some(room) = self.room(&append.room)? else { return Ok(Appended::Superseded) };
        if planted::is(Bug::ConflictOverwritten) {
            self.clear_place(room, append)?;
        }
        let (head, term) = self.tip(room)?;
        let is_its = (raw::unsigned(head), raw::unsigned(term)) == (append.after.0, append.term.0);
        // A log that was set back may have another claim at the same seq.
        if !is_its || self.epoch(room)? != append.epoch {
            return Ok(Appended::Superseded);
        }
        let keys: Vec<i64> = append
            .entries
            .iter()
            .map(|draft| (self.dedup)(draft.body.author_identity, &draft.cmid, 0))
            .collect();
        let Self { file, recent, .. } = self;
        let connection = &file.as_ref().expect("opened before each group").connection;
        let mut duplicates = Vec::new();
        for (index, (draft, key)) in append.entries.iter().zip(&keys).enumerate() {
            let of = (draft.body.author_identity, &draft.cmid);
            if let Some(found) = recent.find(connection, room, *key, of)? {
                duplicates.push((index, found));
            }
        }
        if !duplicates.is_empty() {
            return Ok(Appended::Duplicates(duplicates));
        }
        if let Some(twice) = crate::twice(append) {
            return Ok(twice);
        }
        if head > SEQ_MAX - raw::signed(append.entries.len() as u64) {
            let why = "the room's log is full".to_owned();
            return Ok(Appended::Failed(StoreError::Unreachable(why)));
        }
        let mut insert = connection.prepare_cached(
            "insert into entry (place, term, kind, at, author, author_name, target,
                                target_name, cmid, digest, body)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        for ((seq, draft), key) in (head + 1..).zip(&append.entries).zip(&keys) {
            let row = Columns::from(draft);
            insert.execute(params![
                place(room, seq),
                term,
                row.kind,
                at_ms,
                row.author,
                row.author_name,
                row.target,
                row.target_name,
                row.cmid,
                row.digest,
                row.body,
            ])?;
            recent.add(connection, room, *key, seq)?;
        }
        Ok(Appended::Stored { at_ms: raw::unsigned(at_ms) })
    }

    /// Removes what others have put behind an entry of this term: only where that bug is
    /// planted.
    fn clear_place(&self, room: i64, append: &Append) -> rusqlite::Result<()> {
        let (after, term) = (raw::signed(append.after.0), raw::signed(append.term.0));
        let mut clear = self.connection().prepare_cached(
            "delete from entry where place between ?1 + 1 and ?2
             and exists (select 1 from entry where place = ?1 and term = ?3)",
        )?;
        clear.execute([place(room, after), place(room, SEQ_MAX), term])?;
        Ok(())
    }

    pub(super) fn find(
        &mut self,
        room: &RoomId,
        author: Identity,
        cmid: &Bytes,
    ) -> rusqlite::Result<Option<Found>> {
        let Some(room) = self.room(room)? else { return Ok(None) };
        let key = (self.dedup)(author, cmid, 0);
        self.recent.find(self.connection(), room, key, (author, cmid))
    }

    pub(super) fn redact(&mut self, room: &RoomId, seq: Seq) -> rusqlite::Result<bool> {
        let Some(id) = self.room(room)? else { return Ok(false) };
        if seq.0 > raw::unsigned(SEQ_MAX) {
            return Ok(false);
        }
        let mut empty = self.connection().prepare_cached(
            "update entry set body = null where place = ?1 and kind < 2
             and ?2 > (select taken from room where id = ?3)",
        )?;
        let seq = raw::signed(seq.0);
        Ok(empty.execute([place(id, seq), seq, id])? > 0)
    }
}
