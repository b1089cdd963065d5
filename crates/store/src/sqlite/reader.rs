//! Connections that only read.

use model::{Epoch, Fence, Gen, Position, RoomId, Seq, ShardId, Term};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::{
    SEQ_MAX,
    file::{self, OpenFile, Place},
    place,
    worker::Job,
};
use crate::{
    Export, Head, Page, Range, StoreError, Superseded,
    raw::{self, Raw},
};

pub(super) struct Reader {
    pub(super) place: Place,
    pub(super) file: Option<OpenFile>,
}

/// Does calls, each in a transaction of its own, so that it sees one state.
pub(super) fn serve(reader: &mut Reader, group: Vec<Box<dyn Job<Reader>>>) {
    for mut job in group.into_iter().filter(|job| job.begin()) {
        let done = reader.read(&mut job);
        job.end(done.err());
    }
}

/// What is known of a room, but its entries.
struct Known {
    id: i64,
    head: Head,
    taken: i64,
}

impl Reader {
    fn read(&mut self, job: &mut Box<dyn Job<Self>>) -> Result<(), StoreError> {
        if !self.file.as_ref().is_some_and(|file| file.is_there(&self.place)) {
            self.file = None;
            let file = self.place.open_reader();
            self.file = Some(file.map_err(|error| StoreError::Unreachable(error.to_string()))?);
        }
        let done = self.connection().execute_batch("begin").and_then(|()| job.run(self));
        let ended = self.connection().execute_batch("rollback");
        done.and(ended).map_err(|error| {
            if file::is_broken(&error) {
                self.file = None;
            }
            file::in_use(&error)
        })
    }

    fn connection(&self) -> &Connection {
        &self.file.as_ref().expect("opened before each call").connection
    }

