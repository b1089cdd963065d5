//! Retention.

use model::{
    Seq, Term,
    retention::{self, Facts, Slim},
};
use rusqlite::params;

use super::{
    super::{SEQ_MAX, place},
    Writer,
};
use crate::{Cursor, Retained, Retention, raw};

impl Writer {
    pub(in super::super) fn retain(
        &mut self,
        policy: Retention,
        from: Cursor,
        budget: usize,
    ) -> rusqlite::Result<Retained> {
        let rooms: Vec<(i64, i64)> = self
            .connection()
            .prepare_cached("select id, taken from room where id >= ?1 order by id limit ?2")?
            .query_map([raw::signed(from.0), raw::signed(budget as u64)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut retained = Retained::default();
        for (room, taken) in &rooms {
            let more = self.retain_room(policy, (*room, *taken), budget, &mut retained)?;
            let spent = retained.deleted + retained.emptied >= budget as u64;
            if more || spent {
                let next = if more { *room } else { room + 1 };
                retained.next = Some(Cursor(raw::unsigned(next)));
                return Ok(retained);
            }
        }
        if rooms.len() == budget {
            retained.next = rooms.last().map(|(room, _)| Cursor(raw::unsigned(room + 1)));
        }
        Ok(retained)
    }

    /// Does one step in one room; says whether there may be more to do in it.
    fn retain_room(
        &self,
        policy: Retention,
        (room, taken): (i64, i64),
        budget: usize,
        retained: &mut Retained,
    ) -> rusqlite::Result<bool> {
        let (head, term) = self.tip(room)?;
        let facts = Facts {
            now_ms: raw::unsigned(self.now_ms()),
            head: Seq(raw::unsigned(head)),
            claim: Term(raw::unsigned(term)),
            taken: Seq(raw::unsigned(taken)),
        };
        let lowest = self.slim(room, 0, term, budget)?;
        let above = self.slim(room, taken, 0, budget)?;
        let plan = retention::plan(policy, facts, &lowest, &above, budget);
        if plan.is_idle(facts) {
            return Ok(plan.more);
        }
        let connection = self.connection();
        let deleted = connection
            .prepare_cached("delete from entry where place between ?1 and ?2 and place <> ?3")?
            .execute([
                place(room, 0),
                place(room, raw::signed(plan.delete_to.0)),
                place(room, term),
            ])?;
        let emptied = connection
            .prepare_cached(
                "update entry set body = null
                 where place between ?1 and ?2 and kind < 2 and body is not null",
            )?
            .execute([place(room, taken + 1), place(room, raw::signed(plan.empty_to.0))])?;
        connection
            .prepare_cached("update room set taken = ?2 where id = ?1")?
            .execute(params![room, raw::signed(plan.taken.0)])?;
        retained.deleted += deleted as u64;
        retained.emptied += emptied as u64;
        Ok(plan.more)
    }

    /// The first rows above a seq, but one.
    fn slim(&self, room: i64, after: i64, but: i64, limit: usize) -> rusqlite::Result<Vec<Slim>> {
        let mut query = self.connection().prepare_cached(
            "select place, kind, at from entry where place between ?1 and ?2 and place <> ?3
             order by place limit ?4",
        )?;
        let range = [
            place(room, after + 1),
            place(room, SEQ_MAX),
            place(room, but),
            raw::signed(limit as u64),
        ];
        let rows = query.query_map(range, |row| {
            Ok(Slim {
                seq: Seq(raw::unsigned(row.get::<_, i64>(0)? & SEQ_MAX)),
                is_claim: row.get::<_, i16>(1)? == raw::CLAIM,
                at_ms: raw::unsigned(row.get(2)?),
            })
        })?;
        rows.collect()
    }
}
