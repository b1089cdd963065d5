//! Claims and epochs.

use model::{Epoch, Fence, Gen, RoomId, ShardId, Term};
use rusqlite::{OptionalExtension, params};

use super::{super::place, Writer};
use crate::{
    Claim, Claimed,
    raw::{self, CLAIM},
};

impl Writer {
    pub(in super::super) fn claim(&mut self, claims: &[Claim]) -> rusqlite::Result<Vec<Claimed>> {
        claims.iter().map(|claim| self.claim_one(claim)).collect()
    }

    fn claim_one(&mut self, claim: &Claim) -> rusqlite::Result<Claimed> {
        let room = match self.room(&claim.room)? {
            Some(room) => room,
            None => self.make(&claim.room, claim.seen)?,
        };
        let (head, term) = self.tip(room)?;
        let r#gen: i64 =
            self.connection()
                .query_row("select gen from room where id = ?1", [room], |row| row.get(0))?;
        let known = Fence { r#gen: Gen(raw::unsigned(r#gen)), term: Term(raw::unsigned(term)) };
        // A new room's claim is above whatever was seen of it; else entries are gone.
        if head > 0 && known < claim.seen {
            self.renew(room, claim.seen.r#gen)?;
        }
        self.append_claim(room, Some(&claim.shard))
    }

    fn make(&mut self, name: &RoomId, seen: Fence) -> rusqlite::Result<i64> {
        let r#gen = self.now_ms().max(raw::signed(seen.r#gen.0.saturating_add(1)));
        let epoch = (self.random)().cast_signed();
        let connection = self.connection();
        connection
            .prepare_cached("insert into room (name, epoch, gen) values (?1, ?2, ?3)")?
            .execute(params![name.as_str().as_bytes(), epoch, r#gen])?;
        let id = connection.last_insert_rowid();
        if id > super::super::ROOM_MAX {
            // Places would overflow. Rolled back; it is this call's fault.
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
        }
        self.remember(name, id);
        Ok(id)
    }

    /// Starts a new incarnation above its own and `above`.
    fn renew(&mut self, room: i64, above: Gen) -> rusqlite::Result<()> {
        let above = self.now_ms().max(raw::signed(above.0.saturating_add(1)));
        let epoch = (self.random)().cast_signed();
        self.connection().execute(
            "update room set epoch = ?2, gen = max(gen + 1, ?3) where id = ?1",
            [room, epoch, above],
        )?;
        Ok(())
    }

    fn append_claim(&mut self, room: i64, by: Option<&ShardId>) -> rusqlite::Result<Claimed> {
        let (head, term) = self.tip(room)?;
        let at_ms = self.now_ms();
        let connection = self.connection();
        let owner: Option<Vec<u8>> = connection
            .prepare_cached("select author from entry where place = ?1")?
            .query_row([place(room, term)], |row| row.get(0))
            .optional()?
            .flatten();
        let by = by.map(|shard| shard.as_str().as_bytes());
        let superseded = owner.filter(|owner| Some(&owner[..]) != by);
        connection
            .prepare_cached(
                "insert into entry (place, term, kind, at, author, target)
                 values (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![place(room, head + 1), head + 1, CLAIM, at_ms, by, superseded])?;
        let (epoch, r#gen): (i64, i64) = connection
            .prepare_cached("select epoch, gen from room where id = ?1")?
            .query_row([room], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Claimed {
            epoch: Epoch(epoch.cast_unsigned()),
            r#gen: Gen(raw::unsigned(r#gen)),
            term: Term(raw::unsigned(head + 1)),
            superseded: superseded.and_then(|shard| raw::shard(&shard).ok()),
        })
    }

    pub(in super::super) fn new_epoch(
        &mut self,
        room: &RoomId,
    ) -> rusqlite::Result<Option<Claimed>> {
        let Some(id) = self.room(room)? else { return Ok(None) };
        self.renew(id, Gen(0))?;
        self.append_claim(id, None).map(Some)
    }
}