    fn known(&self, room: &RoomId) -> rusqlite::Result<Option<Known>> {
        let mut query = self
            .connection()
            .prepare_cached("select id, epoch, gen, taken from room where name = ?1")?;
        let found = query.query_row([room.as_str().as_bytes()], |row| {
            let (epoch, r#gen): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Epoch(epoch.cast_unsigned()), Gen(raw::unsigned(r#gen)), row.get(3)?))
        });
        let Some((id, epoch, r#gen, taken)) = found.optional()? else { return Ok(None) };
        let mut query = self.connection().prepare_cached(
            "select place, term from entry where place between ?1 and ?2
             order by place desc limit 1",
        )?;
        let (head, term): (i64, i64) = query
            .query_row([place(id, 0), place(id, SEQ_MAX)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let seq = Seq(raw::unsigned(head & SEQ_MAX));
        let fence = Fence { r#gen, term: Term(raw::unsigned(term)) };
        Ok(Some(Known { id, head: Head { position: Position { epoch, seq }, fence }, taken }))
    }

    pub(super) fn heads(&mut self, rooms: &[RoomId]) -> rusqlite::Result<Vec<Option<Head>>> {
        rooms.iter().map(|room| Ok(self.known(room)?.map(|known| known.head))).collect()
    }

    pub(super) fn page(
        &mut self,
        room: &RoomId,
        range: Range,
        limit: usize,
    ) -> rusqlite::Result<Page> {
        let Some(Known { id, head, taken }) = self.known(room)? else {
            return Ok(Page { head: None, taken: Seq(0), entries: Vec::new() });
        };
        let seq = |seq: Seq| raw::signed(seq.0).min(SEQ_MAX);
        let (from, to, query) = match range {
            Range::After(after) => (seq(after).max(taken), SEQ_MAX, ASCENDING),
            Range::Before(before) => (taken, seq(before) - 1, DESCENDING),
        };
        let raws = self.raws(query, (id, from, to), limit)?;
        let rows = raws.into_iter().map(|raw| raw.row().map_err(damaged));
        let mut entries = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        if matches!(range, Range::Before(_)) {
            entries.reverse();
        }
        Ok(Page { head: Some(head), taken: Seq(raw::unsigned(taken)), entries })
    }

    /// Rows of a room above a seq, up to another.
    fn raws(
        &self,
        query: &str,
        (room, after, to): (i64, i64, i64),
        limit: usize,
    ) -> rusqlite::Result<Vec<Raw>> {
        if after >= to {
            return Ok(Vec::new());
        }
        let mut query = self.connection().prepare_cached(query)?;
        let range = [place(room, after + 1), place(room, to), raw::signed(limit as u64)];
        query.query_map(range, raw_of)?.collect()
    }

    pub(super) fn superseded(
        &mut self,
        shard: &ShardId,
        since_ms: u64,
    ) -> rusqlite::Result<Vec<Superseded>> {
        let mut query = self.connection().prepare_cached(
            "select r.name, e.author, r.gen, e.place from entry e join room r on r.id = e.place >> 36
             where e.kind = 2 and e.target = ?1 and e.at > ?2 order by e.at",
        )?;
        let shard = params![shard.as_str().as_bytes(), raw::signed(since_ms)];
        let found = query.query_map(shard, |row| {
            let by: Option<Vec<u8>> = row.get(1)?;
            let term = Term(raw::unsigned(row.get::<_, i64>(3)? & SEQ_MAX));
            Ok(Superseded {
                room: raw::room(row.get_ref(0)?.as_blob()?).map_err(damaged)?,
                by: by.map(|by| raw::shard(&by).map_err(damaged)).transpose()?,
                fence: Fence { r#gen: Gen(raw::unsigned(row.get(2)?)), term },
            })
        })?;
        found.collect()
    }

    pub(super) fn rooms(
        &mut self,
        after: Option<&RoomId>,
        limit: usize,
    ) -> rusqlite::Result<Vec<RoomId>> {
        let mut query = self
            .connection()
            .prepare_cached("select name from room where name > ?1 order by name limit ?2")?;
        let after = after.map_or(&b""[..], |room| room.as_str().as_bytes());
        let rooms = query.query_map(params![after, raw::signed(limit as u64)], |row| {
            raw::room(row.get_ref(0)?.as_blob()?).map_err(damaged)
        })?;
        rooms.collect()
    }

    pub(super) fn export(
        &mut self,
        room: &RoomId,
        after: Seq,
        limit: usize,
    ) -> rusqlite::Result<Option<Export>> {
        let Some(Known { id, head, taken }) = self.known(room)? else { return Ok(None) };
        let after = raw::signed(after.0).min(SEQ_MAX);
        let raws = self.raws(ASCENDING, (id, after, SEQ_MAX), limit)?;
        let entries = raws.into_iter().map(|raw| raw.record().map_err(damaged));
        let entries = entries.collect::<rusqlite::Result<_>>()?;
        Ok(Some(Export { head, taken: Seq(raw::unsigned(taken)), entries }))
    }

    pub(super) fn damage(&mut self) -> rusqlite::Result<Vec<String>> {
        let mut check = self.connection().prepare("pragma integrity_check(100)")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?;
        Ok(lines.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|line| line != "ok").collect())
    }
}

const ASCENDING: &str = "
    select place, term, kind, at, author, author_name, target, target_name, cmid, digest, body
    from entry where place between ?1 and ?2 order by place limit ?3";
const DESCENDING: &str = "
    select place, term, kind, at, author, author_name, target, target_name, cmid, digest, body
    from entry where place between ?1 and ?2 order by place desc limit ?3";

fn raw_of(row: &SqlRow<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        seq: row.get::<_, i64>(0)? & SEQ_MAX,
        term: row.get(1)?,
        kind: row.get(2)?,
        at_ms: row.get(3)?,
        author: row.get(4)?,
        author_name: row.get(5)?,
        target: row.get(6)?,
        target_name: row.get(7)?,
        cmid: row.get(8)?,
        digest: row.get(9)?,
        body: row.get(10)?,
    })
}

fn damaged(damaged: raw::Damaged) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(damaged))
}
